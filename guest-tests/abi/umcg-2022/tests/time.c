// SPDX-License-Identifier: GPL-2.0
/* Timeouts of servers. */
#include "staff.h"

static struct peer p;

TEST(times_out_not_early, .clauses = "TIME-1 TIME-2 R24")
{
	static const clockid_t clocks[] = {
		CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI,
	};

	for (int i = 0; i < 4; i++) {
		uint64_t until;

		memset(&me, 0, sizeof(me));
		me.task.server_tid = me.tid = gettid();
		umcg_set_word(&me.task, RUNNING);
		ASSERT_EQ(0, umcg_sys_ctl(REGISTER, &me.task, clocks[i]));
		until = clock_ns(clocks[i]) + SOON;
		EXPECT_EQ(-ETIMEDOUT, wait_with(&me, 0, 0, until));
		EXPECT_LE(until, clock_ns(clocks[i]));
		EXPECT_EQ(RUNNING, umcg_word(&me.task));
		ASSERT_EQ(0, leave(&me, 0));
	}
}

TEST(one_that_never_comes, .clauses = "TIME-7")
{
	static const uint64_t times[] = { 0, INT64_MAX, INT64_MAX + UINT64_C(1), UINT64_MAX };

	for (int i = 0; i < 4; i++) {
		memset(&p, 0, sizeof(p));
		p.timo = times[i];
		peer_start(&p);
		until_asleep(&p);
		expect_asleep(&p);
		rouse(&p.umcg);
		EXPECT_EQ(0, peer_join(&p));
	}
}

TEST(past_is_at_once, .clauses = "TIME-4")
{
	struct peer *next = &p;

	become_server();
	EXPECT_EQ(-ETIMEDOUT, wait_with(&me, 0, 0, 1));
	/* But the next task is run. */
	peer_start(next);
	until_asleep(next);
	EXPECT_EQ(-ETIMEDOUT, wait_with(&me, next->tid, 0, 1));
	EXPECT_EQ(0, peer_join(next));
}

/* Whoever wins, the other one finds that it has lost. */
TEST(one_of_run_and_timeout_wins, .clauses = "TIME-3 R2")
{
	int run = 0, timed_out = 0;

	for (int i = 0; i < 300; i++) {
		bool won;

		memset(&p, 0, sizeof(p));
		p.timo = from_now(MS / 2 + i * 500);
		peer_start(&p);
		while (state_of(&p.umcg) == RUNNABLE && from_now(0) < p.timo - 20000)
			;
		won = umcg_move(&p.umcg.task, RUNNABLE, RUNNING);
		if (won)
			umcg_sys_kick(0, p.tid);
		peer_join(&p);
		ASSERT_TRUE(p.result == 0 || p.result == -EAGAIN || p.result == -ETIMEDOUT);
		EXPECT_EQ(won, p.result != -ETIMEDOUT);
		run += won;
		timed_out += !won;
	}
	TH_LOG("%d run, %d timed out", run, timed_out);
}

TEST(user_bits_may_change_any_time, .clauses = "TIME-5 TASK-3 VIOL-3 R9")
{
	become_server();
	scribble_on(&me.task);
	for (int i = 0; i < 20; i++) {
		EXPECT_EQ(-ETIMEDOUT, wait_with(&me, 0, 0, from_now(MS)));
		EXPECT_EQ(RUNNING, umcg_bits(umcg_word(&me.task)));
	}
}

static atomic_int handled;

static void count(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
	/* What makes other timeouts of it. */
	nap(MS);
}

static void *bother(void *arg)
{
	uint32_t tid = (uintptr_t)arg;

	for (int i = 0; i < 10; i++) {
		nap(3 * MS);
		tgkill(getpid(), tid, SIGUSR1);
	}
	return NULL;
}

TEST(timeout_outlives_signals, .clauses = "TIME-6 SIG-1 R42 R43")
{
	uint64_t until;
	pthread_t thread;

	on_signal(SIGUSR1, count, 0);
	become_server();
	ASSERT_EQ(0, pthread_create(&thread, NULL, bother, (void *)(uintptr_t)gettid()));
	until = from_now(100 * MS);
	EXPECT_EQ(-ETIMEDOUT, wait_with(&me, 0, 0, until));
	EXPECT_LE(until, from_now(0));
	EXPECT_LE(2, atomic_load(&handled));
	pthread_join(thread, NULL);
}

UMCG_TEST_MAIN
