// SPDX-License-Identifier: GPL-2.0
/* WAKE_ONLY of workers, and by workers. */
#include "crew.h"

static atomic_int stage;

static void at_stage(int n)
{
	while (atomic_load(&stage) < n)
		sched_yield();
}

static void park(struct worker *w)
{
	ASSERT_EQ(0, umcg_yield(w->umcg, 0));
	atomic_fetch_add(&w->steps, 1);
}

/* User space alone puts a worker that waits among the idle ones; it sleeps on. */
TEST(requeued_by_user_space_alone, .clauses = "WWAKE-1 WIDLE-3 TASK-2")
{
	static struct worker w = { .body = park, .bits = SOME_BITS };
	static struct peer bystander;

	become_server();
	hire(&w);
	EXPECT_EQ(IDLE, run(&w));
	until_word(&w, IDLE);
	peer_start(&bystander);
	until_asleep(&bystander);
	for (int i = 0; i < 20; i++) {
		EXPECT_EQ(0, umcg_requeue(&me, w.umcg));
		/* Woken or not, it is IDLE, and the kernel does not queue it. */
		for (int j = 0; j < i; j++)
			EXPECT_EQ(0, wake_tid(w.tid, 0));
		until_state(getpid(), w.tid, 'S');
		expect_queued(&w);
		EXPECT_EQ(IDLE | PREEMPTED | SOME_BITS, umcg_word(&w.umcg->task));
		expect_none_queued(&pool);
	}
	expect_asleep(&bystander);
	EXPECT_EQ(0, atomic_load(&w.steps));
	finish(&w);
}

/* The server that waits for idle workers is then user space's to wake. */
static void *requeue_when_it_sleeps(void *arg)
{
	struct worker *w = arg;
	static struct umcg other;

	ASSERT_EQ(0, umcg_register_server(&other, NULL));
	until_state(getpid(), me.tid, 'S');
	EXPECT_EQ(0, umcg_requeue(&other, w->umcg));
	ASSERT_EQ(0, umcg_unregister(&other));
	return NULL;
}

TEST(requeued_under_a_waiting_server, .clauses = "WWAKE-1 WAKE-1")
{
	static struct worker w = { .body = park };
	pthread_t thread;

	become_server();
	hire(&w);
	EXPECT_EQ(IDLE, run(&w));
	until_word(&w, IDLE);
	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(0, pthread_create(&thread, NULL, requeue_when_it_sleeps, &w));
		EXPECT_EQ(0, umcg_await_idle(&me, &pool, 0));
		expect_queued(&w);
		pthread_join(thread, NULL);
	}
	EXPECT_TRUE(umcg_pool_unused(&pool));
	finish(&w);
}

static struct gate gate;

/* Runs, runs LOCKED, sleeps: each until told. */
static void do_a_bit_of_all(struct worker *w)
{
	atomic_store(&stage, 1);
	at_stage(2);
	ASSERT_TRUE(umcg_lock(w->umcg));
	atomic_store(&stage, 3);
	at_stage(4);
	umcg_unlock(w->umcg);
	ASSERT_TRUE(gate_pass(&gate));
	atomic_fetch_add(&w->steps, 1);
	park(w);
}

/* Nothing comes of waking it, whatever the flags. */
static void wake_in_vain(struct worker *w, uint64_t word)
{
	for (int i = 0; i < 10; i++)
		EXPECT_EQ(0, wake_tid(w->tid, i % 2 ? UMCG_WAIT_WF_CURRENT_CPU : 0));
	EXPECT_EQ(word, bare_word(w->umcg));
	expect_none_queued(&pool);
}

