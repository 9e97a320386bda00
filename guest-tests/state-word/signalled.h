/* SPDX-License-Identifier: GPL-2.0 */
/* A worker for which signals come, and how many of them were handled, and where. */
#ifndef SIGNALLED_H
#define SIGNALLED_H

#include "crew.h"

static struct worker w;
static struct gate gate;
static atomic_int handled, handled_by;

static inline void count(int signal)
{
	(void)signal;
	atomic_store(&handled_by, gettid());
	atomic_fetch_add(&handled, 1);
}

static inline void begin(void (*body)(struct worker *))
{
	on_signal(SIGUSR1, count, 0);
	on_signal(SIGUSR2, count, 0);
	become_server();
	gate_make(&gate);
	w.body = body;
	hire(&w);
}

#endif
