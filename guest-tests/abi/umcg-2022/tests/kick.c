// SPDX-License-Identifier: GPL-2.0
/* umcg_kick(): wakes who sleeps, and has the others look. */
#include "staff.h"

static struct worker w;
static struct peer p;

TEST(arguments, .clauses = "KICK-3 R41")
{
	become_server();
	EXPECT_EQ(-EINVAL, umcg_sys_kick(1, me.tid));
	EXPECT_EQ(-EINVAL, umcg_sys_kick(0x80000000, me.tid));
	/* Flags first. */
	EXPECT_EQ(-EINVAL, umcg_sys_kick(2, 0));
	EXPECT_EQ(-ESRCH, umcg_sys_kick(0, 0));
	EXPECT_EQ(-ESRCH, umcg_sys_kick(0, -1));
	EXPECT_EQ(-ESRCH, umcg_sys_kick(0, plain_thread()));
	EXPECT_EQ(-ESRCH, umcg_sys_kick(0, gone_thread()));
	EXPECT_EQ(0, umcg_sys_kick(0, me.tid));
}

TEST(anybody_of_the_process_may, .clauses = "KICK-3 KICK-1")
{
	peer_start(&p);
	until_asleep(&p);
	rouse(&p.umcg);
	EXPECT_EQ(0, peer_join(&p));
}

TEST(no_reference_is_kept, .clauses = "KICK-4 LIFE-5 R41")
{
	for (int i = 0; i < 50; i++) {
		memset(&p, 0, sizeof(p));
		peer_start(&p);
		until_asleep(&p);
		for (int n = 0; n < 20; n++)
			ASSERT_EQ(0, umcg_sys_kick(0, p.tid));
		rouse(&p.umcg);
		EXPECT_EQ(0, peer_join(&p));
	}
}

TEST(ends_no_other_sleep, .clauses = "KICK-2 R13")
{
	w.body = pass_gate;
	gate_make(&gate);
	become_server();
	hire(&w);
	EXPECT_EQ(BLOCKED, run(&w));
	for (int i = 0; i < 20; i++)
		ASSERT_EQ(0, umcg_sys_kick(0, w.tid));
	expect_state(&w, BLOCKED);
	EXPECT_EQ(0, atomic_load(&w.steps));
	gate_open(&gate);
	until_back(&w);
	finish_in_time(&w);
	EXPECT_EQ(0, w.result);
}

TEST(preempts, .clauses = "PRE-1 KICK-2 BACK-1 TASK-3 R14")
{
	uint64_t before;

	w.body = spin;
	w.bits = SOME_BITS;
	become_server();
	hire(&w);
	let_run(&w);
	before = from_now(0);
	ASSERT_TRUE(umcg_move(&w.own.task, RUNNING, RUNNING | PREEMPT));
	ASSERT_EQ(0, umcg_sys_kick(0, w.tid));
	until_state_is(&w, RUNNABLE);
	EXPECT_EQ(RUNNABLE | SOME_BITS, umcg_word(&w.own.task));
	EXPECT_LE(before, w.own.task.runnable_ts);
	EXPECT_LE(w.own.task.runnable_ts, from_now(0));
	expect_listed(&w);
	atomic_store(&over, true);
	finish_in_time(&w);
}

static void *preempt_later(void *arg)
{
	(void)arg;
	while (!atomic_load(&w.steps))
		nap(MS);
	nap(MS);
	ASSERT_TRUE(umcg_move(&w.own.task, RUNNING, RUNNING | PREEMPT));
	ASSERT_EQ(0, umcg_sys_kick(0, w.tid));
	return NULL;
}

TEST(preempted_under_a_sleeping_server, .clauses = "PRE-1 BACK-2 R14")
{
	pthread_t thread;

	w.body = spin;
	become_server();
	hire(&w);
	ASSERT_EQ(0, pthread_create(&thread, NULL, preempt_later, NULL));
	EXPECT_EQ(RUNNABLE, run(&w));
	expect_listed(&w);
	pthread_join(thread, NULL);
	atomic_store(&over, true);
	finish_in_time(&w);
}

static void yield_when_told(struct worker *worker)
{
	atomic_store(&worker->steps, 1);
	while (!atomic_load(&over))
		;
	/* It has been asked to give way, and does so by itself. */
	worker->result = stop(worker);
}

TEST(kick_that_comes_late, .clauses = "PRE-2 WAIT-4 R55")
{
	w.body = yield_when_told;
	become_server();
	hire(&w);
	let_run(&w);
	ASSERT_TRUE(umcg_move(&w.own.task, RUNNING, RUNNING | PREEMPT));
	atomic_store(&over, true);
	until_state_is(&w, RUNNABLE);
	expect_none_listed(&me);
	ASSERT_EQ(0, umcg_sys_kick(0, w.tid));
	expect_state(&w, RUNNABLE);
	finish(&w);
	EXPECT_EQ(0, w.result);
}

static void block_when_told(struct worker *worker)
{
	atomic_store(&worker->steps, 1);
	while (!atomic_load(&over))
		;
	pass_gate(worker);
}

TEST(blocks_before_the_kick, .clauses = "PRE-2 BLOCK-1 R55")
{
	w.body = block_when_told;
	gate_make(&gate);
	become_server();
	hire(&w);
	let_run(&w);
	ASSERT_TRUE(umcg_move(&w.own.task, RUNNING, RUNNING | PREEMPT));
	atomic_store(&over, true);
	until_state_is(&w, BLOCKED);
	ASSERT_EQ(0, umcg_sys_kick(0, w.tid));
	expect_state(&w, BLOCKED);
	gate_open(&gate);
	until_back(&w);
	finish_in_time(&w);
}

static void note(int signal)
{
	(void)signal;
}

TEST(signal_has_it_look_too, .clauses = "PRE-3 R14")
{
	on_signal(SIGUSR1, note, 0);
	w.body = spin;
	become_server();
	hire(&w);
	let_run(&w);
	/* Without the flag it goes on. */
	ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR1));
	nap(SOON);
	EXPECT_EQ(RUNNING, state_of(&w.own));
	ASSERT_TRUE(umcg_move(&w.own.task, RUNNING, RUNNING | PREEMPT));
	ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR1));
	until_back(&w);
	atomic_store(&over, true);
	finish_in_time(&w);
}

/* Who is made RUNNABLE by another one, and does not say that it is about to wait. */
static void *be_stopped(void *arg)
{
	struct peer *other = arg;

	ASSERT_EQ(0, enrol(&other->umcg, 0));
	atomic_store(&other->tid, gettid());
	while (!atomic_load(&over))
		;
	return NULL;
}

TEST(runnable_without_a_wait, .clauses = "KICK-5 KICK-2 R30 R44")
{
	ASSERT_EQ(0, pthread_create(&p.thread, NULL, be_stopped, &p));
	while (!atomic_load(&p.tid))
		sched_yield();
	/* On its way to umcg_wait(), it is let go on. */
	umcg_set_word(&p.umcg.task, RUNNABLE | COND_WAIT);
	ASSERT_EQ(0, umcg_sys_kick(0, p.tid));
	nap(SOON);
	EXPECT_EQ('R', thread_state(getpid(), p.tid));
	umcg_set_word(&p.umcg.task, RUNNABLE);
	ASSERT_EQ(0, umcg_sys_kick(0, p.tid));
	until_state(getpid(), p.tid, 'S');
	atomic_store(&over, true);
	expect_asleep(&p);
	rouse(&p.umcg);
	pthread_join(p.thread, NULL);
}

UMCG_TEST_MAIN
