/* SPDX-License-Identifier: GPL-2.0 */
/* What comes of a worker that breaks the contract: its process is killed. */
#ifndef FAULT_H
#define FAULT_H

#include "crew.h"

static inline void expect_own_fault(void (*commit)(void *), void *arg, struct worker *w)
{
	(void)w;
	EXPECT_EQ(SIGKILL, WTERMSIG(status_of_child(commit, arg)));
}

#endif
