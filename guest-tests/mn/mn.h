/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An M:N scheduler on port.h: many tasks, each a worker in a thread of its own,
 * run by a few servers.
 *
 * Every server has a run queue with priorities, and steals from the others when
 * that is empty. Tasks that come back from a block join one pool, that of all
 * servers; each server empties it whenever it looks for something to run, and the
 * one that is the poller is woken for it when it sleeps. A tick preempts tasks
 * that have run for a whole slice.
 *
 * A task that ends its turn has said before what it asks for. Its server reads that
 * once it knows that the task has given way, and so is idle, and its own.
 */
#ifndef MN_H
#define MN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "port.h"

#define MN_SERVERS	8
#define MN_PRIORITIES	4	/* 0 is the highest */

struct mn;

struct mn_task {
	struct umcg umcg;
	struct mn *mn;
	unsigned int priority;
	void (*body)(void *arg);
	void *arg;
	int request;		/* enum mn_request: what it gives way for */
	uint64_t deadline;	/* of its sleep */
	atomic_int tid;
	struct mn_task *next;	/* in a run queue */
	pthread_t thread;
};

struct mn_queue {
	pthread_mutex_t lock;
	atomic_uint count;
	struct mn_task *first[MN_PRIORITIES], *last[MN_PRIORITIES];
};

/* Sleeping tasks, a heap: no task's deadline is before that of its parent. */
struct mn_timers {
	pthread_mutex_t lock;
	unsigned int count;
	struct mn_task **heap;
};

enum mn_request { MN_YIELD, MN_SLEEP };

struct mn_server {
	struct umcg umcg;
	struct mn *mn;
	struct mn_queue queue;
	_Atomic(struct mn_task *) current;
	atomic_uint turn;	/* how many tasks it has run */
	atomic_bool idle;	/* about to sleep, or asleep */
	unsigned int steals, preemptions, blocks;
	pthread_t thread;
};

struct mn {
	struct umcg_pool pool;
	struct mn_server server[MN_SERVERS];
	unsigned int servers;
	struct mn_timers timers;
	_Atomic(struct mn_server *) poller;	/* whom the kernel wakes */
	atomic_uint live;			/* tasks that have not ended */
	uint64_t slice;				/* ns; 0: no tick */
	atomic_bool ended;
	/* The tasks, and their stacks with a guard page below each. */
	struct mn_task *task;
	atomic_uint tasks;
	unsigned int most;
	char *stacks;
	size_t stack;
};

/* For up to `tasks` tasks in all; a slice of 0 ns is without end. */
void mn_init(struct mn *mn, unsigned int servers, unsigned int tasks, uint64_t slice);

/* Start a task, before mn_run() or in another task. It waits for a server to run it. */
struct mn_task *mn_spawn(struct mn *mn, unsigned int priority, void (*body)(void *arg),
			 void *arg);

/* Have the servers run all tasks to their end. */
void mn_run(struct mn *mn);
void mn_free(struct mn *mn);

/* In a task: let others run; or sleep until the time on umcg_clock(), in ns. */
void mn_yield(void);
void mn_sleep_until(uint64_t deadline);

/* Of the parts to each other. */
void mn_check(int err, const char *what);
void mn_queue_init(struct mn_queue *queue);
void mn_push(struct mn_queue *queue, struct mn_task *task);
struct mn_task *mn_pop(struct mn_queue *queue);
void mn_timers_init(struct mn_timers *timers, unsigned int most);
bool mn_timer_add(struct mn_timers *timers, struct mn_task *task);
struct mn_task *mn_timer_due(struct mn_timers *timers, uint64_t now);
uint64_t mn_timer_next(struct mn_timers *timers);
void *mn_serve(void *server);
void *mn_tick(void *mn);

#endif
