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

/*
 * The idle workers of any number of servers, and the one server that the kernel
 * wakes when a worker joins them.
 */
struct umcg_pool {
	uint64_t idle_workers;
	uint32_t idle_server_tid __attribute__((aligned(8)));
};

struct umcg {
	struct umcg_task task;	/* what the kernel sees */
	uint32_t tid;
	struct umcg_pool *pool;	/* of a worker */
	struct umcg *server;	/* who ran the worker last; NULL once it is taken from a pool */
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

/* Returns when a server runs the worker for the first time. */
int umcg_register_worker(struct umcg *me, struct umcg_pool *pool);

/* Sleep until woken. `deadline` is of the ABI's clock, in ns; 0 is none. */
int umcg_wait(struct umcg *me, uint64_t deadline);

/* Wake `other`, or hand over to it and sleep: -EAGAIN if it is not idle. */
int umcg_wake(struct umcg *me, struct umcg *other);
int umcg_switch(struct umcg *me, struct umcg *other, uint64_t deadline);

/*
 * Servers: run an idle worker, and sleep until it blocks, yields, is preempted
 * or is gone; its word tells which. -EAGAIN if it is not idle.
 */
int umcg_run(struct umcg *me, struct umcg *worker, uint64_t deadline);

/*
 * Servers: umcg_run() may return though the worker runs on under us: the deadline
 * has passed, or a wakeup for an idle server came late. Sleep on then; 0 at once if
 * it runs no more. Or whether it has been preempted, and so is ours to run again.
 */
bool umcg_runs(struct umcg *me, struct umcg *worker);
int umcg_run_on(struct umcg *me, struct umcg *worker, uint64_t deadline);
bool umcg_preempted(struct umcg *me, struct umcg *worker);

/* Have a parked worker join the idle ones of its pool. -EAGAIN if not idle. */
int umcg_requeue(struct umcg *me, struct umcg *worker);

/* Ask a running worker to give way to its server. -EAGAIN if it is not running. */
int umcg_preempt(struct umcg *worker, int signal);

/*
 * Take all idle workers; NULL if there are none. The last to come is the first.
 * umcg_next_idle() before the worker is run, which ends its being in the list.
 */
struct umcg *umcg_take_idle(struct umcg_pool *pool);
struct umcg *umcg_next_idle(struct umcg *worker);

/*
 * Sleep until a worker joins the pool, unless there is one or another server is
 * the one to be woken (-EBUSY).
 */
int umcg_await_idle(struct umcg *me, struct umcg_pool *pool, uint64_t deadline);

/*
 * Workers, locked or not: give way to the server, or to another worker under the
 * same server (-EAGAIN if that is not idle); sleep until run again.
 */
int umcg_yield(struct umcg *me, uint64_t deadline);
int umcg_yield_to(struct umcg *me, struct umcg *other, uint64_t deadline);

/* Workers: no block is reported, and no preemption happens, in between. */
bool umcg_lock(struct umcg *me);	/* false: preempted; it cannot be locked */
void umcg_unlock(struct umcg *me);

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
