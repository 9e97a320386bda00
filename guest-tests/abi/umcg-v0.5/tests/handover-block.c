// SPDX-License-Identifier: GPL-2.0
/*
 * A worker that blocks hands its place to its server, or has it woken as ever. A test
 * could not tell the two apart but by what the kernel counts, from just before the worker
 * blocks until its server runs.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>

#include "handover-block.h"
#include "trace.h"

enum { BLOCKS = 100, MANY = 2000 };

static void (*otherwise)(void);

static void block(struct worker *worker)
{
	if (otherwise)
		otherwise();
	while (!atomic_load(&enough)) {
		before = peek(reason);
		ASSERT_TRUE(gate_pass(&gate));
		atomic_fetch_add(&worker->steps, 1);
	}
}

/* Have it block time and again, and add up what is counted. */
static void block_often(void)
{
	for (int i = 0; i < BLOCKS; i++) {
		ASSERT_EQ(BLOCKED, run(&w));
		add_since(before);
		gate_open(&gate);
		until_back(&w);
	}
	/* It is about to count the last one. */
	atomic_store(&enough, true);
	finish(&w);
	EXPECT_EQ(BLOCKS, atomic_load(&w.steps));
	TH_LOG("%s: %ld, delayed: %ld, run: %ld, wait: %ld, exchange: %ld", reason, sum.why,
	       sum.delayed, sum.run, sum.wait, sum.exchange);
}

/* But for where there is an interrupt, or the server had not left the queue. */
static void expect_handed_over(void)
{
	block_often();
	EXPECT_LE(BLOCKS * 9 / 10, sum.run + sum.wait + sum.exchange + sum.delayed);
	EXPECT_LT(0, sum.run + sum.exchange);
}

static void expect_not(const char *why, void (*body)(void))
{
	reason = why;
	otherwise = body;
	pin(0, 0);
	hire_one(block);
	block_often();
	EXPECT_LE(BLOCKS * 9 / 10, sum.why + sum.delayed);
	EXPECT_LT(0, sum.why);
	EXPECT_EQ(0, sum.run + sum.wait + sum.exchange);
}

TEST(fair_worker, .clauses = "BLOCK-1")
{
	pin(0, 0);
	hire_one(block);
	expect_handed_over();
}

TEST(fifo_worker, .clauses = "BLOCK-1")
{
	schedule_as(SCHED_FIFO, 10);
	pin(0, 0);
	hire_one(block);
	expect_handed_over();
	EXPECT_EQ(0, sum.delayed + sum.exchange);
}

/*
 * One that is run again as soon as it is back has mostly run ahead of its server, and is
 * asleep in the queue still. Each of the two runs, and none comes to run twice. Do that so
 * many times, or until the reason is counted.
 */
static void run_again_and_again(int times)
{
	int i;

	pin(0, 0);
	hire_one(block);
	for (i = 0; i < times && !sum.why; i++) {
		struct counts since = peek(reason);

		ASSERT_EQ(BLOCKED, run(&w));
		add_since(since);
		gate_open(&gate);
		while (!take_queued(&w))
			ASSERT_EQ(0, umcg_await_idle(&me, &pool, 0));
		EXPECT_EQ(i, atomic_load(&w.steps));
	}
	atomic_store(&enough, true);
	finish(&w);
	EXPECT_EQ(i, atomic_load(&w.steps));
	TH_LOG("%s: %ld, delayed: %ld, run: %ld, wait: %ld, exchange: %ld", reason, sum.why,
	       sum.delayed, sum.run, sum.wait, sum.exchange);
}

TEST(worker_that_has_not_left_the_queue, .clauses = "WRUN-1 BLOCK-1")
{
	run_again_and_again(MANY);
	EXPECT_LT(0, sum.exchange);
}

/* At the end of a slice they do not change places: the class picks. */
TEST(worker_in_the_queue_at_the_end_of_a_slice, .clauses = "WRUN-1 BLOCK-1")
{
	reason = "resched";
	run_again_and_again(INT_MAX);
	EXPECT_LT(0, sum.why);
}

TEST(worker_of_another_class, .clauses = "BLOCK-1")
{
	expect_not("class", be_fifo);
}

TEST(worker_of_another_nice_level, .clauses = "BLOCK-1")
{
	expect_not("weight", be_nice);
}

TEST(worker_of_another_priority, .clauses = "BLOCK-1")
{
	schedule_as(SCHED_FIFO, 10);
	expect_not("prio", be_higher);
}

/* Neither is such a task given a place, nor is it woken in the runqueue's one visit. */
static void be_deadline(void)
{
	struct attr attr = {
		.policy = 6,
		.runtime = 20 * MS, .deadline = 100 * MS, .period = 100 * MS,
	};

	ASSERT_EQ(0, set_attr(0, attr));
}

static void expect_nothing_counted(void)
{
	EXPECT_EQ(0, sum.why + sum.delayed + sum.run + sum.wait + sum.exchange);
}

TEST(server_that_has_a_deadline, .clauses = "BLOCK-1")
{
	hire_one(block);
	be_deadline();
	block_often();
	expect_nothing_counted();
}

TEST(server_on_another_cpu, .clauses = "BLOCK-1")
{
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return;
	hire_one(block);
	pin(0, 0);
	pin(w.tid, 1);
	block_often();
	expect_nothing_counted();
}

/* The lock of a futex that lends its priority; it has a schedule() of its own. */
static uint32_t lock;
static atomic_bool locked, unlock_it;

static long lock_pi(int op)
{
	return syscall(SYS_futex, &lock, op, 0, NULL, NULL, 0);
}

