/* SPDX-License-Identifier: GPL-2.0 */
/* A thread under ptrace, brought to a stop. */
#ifndef TRACE_H
#define TRACE_H

#include <sys/ptrace.h>
#include <sys/wait.h>

#include "ktap.h"

/* Have a thread that is traced stop, and wait for that. */
static inline void trace_stop(pid_t tid)
{
	int status;

	ASSERT_EQ(0, ptrace(PTRACE_INTERRUPT, tid, NULL, NULL));
	ASSERT_EQ(tid, waitpid(tid, &status, __WALL));
	ASSERT_TRUE(WIFSTOPPED(status));
}

/*
 * wait() tells of a stop before the thread has gone to sleep for it; any request of its
 * tracer waits for that.
 */
static inline void trace_asleep(pid_t tid)
{
	siginfo_t info;

	ASSERT_EQ(0, ptrace(PTRACE_GETSIGINFO, tid, NULL, &info));
}

/* Trace it from now on, and have it stop. */
static inline void trace_begin(pid_t tid)
{
	ASSERT_EQ(0, ptrace(PTRACE_SEIZE, tid, NULL, NULL));
	trace_stop(tid);
}

#endif
