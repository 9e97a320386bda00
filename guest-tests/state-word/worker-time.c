// SPDX-License-Identifier: GPL-2.0
/* umcg_wait() of workers: timeouts. */
#include "crew.h"

#define HOUR	(3600 * UINT64_C(1000000000))

/* What the worker yields until, next time it is run; and what came of it. */
static uint64_t deadline;

static void yield_until(struct worker *w)
{
	for (;;) {
		uint64_t until = deadline;

		if (!until)
			break;
		deadline = 0;
		w->result = umcg_yield(w->umcg, until);
		atomic_fetch_add(&w->steps, 1);
	}
}

/* Run it until it waits with that deadline. */
static void have_it_wait(struct worker *w, uint64_t until)
{
	deadline = until;
	w->result = 1;
	EXPECT_EQ(0, umcg_resume(&me, w->umcg, 0));
}

/* Sleep until it has timed out and been queued; take it. */
static void until_queued(struct worker *w)
{
	EXPECT_EQ(0, umcg_await_idle(&me, w->pool, 0));
	expect_queued(w);
}

TEST(times_out_not_early)
{
	static struct worker w = { .body = yield_until, .bits = SOME_BITS };
	uint64_t until;

	become_server();
	hire(&w);
	for (int i = 0; i < 5; i++) {
		until = from_now((i + 1) * 3 * MS);
		have_it_wait(&w, until);
		/* The call returns when it is run, and not before. */
		EXPECT_EQ(i, atomic_load(&w.steps));
		EXPECT_EQ(i ? -ETIMEDOUT : 1, w.result);
		until_queued(&w);
		EXPECT_LE(until, clock_ns(CLOCK_REALTIME));
		EXPECT_EQ(IDLE | SOME_BITS, umcg_word(&w.umcg->task));
	}
	/* One timeout is all that comes of it. */
	expect_word(&w, IDLE);
	expect_none_queued(&pool);
	finish(&w);
	EXPECT_EQ(-ETIMEDOUT, w.result);
	EXPECT_EQ(5, atomic_load(&w.steps));
}

TEST(none_and_huge_ones)
{
	static const uint64_t never[] = {
		INT64_MAX, UINT64_C(1) << 63, UINT64_MAX,
	};
	static struct worker w = { .body = yield_until };

	become_server();
	hire(&w);
	for (int i = 0; i < 3; i++) {
		have_it_wait(&w, never[i]);
		until_word(&w, IDLE);
		expect_word(&w, IDLE);
		expect_none_queued(&pool);
	}
	finish(&w);
	EXPECT_EQ(0, w.result);
	EXPECT_EQ(3, atomic_load(&w.steps));
}

TEST(follows_a_clock_that_is_set)
{
	uint64_t offset = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC);
	static struct worker w = { .body = yield_until };

	become_server();
	hire(&w);
	have_it_wait(&w, from_now(HOUR));
	until_word(&w, IDLE);
	expect_none_queued(&pool);
	set_clock(from_now(2 * HOUR));
	until_queued(&w);
	set_clock_back(offset);
	finish(&w);
	EXPECT_EQ(-ETIMEDOUT, w.result);
}

TEST(past_is_at_once)
{
	static const uint64_t past[] = { 1, 1000, 1000000000 };
	static struct worker w = { .body = yield_until };

	become_server();
	hire(&w);
	for (int i = 0; i < 3; i++) {
		/* The server has been woken all the same. */
		have_it_wait(&w, past[i]);
		until_queued(&w);
	}
	finish(&w);
	EXPECT_EQ(-ETIMEDOUT, w.result);
	EXPECT_EQ(3, atomic_load(&w.steps));
}

/* umcg_resume() of a worker that is RUNNING|LOCKED, which we have made it. */
static void run_claimed(struct worker *w)
{
	w->umcg->server = &me;
	w->umcg->task.next_tid = me.tid;
	w->umcg->task.idle_workers_ptr = (uintptr_t)&pool.idle_workers;
	me.task.next_tid = w->tid;
	umcg_set_word(&me.task, IDLE);
	ASSERT_TRUE(umcg_move(&w->umcg->task, RUNNING | LOCKED, RUNNING));
	EXPECT_EQ(0, umcg_sys_wait(0, 0));
}

static bool claim(struct worker *w)
{
	return umcg_move(&w->umcg->task, IDLE, RUNNING | LOCKED);
}

#define ROUNDS	40

/*
 * It is run at about the time of its timeout. It may be claimed when it is IDLE
 * to be queued, but not between, and what it is told is what was done.
 */
TEST(one_of_run_and_timeout_wins)
{
	static struct worker w = { .body = yield_until };
	int timeouts = 0, runs = 0;

	become_server();
	hire(&w);
	have_it_wait(&w, from_now(HOUR));
	/* From well before, which the first is, to well after. */
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t until = from_now(10 * MS), when = 0;
		bool queued, claimed;

		if (i) {
			when = until + (i - ROUNDS / 2) * (int64_t)MS / 5;
			deadline = until;
			run_claimed(&w);
		}
		if (i == ROUNDS - 1)
			when += SOON;
		while (clock_ns(CLOCK_REALTIME) < when)
			sched_yield();
		claimed = claim(&w);
		if (!claimed) {
			until_word(&w, IDLE);
			ASSERT_TRUE(claim(&w));
		}
		/* Asleep and LOCKED it stays as it is, in the list or not. */
		until_word(&w, RUNNING | LOCKED);
		queued = take_queued(&w);
		ASSERT_TRUE(claimed || queued);
		deadline = from_now(HOUR);
		run_claimed(&w);
		ASSERT_EQ(queued ? -ETIMEDOUT : 0, w.result);
		until_word(&w, IDLE);
		ASSERT_TRUE(claim(&w));
		timeouts += queued;
		runs += !queued;
	}
	TH_LOG("%d timeouts, %d runs", timeouts, runs);
	EXPECT_GT(timeouts, 0);
	EXPECT_GT(runs, 0);
	deadline = 0;
	run_claimed(&w);
	worker_join(&w);
}

