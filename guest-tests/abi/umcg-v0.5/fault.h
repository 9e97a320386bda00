/* SPDX-License-Identifier: GPL-2.0 */
/* What comes of a worker that breaks the contract: SIGSEGV, which it may handle. */
#ifndef FAULT_H
#define FAULT_H

#include "crew.h"

static atomic_int faults;

static inline void count_fault(int signal)
{
	(void)signal;
	atomic_fetch_add(&faults, 1);
}

/* Its structure is out of reach: it goes on as a plain thread, and nobody waits for it. */
static inline void expect_own_fault(void (*commit)(void *), void *arg, struct worker *w)
{
	on_signal(SIGSEGV, count_fault, 0);
	commit(arg);
	EXPECT_EQ(1, atomic_load(&faults));
	EXPECT_EQ(-EFAULT, w->result);
	expect_none_queued(w->pool);
}

#endif