TEST(wake_of_one_that_does_not_wait, .clauses = "WWAKE-2 WAKE-6 R13")
{
	static struct worker w = { .body = do_a_bit_of_all };

	become_server();
	gate_make(&gate);
	hire(&w);
	EXPECT_EQ(-ETIMEDOUT, umcg_resume(&me, w.umcg, from_now(MS)));
	at_stage(1);
	wake_in_vain(&w, RUNNING);
	atomic_store(&stage, 2);
	at_stage(3);
	wake_in_vain(&w, RUNNING | LOCKED);
	atomic_store(&stage, 4);
	until_word(&w, BLOCKED);
	wake_in_vain(&w, BLOCKED);
	expect_word(&w, BLOCKED);
	EXPECT_EQ(0, atomic_load(&w.steps));
	gate_open(&gate);
	until_back(&w);
	/* None of that was kept for when it waits. */
	EXPECT_EQ(IDLE, run(&w));
	expect_word(&w, IDLE);
	EXPECT_EQ(1, atomic_load(&w.steps));
	finish(&w);
	EXPECT_EQ(-ESRCH, wake_tid(w.tid, 0));
}

static struct peer sleepers[4];

/* Wake each, LOCKED: for next_tid is not our server then. */
static void wake_others(struct worker *w)
{
	static const uint64_t words[] = {
		IDLE | LOCKED, IDLE | LOCKED, RUNNING | LOCKED, RUNNING | LOCKED,
	};
	struct umcg_task *task = &w->umcg->task;

	for (int i = 0; i < 4; i++) {
		uint32_t flags = i % 2 ? UMCG_WAIT_WF_CURRENT_CPU : 0;

		umcg_set_word(task, words[i] | SOME_BITS);
		task->next_tid = sleepers[i].tid;
		ASSERT_TRUE(umcg_move(&sleepers[i].umcg.task, IDLE, RUNNING));
		EXPECT_EQ(0, umcg_sys_wait(UMCG_WAIT_WAKE_ONLY | flags, 0));
		EXPECT_EQ(words[i] | SOME_BITS, umcg_word(task));
		EXPECT_EQ(-EINVAL, umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, 1));
		task->next_tid = me.tid;
		umcg_set_word(task, RUNNING);
	}
	ASSERT_TRUE(umcg_lock(w->umcg));
	task->next_tid = 0;
	EXPECT_EQ(-EINVAL, umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, 0));
	task->next_tid = 0x3fffffff;
	EXPECT_EQ(-ESRCH, umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, 0));
	EXPECT_EQ(RUNNING | LOCKED, umcg_word(task));
	task->next_tid = me.tid;
	umcg_unlock(w->umcg);
	atomic_fetch_add(&w->steps, 1);
}

TEST(wake_by_a_worker, .clauses = "WWAKE-3 WAKE-1 WAKE-4 WAKE-5 WWAKE-2")
{
	static struct worker w = { .body = wake_others };

	become_server();
	for (int i = 0; i < 4; i++) {
		peer_start(&sleepers[i]);
		until_asleep(&sleepers[i]);
	}
	hire(&w);
	finish(&w);
	for (int i = 0; i < 4; i++)
		EXPECT_EQ(0, peer_join(&sleepers[i]));
	EXPECT_EQ(1, atomic_load(&w.steps));
}

static struct worker target;

static void requeue_the_other(struct worker *w)
{
	struct umcg_task *task = &w->umcg->task;

	ASSERT_TRUE(umcg_move(task, RUNNING, IDLE | LOCKED));
	ASSERT_EQ(0, umcg_requeue(w->umcg, target.umcg));
	EXPECT_EQ(IDLE | LOCKED, umcg_word(task));
	task->next_tid = me.tid;
	ASSERT_TRUE(umcg_move(task, IDLE | LOCKED, RUNNING));
}

TEST(worker_wakes_a_worker, .clauses = "WWAKE-3 WWAKE-1")
{
	static struct worker w = { .body = requeue_the_other };

	target.body = park;
	become_server();
	hire(&target);
	hire(&w);
	EXPECT_EQ(IDLE, run(&target));
	until_word(&target, IDLE);
	finish(&w);
	expect_queued(&target);
	until_word(&target, IDLE | PREEMPTED);
	EXPECT_EQ(0, atomic_load(&target.steps));
	finish(&target);
}

UMCG_TEST_MAIN
