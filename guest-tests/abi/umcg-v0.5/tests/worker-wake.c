// SPDX-License-Identifier: GPL-2.0
/* WAKE_ONLY of workers, and by workers. */
#include "crew.h"

#define NOBODY		65534

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

TEST(parked_worker_is_queued_again, .clauses = "WWAKE-1 WIDLE-1 TASK-2 R19")
{
	static struct worker w = { .body = park, .bits = SOME_BITS };
	static struct peer server = { .word = IDLE | SOME_BITS };

	become_server();
	hire(&w);
	EXPECT_EQ(IDLE, run(&w));
	for (int i = 0; i < 20; i++) {
		until_word(&w, IDLE);
		EXPECT_EQ(0, umcg_requeue(&me, w.umcg));
		until_back(&w);
		EXPECT_EQ(IDLE | SOME_BITS, umcg_word(&w.umcg->task));
	}
	peer_start(&server);
	until_asleep(&server);
	pool.idle_server_tid = server.tid;
	EXPECT_EQ(0, umcg_requeue(&me, w.umcg));
	EXPECT_EQ(0, peer_join(&server));
	EXPECT_EQ(RUNNING | SOME_BITS, umcg_word(&server.umcg.task));
	until_back(&w);
	expect_word(&w, IDLE);
	EXPECT_EQ(0, atomic_load(&w.steps));
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
static void wake_in_vain(struct worker *w, uint32_t word)
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
	static const uint32_t words[] = {
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
	until_back(&target);
	EXPECT_EQ(0, atomic_load(&target.steps));
	finish(&target);
}

/* In a process of its own, as `uid`: what naming `tid` comes to. */
struct stranger {
	uint32_t tid;
	uid_t uid;
	int expected;
};

static void name_it(void *arg)
{
	struct stranger *s = arg;

	if (s->uid)
		ASSERT_EQ(0, setresuid(s->uid, s->uid, s->uid));
	become_server();
	EXPECT_EQ(s->expected, wake_tid(s->tid, 0));
	EXPECT_EQ(s->expected, wake_tid(s->tid, UMCG_WAIT_WF_CURRENT_CPU));
	umcg_set_word(&me.task, IDLE);
	EXPECT_EQ(s->expected, umcg_sys_wait(0, 1));
	EXPECT_EQ(IDLE, umcg_word(&me.task));
}

TEST(worker_of_another_process, .clauses = "WWAKE-4 XPROC-2 R5 R18 R20")
{
	static struct worker w = { .body = park };
	struct stranger strangers[] = { { .expected = -ESRCH }, { .uid = NOBODY, .expected = -EPERM } };

	become_server();
	hire(&w);
	EXPECT_EQ(IDLE, run(&w));
	until_word(&w, IDLE);
	/* Any wakeup would have it run. */
	w.umcg->task.next_tid = me.tid;
	umcg_set_word(&w.umcg->task, RUNNING);
	for (int i = 0; i < 2; i++) {
		strangers[i].tid = w.tid;
		EXPECT_EQ(0, status_of_child(name_it, &strangers[i]));
	}
	expect_word(&w, RUNNING);
	EXPECT_EQ(0, atomic_load(&w.steps));
	EXPECT_EQ(0, wake_tid(w.tid, 0));
	worker_join(&w);
}

static struct peer *foreign;

static void name_the_foreign(struct worker *w)
{
	struct umcg_task *task = &w->umcg->task;

	for (int i = 0; i < 2; i++) {
		int expected = i ? -EPERM : -ESRCH;

		if (i)
			/* The bare system call is of this thread alone. */
			ASSERT_EQ(0, syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY));
		ASSERT_TRUE(umcg_move(task, RUNNING, IDLE | LOCKED));
		task->next_tid = foreign->tid;
		EXPECT_EQ(expected, umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, 0));
		EXPECT_EQ(expected, umcg_sys_wait(0, 1));
		EXPECT_EQ(IDLE | LOCKED, umcg_word(task));
		task->next_tid = me.tid;
		ASSERT_TRUE(umcg_move(task, IDLE | LOCKED, RUNNING));
	}
	atomic_fetch_add(&w->steps, 1);
}

TEST(server_of_another_process, .clauses = "WWAKE-4 WRUN-7 XPROC-2 R5 R18 R20")
{
	static struct worker w = { .body = name_the_foreign };

	foreign = shared_memory(sizeof(*foreign));
	peer_fork(foreign);
	until_asleep(foreign);
	umcg_set_word(&foreign->umcg.task, RUNNING);
	become_server();
	hire(&w);
	finish(&w);
	EXPECT_EQ(1, atomic_load(&w.steps));
	expect_asleep(foreign);
}

UMCG_TEST_MAIN
