// SPDX-License-Identifier: GPL-2.0
/* Workers that block, and come back. */
#include <sys/socket.h>

#include "away.h"
#include "staff.h"

static struct worker w, w2;

TEST(block_is_reported, .clauses = "BLOCK-1 BLOCK-9 TASK-3 BACK-1")
{
	uint64_t before, blocked;

	gate_make(&gate);
	w.body = pass_gate;
	w.bits = SOME_BITS;
	become_server();
	hire(&w);
	before = from_now(0);
	EXPECT_EQ(BLOCKED, run(&w));
	EXPECT_EQ(BLOCKED | SOME_BITS, umcg_word(&w.own.task));
	blocked = w.own.task.blocked_ts;
	EXPECT_LE(before, blocked);
	EXPECT_LE(blocked, from_now(0));
	expect_none_listed(&me);
	expect_state(&w, BLOCKED);
	before = from_now(0);
	gate_open(&gate);
	until_state_is(&w, RUNNABLE);
	EXPECT_EQ(RUNNABLE | SOME_BITS, umcg_word(&w.own.task));
	EXPECT_LE(before, w.own.task.runnable_ts);
	EXPECT_LE(w.own.task.runnable_ts, from_now(0));
	EXPECT_EQ(blocked, w.own.task.blocked_ts);
	/* It is held in the call. */
	EXPECT_EQ(0, atomic_load(&w.steps));
	expect_listed(&w);
	finish_in_time(&w);
	EXPECT_EQ(0, w.result);
}

/* On the way from its mark to the call. */
static void block_between(struct worker *worker)
{
	umcg_set_word(&worker->own.task, RUNNABLE | COND_WAIT);
	pass_gate(worker);
	worker->result = umcg_sys_wait(0, 0);
}

TEST(blocks_with_its_mark, .clauses = "BLOCK-3 ARG-4 R30 R33")
{
	gate_make(&gate);
	w.body = block_between;
	become_server();
	hire(&w);
	EXPECT_EQ(BLOCKED, run(&w));
	gate_open(&gate);
	until_back(&w);
	finish_in_time(&w);
	EXPECT_EQ(-EAGAIN, w.result);
}

static void spin_and_pass(struct worker *worker)
{
	spin(worker);
	pass_gate(worker);
}

TEST(server_runs_already, .clauses = "BLOCK-4 BACK-2 R11 R48")
{
	gate_make(&gate);
	w.body = spin_and_pass;
	become_server();
	hire(&w);
	let_run(&w);
	atomic_store(&over, true);
	until_state_is(&w, BLOCKED);
	EXPECT_EQ(RUNNING, umcg_word(&me.task));
	gate_open(&gate);
	until_back(&w);
	/* Nobody has said anything, and nothing is left of it. */
	EXPECT_EQ(-ETIMEDOUT, wait_with(&me, 0, 0, from_now(MS)));
	finish_in_time(&w);
}

/* Woken by the one that comes back, it finds that the other one runs. */
TEST(woken_while_another_runs, .clauses = "BACK-2 NEXT-3 R37 R48")
{
	int err;

	gate_make(&gate);
	w.body = pass_gate;
	w2.body = spin;
	become_server();
	hire(&w);
	hire(&w2);
	EXPECT_EQ(BLOCKED, run(&w));
	let_run(&w2);
	umcg_set_word(&me.task, RUNNABLE | COND_WAIT);
	me.task.next_tid = w2.tid | RUNS;
	gate_open(&gate);
	/* It may be back before we sleep. */
	err = umcg_sys_wait(0, 0);
	ASSERT_TRUE(err == 0 || err == -EAGAIN);
	EXPECT_EQ(RUNNING, state_of(&w2.own));
	EXPECT_EQ(w2.tid | RUNS, me.task.next_tid);
	until_state_is(&w, RUNNABLE);
	expect_listed(&w);
	atomic_store(&over, true);
	finish_in_time(&w2);
	finish_in_time(&w);
}

