// SPDX-License-Identifier: GPL-2.0
/* Servers that run several workers at a time, and one that may not. */
#include "away.h"
#include "staff.h"

static struct worker w, w2;

static void become_multi_server(void)
{
	ASSERT_EQ(0, enrol(&me, MULTI));
}

static struct umcg *take_blocked(void)
{
	return umcg_of(__atomic_exchange_n(&me.task.blocked_workers_ptr, 0, __ATOMIC_SEQ_CST));
}

TEST(blocked_are_listed, .clauses = "MULTI-1 MULTI-2 BLOCK-1 BLOCK-8")
{
	gate_make(&gate);
	w.body = w2.body = pass_gate;
	become_multi_server();
	hire(&w);
	hire(&w2);
	EXPECT_EQ(NULL, take_blocked());
	EXPECT_EQ(BLOCKED, run(&w));
	EXPECT_EQ(BLOCKED, run(&w2));
	/* The last first. */
	EXPECT_EQ(&w2.own, take_blocked());
	EXPECT_EQ((uintptr_t)&w.own, w2.own.task.blocked_workers_ptr);
	EXPECT_EQ(0, w.own.task.blocked_workers_ptr);
	gate_open(&gate);
	gate_open(&gate);
	until_state_is(&w, RUNNABLE);
	until_state_is(&w2, RUNNABLE);
	ASSERT_TRUE(take(&me));
	EXPECT_EQ(NULL, take_blocked());
	finish_in_time(&w);
	finish_in_time(&w2);
}

static void spin_and_block(struct worker *worker)
{
	spin(worker);
	pass_gate(worker);
}

TEST(two_run_at_a_time, .clauses = "MULTI-1 MULTI-2 R37")
{
	struct umcg *first;

	gate_make(&gate);
	w.body = w2.body = spin_and_block;
	become_multi_server();
	hire(&w);
	hire(&w2);
	let_run(&w);
	let_run(&w2);
	EXPECT_EQ(RUNNING, state_of(&w.own));
	atomic_store(&over, true);
	until_state_is(&w, BLOCKED);
	until_state_is(&w2, BLOCKED);
	first = take_blocked();
	ASSERT_TRUE(first == &w.own || first == &w2.own);
	EXPECT_EQ(first == &w.own ? (uintptr_t)&w2.own : (uintptr_t)&w.own,
		  first->task.blocked_workers_ptr);
	gate_open(&gate);
	gate_open(&gate);
	until_state_is(&w, RUNNABLE);
	until_state_is(&w2, RUNNABLE);
	ASSERT_TRUE(take(&me));
	finish_in_time(&w);
	finish_in_time(&w2);
}

/* Of the two that run, the server has run the second last. */
static void run_two(void *arg)
{
	(void)arg;
	gate_make(&gate);
	w.body = w2.body = spin_and_block;
	become_server();
	hire(&w);
	hire(&w2);
	let_run(&w);
	let_run(&w2);
	atomic_store(&over, true);
	until_state_is(&w, BLOCKED);
	gate_open(&gate);
	gate_open(&gate);
	for (;;)
		nap(MS);
}

TEST(second_one_is_refused, .clauses = "BLOCK-8 VIOL-1 R37")
{
	/* Found as it blocks, it is killed as it comes back. */
	EXPECT_EQ(SIGKILL, WTERMSIG(status_of_child(run_two, NULL)));
}

static atomic_bool seen;

/* Wait for one to run that runs already, and go on. */
static void fail_to_wait(struct worker *worker)
{
	spin(worker);
	worker->own.task.next_tid = me.tid;
	umcg_move(&worker->own.task, RUNNING, RUNNABLE | COND_WAIT);
	atomic_store(&worker->steps, 2);
	while (!atomic_load(&seen))
		;
	EXPECT_EQ(-EAGAIN, umcg_sys_wait(0, UMCG_NEVER));
	pass_gate(worker);
}

/* To the server it has stopped, and the server runs another. */
TEST(one_that_was_marked_is_not_judged, .clauses = "BLOCK-8 WRUN-6 R37")
{
	gate_make(&gate);
	w.body = fail_to_wait;
	w2.body = pass_gate;
	become_server();
	hire(&w);
	hire(&w2);
	let_run(&w);
	atomic_store(&over, true);
	while (atomic_load(&w.steps) != 2)
		nap(MS);
	EXPECT_EQ(BLOCKED, run(&w2));
	atomic_store(&seen, true);
	until_state_is(&w, BLOCKED);
	gate_open(&gate);
	gate_open(&gate);
	until_state_is(&w, RUNNABLE);
	until_state_is(&w2, RUNNABLE);
	ASSERT_TRUE(take(&me));
	finish_in_time(&w);
	finish_in_time(&w2);
}

static void *serve_later(void *arg)
{
	struct umcg *server = arg;

	ASSERT_EQ(0, enrol(server, MULTI));
	w.own.task.server_tid = server->tid;
	EXPECT_EQ(BLOCKED, run_under(server, &w));
	while (!server->task.blocked_workers_ptr)
		nap(MS);
	EXPECT_EQ((uintptr_t)&w.own, server->task.blocked_workers_ptr);
	ASSERT_EQ(0, leave(server, 0));
	return NULL;
}

/* The list is in memory that is away. */
TEST(listed_where_nothing_was, .clauses = "MULTI-3 BLOCK-6 R15 R46")
{
	struct umcg *server = own_page();
	pthread_t thread;

	swap_on();
	gate_make(&gate);
	w.body = spin_and_block;
	become_server();
	hire(&w);
	ASSERT_EQ(0, pthread_create(&thread, NULL, serve_later, server));
	while (!atomic_load(&w.steps))
		nap(MS);
	page_out(server);
	atomic_store(&over, true);
	pthread_join(thread, NULL);
	gate_open(&gate);
	pthread_join(w.thread, NULL);
	EXPECT_EQ(-ESRCH, w.left);
	swap_off();
}

UMCG_TEST_MAIN