/* Who has claimed it may take longer than the timeout to run it. */
static void hold_over_the_deadline(uint32_t held)
{
	static struct worker w = { .body = yield_until, .bits = SOME_BITS };
	uint64_t until = from_now(20 * SOON * ktap_slow);

	become_server();
	hire(&w);
	have_it_wait(&w, until);
	until_word(&w, IDLE);
	ASSERT_TRUE(umcg_move(&w.umcg->task, IDLE, held));
	while (clock_ns(CLOCK_REALTIME) < until + SOON)
		nap(MS);
	expect_word(&w, held);
	EXPECT_EQ(held | SOME_BITS, umcg_word(&w.umcg->task));
	expect_none_queued(&pool);
	EXPECT_EQ(0, atomic_load(&w.steps));
	if (held != (RUNNING | LOCKED))
		ASSERT_TRUE(umcg_move(&w.umcg->task, held, RUNNING | LOCKED));
	run_claimed(&w);
	worker_join(&w);
	EXPECT_EQ(0, w.result);
}

TEST(claimed_in_time_is_in_time)
{
	hold_over_the_deadline(RUNNING | LOCKED);
}

TEST(no_longer_idle_is_in_time)
{
	hold_over_the_deadline(IDLE | PREEMPTED);
}

/* Its deadline is over, lest it be queued twice. */
TEST(requeued_in_time_is_in_time)
{
	static struct worker w = { .body = yield_until };
	uint64_t until = from_now(20 * SOON * ktap_slow);

	become_server();
	hire(&w);
	have_it_wait(&w, until);
	until_word(&w, IDLE);
	EXPECT_EQ(0, umcg_requeue(&me, w.umcg));
	until_word(&w, UMCG_REQUEUED);
	expect_queued(&w);
	while (clock_ns(CLOCK_REALTIME) < until + SOON)
		nap(MS);
	expect_word(&w, UMCG_REQUEUED);
	expect_none_queued(&pool);
	EXPECT_EQ(0, atomic_load(&w.steps));
	finish(&w);
	EXPECT_EQ(0, w.result);
}

TEST(user_bits_may_change_any_time)
{
	static struct worker w = { .body = yield_until };

	become_server();
	hire(&w);
	scribble_on(&w.umcg->task);
	for (int i = 1; i <= 20; i++) {
		have_it_wait(&w, from_now(MS));
		until_queued(&w);
		EXPECT_EQ(IDLE, bare_word(w.umcg));
	}
	finish(&w);
	EXPECT_EQ(-ETIMEDOUT, w.result);
	EXPECT_EQ(20, atomic_load(&w.steps));
}

static atomic_int handled;

static void count(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
}

TEST(outlives_signals)
{
	static struct worker w = { .body = yield_until };
	uint64_t until = from_now(20 * SOON);

	on_signal(SIGUSR1, count, 0);
	become_server();
	hire(&w);
	have_it_wait(&w, until);
	until_word(&w, IDLE);
	for (int i = 0; i < 5; i++) {
		ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR1));
		nap(MS);
	}
	until_queued(&w);
	EXPECT_LE(until, clock_ns(CLOCK_REALTIME));
	EXPECT_EQ(0, atomic_load(&handled));
	finish(&w);
	EXPECT_EQ(1, atomic_load(&handled));
	EXPECT_EQ(-ETIMEDOUT, w.result);
}

/* A signal of one wait is none of the next. */
TEST(waits_anew_after_a_signal)
{
	static struct worker w = { .body = yield_until };

	on_signal(SIGUSR1, count, 0);
	become_server();
	hire(&w);
	have_it_wait(&w, from_now(HOUR));
	until_word(&w, IDLE);
	ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR1));
	expect_word(&w, IDLE);
	have_it_wait(&w, from_now(5 * MS));
	EXPECT_EQ(1, atomic_load(&handled));
	until_queued(&w);
	finish(&w);
	EXPECT_EQ(1, atomic_load(&handled));
	EXPECT_EQ(-ETIMEDOUT, w.result);
}

static struct gate gate;

static void sleep_in_handler(int signal)
{
	gate_pass(&gate);
	count(signal);
}

/* The handler runs ahead of the return, and what it does changes nothing of it. */
TEST(handler_sleeps)
{
	static struct worker w = { .body = yield_until };

	gate_make(&gate);
	on_signal(SIGUSR1, sleep_in_handler, 0);
	become_server();
	hire(&w);
	have_it_wait(&w, from_now(2 * SOON));
	ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR1));
	until_queued(&w);
	/* The handler's sleep is reported as any other. */
	ASSERT_EQ(BLOCKED, run(&w));
	gate_open(&gate);
	until_queued(&w);
	EXPECT_EQ(1, w.result);
	finish(&w);
	EXPECT_EQ(1, atomic_load(&handled));
	EXPECT_EQ(-ETIMEDOUT, w.result);
}

UMCG_TEST_MAIN
