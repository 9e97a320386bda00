// SPDX-License-Identifier: GPL-2.0
/* The time in the state word: each change by the kernel has another one. */
#include "crew.h"

#define BITS	46

static uint64_t now_in_units(void)
{
	return (clock_ns(CLOCK_MONOTONIC) >> UMCG_STATE_TIMESTAMP_GRANULARITY) &
	       ((UINT64_C(1) << BITS) - 1);
}

/* The word has been changed between `before` and now, and `bits` are what it says. */
static void expect_stamped(uint64_t before, struct umcg_task *task, uint64_t bits)
{
	uint64_t word = umcg_stamped_word(task);

	EXPECT_EQ(bits, word & UMCG_TASK_STATE_MASK_FULL);
	EXPECT_LE(before, umcg_time(word));
	EXPECT_LE(umcg_time(word), now_in_units());
}

static void mark(struct umcg_task *task, uint64_t bits)
{
	umcg_set_word(task, bits);
}

TEST(time_of_a_timeout, .clauses = "STAMP-1 STAMP-2 TIME-2")
{
	uint64_t before;

	become_server();
	for (int i = 0; i < 20; i++) {
		before = now_in_units();
		mark(&me.task, IDLE | SOME_BITS);
		EXPECT_EQ(-ETIMEDOUT, umcg_sys_wait(0, 1));
		expect_stamped(before, &me.task, RUNNING | SOME_BITS);
	}
}

static struct gate gate;

static void go_through_all(struct worker *w)
{
	ASSERT_EQ(0, umcg_yield(w->umcg, 0));
	ASSERT_TRUE(gate_pass(&gate));
}

TEST(time_of_each_change, .clauses = "STAMP-1 STAMP-2 WIDLE-1 BLOCK-1 WRUN-2")
{
	static struct worker w = { .body = go_through_all, .stays = false };
	struct umcg_task *task = &w.own.task;
	uint64_t before = now_in_units();

	become_server();
	gate_make(&gate);
	hire(&w);
	expect_stamped(before, task, IDLE);

	/* LOCKED is cleared when it yields. */
	before = now_in_units();
	EXPECT_EQ(IDLE, run(&w));
	until_word(&w, IDLE);
	expect_stamped(before, task, IDLE);

	/* It blocks, and its server runs. */
	before = now_in_units();
	EXPECT_EQ(0, umcg_resume(&me, w.umcg, 0));
	expect_stamped(before, task, BLOCKED);
	expect_stamped(before, &me.task, RUNNING);

	before = now_in_units();
	gate_open(&gate);
	until_back(&w);
	expect_stamped(before, task, IDLE);

	before = now_in_units();
	finish(&w);
	expect_stamped(before, task, NONE);
	EXPECT_EQ(before <= umcg_time(umcg_stamped_word(&me.task)), true);
}

/*
 * A change is visible though no time has passed: what is there already is not used
 * again. To have the kernel meet that, the time is one that it is about to use: by
 * now it was so much later than we have looked.
 */
TEST(no_time_twice, .clauses = "STAMP-3 R22")
{
	uint64_t now, guess = 0, word, next = 0, tries;

	become_server();
	for (tries = 0; tries < 1000000 && next < 20; tries++) {
		now = now_in_units();
		mark(&me.task, IDLE | (now + guess) << 18);
		ASSERT_EQ(-ETIMEDOUT, umcg_sys_wait(0, 1));
		word = umcg_stamped_word(&me.task);
		ASSERT_NE(now + guess, umcg_time(word));
		/*
		 * The guess was one too few, or it was right and the kernel took the
		 * next one: either is as likely, and one that did not would have failed.
		 */
		next += umcg_time(word) == now + guess + 1;
		guess = umcg_time(word) - now;
		guess -= guess && tries % 3 == 0;
	}
	TH_LOG("%lu times the next one in %lu changes", (unsigned long)next,
	       (unsigned long)tries);
	EXPECT_EQ(20, next);
}

/* It is neither read nor compared but for that: any value will do. */
TEST(any_time_will_do, .clauses = "STAMP-4 R19 R22")
{
	static const uint64_t times[] = { 0, 1, (UINT64_C(1) << BITS) - 1, 0x123456789ab };

	become_server();
	for (int i = 0; i < 4; i++) {
		mark(&me.task, RUNNING | times[i] << 18);
		EXPECT_EQ(0, umcg_sys_wait(0, 0));
		EXPECT_EQ(RUNNING | times[i] << 18, umcg_stamped_word(&me.task));
		mark(&me.task, IDLE | times[i] << 18);
		EXPECT_EQ(-ETIMEDOUT, umcg_sys_wait(0, 1));
		EXPECT_EQ(RUNNING, umcg_word(&me.task));
	}
	umcg_unregister(&me);
	for (int i = 0; i < 4; i++) {
		me.task.next_tid = 0;
		mark(&me.task, RUNNING | times[i] << 18);
		EXPECT_EQ(0, umcg_sys_ctl(UMCG_CTL_REGISTER, &me.task));
		EXPECT_EQ(RUNNING | times[i] << 18, umcg_stamped_word(&me.task));
		EXPECT_EQ(0, umcg_sys_ctl(UMCG_CTL_UNREGISTER, NULL));
	}
}

UMCG_TEST_MAIN
