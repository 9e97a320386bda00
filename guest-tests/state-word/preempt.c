// SPDX-License-Identifier: GPL-2.0
/* Preemption of workers: RUNNING|PREEMPTED, and a signal. */
#include <fcntl.h>

#include "signalled.h"
#include "trace.h"

static atomic_bool over;

static void spin(struct worker *worker)
{
	while (!atomic_load(&over))
		atomic_fetch_add(&worker->steps, 1);
}

/* Have `act` happen on a plain thread, once the worker runs and its server sleeps. */
static void *when_it_runs(void *act)
{
	int steps = atomic_load(&w.steps);

	while (umcg_word(&me.task) != IDLE || bare_word(&w.own) != RUNNING ||
	       atomic_load(&w.steps) == steps)
		nap(MS);
	((void (*)(void))act)();
	return NULL;
}

static void meanwhile(void (*act)(void))
{
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, when_it_runs, act));
	pthread_detach(thread);
}

static void preempt(void)
{
	ASSERT_EQ(0, umcg_preempt(&w.own, SIGUSR1));
}

TEST(preempted_in_user_space)
{
	begin(spin);
	for (int i = 0; i < 10; i++) {
		int steps;

		meanwhile(preempt);
		EXPECT_EQ(0, umcg_resume(&me, &w.own, 0));
		EXPECT_EQ(IDLE | PREEMPTED, umcg_word(&w.own.task));
		EXPECT_EQ(RUNNING, umcg_word(&me.task));
		/* Nobody but its server knows of it. */
		EXPECT_EQ(w.own.tid, me.task.next_tid);
		expect_none_queued(&pool);
		steps = atomic_load(&w.steps);
		expect_word(&w, IDLE | PREEMPTED);
		EXPECT_EQ(steps, atomic_load(&w.steps));
		/* It has its signal still to come. */
		EXPECT_EQ(i, atomic_load(&handled));
	}
	atomic_store(&over, true);
	finish(&w);
	EXPECT_EQ(10, atomic_load(&handled));
}

static void *run_it(void *arg)
{
	struct umcg server;

	ASSERT_EQ(0, umcg_register_server(&server, NULL));
	EXPECT_EQ(NONE, run_under(&server, &w.own));
	ASSERT_EQ(0, umcg_unregister(&server));
	return arg;
}

/* A server that did not run it before may do so now. */
TEST(preempted_and_taken_over)
{
	pthread_t thread;

	begin(spin);
	meanwhile(preempt);
	EXPECT_EQ(IDLE | PREEMPTED, run(&w));
	atomic_store(&over, true);
	ASSERT_EQ(0, pthread_create(&thread, NULL, run_it, NULL));
	pthread_join(thread, NULL);
	worker_join(&w);
	EXPECT_EQ(1, atomic_load(&handled));
}

static void await_over_and_pass(struct worker *worker)
{
	spin(worker);
	worker->result = gate_pass(&gate) ? 0 : -errno;
}

/* The mark alone, and then on with it before any signal comes. */
static void mark_and_go_on(void)
{
	ASSERT_TRUE(umcg_move(&w.own.task, RUNNING, RUNNING | PREEMPTED));
	atomic_store(&over, true);
}

TEST(sleeps_before_the_signal)
{
	begin(await_over_and_pass);
	meanwhile(mark_and_go_on);
	EXPECT_EQ(0, umcg_resume(&me, &w.own, 0));
	EXPECT_EQ(BLOCKED | PREEMPTED, umcg_word(&w.own.task));
	EXPECT_EQ(RUNNING, umcg_word(&me.task));
	expect_none_queued(&pool);
	gate_open(&gate);
	until_back(&w);
	EXPECT_EQ(IDLE, umcg_word(&w.own.task));
	finish(&w);
	EXPECT_EQ(0, w.result);
}

TEST(signal_in_its_sleep)
{
	begin(await_over_and_pass);
	meanwhile(mark_and_go_on);
	EXPECT_EQ(BLOCKED | PREEMPTED, run(&w));
	ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR1));
	until_back(&w);
	EXPECT_EQ(IDLE, umcg_word(&w.own.task));
	EXPECT_EQ(0, atomic_load(&handled));
	finish(&w);
	EXPECT_EQ(1, atomic_load(&handled));
	EXPECT_EQ(-EINTR, w.result);
}

/* It is too late to preempt a worker that blocks; the signal alone comes. */
TEST(blocked_cannot_be_preempted)
{
	begin(await_over_and_pass);
	atomic_store(&over, true);
	EXPECT_EQ(BLOCKED, run(&w));
	EXPECT_EQ(-EAGAIN, umcg_preempt(&w.own, SIGUSR1));
	gate_open(&gate);
	until_back(&w);
	EXPECT_EQ(-EAGAIN, umcg_preempt(&w.own, SIGUSR1));
	finish(&w);
	EXPECT_EQ(0, atomic_load(&handled));
}

