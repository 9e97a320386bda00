/* SPDX-License-Identifier: GPL-2.0 */
/* UMCG v0.5, for its own tests and its port: what is in the structures of port.h. */
#ifndef ABI_H
#define ABI_H

/* The Makefile defines it for what is built for this ABI, and for nothing else. */
#ifndef UMCG_ABI_umcg_v0_5
#error "abi.h of umcg-v0.5 is not for this ABI, nor for what is built for each"
#endif

#include <linux/umcg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "port.h"

/*
 * The idle workers of any number of servers, and the one server that the kernel
 * wakes when a worker joins them.
 */
struct umcg_pool {
	uint64_t idle_workers;
	uint32_t idle_server_tid __attribute__((aligned(8)));
} __attribute__((aligned(64)));

struct umcg {
	struct umcg_task task;	/* what the kernel sees */
	uint32_t tid;
	struct umcg_pool *pool;	/* of a worker */
	struct umcg *server;	/* who ran the worker last; NULL once it is taken from a pool */
};

_Static_assert(sizeof(struct umcg) == UMCG_SIZE, "UMCG_SIZE");
_Static_assert(_Alignof(struct umcg) == 64, "port.h has it aligned to 64");
_Static_assert(sizeof(struct umcg_pool) == UMCG_POOL_SIZE, "UMCG_POOL_SIZE");

/*
 * A bit of user space in the word of a worker that yields to its server. IDLE
 * without it, a worker is back from a block and in the pool already.
 */
#define UMCG_YIELDS	0x01000000

/*
 * Servers: umcg_resume() may return though the worker runs on under us: the deadline
 * has passed, or a wakeup for an idle server came late. Sleep on then; 0 at once if
 * it runs no more. Or whether it has been preempted, and so is ours to run again.
 */
bool umcg_runs(struct umcg *me, struct umcg *worker);
int umcg_sleep_on(struct umcg *me, struct umcg *worker, uint64_t deadline);
bool umcg_preempted(struct umcg *me, struct umcg *worker);

/* The word of a worker that umcg_requeue() has put among the idle ones. */
#define UMCG_REQUEUED	UMCG_TASK_IDLE

/* Words with which a worker that waits, and is woken, sleeps on. */
#define UMCG_SLEEPS_ON {								\
	UMCG_TASK_IDLE, UMCG_TASK_IDLE | UMCG_TF_LOCKED,				\
	UMCG_TASK_IDLE | UMCG_TF_PREEMPTED, UMCG_TASK_RUNNING | UMCG_TF_LOCKED,		\
}

/* What comes of naming a server of a process that one may send no signal. */
#define UMCG_FOREIGN	(-EPERM)

/* Words with which a server may not wait; and what else is in them, for tests. */
#define UMCG_REFUSED {									\
	UMCG_TASK_NONE, UMCG_TASK_BLOCKED, 4, 0xff,					\
	UMCG_TASK_IDLE | UMCG_TF_LOCKED, UMCG_TASK_IDLE | UMCG_TF_PREEMPTED,		\
	UMCG_TASK_IDLE | 0x8000, UMCG_TASK_RUNNING | UMCG_TF_LOCKED,			\
	UMCG_TASK_IDLE | 0x10000, UMCG_TASK_RUNNING | 0x800000,				\
}
#define UMCG_NOISE	0xa5000000

/* For tests: some bits of user space, but not all. */
#define UMCG_SOME_BITS	0x5a000000
/* All bits of a word that user space can store. */
#define UMCG_WORD_MASK	UINT32_MAX

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

static inline void umcg_flip_bits(struct umcg_task *task, uint32_t bits)
{
	__atomic_fetch_xor(&task->state, bits, __ATOMIC_SEQ_CST);
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
