/* SPDX-License-Identifier: GPL-2.0 */
/* UMCG of January 2022, for its own tests and its port: what is in the structures. */
#ifndef ABI_H
#define ABI_H

/* The Makefile defines it for what is built for this ABI, and for nothing else. */
#ifndef UMCG_ABI_umcg_2022
#error "abi.h of umcg-2022 is not for this ABI, nor for what is built for each"
#endif

#include <linux/umcg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "port.h"

/*
 * Servers, each of which has a list of its own of workers that wait to be run. The
 * kernel wakes the server whose list a worker joins, and no other; one that waits for
 * any of them is told by the servers.
 */
struct umcg_pool {
	uint32_t lock;			/* of what links the servers */
	uint32_t servers_came;		/* a futex, for workers that have none to register with */
	uint32_t came_last;		/* the tid of that server */
	uint32_t waiting;		/* how many those workers are */
	uint32_t wakers;		/* who are about to wake the idle server */
	struct umcg *servers;
	struct umcg *idle_server;
	__u64 left;			/* workers in the list of no server */
} __attribute__((aligned(64)));

struct umcg {
	struct umcg_task task;		/* what the kernel sees; first: lists go by its address */
	uint32_t tid;
	bool multi;			/* a server that is registered so */
	bool runs_on;			/* it has left a worker running */
	struct umcg_pool *pool;
	struct umcg *server;		/* who ran the worker last; NULL once it is taken from a pool */
	struct umcg *next;		/* server of the pool */
};

_Static_assert(sizeof(struct umcg) == UMCG_SIZE, "UMCG_SIZE");
_Static_assert(_Alignof(struct umcg) == 64, "port.h has it aligned to 64");
_Static_assert(sizeof(struct umcg_pool) == UMCG_POOL_SIZE, "UMCG_POOL_SIZE");

/* Bits of user space in the word of a worker: it yields; it has been asked to. */
#define UMCG_YIELDS	0x00010000U
#define UMCG_ASKED	0x00020000U
#define UMCG_USER_MASK	0xffff0000U

/* A timeout that never comes: with it a worker waits, and joins no list. */
#define UMCG_NEVER	UINT64_MAX

/*
 * Servers: umcg_resume() may return though the worker runs on under us: the deadline
 * has passed, or another worker has joined our list. Sleep on then.
 */
bool umcg_runs(struct umcg *me, struct umcg *worker);
int umcg_sleep_on(struct umcg *me, struct umcg *worker, uint64_t deadline);

/* If our list has workers, see to it that an idle server looks at them. */
void umcg_share(struct umcg *me);

/* Our server has gone: join the list of another one, or of its next life, and wait there. */
int umcg_move_on(struct umcg *me);

/* A server of the pool has gone, with a word or without. */
void umcg_bury(struct umcg *server, struct umcg_pool *pool);

/* Take what is in a list; put a chain of workers, from `first` to `last`, into one. */
__u64 umcg_take_list(__u64 *head);
void umcg_put_list(__u64 *head, struct umcg *first, struct umcg *last);

/* The bare system calls, for tests of the ABI itself. */
int umcg_sys_ctl(uint32_t flags, void *self, clockid_t clock);
int umcg_sys_wait(uint32_t flags, uint64_t timo);
int umcg_sys_kick(uint32_t flags, pid_t tid);

static inline uint32_t umcg_word(struct umcg_task *task)
{
	return __atomic_load_n(&task->state, __ATOMIC_SEQ_CST);
}

static inline void umcg_set_word(struct umcg_task *task, uint32_t word)
{
	__atomic_store_n(&task->state, word, __ATOMIC_SEQ_CST);
}

/* The state and its flags, without the bits of user space. */
static inline uint32_t umcg_bits(uint32_t word)
{
	return word & ~UMCG_USER_MASK;
}

/*
 * Change the state from `from`, whatever its flags, to `to`, which has all of the new
 * ones; and the bits of user space to what they were, and `more`.
 */
static inline bool umcg_move_with(struct umcg_task *task, uint32_t from, uint32_t to,
				  uint32_t more)
{
	uint32_t word = __atomic_load_n(&task->state, __ATOMIC_RELAXED);

	do {
		if ((word & UMCG_TASK_MASK) != from)
			return false;
	} while (!__atomic_compare_exchange_n(&task->state, &word,
					      (word & UMCG_USER_MASK) | to | more, false,
					      __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
	return true;
}

static inline bool umcg_move(struct umcg_task *task, uint32_t from, uint32_t to)
{
	return umcg_move_with(task, from, to, 0);
}

/* Say that we are about to call umcg_wait(). */
static inline bool umcg_mark(struct umcg *me)
{
	return umcg_move(&me->task, UMCG_TASK_RUNNING,
			 UMCG_TASK_RUNNABLE | UMCG_TF_COND_WAIT);
}

static inline struct umcg *umcg_of(uint64_t node)
{
	return (struct umcg *)(uintptr_t)node;
}

#endif
