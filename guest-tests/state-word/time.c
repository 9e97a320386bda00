// SPDX-License-Identifier: GPL-2.0
/* umcg_wait(): timeouts. */
#include "peer.h"

#define HOUR	(3600 * UINT64_C(1000000000))

TEST(times_out_not_early)
{
	become_server();
	for (int i = 1; i <= 5; i++) {
		uint64_t deadline = from_now(i * 3 * MS);

		umcg_set_word(&me.task, IDLE | OTHER_BITS);
		EXPECT_EQ(-ETIMEDOUT, umcg_sys_wait(0, deadline));
		EXPECT_LE(deadline, clock_ns(CLOCK_REALTIME));
		EXPECT_EQ(RUNNING | OTHER_BITS, umcg_word(&me.task));
	}
}

TEST(zero_is_no_timeout)
{
	static struct peer p;

	become_server();
	peer_start(&p);
	until_asleep(&p);
	expect_asleep(&p);
	peer_wake(&p);
	EXPECT_EQ(0, peer_join(&p));
}

TEST(huge_is_clamped)
{
	static struct peer p[] = {
		{ .timeout = INT64_MAX }, { .timeout = UINT64_C(1) << 63 },
		{ .timeout = UINT64_MAX },
	};

	become_server();
	for (int i = 0; i < 3; i++) {
		peer_start(&p[i]);
		until_asleep(&p[i]);
		expect_asleep(&p[i]);
		peer_wake(&p[i]);
		EXPECT_EQ(0, peer_join(&p[i]));
	}
}

TEST(follows_a_clock_that_is_set)
{
	uint64_t offset = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC);
	static struct peer p;

	become_server();
	p.timeout = from_now(HOUR);
	peer_start(&p);
	until_asleep(&p);
	set_clock(from_now(2 * HOUR));
	EXPECT_EQ(-ETIMEDOUT, peer_join(&p));
	set_clock_back(offset);
}

/*
 * A wake at about the time of the timeout: who makes the word RUNNING decides
 * what the wait returns.
 */
TEST(one_of_wake_and_timeout_wins)
{
	int wakes = 0, timeouts = 0;

	become_server();
	for (int i = 0; i < 40; i++) {
		struct peer *p = aligned_alloc(64, sizeof(*p));
		uint64_t when;
		bool won;
		int err;

		memset(p, 0, sizeof(*p));
		when = from_now(10 * MS);
		/* The first wake is in time, however late it is, and the last is not. */
		p->timeout = i ? when : from_now(3600000 * MS);
		peer_start(p);
		/* From well before to well after. */
		when += (i - 20) * (int64_t)MS / 5;
		while (clock_ns(CLOCK_REALTIME) < when)
			sched_yield();
		while (i == 39 && umcg_word(&p->umcg.task) == IDLE)
			nap(MS);
		won = umcg_move(&p->umcg.task, IDLE, RUNNING);
		/* The timer may have had it look at its word, return and exit. */
		err = won ? wake_tid(p->tid, 0) : 0;
		ASSERT_TRUE(err == 0 || err == -ESRCH);
		ASSERT_EQ(won ? 0 : -ETIMEDOUT, peer_join(p));
		EXPECT_EQ(RUNNING, umcg_word(&p->umcg.task));
		wakes += won;
		timeouts += !won;
	}
	TH_LOG("%d wakes, %d timeouts", wakes, timeouts);
	EXPECT_GT(wakes, 0);
	EXPECT_GT(timeouts, 0);
}

TEST(past_is_at_once)
{
	static const uint64_t past[] = { 1, 1000, 1000000000 };
	static struct peer p;

	become_server();
	for (int i = 0; i < 3; i++) {
		umcg_set_word(&me.task, IDLE);
		EXPECT_EQ(-ETIMEDOUT, umcg_sys_wait(0, past[i]));
		EXPECT_EQ(RUNNING, umcg_word(&me.task));
		EXPECT_EQ(0, umcg_sys_wait(0, past[i]));
	}
	/* The one handed over to is woken all the same. */
	peer_start(&p);
	until_asleep(&p);
	ASSERT_TRUE(umcg_move(&p.umcg.task, IDLE, RUNNING));
	me.task.next_tid = p.tid;
	umcg_set_word(&me.task, IDLE);
	EXPECT_EQ(-ETIMEDOUT, umcg_sys_wait(0, 1));
	EXPECT_EQ(0, peer_join(&p));
}

TEST(user_bits_may_change_any_time)
{
	become_server();
	umcg_set_word(&me.task, RUNNING | SOME_BITS);
	scribble_on(&me.task);
	for (int i = 0; i < 20; i++) {
		uint64_t deadline = from_now(MS);

		ASSERT_TRUE(umcg_move(&me.task, RUNNING, IDLE));
		EXPECT_EQ(-ETIMEDOUT, umcg_sys_wait(0, deadline));
		EXPECT_LE(deadline, clock_ns(CLOCK_REALTIME));
		EXPECT_EQ(RUNNING, umcg_word(&me.task) & ~UMCG_TASK_USER_MASK);
	}
}

static atomic_int signals;

static void count_signal(int signal)
{
	(void)signal;
	atomic_fetch_add(&signals, 1);
}

TEST(timeout_outlives_signals)
{
	static struct peer p;

	on_signal(SIGUSR1, count_signal, 0);
	become_server();
	p.timeout = from_now(20 * SOON * ktap_slow);
	peer_start(&p);
	until_asleep(&p);
	for (int sent = 1; sent <= 5; sent++) {
		ASSERT_EQ(0, tgkill(getpid(), p.tid, SIGUSR1));
		while (atomic_load(&signals) < sent)
			nap(MS);
	}
	EXPECT_EQ(-ETIMEDOUT, peer_join(&p));
	EXPECT_LE(p.timeout, clock_ns(CLOCK_REALTIME));
}

UMCG_TEST_MAIN
