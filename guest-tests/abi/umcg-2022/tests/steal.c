// SPDX-License-Identifier: GPL-2.0
/*
 * The steal race (R28): A, under S0, runs C and waits; S1 takes the list of S0 and
 * runs A, while the kernel has yet to run C, or fails to.
 *
 * Its steps, in all their orders. A joins the list of S0 in its call to umcg_wait(),
 * after C has been run: so for S1 there is nothing to take before that, and what is
 * left of the race is who comes first, the rest of A's call or S1 that runs A. The
 * former is held up by a page of A's server that is away, or not; the latter tries for
 * as long as it takes.
 */
#include "away.h"
#include "staff.h"

static struct worker a, c;
static struct peer s1;
static atomic_bool taken;
static bool fails;

/* What C is to the call of A. */
enum { C_WAITS, C_RUNS, C_IS_BLOCKED, C_IS_NOBODY, C_IS_UNREADABLE, REASONS };

static uint32_t next_tid;

static void run_c(struct worker *worker)
{
	me.task.next_tid = next_tid | RUNS;
	worker->result = wait_with(&worker->own, next_tid, 0, 0);
	if (worker->result)
		me.task.next_tid = worker->own.tid | RUNS;
	atomic_fetch_add(&worker->steps, 1);
	stop(worker);
}

/* S1: steals the list of S0 until A is in it, and runs A. */
static void *steal(void *arg)
{
	struct umcg *own = &s1.umcg, *list;

	ASSERT_EQ(0, enrol(own, 0));
	atomic_store(&s1.tid, gettid());
	while (!(list = take(&me)) && !atomic_load(&over))
		sched_yield();
	if (!list)
		return arg;
	ASSERT_EQ(&a.own, list);
	atomic_store(&taken, true);
	EXPECT_EQ(RUNNABLE, run_under(own, &a));
	return arg;
}

static void race(int reason, bool early)
{
	pthread_t thread;
	int err;

	memset(&a, 0, sizeof(a));
	memset(&c, 0, sizeof(c));
	memset(&s1, 0, sizeof(s1));
	atomic_store(&over, false);
	atomic_store(&taken, false);
	fails = reason != C_WAITS;
	become_server();
	a.body = run_c;
	c.body = stop_and_step;
	hire(&a);
	hire(&c);
	next_tid = c.tid;
	if (reason == C_RUNS)
		umcg_set_word(&c.own.task, RUNNING);
	else if (reason == C_IS_BLOCKED)
		umcg_set_word(&c.own.task, BLOCKED);
	else if (reason == C_IS_NOBODY)
		next_tid = gone_thread();
	if (early) {
		ASSERT_EQ(0, pthread_create(&thread, NULL, steal, NULL));
		while (!atomic_load(&s1.tid))
			sched_yield();
	}
	me.task.next_tid = a.tid;
	umcg_set_word(&me.task, RUNNABLE | COND_WAIT);
	err = umcg_sys_wait(0, 0);
	ASSERT_TRUE(err == 0 || err == -EAGAIN);
	if (!early)
		ASSERT_EQ(0, pthread_create(&thread, NULL, steal, NULL));

	if (fails) {
		/* A has not waited at all: it got the error, and nobody could steal it. */
		until_state_is(&a, RUNNABLE);
		EXPECT_EQ(reason == C_IS_NOBODY ? -ESRCH : -EAGAIN, a.result);
		EXPECT_EQ(1, atomic_load(&a.steps));
		atomic_store(&over, true);
		pthread_join(thread, NULL);
		EXPECT_FALSE(atomic_load(&taken));
		umcg_set_word(&c.own.task, RUNNABLE);
	} else {
		/* A runs under S1, and C under S0, each of them once. */
		pthread_join(thread, NULL);
		EXPECT_TRUE(atomic_load(&taken));
		EXPECT_EQ(0, a.result);
		EXPECT_EQ(1, atomic_load(&a.steps));
		until_state_is(&c, RUNNABLE);
	}
	expect_none_listed(&me);
	finish_in_time(&a);
	c.own.task.server_tid = me.tid;
	while (run(&c) != NONE)
		;
	worker_join(&c);
	ASSERT_EQ(0, leave(&me, 0));
}

TEST(every_order_and_reason, .clauses = "WRUN-5 WRUN-6 WRUN-2 NEXT-2 NEXT-4 R28 R36", .deadline = 60)
{
	for (int turn = 0; turn < 20; turn++)
		for (int reason = 0; reason < C_IS_UNREADABLE; reason++)
			for (int early = 0; early < 2; early++)
				race(reason, early);
}

UMCG_TEST_MAIN
