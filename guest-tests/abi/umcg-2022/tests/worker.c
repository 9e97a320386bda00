// SPDX-License-Identifier: GPL-2.0
/* Workers: they register, are run, wait and leave. */
#include "staff.h"

static struct worker w, w2;

static void *serve_idle(void *arg)
{
	struct peer *p = arg;

	return peer_body(p);
}

static struct peer server;

static void start_server(void)
{
	ASSERT_EQ(0, pthread_create(&server.thread, NULL, serve_idle, &server));
	while (!atomic_load(&server.tid))
		sched_yield();
	until_asleep(&server);
}

TEST(waits_to_be_run, .clauses = "WREG-1 WRUN-1 BACK-1")
{
	become_server();
	w.body = stop_and_step;
	worker_start(&w);
	until_state_is(&w, RUNNABLE);
	expect_state(&w, RUNNABLE);
	EXPECT_EQ(0, atomic_load(&w.steps));
	expect_listed(&w);
	EXPECT_EQ(RUNNABLE, run(&w));
	expect_none_listed(&me);
	EXPECT_EQ(0, atomic_load(&w.steps));
	finish(&w);
	EXPECT_EQ(1, atomic_load(&w.steps));
	EXPECT_EQ(0, w.result);
}

TEST(its_server_is_woken, .clauses = "WREG-1")
{
	start_server();
	me.tid = server.umcg.tid;
	worker_start(&w);
	EXPECT_EQ(0, peer_join(&server));
	until_state_is(&w, RUNNABLE);
	expect_listed_under(&server.umcg, &w);
	/* Its server is gone by now: it is run by another. */
	become_server();
	finish(&w);
}

TEST(state_must_be_blocked, .clauses = "WREG-2 CTL-10 R19")
{
	static const uint32_t bad[] = { NONE, RUNNING, RUNNABLE, 4, BLOCKED | PREEMPT };
	static struct umcg_task task;

	start_server();
	task.server_tid = server.umcg.tid;
	for (int i = 0; i < 5; i++) {
		umcg_set_word(&task, bad[i]);
		EXPECT_EQ(-EINVAL, umcg_sys_ctl(REGISTER | WORKER, &task, CLOCK_MONOTONIC));
		EXPECT_EQ(bad[i], umcg_word(&task));
	}
	umcg_set_word(&task, BLOCKED);
	task.next_tid = 1;
	EXPECT_EQ(-EINVAL, umcg_sys_ctl(REGISTER | WORKER, &task, CLOCK_MONOTONIC));
	task.next_tid = 0;
	task.blocked_workers_ptr = 64;
	EXPECT_EQ(-EINVAL, umcg_sys_ctl(REGISTER | WORKER, &task, CLOCK_MONOTONIC));
	rouse(&server.umcg);
	peer_join(&server);
}

TEST(server_must_be_one, .clauses = "WREG-3 CTL-10 MM-1 R5 R18 R57")
{
	struct peer *other = shared_memory(sizeof(*other));
	pid_t pid = fork();
	uint32_t tids[6];

	if (!pid) {
		peer_body(other);
		_exit(0);
	}
	while (!atomic_load(&other->tid))
		sched_yield();
	become_server();
	hire(&w);
	tids[0] = 0;
	tids[1] = plain_thread();
	tids[2] = gone_thread();
	tids[3] = other->tid;
	tids[4] = w.tid;
	tids[5] = UINT32_MAX;
	ASSERT_EQ(0, leave(&me, 0));
	for (int i = 0; i < 6; i++)
		EXPECT_EQ(-ESRCH, register_worker(&me, tids[i], 0));
	/* Nor itself. */
	EXPECT_EQ(-ESRCH, register_worker(&me, gettid(), 0));
	become_server();
	finish(&w);
	kill(pid, SIGKILL);
	reap_child(pid);
}

