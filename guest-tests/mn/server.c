// SPDX-License-Identifier: GPL-2.0
/* What a server does: find a task, run it, hear what became of it. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <time.h>

#include "mn.h"

static struct mn_task *task_of(struct umcg *umcg)
{
	return (struct mn_task *)((char *)umcg - offsetof(struct mn_task, umcg));
}

/*
 * Wake a server that says it is idle. It says so before it sleeps, so it may not
 * have got as far, but then it will, or stops saying so.
 */
static void rouse(struct mn_server *me, struct mn_server *other)
{
	int err = 0;

	while (atomic_load(&other->idle) &&
	       (err = umcg_wake(&me->umcg, &other->umcg)) == -EAGAIN)
		sched_yield();
	/* ESRCH: all tasks have ended, and that server too. */
	if (err != -EAGAIN && err != -ESRCH)
		mn_check(err, "umcg_wake");
}

/* Wake one idle server, or all. */
static void rouse_others(struct mn_server *me, bool all)
{
	struct mn *mn = me->mn;

	for (unsigned int i = 0; i < mn->servers; i++) {
		struct mn_server *other = &mn->server[i];

		if (other == me || !atomic_load(&other->idle))
			continue;
		rouse(me, other);
		if (!all)
			return;
	}
}

/* Queue the tasks that have come back from a block, and those that have slept. */
static void collect(struct mn_server *me)
{
	struct umcg *worker, *next;
	struct mn_task *task;

	for (worker = umcg_take_idle(&me->mn->pool); worker; worker = next) {
		next = umcg_next_idle(worker);
		mn_push(&me->queue, task_of(worker));
	}
	if (!mn_timer_next(&me->mn->timers))
		return;
	while ((task = mn_timer_due(&me->mn->timers, umcg_now())))
		mn_push(&me->queue, task);
}

/* Take half of what the first server has that has something; return one of it. */
static struct mn_task *steal(struct mn_server *me)
{
	struct mn *mn = me->mn;
	unsigned int self = me - mn->server;

	for (unsigned int i = 1; i < mn->servers; i++) {
		struct mn_queue *queue = &mn->server[(self + i) % mn->servers].queue;
		unsigned int more = atomic_load(&queue->count) / 2;
		struct mn_task *task = mn_pop(queue), *another;

		if (!task)
			continue;
		for (; more && (another = mn_pop(queue)); more--)
			mn_push(&me->queue, another);
		me->steals++;
		return task;
	}
	return NULL;
}

/* Whether there is a reason not to sleep. */
static bool anything(struct mn *mn)
{
	if (atomic_load(&mn->ended) ||
	    umcg_any_idle(&mn->pool))
		return true;
	for (unsigned int i = 0; i < mn->servers; i++)
		if (atomic_load(&mn->server[i].queue.count))
			return true;
	return false;
}

/*
 * Sleep for want of a task. One idle server is the poller, which the kernel wakes
 * when a task comes back, and the timers when one is due; the others sleep until
 * a server wakes them.
 *
 * Who sleeps says so and then looks once more; who has something to do for
 * another, or ceases to be the poller, makes that known and then looks who says
 * that he is idle (share()). So one of the two sees the other, and no task waits
 * beside an idle server.
 */
static void idle(struct mn_server *me)
{
	struct mn *mn = me->mn;
	struct mn_server *nobody = NULL;
	int err = 0;

	atomic_store(&me->idle, true);
	if (!anything(mn)) {
		if (atomic_compare_exchange_strong(&mn->poller, &nobody, me)) {
			err = umcg_await_idle(&me->umcg, &mn->pool,
					      mn_timer_next(&mn->timers));
			atomic_store(&mn->poller, NULL);
		} else {
			err = umcg_wait(&me->umcg, 0);
		}
	}
	atomic_store(&me->idle, false);
	if (err != -ETIMEDOUT)
		mn_check(err, "sleep of a server");
}

/* Before a server is busy: have another look after what it leaves undone. */
static void share(struct mn_server *me)
{
	if (!atomic_load(&me->mn->poller) || atomic_load(&me->queue.count))
		rouse_others(me, false);
}

/* The task has given way, and asks for something. */
static void oblige(struct mn_server *me, struct mn_task *task)
{
	struct mn *mn = me->mn;
	struct mn_server *poller;

	switch (task->request) {
	case MN_SLEEP:
		/* The poller does not know of an earlier deadline than its own. */
		if (mn_timer_add(&mn->timers, task) &&
		    (poller = atomic_load(&mn->poller)))
			rouse(me, poller);
		break;
	default:
		mn_push(&me->queue, task);
	}
}

static void one_less(struct mn_server *me)
{
	struct mn *mn = me->mn;

	if (atomic_fetch_sub(&mn->live, 1) == 1) {
		atomic_store(&mn->ended, true);
		rouse_others(me, true);
	}
}

/*
 * Run `task` until it stops. Blocked, it will join the pool, and may have done that
 * already, been run by another server and preempted or anything: nothing of it is
 * ours to touch.
 */
static void run(struct mn_server *me, struct mn_task *task)
{
	struct umcg *worker = &task->umcg;
	int event;

	atomic_store(&me->current, task);
	atomic_fetch_add(&me->turn, 1);
	/* It has given way, and may not yet be idle. */
	while ((event = umcg_run(&me->umcg, worker, 0)) == -EAGAIN)
		sched_yield();
	mn_check(event < 0 ? event : 0, "umcg_run");
	atomic_store(&me->current, NULL);

	switch (event) {
	case UMCG_YIELDED:
		oblige(me, task);
		break;
	case UMCG_EXITED:
		one_less(me);
		break;
	case UMCG_PREEMPTED:
		me->preemptions++;
		mn_push(&me->queue, task);
		break;
	default:
		me->blocks++;
	}
}

void *mn_serve(void *arg)
{
	struct mn_server *me = arg;
	struct mn_task *task;

	mn_check(umcg_register_server(&me->umcg, &me->mn->pool), "umcg_register_server");
	while (!atomic_load(&me->mn->ended)) {
		collect(me);
		task = mn_pop(&me->queue) ?: steal(me);
		if (!task) {
			idle(me);
			continue;
		}
		share(me);
		run(me, task);
	}
	mn_check(umcg_unregister(&me->umcg), "umcg_unregister");
	return NULL;
}

/* Preempt who runs since the last tick. What is late hits another: no harm done. */
void *mn_tick(void *arg)
{
	struct mn *mn = arg;
	struct timespec slice = { mn->slice / 1000000000, mn->slice % 1000000000 };
	unsigned int turn, last[MN_SERVERS] = { 0 };

	while (!atomic_load(&mn->ended)) {
		nanosleep(&slice, NULL);
		for (unsigned int i = 0; i < mn->servers; i++) {
			struct mn_task *task = atomic_load(&mn->server[i].current);

			turn = atomic_load(&mn->server[i].turn);
			if (task && turn == last[i])
				umcg_preempt(&task->umcg, SIGURG);
			last[i] = turn;
		}
	}
	return NULL;
}
