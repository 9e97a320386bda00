/* SPDX-License-Identifier: GPL-2.0 */
/* sched_setattr(2), which libc has no call for. */
#ifndef ATTR_H
#define ATTR_H

#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* sched_attr, as it was before clamps. */
struct attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

/* Of a thread; 0 is this one. -1, with errno, if that cannot be. */
static inline int set_attr(pid_t tid, struct attr attr)
{
	attr.size = sizeof(attr);
	return syscall(SYS_sched_setattr, tid, &attr, 0);
}

#endif