/* Locked in both ways. */
static const uint32_t words[] = { RUNNING | LOCKED, IDLE | LOCKED };

/* The signal does what signals do, and no more. */
static void spin_locked(struct worker *worker)
{
	for (int i = 0; i < 2; i++) {
		ASSERT_TRUE(umcg_move(&worker->own.task, RUNNING, words[i]));
		while (atomic_load(&handled) <= i) {
			EXPECT_EQ(words[i], umcg_word(&worker->own.task));
			EXPECT_EQ(IDLE, umcg_word(&me.task));
		}
		ASSERT_TRUE(umcg_move(&worker->own.task, words[i], RUNNING));
	}
}

static void *signal_twice(void *arg)
{
	for (int i = 0; i < 2; i++) {
		while (bare_word(w.umcg) != words[i])
			nap(MS);
		EXPECT_EQ(-EAGAIN, umcg_preempt(&w.own, SIGUSR1));
		ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR1));
		while (atomic_load(&handled) <= i)
			nap(MS);
	}
	return arg;
}

TEST(locked_is_not_preempted)
{
	pthread_t thread;

	begin(spin_locked);
	ASSERT_EQ(0, pthread_create(&thread, NULL, signal_twice, NULL));
	finish(&w);
	EXPECT_EQ(2, atomic_load(&handled));
}

static void signal_often(void)
{
	for (int i = 1; i <= 20; i++) {
		ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR1));
		while (atomic_load(&handled) < i)
			nap(MS);
		EXPECT_EQ(RUNNING, umcg_word(&w.own.task));
		EXPECT_EQ(IDLE, umcg_word(&me.task));
	}
	atomic_store(&over, true);
}

TEST(signal_alone_preempts_nothing)
{
	begin(spin);
	meanwhile(signal_often);
	finish(&w);
	EXPECT_EQ(20, atomic_load(&handled));
}

static void call_until_over(struct worker *worker)
{
	while (!atomic_load(&over)) {
		syscall(SYS_getppid);
		atomic_fetch_add(&worker->steps, 1);
	}
}

/* Neither system calls nor the tick look; whatever signal comes next does. */
static void mark_and_send_another(void)
{
	int steps;

	ASSERT_TRUE(umcg_move(&w.own.task, RUNNING, RUNNING | PREEMPTED));
	steps = atomic_load(&w.steps);
	while (atomic_load(&w.steps) < steps + 100)
		nap(MS);
	EXPECT_EQ(RUNNING | PREEMPTED, umcg_word(&w.own.task));
	EXPECT_EQ(IDLE, umcg_word(&me.task));
	ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR2));
}

TEST(mark_without_its_signal)
{
	begin(call_until_over);
	meanwhile(mark_and_send_another);
	EXPECT_EQ(IDLE | PREEMPTED, run(&w));
	EXPECT_EQ(0, atomic_load(&handled));
	atomic_store(&over, true);
	finish(&w);
	EXPECT_EQ(1, atomic_load(&handled));
}

static void spin_and_yield(struct worker *worker)
{
	spin(worker);
	EXPECT_EQ(0, umcg_yield(&worker->own, 0));
}

TEST(yields_before_the_signal)
{
	begin(spin_and_yield);
	meanwhile(mark_and_go_on);
	EXPECT_EQ(IDLE, run(&w));
	expect_word(&w, IDLE);
	finish(&w);
}

TEST(unregisters_before_the_signal)
{
	begin(spin);
	meanwhile(mark_and_go_on);
	finish(&w);
	EXPECT_EQ(RUNNING, umcg_word(&me.task));
}

/* The server has given up waiting, and is told nothing; the worker stops. */
TEST(preempted_after_a_timeout)
{
	begin(spin);
	EXPECT_EQ(-ETIMEDOUT, umcg_resume(&me, &w.own, from_now(MS)));
	preempt();
	until_word(&w, IDLE | PREEMPTED);
	EXPECT_EQ(RUNNING, umcg_word(&me.task));
	EXPECT_EQ(-ETIMEDOUT, umcg_wait(&me, from_now(SOON)));
	atomic_store(&over, true);
	finish(&w);
	EXPECT_EQ(1, atomic_load(&handled));
}

static void spin_locked_alone(struct worker *worker)
{
	ASSERT_TRUE(umcg_move(&worker->own.task, RUNNING, RUNNING | LOCKED));
	spin(worker);
}

/*
 * In a child, which traces the worker. It stops as its signals are taken, after the
 * look at its word, and nothing reports that sleep, for it is LOCKED. It is unlocked
 * and preempted there, and its last signal is taken in the same go.
 */
