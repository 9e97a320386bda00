// SPDX-License-Identifier: GPL-2.0
/* Timeouts of workers, which join no list before. */
#include "staff.h"

static struct worker w;
static uint64_t until, woke;

static void wait_until(struct worker *worker)
{
	worker->result = wait_with(&worker->own, 0, 0, until);
	woke = from_now(0);
	atomic_fetch_add(&worker->steps, 1);
}

TEST(times_out_not_early, .clauses = "WTIME-1 TIME-1 TASK-3 R24 R40")
{
	w.body = wait_until;
	w.bits = SOME_BITS;
	become_server();
	hire(&w);
	until = from_now(5 * SOON);
	EXPECT_EQ(RUNNABLE, run(&w));
	expect_none_listed(&me);
	EXPECT_EQ(RUNNABLE | SOME_BITS, umcg_word(&w.own.task));
	/* Then it is in the list, and its server is woken. */
	EXPECT_EQ(0, wait_with(&me, 0, 0, 0));
	EXPECT_LE(until, from_now(0));
	until_back(&w);
	EXPECT_EQ(0, atomic_load(&w.steps));
	EXPECT_EQ(RUNNABLE | SOME_BITS, umcg_word(&w.own.task));
	EXPECT_LE(until, w.own.task.runnable_ts);
	finish(&w);
	EXPECT_EQ(-ETIMEDOUT, w.result);
}

TEST(past_is_at_once, .clauses = "WTIME-1 TIME-4")
{
	w.body = wait_until;
	until = 1;
	become_server();
	hire(&w);
	/* Its server is woken as it stops, or as it is back. */
	run(&w);
	while (!__atomic_load_n(&me.task.runnable_workers_ptr, __ATOMIC_SEQ_CST))
		nap(MS);
	until_back(&w);
	finish_in_time(&w);
	EXPECT_EQ(-ETIMEDOUT, w.result);
}

TEST(run_in_time, .clauses = "WTIME-2 WRUN-3")
{
	w.body = wait_until;
	become_server();
	hire(&w);
	until = from_now(1000 * SOON);
	EXPECT_EQ(RUNNABLE, run(&w));
	finish(&w);
	EXPECT_EQ(0, w.result);
	EXPECT_LT(woke, until);
}

TEST(one_of_run_and_timeout_wins, .clauses = "WTIME-2 R2")
{
	int ran = 0;

	w.body = wait_until;
	become_server();
	for (int i = 0; i < 100; i++) {
		bool won;

		memset(&w.own, 0, sizeof(w.own));
		hire(&w);
		until = from_now(3 * MS + i * 1000);
		/* On a busy host its time is over before we have seen it wait. */
		if (run(&w) != RUNNABLE) {
			until_back(&w);
			finish_in_time(&w);
			continue;
		}
		while (from_now(0) < until - 30000)
			;
		/* It may be BLOCKED, RUNNABLE again and listed: that is not ours to run. */
		me.task.next_tid = w.tid;
		if (take(&me)) {
			finish_in_time(&w);
			EXPECT_EQ(-ETIMEDOUT, w.result);
			continue;
		}
		won = umcg_move(&w.own.task, RUNNABLE, RUNNING);
		if (won) {
			int err = umcg_sys_kick(0, w.tid);

			/* Woken by the timer, it may have come to its end by now. */
			ASSERT_TRUE(err == 0 || err == -ESRCH);
			worker_join(&w);
			/* It may have been listed just before. */
			if (take(&me))
				EXPECT_EQ(-ETIMEDOUT, w.result);
			else
				EXPECT_EQ(0, w.result);
			ran++;
		} else {
			until_back(&w);
			finish_in_time(&w);
			EXPECT_EQ(-ETIMEDOUT, w.result);
		}
	}
	TH_LOG("%d run in time", ran);
}

static atomic_int handled;

static void count(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
	nap(MS);
}

TEST(outlives_signals, .clauses = "WTIME-3 WSIG-1 R2 R42 R43")
{
	on_signal(SIGUSR1, count, 0);
	w.body = wait_until;
	become_server();
	hire(&w);
	until = from_now(50 * SOON * ktap_slow);
	EXPECT_EQ(RUNNABLE, run(&w));
	for (int i = 1; i <= 5; i++) {
		ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR1));
		while (atomic_load(&handled) < i)
			nap(MS);
	}
	until_state_is(&w, RUNNABLE);
	EXPECT_EQ(0, wait_with(&me, 0, 0, 0));
	EXPECT_LE(until, from_now(0));
	until_back(&w);
	finish_in_time(&w);
	EXPECT_EQ(-ETIMEDOUT, w.result);
}

UMCG_TEST_MAIN
