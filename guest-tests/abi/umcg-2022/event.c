// SPDX-License-Identifier: GPL-2.0
/*
 * What port.h has beside the bare hand-overs of port.c. It is a file of its own so
 * that those, which the benches measure, compile to the same whatever is added here.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>

#include "abi.h"

#define RUNNING		UMCG_TASK_RUNNING
#define RUNNABLE	UMCG_TASK_RUNNABLE

const char *umcg_lacks(unsigned int capabilities)
{
	return capabilities & UMCG_LOCKS ? "umcg-2022 has no LOCKED" : NULL;
}

clockid_t umcg_clock(void)
{
	return CLOCK_MONOTONIC;
}

uint64_t umcg_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

/* One that is registered is RUNNING, and is told that it has been woken already. */
bool umcg_is_nobody(void)
{
	return umcg_sys_wait(0, 1) == -EINVAL;
}

bool umcg_pool_unused(struct umcg_pool *pool)
{
	return !umcg_any_idle(pool) &&
	       !__atomic_load_n(&pool->idle_server, __ATOMIC_SEQ_CST);
}

struct umcg *umcg_server(struct umcg *me)
{
	return me->server;
}

int umcg_kills_with(void)
{
	return SIGKILL;
}

enum umcg_state umcg_state(struct umcg *umcg)
{
	switch (umcg_word(&umcg->task) & UMCG_TASK_MASK) {
	case UMCG_TASK_NONE:
		return UMCG_IS_NOBODY;
	case UMCG_TASK_RUNNABLE:
		return UMCG_IS_IDLE;
	case UMCG_TASK_BLOCKED:
		return UMCG_IS_BLOCKED;
	default:
		return UMCG_IS_RUNNING;
	}
}

static void clear_bits(struct umcg *umcg, uint32_t bits)
{
	__atomic_fetch_and(&umcg->task.state, ~bits, __ATOMIC_SEQ_CST);
}

/*
 * The mark says that we yield; but who blocks on the way to umcg_wait() has the mark,
 * too, and joins the list of its server when it is back. The time at which it did so
 * tells the two apart.
 */
int umcg_give_way(struct umcg *me)
{
	int err;

	do {
		me->task.next_tid = 0;
		if (!umcg_move_with(&me->task, RUNNING, RUNNABLE | UMCG_TF_COND_WAIT,
				    UMCG_YIELDS))
			return -EINVAL;
		__atomic_store_n(&me->task.runnable_ts, 0, __ATOMIC_SEQ_CST);
		err = umcg_sys_wait(0, UMCG_NEVER);
		clear_bits(me, UMCG_YIELDS);
	} while (err == -EAGAIN);
	/* Not umcg_yield(): a server that is back would see us wait in no list, unmarked. */
	return err == -ESRCH ? umcg_move_on(me) : err;
}

/* Take a worker out of our list, if it is there. */
static bool take_back(struct umcg *me, struct umcg *worker)
{
	__u64 *head = &me->task.runnable_workers_ptr;
	struct umcg *first = NULL, *last = NULL, *next;
	bool found = false;

	for (struct umcg *w = umcg_of(umcg_take_list(head)); w; w = next) {
		next = umcg_of(w->task.runnable_workers_ptr);
		if (w == worker) {
			found = true;
			continue;
		}
		if (last)
			last->task.runnable_workers_ptr = (uintptr_t)w;
		else
			first = w;
		last = w;
	}
	if (first) {
		umcg_put_list(head, first, last);
		/* Nobody has seen them meanwhile. */
		umcg_share(me);
	}
	return found;
}

/*
 * What became of a worker that does not run under us any more. Blocked, it may have
 * come back from that already and have been taken over by another server.
 */
static enum umcg_event event_of(struct umcg *me, struct umcg *worker)
{
	uint64_t back;
	uint32_t word;

	do {
		word = umcg_word(&worker->task);
		back = __atomic_load_n(&worker->task.runnable_ts, __ATOMIC_SEQ_CST);
		/* It may have come to its end there, which is for that one to count. */
		if (__atomic_load_n(&worker->server, __ATOMIC_SEQ_CST) != me)
			return UMCG_BLOCKED;
		if ((word & UMCG_TASK_MASK) == UMCG_TASK_NONE)
			return UMCG_EXITED;
		/* It is on its way to umcg_wait(). */
	} while (word & UMCG_TF_COND_WAIT && !sched_yield());
	if ((word & UMCG_TASK_MASK) != RUNNABLE)
		return UMCG_BLOCKED;
	if (word & UMCG_YIELDS && !back)
		return UMCG_YIELDED;
	return word & UMCG_ASKED && take_back(me, worker) ? UMCG_PREEMPTED : UMCG_BLOCKED;
}

/* `err` is what the hand-over has returned; others may join our list meanwhile. */
static int until_event(struct umcg *me, struct umcg *worker, uint64_t deadline, int err)
{
	while (!err && umcg_runs(me, worker))
		err = umcg_sleep_on(me, worker, deadline);
	if (err == -ETIMEDOUT && umcg_runs(me, worker)) {
		umcg_share(me);
		return UMCG_TIMED_OUT;
	}
	me->runs_on = false;
	return err && err != -ETIMEDOUT ? err : (int)event_of(me, worker);
}

int umcg_run(struct umcg *me, struct umcg *worker, uint64_t deadline)
{
	/* Marks of its last turn. */
	clear_bits(worker, UMCG_YIELDS | UMCG_ASKED);
	return until_event(me, worker, deadline, umcg_resume(me, worker, deadline));
}

int umcg_run_on(struct umcg *me, struct umcg *worker, uint64_t deadline)
{
	return until_event(me, worker, deadline, 0);
}