static void preempt_in_a_stop(pid_t pid)
{
	off_t at = (off_t)&w.own.task;
	struct umcg_task seen;
	char name[32];
	int mem, status;

	snprintf(name, sizeof(name), "/proc/%d/mem", pid);
	mem = open(name, O_RDWR);
	ASSERT_NE(-1, mem);
	do
		ASSERT_EQ(sizeof(seen), pread(mem, &seen, sizeof(seen), at));
	while ((umcg_word(&seen) & ~UMCG_TASK_USER_MASK) != (RUNNING | LOCKED));
	until_state(pid, pid, 'S');
	ASSERT_EQ(0, ptrace(PTRACE_SEIZE, w.tid, NULL, NULL));
	ASSERT_EQ(0, tgkill(pid, w.tid, SIGUSR2));
	ASSERT_EQ(w.tid, waitpid(w.tid, &status, __WALL));
	ASSERT_EQ(SIGUSR2, WSTOPSIG(status));
	/* Unlocked before that, it would be reported. */
	trace_asleep(w.tid);
	umcg_flip_bits(&seen, LOCKED | PREEMPTED);
	ASSERT_EQ(sizeof(seen), pwrite(mem, &seen, sizeof(seen), at));
	ASSERT_EQ(0, tgkill(pid, w.tid, SIGUSR1));
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, w.tid, NULL, NULL));
	close(mem);
}

TEST(preempted_as_its_signals_are_taken)
{
	pid_t pid = getpid(), child;

	begin(spin_locked_alone);
	child = fork();
	ASSERT_NE(-1, child);
	if (!child) {
		preempt_in_a_stop(pid);
		_exit(0);
	}
	EXPECT_EQ(0, umcg_resume(&me, &w.own, from_now(10000 * MS)));
	EXPECT_EQ(0, reap_child(child));
	EXPECT_EQ(IDLE | PREEMPTED, umcg_word(&w.own.task));
	EXPECT_EQ(0, atomic_load(&handled));
	atomic_store(&over, true);
	finish(&w);
	EXPECT_EQ(1, atomic_load(&handled));
}

enum { RACES = 50 };

static void block_often(struct worker *worker)
{
	unsigned int seed = 1;

	while (!atomic_load(&over)) {
		for (int n = rand_r(&seed) % 2000; n; n--)
			asm volatile("");
		/* Runs on while others look, or blocks. */
		if (atomic_fetch_add(&worker->steps, 1) % 4)
			sched_yield();
		else
			nap(MS / 20);
	}
}

static void *preempt_at_random(void *arg)
{
	unsigned int seed = 2;
	int sent = 0;

	while (sent < RACES) {
		int err = umcg_preempt(&w.own, SIGUSR1);

		ASSERT_TRUE(err == 0 || err == -EAGAIN);
		sent += !err;
		for (int n = rand_r(&seed) % 3000; n; n--)
			asm volatile("");
		sched_yield();
	}
	atomic_store(&over, true);
	return arg;
}

/*
 * Preempted, blocked, or both, in whatever order: it is either with its server
 * or in the pool, and no signal is lost.
 */
TEST(preemption_races_block, .deadline = 60)
{
	pthread_t thread;
	int preempted = 0;
	uint32_t word;

	begin(block_often);
	ASSERT_EQ(0, pthread_create(&thread, NULL, preempt_at_random, NULL));
	while ((word = run(&w)) != NONE) {
		ASSERT_TRUE(word == BLOCKED || word == (BLOCKED | PREEMPTED) ||
			    word == IDLE || word == (IDLE | PREEMPTED));
		if (word == (IDLE | PREEMPTED)) {
			preempted++;
			expect_none_queued(&pool);
		} else {
			while (!take_queued(&w))
				sched_yield();
			EXPECT_EQ(IDLE, bare_word(&w.own));
		}
	}
	pthread_join(thread, NULL);
	worker_join(&w);
	/* Two that come together may be one. */
	EXPECT_LE(atomic_load(&handled), RACES);
	EXPECT_LT(0, atomic_load(&handled));
	TH_LOG("%d times preempted, %d turns", preempted, atomic_load(&w.steps));
}

static struct worker rival[2];

/* Run under a server of its own each, and preempt the other all the time. */
static void preempt_each_other(struct worker *worker)
{
	struct worker *other = &rival[worker == &rival[0]];

	while (atomic_fetch_add(&worker->steps, 1) < 6 * RACES)
		umcg_preempt(&other->own, SIGUSR1);
}

TEST(workers_preempt_each_other)
{
	struct shift shift = { .pool = &pool, .left = 2 };

	on_signal(SIGUSR1, count, 0);
	become_server();
	for (int i = 0; i < 2; i++) {
		rival[i].body = preempt_each_other;
		worker_start(&rival[i]);
	}
	serve_all(&me, &shift, 1);
	for (int i = 0; i < 2; i++)
		worker_join(&rival[i]);
	expect_none_queued(&pool);
}

UMCG_TEST_MAIN