TEST(user_bits_are_kept, .clauses = "TASK-3 WREG-1 WREG-4 WRUN-1 WRUN-3 R19")
{
	w.bits = UMCG_USER_MASK;
	w.body = stop_and_step;
	become_server();
	hire(&w);
	EXPECT_EQ(RUNNABLE | UMCG_USER_MASK, umcg_word(&w.own.task));
	EXPECT_EQ(RUNNABLE, run(&w));
	EXPECT_EQ(RUNNABLE | UMCG_USER_MASK, umcg_word(&w.own.task));
	finish(&w);
	EXPECT_EQ(NONE | UMCG_USER_MASK, umcg_word(&w.own.task));
}

static void unregister_wrongly(struct worker *worker)
{
	EXPECT_EQ(-EINVAL, leave(&worker->own, 0));
	EXPECT_EQ(-EINVAL, umcg_sys_ctl(UNREGISTER | WORKER, NULL, 0));
	umcg_set_word(&worker->own.task, RUNNABLE | COND_WAIT);
	EXPECT_EQ(-EAGAIN, leave(&worker->own, WORKER));
	umcg_set_word(&worker->own.task, RUNNING);
	EXPECT_EQ(-EINVAL, register_worker(&(struct umcg){}, me.tid, 0));
}

TEST(unregister_as_what_it_is, .clauses = "WREG-4 CTL-13 CTL-14 CTL-7")
{
	w.body = unregister_wrongly;
	become_server();
	hire(&w);
	finish_in_time(&w);
}

static void register_again(struct worker *worker)
{
	ASSERT_EQ(0, leave(&worker->own, WORKER));
	ASSERT_EQ(0, register_worker(&worker->own, me.tid, 0));
	atomic_fetch_add(&worker->steps, 1);
}

TEST(register_after_unregistering, .clauses = "WREG-4 WREG-1 R35")
{
	w.body = register_again;
	become_server();
	hire(&w);
	/* By the time we look it may be on its way back. */
	run(&w);
	until_back(&w);
	EXPECT_EQ(0, atomic_load(&w.steps));
	finish_in_time(&w);
	EXPECT_EQ(1, atomic_load(&w.steps));
}

TEST(leaving_wakes_its_server, .clauses = "WREG-4 WLIFE-1 R35")
{
	become_server();
	hire(&w);
	finish(&w);
	EXPECT_EQ(w.tid | RUNS, me.task.next_tid);
	memset(&w, 0, sizeof(w));
	/* So does one that ends without a word. */
	w.stays = true;
	hire(&w);
	finish(&w);
}

/* umcg_wait() of workers. */
static void yield_as_posted(struct worker *worker)
{
	worker->result = wait_with(&worker->own, 0, 0, 0);
	atomic_fetch_add(&worker->steps, 1);
	worker->result |= wait_with(&worker->own, 0, UMCG_WAIT_ENQUEUE, 0);
	atomic_fetch_add(&worker->steps, 1);
}

TEST(joins_the_list, .clauses = "WRUN-2 BACK-1")
{
	w.body = yield_as_posted;
	become_server();
	hire(&w);
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(RUNNABLE, run(&w));
		EXPECT_EQ(i, atomic_load(&w.steps));
		expect_listed(&w);
	}
	finish(&w);
	EXPECT_EQ(0, w.result);
}

TEST(joins_no_list, .clauses = "WRUN-3")
{
	w.body = stop_and_step;
	become_server();
	hire(&w);
	EXPECT_EQ(RUNNABLE, run(&w));
	expect_state(&w, RUNNABLE);
	expect_none_listed(&me);
	finish(&w);
}

static void wait_wrongly(struct worker *worker)
{
	EXPECT_EQ(-EINVAL, wait_with(&worker->own, 0, 2, 0));
	EXPECT_EQ(-EINVAL, wait_with(&worker->own, 0, UMCG_WAIT_ENQUEUE, 1));
	EXPECT_EQ(-EINVAL, wait_with(&worker->own, 0, UMCG_WAIT_ENQUEUE, UMCG_NEVER));
	EXPECT_EQ(RUNNABLE | COND_WAIT, umcg_word(&worker->own.task));
	umcg_set_word(&worker->own.task, RUNNING);
	EXPECT_EQ(-EAGAIN, umcg_sys_wait(0, 0));
	EXPECT_EQ(-EAGAIN, umcg_sys_wait(UMCG_WAIT_ENQUEUE, 0));
	/* Whom it wants to run. */
	EXPECT_EQ(-ESRCH, wait_with(&worker->own, gettid() + 100000, 0, 0));
	EXPECT_EQ(-EAGAIN, wait_with(&worker->own, w2.tid, 0, 0));
	EXPECT_EQ(w2.tid, worker->own.task.next_tid);
	EXPECT_EQ(RUNNING, umcg_word(&worker->own.task));
	worker->own.task.server_tid = gettid();
	EXPECT_EQ(-ESRCH, wait_with(&worker->own, 0, 0, 0));
	EXPECT_EQ(RUNNING, umcg_word(&worker->own.task));
	worker->own.task.server_tid = me.tid;
	/* After all that it is a worker as ever (R40). */
	pass_gate(worker);
}