TEST(list_is_a_stack, .clauses = "BACK-1 BACK-4 R10 R58")
{
	static struct worker many[8];

	gate_make(&gate);
	become_server();
	for (int i = 0; i < 8; i++) {
		many[i].body = pass_gate;
		hire(&many[i]);
		EXPECT_EQ(BLOCKED, run(&many[i]));
	}
	for (int i = 0; i < 8; i++) {
		gate_open(&gate);
		for (int n = 0; n <= i;) {
			n = 0;
			for (int k = 0; k < 8; k++)
				n += state_of(&many[k].own) == RUNNABLE;
			nap(MS);
		}
	}
	/* Readers of a pipe are woken in their order: the last is first. */
	nap(SOON);
	{
		struct umcg *node = take(&me), *next;
		int n = 0;
		uint64_t last = UINT64_MAX;

		for (; node; node = next) {
			next = next_of(node);
			EXPECT_LE(node->task.runnable_ts, last);
			last = node->task.runnable_ts;
			n++;
		}
		EXPECT_EQ(8, n);
	}
	for (int i = 0; i < 8; i++)
		finish_in_time(&many[i]);
}

/* Whatever is in the field that it puts its own into, nobody follows it. */
TEST(old_head_is_not_followed, .clauses = "BACK-1")
{
	become_server();
	me.task.runnable_workers_ptr = 0x1234;
	worker_start(&w);
	until_state_is(&w, RUNNABLE);
	EXPECT_EQ(&w.own, take(&me));
	EXPECT_EQ(0x1234, w.own.task.runnable_workers_ptr);
	finish(&w);
}

static int pair[2];

static void sleep_twice(struct worker *worker)
{
	char bytes[2];

	/* Both sleep in one call. */
	worker->result = recv(pair[0], bytes, 2, MSG_WAITALL) == 2 ? 0 : -errno;
}

TEST(second_sleep_is_not_reported, .clauses = "BLOCK-5 R54")
{
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	w.body = sleep_twice;
	become_server();
	hire(&w);
	EXPECT_EQ(BLOCKED, run(&w));
	ASSERT_EQ(1, write(pair[1], "", 1));
	nap(SOON);
	EXPECT_EQ(BLOCKED, umcg_word(&w.own.task));
	EXPECT_EQ(-ETIMEDOUT, wait_with(&me, 0, 0, from_now(SOON)));
	ASSERT_EQ(1, write(pair[1], "", 1));
	until_back(&w);
	finish_in_time(&w);
	EXPECT_EQ(0, w.result);
}

static void yield_cpu(struct worker *worker)
{
	for (int i = 0; i < 100; i++) {
		sched_yield();
		EXPECT_EQ(RUNNING, state_of(&worker->own));
	}
}

TEST(preempted_by_the_scheduler, .clauses = "BLOCK-7")
{
	w.body = yield_cpu;
	become_server();
	hire(&w);
	finish(&w);
}

TEST(server_is_woken_on_that_cpu, .clauses = "BLOCK-1")
{
	cpu_set_t all;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return;
	CPU_ZERO(&all);
	CPU_SET(0, &all);
	CPU_SET(1, &all);
	gate_make(&gate);
	w.body = pass_gate;
	become_server();
	hire(&w);
	pin(w.tid, 1);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(all), &all));
	EXPECT_EQ(BLOCKED, run(&w));
	EXPECT_EQ(1, sched_getcpu());
	gate_open(&gate);
	until_back(&w);
	finish_in_time(&w);
}

/* Memory that is away when a worker sleeps. */
static struct worker *paged;
static struct umcg *paged_server;
static void *out[2];
static atomic_bool swapped;

static void swap_out_and_block(struct worker *worker)
{
	atomic_store(&worker->steps, 1);
	while (!atomic_load(&swapped))
		;
	worker->result = gate_pass(&gate) ? 0 : -errno;
}

static void *serve_swapped(void *arg)
{
	struct worker *worker = paged;

	ASSERT_EQ(0, enrol(paged_server, 0));
	*(uint32_t *)arg = run_under(paged_server, worker);
	ASSERT_EQ(0, leave(paged_server, 0));
	return NULL;
}

