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
#define IDLE		UMCG_TASK_IDLE
#define IDLE_LOCKED	(IDLE | UMCG_TF_LOCKED)

/* Nothing that port.h has is missing. */
const char *umcg_lacks(unsigned int capabilities)
{
	(void)capabilities;
	return NULL;
}

clockid_t umcg_clock(void)
{
	return CLOCK_REALTIME;
}

uint64_t umcg_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

bool umcg_is_nobody(void)
{
	return umcg_sys_ctl(UMCG_CTL_UNREGISTER, NULL) == -EINVAL &&
	       umcg_sys_wait(0, 1) == -EINVAL;
}

bool umcg_any_idle(struct umcg_pool *pool)
{
	return __atomic_load_n(&pool->idle_workers, __ATOMIC_SEQ_CST);
}

bool umcg_pool_unused(struct umcg_pool *pool)
{
	return !umcg_any_idle(pool) &&
	       !__atomic_load_n(&pool->idle_server_tid, __ATOMIC_SEQ_CST);
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
	switch (umcg_stamped_word(&umcg->task) & UMCG_TASK_STATE_MASK) {
	case UMCG_TASK_NONE:
		return UMCG_IS_NOBODY;
	case UMCG_TASK_IDLE:
		return UMCG_IS_IDLE;
	case UMCG_TASK_BLOCKED:
		return UMCG_IS_BLOCKED;
	default:
		return UMCG_IS_RUNNING;
	}
}

int umcg_give_way(struct umcg *me)
{
	int err;

	/* Locked: if it slept with the mark, it would seem to have yielded. */
	while (!umcg_lock(me))
		sched_yield();
	__atomic_fetch_or(&me->task.state_ts, UMCG_YIELDS, __ATOMIC_SEQ_CST);
	err = umcg_yield(me, 0);
	__atomic_fetch_and(&me->task.state_ts, ~UMCG_YIELDS, __ATOMIC_SEQ_CST);
	return err;
}

/*
 * What became of a worker that does not run under us any more. Blocked, it may have
 * come back from that already and have been taken over by another server.
 */
static enum umcg_event event_of(struct umcg *me, struct umcg *worker)
{
	uint64_t word;

	do {
		word = umcg_stamped_word(&worker->task);
		/* It may have come to its end there, which is for that one to count. */
		if (__atomic_load_n(&worker->server, __ATOMIC_SEQ_CST) != me)
			return UMCG_BLOCKED;
		if ((word & UMCG_TASK_STATE_MASK) == UMCG_TASK_NONE)
			return UMCG_EXITED;
		/* It has made us RUNNING, and the kernel has yet to unlock it. */
	} while (umcg_bits(word) == IDLE_LOCKED && !sched_yield());
	if (umcg_bits(word) == (IDLE | UMCG_TF_PREEMPTED))
		return UMCG_PREEMPTED;
	if ((word & UMCG_TASK_STATE_MASK) == IDLE && word & UMCG_YIELDS)
		return UMCG_YIELDED;
	return UMCG_BLOCKED;
}

/* `err` is what the hand-over has returned; a wakeup for an idle server may come late. */
static int until_event(struct umcg *me, struct umcg *worker, uint64_t deadline, int err)
{
	while (!err && umcg_runs(me, worker))
		err = umcg_sleep_on(me, worker, deadline);
	if (err == -ETIMEDOUT && umcg_runs(me, worker))
		return UMCG_TIMED_OUT;
	return err && err != -ETIMEDOUT ? err : (int)event_of(me, worker);
}

int umcg_run(struct umcg *me, struct umcg *worker, uint64_t deadline)
{
	int err;

	/* It may be preempted before it has taken back the mark of its last yield. */
	__atomic_fetch_and(&worker->task.state_ts, ~UMCG_YIELDS, __ATOMIC_SEQ_CST);
	err = umcg_resume(me, worker, deadline);
	/* It runs at once, and can have come to its end before it is looked up. */
	return until_event(me, worker, deadline, err == -ESRCH ? 0 : err);
}

int umcg_run_on(struct umcg *me, struct umcg *worker, uint64_t deadline)
{
	return until_event(me, worker, deadline, 0);
}
