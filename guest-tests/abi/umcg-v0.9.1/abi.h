/* SPDX-License-Identifier: GPL-2.0 */
/* UMCG v0.9.1, for its own tests and its port: what is in the structures of port.h. */
#ifndef ABI_H
#define ABI_H

/* The Makefile defines it for what is built for this ABI, and for nothing else. */
#ifndef UMCG_ABI_umcg_v0_9_1
#error "abi.h of umcg-v0.9.1 is not for this ABI, nor for what is built for each"
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
	/* Whose tid that is, until it is back; and who is about to wake it. */
	struct umcg *idle_server;
	uint32_t wakers;
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
#define UMCG_YIELDS	0x2000

/*
 * Servers: umcg_resume() may return though the worker runs on under us: the deadline
 * has passed, or a wakeup for an idle server came late. Sleep on then; 0 at once if
 * it runs no more. Or whether it has been preempted, and so is ours to run again.
 */
bool umcg_runs(struct umcg *me, struct umcg *worker);
int umcg_sleep_on(struct umcg *me, struct umcg *worker, uint64_t deadline);
bool umcg_preempted(struct umcg *me, struct umcg *worker);

/* The word of a worker that umcg_requeue() has put among the idle ones. */
#define UMCG_REQUEUED	(UMCG_TASK_IDLE | UMCG_TF_PREEMPTED)

/* Words with which a worker that waits, and is woken, sleeps on. */
#define UMCG_SLEEPS_ON {								\
	UMCG_TASK_IDLE, UMCG_TASK_IDLE | UMCG_TF_PREEMPTED,				\
	UMCG_TASK_RUNNING | UMCG_TF_LOCKED,						\
}

/* What comes of naming a server of a process that one may send no signal. */
#define UMCG_FOREIGN	(-ESRCH)

/* Words with which a server may not wait; and what else is in them, for tests. */
#define UMCG_REFUSED {									\
	UMCG_TASK_NONE, UMCG_TASK_BLOCKED, 4, 0x3f,					\
	UMCG_TASK_IDLE | 0x100, UMCG_TASK_IDLE | 0x1000, UMCG_TASK_RUNNING | 0x200,	\
	UMCG_TASK_BLOCKED | UMCG_TF_PREEMPTED,						\
	UMCG_TASK_IDLE | UMCG_TF_LOCKED | UMCG_TF_PREEMPTED,				\
}
#define UMCG_NOISE	(UMCG_TASK_USER_MASK | UINT64_C(0x12345) << 30)

/* For tests: some bits of user space, but not all. */
#define UMCG_SOME_BITS	0x14000
/* All bits of a word but its time. */
#define UMCG_WORD_MASK	UMCG_TASK_STATE_MASK_FULL

/* The bare system calls, for tests of the ABI itself. */
int umcg_sys_ctl(uint32_t flags, void *self);
int umcg_sys_wait(uint32_t flags, uint64_t abs_timeout);

/* The state word, with its time. */
static inline uint64_t umcg_stamped_word(struct umcg_task *task)
{
	return __atomic_load_n(&task->state_ts, __ATOMIC_SEQ_CST);
}

/* And without, which every change makes another. */
static inline uint32_t umcg_word(struct umcg_task *task)
{
	return umcg_stamped_word(task) & UMCG_TASK_STATE_MASK_FULL;
}

static inline void umcg_set_word(struct umcg_task *task, uint64_t word)
{
	__atomic_store_n(&task->state_ts, word, __ATOMIC_SEQ_CST);
}

static inline void umcg_flip_bits(struct umcg_task *task, uint64_t bits)
{
	__atomic_fetch_xor(&task->state_ts, bits, __ATOMIC_SEQ_CST);
}

/* Bits 0-12 of a word: the state, its flags, and what is reserved. */
static inline uint64_t umcg_bits(uint64_t word)
{
	return word & UMCG_TASK_STATE_MASK_FULL & ~UMCG_TASK_USER_MASK;
}

/* When it was changed, in units of 16 ns. */
static inline uint64_t umcg_time(uint64_t word)
{
	return word >> (64 - UMCG_STATE_TIMESTAMP_BITS);
}

/*
 * The word with another state. Nobody here asks when a state was changed, only
 * whether it was: so what a change by user space costs is an addition, and no look at
 * the clock.
 */
static inline uint64_t umcg_restate(uint64_t word, uint64_t state)
{
	uint64_t later = word + UMCG_TASK_STATE_MASK_FULL + 1;

	return (later & ~(UMCG_TASK_STATE_MASK_FULL & ~UMCG_TASK_USER_MASK)) | state;
}

/* Change the state from `from` to `to`, whatever the bits of user space are. */
static inline bool umcg_move(struct umcg_task *task, uint64_t from, uint64_t to)
{
	uint64_t word = __atomic_load_n(&task->state_ts, __ATOMIC_RELAXED);

	do {
		if (umcg_bits(word) != from)
			return false;
	} while (!__atomic_compare_exchange_n(&task->state_ts, &word,
					      umcg_restate(word, to), false,
					      __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
	return true;
}

#endif
