/* SPDX-License-Identifier: GPL-2.0 */
/*
 * UMCG for what is built once for each ABI: mn/, bench/ and shared/. Each ABI has
 * its own port.c. Here is no state word, and nothing from the kernel's headers.
 *
 * What an ABI lacks it declares in umcg_lacks(); it does not emulate it.
 *
 * Functions return 0 or a negative errno. `me` is the calling thread's.
 */
#ifndef PORT_H
#define PORT_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define UMCG_SIZE	128	/* 64 for the structure of the kernel, 64 for the port */
#define UMCG_POOL_SIZE	64

/* Only abi.h says what is in these; the sizes are the same for every ABI. */
#ifdef ABI_H
struct umcg;
struct umcg_pool;
#else
/* A server or a worker. */
struct umcg {
	uint64_t opaque[UMCG_SIZE / 8];
} __attribute__((aligned(64)));

/*
 * The idle workers of any number of servers, and what the kernel needs to wake one
 * of those. An ABI with groups has one here, and one whose servers have a list
 * each the servers.
 */
struct umcg_pool {
	uint64_t opaque[UMCG_POOL_SIZE / 8];
} __attribute__((aligned(64)));
#endif

enum umcg_kernel {
	UMCG_HERE,
	UMCG_CONTROL,	/* absent, and this is the kernel that has to be without */
	UMCG_ABSENT,	/* absent, and it should be here */
};

/* Ask by a system call that changes nothing. */
enum umcg_kernel umcg_kernel(void);

enum umcg_capability {
	UMCG_WORKERS = 1,	/* workers, whose sleeps are reported */
	UMCG_POOLS = 2,		/* several servers may run the workers of one pool */
	UMCG_SWITCHES = 4,	/* umcg_switch() */
	UMCG_YIELDS_TO = 8,	/* umcg_yield_to() */
	UMCG_DEADLINES = 16,
	UMCG_LOCKS = 32,	/* umcg_lock() */
	UMCG_PREEMPTS = 64,	/* umcg_preempt() */
	UMCG_REQUEUES = 128,	/* umcg_requeue() */
};

/* Why the ABI does not have one of `capabilities`; NULL if it has them all. */
const char *umcg_lacks(unsigned int capabilities);

/* The clock of deadlines, and its time in ns. A deadline of 0 is none. */
clockid_t umcg_clock(void);
uint64_t umcg_now(void);

/* `pool` is the one whose workers it is going to run; NULL if it runs none. */
int umcg_register_server(struct umcg *me, struct umcg_pool *pool);
int umcg_unregister(struct umcg *me);

/* Returns when a server runs the worker for the first time. */
int umcg_register_worker(struct umcg *me, struct umcg_pool *pool);

/* Whether the calling thread is not registered, as far as the kernel can tell. */
bool umcg_is_nobody(void);

/* Servers: sleep until woken. */
int umcg_wait(struct umcg *me, uint64_t deadline);

/* Servers: wake `other`, or hand over to it and sleep. -EAGAIN if it is not idle. */
int umcg_wake(struct umcg *me, struct umcg *other);
int umcg_switch(struct umcg *me, struct umcg *other, uint64_t deadline);

/* What became of a worker that was run. */
enum umcg_event {
	UMCG_BLOCKED = 1,	/* it will join its pool, or has, and may run elsewhere */
	UMCG_YIELDED,		/* by umcg_give_way(); it is idle, and ours to run again */
	UMCG_PREEMPTED,		/* it is idle, and ours to run again */
	UMCG_EXITED,		/* unregistered, or its thread has ended */
	UMCG_TIMED_OUT,		/* the deadline has passed, and it runs on under us */
};

/*
 * Servers: run an idle worker until one of these happens. Return which, or a
 * negative errno: -EAGAIN if it is not idle. umcg_run_on() is for a worker that
 * runs on after UMCG_TIMED_OUT.
 */
int umcg_run(struct umcg *me, struct umcg *worker, uint64_t deadline);
int umcg_run_on(struct umcg *me, struct umcg *worker, uint64_t deadline);

/*
 * Servers: the bare hand-over to a worker, which is what the benches measure. It
 * returns 0 when the server runs again, and does not find out why.
 */
int umcg_resume(struct umcg *me, struct umcg *worker, uint64_t deadline);

/* Have a worker that is ours join the idle ones of its pool. -EAGAIN if not idle. */
int umcg_requeue(struct umcg *me, struct umcg *worker);

/* Ask a running worker to give way to its server. -EAGAIN if it is not running. */
int umcg_preempt(struct umcg *worker, int signal);

/*
 * Take all idle workers; NULL if there are none. The last to come is the first.
 * umcg_next_idle() before the worker is run, which ends its being in the list.
 */
struct umcg *umcg_take_idle(struct umcg_pool *pool);
struct umcg *umcg_next_idle(struct umcg *worker);
bool umcg_any_idle(struct umcg_pool *pool);

/* Nobody is idle there, and no server waits for a worker of it. */
bool umcg_pool_unused(struct umcg_pool *pool);

/*
 * Sleep until a worker joins the pool, unless there is one or another server is
 * the one to be woken (-EBUSY).
 */
int umcg_await_idle(struct umcg *me, struct umcg_pool *pool, uint64_t deadline);

/*
 * Workers, locked or not: the bare hand-over to the server, which is what the
 * benches measure, or to another worker under the same server (-EAGAIN if that is
 * not idle); sleep until run again. To umcg_run() they may look like a block.
 */
int umcg_yield(struct umcg *me, uint64_t deadline);
int umcg_yield_to(struct umcg *me, struct umcg *other, uint64_t deadline);

/* Workers, not locked: give way, so that umcg_run() tells that from a block. */
int umcg_give_way(struct umcg *me);

/* Workers: no block is reported, and no preemption happens, in between. */
bool umcg_lock(struct umcg *me);	/* false: preempted; it cannot be locked */
void umcg_unlock(struct umcg *me);

/* The server that runs the calling worker. While it is locked, that stays so. */
struct umcg *umcg_server(struct umcg *me);

/* The signal that a process gets which breaks the contract. */
int umcg_kills_with(void);

/* Where a worker or a server stands, for who looks from outside. */
enum umcg_state {
	UMCG_IS_NOBODY,
	UMCG_IS_RUNNING,
	UMCG_IS_IDLE,		/* it waits to be run, or to be woken */
	UMCG_IS_BLOCKED,	/* it sleeps somewhere else, which has been reported */
};

enum umcg_state umcg_state(struct umcg *umcg);

#endif
