// SPDX-License-Identifier: GPL-2.0
/*
 * Whether a hand-over took the short path through the scheduler, and if not for which
 * reason. Without this a condition that never holds would pass: all works without.
 *
 * Each way not to take it is provoked, and has to be what the kernel counts: here, in
 * handover-block, -groups, -distro and -proxy. One is not, `detached`: a task that sleeps
 * and was last on this CPU has its load in the queue, or has taken it along.
 */
#include "handover.h"

static void expect_handed_over(void)
{
	long before = count_of("run") + count_of("wait");

	ping_pong(NULL);
	EXPECT_LE(NEARLY_ALL, count_of("run") + count_of("wait") - before);
}

static void expect_not(const char *why, void (*otherwise)(void))
{
	struct counts before = counts_now(why);

	ping_pong(otherwise);
	expect_reason(why, before);
}

TEST(fair_pair, .clauses = "SWITCH-5")
{
	expect_handed_over();
}

TEST(fifo_pair, .clauses = "SWITCH-5")
{
	schedule_as(SCHED_FIFO, 10);
	expect_handed_over();
}

TEST(idle_pair, .clauses = "SWITCH-5")
{
	schedule_as(SCHED_IDLE, 0);
	expect_handed_over();
}

/* At the end of a slice it is handed over to wait. */
TEST(fair_pair_beside_one, .clauses = "SWITCH-5")
{
	long before = count_of("wait");
	pid_t pid;

	pin(0, 0);
	pid = fork();
	ASSERT_NE(-1, pid);
	while (!pid)
		;
	for (int i = 0; i < 20 && count_of("wait") == before; i++) {
		if (!i)
			ping_pong(NULL);
		for (int j = 0; j < SWITCHES; j++)
			ASSERT_EQ(0, umcg_switch(&me, &second, 0));
	}
	EXPECT_LT(before, count_of("wait"));
	kill(pid, SIGKILL);
	reap_child(pid);
}

TEST(another_class, .clauses = "SWITCH-5")
{
	expect_not("class", be_fifo);
}

TEST(another_nice_level, .clauses = "SWITCH-5")
{
	expect_not("weight", be_nice);
}

static void be_idle(void)
{
	schedule_as(SCHED_IDLE, 0);
}

TEST(idle_policy, .clauses = "SWITCH-5")
{
	expect_not("weight", be_idle);
}

TEST(another_priority, .clauses = "SWITCH-5")
{
	schedule_as(SCHED_FIFO, 10);
	expect_not("prio", be_higher);
}

static void be_rr(void)
{
	schedule_as(SCHED_RR, 10);
}

TEST(fifo_and_rr, .clauses = "SWITCH-5")
{
	schedule_as(SCHED_FIFO, 10);
	expect_not("prio", be_rr);
}

static void ask_for_a_slice(void)
{
	struct attr attr = { .runtime = 2 * MS };

	ASSERT_EQ(0, set_attr(0, attr));
}

TEST(requested_slice, .clauses = "SWITCH-5")
{
	expect_not("request", ask_for_a_slice);
}

/* One waits at the priority of the pair all the time; each turn lets it run. */
static void *wait_in_line(void *arg)
{
	for (;;)
		sched_yield();
	return arg;
}

TEST(others_of_that_priority, .clauses = "SWITCH-5")
{
	pthread_t thread;

	schedule_as(SCHED_FIFO, 10);
	pin(0, 0);
	ASSERT_EQ(0, pthread_create(&thread, NULL, wait_in_line, NULL));
	expect_not("order", NULL);
}

/*
 * Beside one of a higher class that never sleeps the pair runs in the time that is lent
 * to its class.
 */
TEST(fair_pair_beside_fifo, .clauses = "SWITCH-5")
{
	atomic_bool *spins = shared_memory(sizeof(*spins));
	struct counts before;
	pid_t pid;

	ping_pong(NULL);
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		be_fifo();
		atomic_store(spins, true);
		for (;;)
			;
	}
	while (!atomic_load(spins))
		nap(MS);
	before = counts_now("other");
	for (int i = 0; i < SWITCHES; i++)
		ASSERT_EQ(0, umcg_switch(&me, &second, 0));
	expect_reason("other", before);
	kill(pid, SIGKILL);
	reap_child(pid);
}

static void *wake_often(void *arg)
{
	be_higher();
	for (;;)
		nap(MS / 10);
	return arg;
}

/*
 * One of higher priority wakes: mostly between two hand-overs. But where the kernel does
 * not preempt itself, or is not to just then, the one that is to leave hands over.
 */
TEST(fifo_pair_that_is_to_leave, .clauses = "SWITCH-5")
{
	pthread_t thread;
	long before;

	be_fifo();
	ping_pong(NULL);
	before = count_of("resched");
	ASSERT_EQ(0, pthread_create(&thread, NULL, wake_often, NULL));
	while (count_of("resched") == before)
		for (int i = 0; i < SWITCHES; i++)
			ASSERT_EQ(0, umcg_switch(&me, &second, 0));
}

TEST(another_process, .clauses = "SWITCH-5")
{
	static struct shared { struct umcg mine, other; } *both;
	struct counts before = counts_now("mm");
	pid_t pid;

	pin(0, 0);
	both = shared_memory(sizeof(*both));
	ASSERT_EQ(0, umcg_register_server(&both->mine, NULL));
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		ASSERT_EQ(0, umcg_register_server(&both->other, NULL));
		ASSERT_EQ(0, umcg_wait(&both->other, 0));
		for (;;)
			ASSERT_EQ(0, umcg_switch(&both->other, &both->mine, 0));
	}
	while (umcg_state(&both->other) != UMCG_IS_IDLE)
		nap(MS);
	until_state(pid, pid, 'S');
	for (int i = 0; i < SWITCHES; i++)
		ASSERT_EQ(0, umcg_switch(&both->mine, &both->other, 0));
	expect_reason("mm", before);
	kill(pid, SIGKILL);
	reap_child(pid);
}

UMCG_TEST_MAIN
