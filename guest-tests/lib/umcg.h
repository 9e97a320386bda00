/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libumcg: UMCG for the tests and the benches, with one back end per ABI
 * (<abi>.c, which the Makefile chooses).
 *
 * Functions return 0 or a negative errno. `me` is the calling thread's.
 */
#ifndef UMCG_H
#define UMCG_H

#include <linux/umcg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct umcg {
	struct umcg_task task;	/* what the kernel sees */
	uint32_t tid;
};

enum umcg_kernel {
	UMCG_HERE,
	UMCG_CONTROL,	/* absent, and this is the kernel that has to be without */
	UMCG_ABSENT,	/* absent, and it should be here */
};

/* Ask by a system call that changes nothing. */
enum umcg_kernel umcg_kernel(void);

int umcg_register_server(struct umcg *me);
int umcg_unregister(struct umcg *me);

/* Sleep until woken. `deadline` is of the ABI's clock, in ns; 0 is none. */
int umcg_wait(struct umcg *me, uint64_t deadline);

/* Wake `other`, or hand over to it and sleep: -EAGAIN if it is not idle. */
int umcg_wake(struct umcg *me, struct umcg *other);
int umcg_switch(struct umcg *me, struct umcg *other, uint64_t deadline);

/* The bare system calls, for tests of the ABI itself. */
int umcg_sys_ctl(uint32_t flags, void *self);
int umcg_sys_wait(uint32_t flags, uint64_t abs_timeout);

/* The state word. */
static inline uint32_t umcg_word(struct umcg_task *task)
{
	return __atomic_load_n(&task->state, __ATOMIC_SEQ_CST);
}

static inline void umcg_set_word(struct umcg_task *task, uint32_t word)
{
	__atomic_store_n(&task->state, word, __ATOMIC_SEQ_CST);
}

/* Change the state from `from` to `to`, whatever the bits of user space are. */
static inline bool umcg_move(struct umcg_task *task, uint32_t from, uint32_t to)
{
	uint32_t word = __atomic_load_n(&task->state, __ATOMIC_RELAXED);

	do {
		if ((word & ~UMCG_TASK_USER_MASK) != from)
			return false;
	} while (!__atomic_compare_exchange_n(&task->state, &word,
					      (word & UMCG_TASK_USER_MASK) | to,
					      false, __ATOMIC_SEQ_CST,
					      __ATOMIC_RELAXED));
	return true;
}

#endif
