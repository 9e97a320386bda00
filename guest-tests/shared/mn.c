// SPDX-License-Identifier: GPL-2.0
/*
 * The parts of the M:N scheduler of mn/, each shown by tasks that cannot end
 * without it.
 */
#include "mn-test.h"

/* All tasks so far are asleep in the pool. */
static void until_all_wait(void)
{
	for (unsigned int i = 0; i < atomic_load(&mn.tasks); i++) {
		struct mn_task *task = &mn.task[i];

		while (umcg_state(&task->umcg) != UMCG_IS_IDLE)
			nap(MS);
		until_state(getpid(), task->tid, 'S');
	}
}

/* In turns of one server: what one task does with this no other sees half done. */
static unsigned int inside, overlaps;

static void enter_alone(void *arg)
{
	(void)arg;
	for (int i = 0; i < 50; i++) {
		overlaps += __atomic_exchange_n(&inside, 1, __ATOMIC_SEQ_CST);
		/* Whoever ran beside us now would. */
		sched_yield();
		__atomic_store_n(&inside, 0, __ATOMIC_SEQ_CST);
		nap(i % 3 * 50000);
	}
}

TEST(one_server_runs_one_worker)
{
	mn_init(&mn, 1, 40, 0);
	for (int i = 0; i < 40; i++)
		mn_spawn(&mn, 0, enter_alone, NULL);
	mn_run(&mn);
	EXPECT_EQ(0, overlaps);
	expect_all_ended(40);
	/* Or they could not have overlapped. */
	EXPECT_LT(40, mn.server[0].blocks);
}

/* As many tasks as servers, woken together, that go on only when all of them run. */
#define TOGETHER	4
#define MEETINGS	200

static atomic_uint call, arrived;

static void meet(void *arg)
{
	(void)arg;
	for (unsigned int n = 1; n <= MEETINGS; n++) {
		unsigned int seen;

		while ((seen = atomic_load(&call)) < n)
			futex_wait(&call, seen);
		atomic_fetch_add(&arrived, 1);
		while (atomic_load(&arrived) < n * TOGETHER)
			sched_yield();
	}
}

static void *call_all(void *arg)
{
	for (unsigned int n = 1; n <= MEETINGS; n++) {
		while (atomic_load(&arrived) < (n - 1) * TOGETHER)
			sched_yield();
		/* For some of them to be asleep. */
		nap(n % 4 * 100000);
		atomic_store(&call, n);
		futex_wake(&call);
	}
	return arg;
}

TEST(no_task_waits_beside_an_idle_server, .deadline = 60)
{
	pthread_t caller;

	/* No tick: it would have servers look that should have been woken. */
	mn_init(&mn, TOGETHER, TOGETHER, 0);
	for (int i = 0; i < TOGETHER; i++)
		mn_spawn(&mn, 0, meet, NULL);
	ASSERT_EQ(0, pthread_create(&caller, NULL, call_all, NULL));
	mn_run(&mn);
	ASSERT_EQ(0, pthread_join(caller, NULL));
	EXPECT_EQ(MEETINGS * TOGETHER, atomic_load(&arrived));
	expect_all_ended(TOGETHER);
}

static void wait_for_the_other(void *arg)
{
	(void)arg;
	atomic_fetch_add(&arrived, 1);
	while (atomic_load(&arrived) < 2)
		;
}

TEST(idle_servers_steal)
{
	mn_init(&mn, 2, 2, 0);
	mn_spawn(&mn, 0, wait_for_the_other, NULL);
	mn_spawn(&mn, 0, wait_for_the_other, NULL);
	/* Who looks first takes both. */
	until_all_wait();
	mn_run(&mn);
	EXPECT_LE(1, mn.server[0].steals + mn.server[1].steals);
	expect_all_ended(2);
}

TEST(tick_preempts)
{
	need_capabilities(UMCG_PREEMPTS);
	mn_init(&mn, 1, 2, SLICE);
	mn_spawn(&mn, 0, wait_for_the_other, NULL);
	mn_spawn(&mn, 0, wait_for_the_other, NULL);
	mn_run(&mn);
	EXPECT_LE(1, mn.server[0].preemptions);
	expect_all_ended(2);
}

/* Ticks follow so closely on each other that they meet signals under way. */
static void run_until_preempted(void *arg)
{
	unsigned int *until = arg;

	while (atomic_load(&mn.server[0].turn) + atomic_load(&mn.server[1].turn) < *until)
		;
}

TEST(ticks_come_at_any_time, .deadline = 120)
{
	unsigned int until = 500;

	need_capabilities(UMCG_PREEMPTS);
	mn_init(&mn, 2, 6, MS / 50);
	for (int i = 0; i < 6; i++)
		mn_spawn(&mn, 0, run_until_preempted, &until);
	mn_run(&mn);
	EXPECT_LE(until - 100, mn.server[0].preemptions + mn.server[1].preemptions);
	expect_all_ended(6);
}

static unsigned int order[32], orders;

static void note_priority(void *arg)
{
	order[orders++] = (uintptr_t)arg;
}

static void expect_in_order(unsigned int tasks, unsigned int of_each)
{
	ASSERT_EQ(tasks, orders);
	for (unsigned int i = 0; i < tasks; i++)
		EXPECT_EQ(i / of_each, order[i]);
	expect_all_ended(tasks);
}

TEST(priorities_decide)
{
	mn_init(&mn, 1, 32, 0);
	for (uintptr_t i = 0; i < 32; i++)
		mn_spawn(&mn, i * 7 % MN_PRIORITIES, note_priority,
			 (void *)(i * 7 % MN_PRIORITIES));
	until_all_wait();
	mn_run(&mn);
	expect_in_order(32, 32 / MN_PRIORITIES);
}

static int bell[2];
static atomic_bool answered;

/* Of high priority, but asleep until the other one rings. */
static void answer(void *arg)
{
	char byte;

	ASSERT_EQ(1, read(bell[0], &byte, 1));
	note_priority(arg);
	atomic_store(&answered, true);
}

static void ring(void *arg)
{
	ASSERT_EQ(1, write(bell[1], "", 1));
	while (!atomic_load(&answered))
		;
	note_priority(arg);
}

TEST(higher_priority_takes_over)
{
	ASSERT_EQ(0, pipe(bell));
	need_capabilities(UMCG_PREEMPTS);
	mn_init(&mn, 1, 2, SLICE);
	mn_spawn(&mn, 0, answer, (void *)0);
	mn_spawn(&mn, 1, ring, (void *)1);
	until_all_wait();
	mn_run(&mn);
	expect_in_order(2, 1);
	/* The second can have given way by a sleep of its own, for a lock of the pipe. */
	EXPECT_LE(1, mn.server[0].blocks);
	EXPECT_LE(2, mn.server[0].preemptions + mn.server[0].blocks);
}

MN_TEST_MAIN(0)