static void *hold(void *arg)
{
	ASSERT_EQ(0, lock_pi(FUTEX_LOCK_PI));
	atomic_store(&locked, true);
	while (!atomic_load(&unlock_it))
		nap(MS);
	ASSERT_EQ(0, lock_pi(FUTEX_UNLOCK_PI));
	return arg;
}

static void block_at_the_lock(struct worker *worker)
{
	before = peek(reason);
	ASSERT_EQ(0, lock_pi(FUTEX_LOCK_PI));
	atomic_fetch_add(&worker->steps, 1);
}

TEST(worker_at_a_lock_that_lends_priority, .clauses = "BLOCK-1")
{
	pthread_t thread;

	pin(0, 0);
	ASSERT_EQ(0, pthread_create(&thread, NULL, hold, NULL));
	while (!atomic_load(&locked))
		nap(MS);
	hire_one(block_at_the_lock);
	ASSERT_EQ(BLOCKED, run(&w));
	add_since(before);
	expect_nothing_counted();
	atomic_store(&unlock_it, true);
	until_back(&w);
	finish(&w);
	pthread_join(thread, NULL);
	EXPECT_EQ(1, atomic_load(&w.steps));
}

/*
 * A stop by ptrace is a sleep in a state that does not bear to be awake for nothing. It
 * is that of one worker, where all other stops are of the whole process.
 */
static struct traced {
	atomic_int tid;		/* the worker runs */
	atomic_bool stopped;	/* its server has seen it stop */
	atomic_bool go;		/* it is not traced any more */
} *traced;

static void be_stopped(struct worker *worker)
{
	atomic_store(&traced->tid, worker->tid);
	while (!atomic_load(&traced->go))
		;
	atomic_fetch_add(&worker->steps, 1);
}

static void serve_one_that_stops(void (*be)(void))
{
	if (!be)
		pin(0, 0);
	hire_one(be_stopped);
	if (be)
		be();
	before = peek(reason);
	ASSERT_EQ(BLOCKED, run(&w));
	add_since(before);
	/* The server to the worker, and back. */
	EXPECT_EQ(be ? 0 : 2, sum.run + sum.wait + sum.exchange + sum.delayed);
	atomic_store(&traced->stopped, true);
	while (!atomic_load(&traced->go))
		nap(MS);
	until_back(&w);
	finish(&w);
	EXPECT_EQ(1, atomic_load(&w.steps));
}

static void expect_to_stop(void (*be)(void))
{
	pid_t pid, tid;

	traced = shared_memory(sizeof(*traced));
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		serve_one_that_stops(be);
		_exit(0);
	}
	while (!(tid = atomic_load(&traced->tid))) {
		ASSERT_EQ(0, waitpid(pid, NULL, WNOHANG));
		nap(MS);
	}
	trace_begin(tid);
	trace_asleep(tid);
	while (!atomic_load(&traced->stopped)) {
		ASSERT_EQ(0, waitpid(pid, NULL, WNOHANG));
		nap(MS);
	}
	nap(SOON);
	EXPECT_EQ('t', thread_state(pid, tid));
	trace_asleep(tid);
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, tid, NULL, NULL));
	atomic_store(&traced->go, true);
	EXPECT_EQ(0, reap_child(pid));
}

TEST(worker_that_is_stopped, .clauses = "BLOCK-1")
{
	expect_to_stop(NULL);
}

TEST(worker_that_is_stopped_and_server_with_a_deadline, .clauses = "BLOCK-1")
{
	expect_to_stop(be_deadline);
}

/*
 * A worker that is run again before it has left the queue has its server stay there. If
 * it stops then it has to leave, and does not change places.
 */
static atomic_bool at_gate;

static void pass_and_be_stopped(struct worker *worker)
{
	pid_t pid = getpid();

	atomic_store(&traced->tid, worker->tid);
	while (!atomic_load(&traced->go))
		;
	while (!atomic_load(&enough)) {
		atomic_store(&at_gate, true);
		ASSERT_TRUE(gate_pass(&gate));
		atomic_store(&at_gate, false);
		/* Its tracer takes the signal. */
		ASSERT_EQ(0, syscall(SYS_tgkill, pid, worker->tid, SIGUSR1));
	}
}

static void serve_one_that_stops_at_once(void)
{
	reason = "special";
	hire_one(pass_and_be_stopped);
	while (!sum.why) {
		struct counts since = peek(reason);

		/* After a stop it may be back by now. */
		ASSERT_NE(NONE, run(&w));
		add_since(since);
		if (atomic_load(&at_gate))
			gate_open(&gate);
		while (!take_queued(&w))
			ASSERT_EQ(0, umcg_await_idle(&me, &pool, 0));
	}
	TH_LOG("%s: %ld, delayed: %ld, run: %ld, wait: %ld, exchange: %ld", reason, sum.why,
	       sum.delayed, sum.run, sum.wait, sum.exchange);
	EXPECT_LT(0, sum.why);
	atomic_store(&enough, true);
	finish_in_time(&w);
}

TEST(worker_that_is_stopped_and_server_in_the_queue, .clauses = "WRUN-1 BLOCK-1")
{
	int status;
	pid_t pid;

	pin(0, 0);
	traced = shared_memory(sizeof(*traced));
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		serve_one_that_stops_at_once();
		_exit(0);
	}
	while (!atomic_load(&traced->tid)) {
		ASSERT_EQ(0, waitpid(pid, NULL, WNOHANG));
		nap(MS);
	}
	trace_begin(traced->tid);
	atomic_store(&traced->go, true);
	do
		ASSERT_EQ(0, ptrace(PTRACE_CONT, traced->tid, NULL, NULL));
	while (waitpid(traced->tid, &status, __WALL) == traced->tid && WIFSTOPPED(status));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, reap_child(pid));
}

UMCG_TEST_MAIN