TEST(errors_leave_it_running, .clauses = "ARG-2 ARG-4 ARG-5 NEXT-2 NEXT-4 WRUN-6 R36 R40")
{
	gate_make(&gate);
	w.body = wait_wrongly;
	w2.body = pass_gate;
	become_server();
	hire(&w2);
	EXPECT_EQ(BLOCKED, run(&w2));
	hire(&w);
	EXPECT_EQ(BLOCKED, run(&w));
	expect_none_listed(&me);
	gate_open(&gate);
	gate_open(&gate);
	until_state_is(&w, RUNNABLE);
	until_state_is(&w2, RUNNABLE);
	ASSERT_TRUE(take(&me));
	finish_in_time(&w);
	finish_in_time(&w2);
}

static void run_the_other(struct worker *worker)
{
	me.task.next_tid = w2.tid | RUNS;
	worker->result = wait_with(&worker->own, w2.tid, 0, (uintptr_t)worker->arg);
	atomic_fetch_add(&worker->steps, 1);
}

static void count_and_stop(struct worker *worker)
{
	atomic_fetch_add(&worker->steps, 1);
	worker->result = stop(worker);
}

/* Under a server that sleeps on, if the worker joins no list. */
TEST(worker_to_worker, .clauses = "WRUN-4 WRUN-3 R8")
{
	w.body = run_the_other;
	w.arg = (void *)UMCG_NEVER;
	w2.body = count_and_stop;
	become_server();
	hire(&w);
	hire(&w2);
	me.task.next_tid = w.tid;
	umcg_set_word(&me.task, RUNNABLE | COND_WAIT);
	/* Woken by the second, not by the first. */
	ASSERT_EQ(0, umcg_sys_wait(0, 0));
	EXPECT_EQ(1, atomic_load(&w2.steps));
	EXPECT_EQ(RUNNABLE, umcg_bits(umcg_word(&w2.own.task)));
	EXPECT_EQ(RUNNABLE, umcg_bits(umcg_word(&w.own.task)));
	EXPECT_EQ(w2.tid | RUNS, w.own.task.next_tid);
	expect_none_listed(&me);
	finish(&w2);
	finish(&w);
	EXPECT_EQ(0, w.result);
}

TEST(worker_to_worker_as_posted, .clauses = "WRUN-4 WRUN-2 R8")
{
	w.body = run_the_other;
	w2.body = spin;
	become_server();
	hire(&w);
	hire(&w2);
	me.task.next_tid = w.tid;
	umcg_set_word(&me.task, RUNNABLE | COND_WAIT);
	/* The server is woken, and finds that the other one runs. */
	ASSERT_EQ(0, umcg_sys_wait(0, 0));
	expect_listed(&w);
	EXPECT_EQ(RUNNING, state_of(&w2.own));
	EXPECT_EQ(-ETIMEDOUT, wait_with(&me, w2.tid | RUNS, 0, from_now(MS)));
	atomic_store(&over, true);
	finish_in_time(&w2);
	finish(&w);
}

TEST(two_take_turns, .clauses = "WRUN-1 WRUN-3 NEXT-6 R1 R13")
{
	become_server();
	w.body = stop_and_step;
	for (int i = 0; i < 200; i++) {
		memset(&w.own, 0, sizeof(w.own));
		hire(&w);
		EXPECT_EQ(RUNNABLE, run(&w));
		finish(&w);
	}
}

UMCG_TEST_MAIN