/* Each in a page of its own; `serve` runs the worker, and says what came of it. */
static pthread_t hire_paged(void (*body)(struct worker *), void *(*serve)(void *),
			    uint32_t *word)
{
	pthread_t thread;

	paged = paged ?: own_page();
	paged_server = own_page();
	paged->body = body;
	become_server();
	hire(paged);
	ASSERT_EQ(0, pthread_create(&thread, NULL, serve, word));
	while (!atomic_load(&paged->steps))
		nap(MS);
	return thread;
}

static void block_without(bool its_own, bool its_servers)
{
	pthread_t thread;
	uint32_t word = 0;

	gate_make(&gate);
	swap_on();
	thread = hire_paged(swap_out_and_block, serve_swapped, &word);
	out[0] = its_own ? (void *)paged : NULL;
	out[1] = its_servers ? (void *)paged_server : NULL;
	/* The worker spins on what is elsewhere. */
	for (int i = 0; i < 2; i++)
		if (out[i])
			page_out(out[i]);
	atomic_store(&swapped, true);
	pthread_join(thread, NULL);
	EXPECT_EQ(BLOCKED, word);
	gate_open(&gate);
	/* Its server is gone: it goes on, and leaves. */
	pthread_join(paged->thread, NULL);
	EXPECT_EQ(0, paged->result);
	EXPECT_EQ(-ESRCH, paged->left);
	swap_off();
}

TEST(worker_swapped_out, .clauses = "BLOCK-6 WREG-5 R15 R26 R34 R46")
{
	block_without(true, false);
}

TEST(server_swapped_out, .clauses = "BLOCK-6 WREG-5 R15 R26 R34 R46")
{
	block_without(false, true);
}

TEST(both_swapped_out, .clauses = "BLOCK-6 WREG-5 R15 R26 R27 R34 R46")
{
	block_without(true, true);
}

/* To look at its own word on its way to user space it has to sleep. */
static void *serve_first(void *arg)
{
	struct sched_param above = { .sched_priority = 1 };

	ASSERT_EQ(0, sched_setscheduler(0, SCHED_FIFO, &above));
	return serve_swapped(arg);
}

TEST(kicked_while_its_page_is_away, .clauses = "BLOCK-6 KICK-2 BACK-1 R15 R34")
{
	static struct kept kept;
	pthread_t thread;
	uint32_t word = 0;
	pid_t tid;

	gate_make(&gate);
	/* When the page is there, the server is the first of the two to go on. */
	thread = hire_paged(swap_out_and_block, serve_first, &word);
	tid = paged->tid;
	page_keep(&kept, paged);
	ASSERT_EQ(0, umcg_sys_kick(0, tid));
	until_wanted(&kept);
	nap(SOON);
	page_give(&kept);
	pthread_join(thread, NULL);
	EXPECT_EQ(BLOCKED, word);
	atomic_store(&swapped, true);
	gate_open(&gate);
	pthread_join(paged->thread, NULL);
	EXPECT_EQ(0, paged->result);
	EXPECT_EQ(-ESRCH, paged->left);
}

static int left_with;

/* It touches nothing of its page. */
static void leave_when_told(struct worker *worker)
{
	struct umcg_task *task = &worker->own.task;

	atomic_store(&worker->steps, 1);
	while (!atomic_load(&swapped))
		;
	left_with = umcg_sys_ctl(UNREGISTER | WORKER, task, 0);
}

TEST(leaves_while_its_page_is_away, .clauses = "WREG-4 R35")
{
	static struct kept kept;
	pthread_t thread;
	uint32_t word = BLOCKED;

	paged = own_page();
	paged->stays = true;
	thread = hire_paged(leave_when_told, serve_first, &word);
	page_keep(&kept, paged);
	atomic_store(&swapped, true);
	until_wanted(&kept);
	nap(SOON);
	page_give(&kept);
	pthread_join(thread, NULL);
	/* A server that hears of a block waits for the worker to be back. */
	EXPECT_EQ(NONE, word);
	worker_join(paged);
	EXPECT_EQ(0, left_with);
}

UMCG_TEST_MAIN
