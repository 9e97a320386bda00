// SPDX-License-Identifier: GPL-2.0
/* When and how a worker that blocks is reported. */
#include <sys/resource.h>

#include "away.h"
#include "crew.h"

static struct gate gate;

/* Set aside by the test, for a body to look at. */
static atomic_bool go;

static void pass(struct worker *w)
{
	w->result = gate_pass(&gate) ? 0 : -1;
}

static void begin(void)
{
	become_server();
	gate_make(&gate);
}

/* The worker sleeps at the gate, reported: let it pass and come to its end. */
static void pass_and_finish(struct worker *w)
{
	until_word(w, BLOCKED);
	gate_open(&gate);
	until_back(w);
	finish(w);
	EXPECT_EQ(0, w->result);
}

TEST(block_makes_the_server_run)
{
	static struct worker w = { .body = pass };

	begin();
	hire(&w);
	umcg_flip_bits(&w.own.task, OTHER_BITS);
	umcg_flip_bits(&me.task, OTHER_BITS);
	EXPECT_EQ(0, umcg_resume(&me, &w.own, 0));
	EXPECT_EQ(RUNNING | OTHER_BITS, umcg_word(&me.task));
	EXPECT_EQ(BLOCKED | OTHER_BITS, umcg_word(&w.own.task));
	EXPECT_EQ(me.tid, w.own.task.next_tid);
	EXPECT_EQ(w.own.tid, me.task.next_tid);
	expect_word(&w, BLOCKED);
	expect_none_queued(&pool);
	pass_and_finish(&w);
}

static void pass_often(struct worker *w)
{
	for (int i = 0; i < 100; i++) {
		atomic_fetch_add(&w->steps, 1);
		if (!gate_pass(&gate))
			w->result = -1;
	}
}

TEST(every_block_is_reported)
{
	static struct worker w = { .body = pass_often };

	begin();
	hire(&w);
	for (int i = 1; i <= 100; i++) {
		ASSERT_EQ(BLOCKED, run(&w));
		ASSERT_EQ(i, atomic_load(&w.steps));
		gate_open(&gate);
		until_back(&w);
	}
	finish(&w);
	EXPECT_EQ(0, w.result);
}

/*
 * Woken there. The load balancer may move a server, every other time on a host
 * that is short of CPUs; without that flag the server would wake where it ran
 * before, which is another CPU each time.
 */
TEST(server_is_woken_on_that_cpu)
{
	static struct worker w = { .body = pass_often };
	int cpus = sysconf(_SC_NPROCESSORS_ONLN), there = 0;

	begin();
	hire(&w);
	for (int i = 0; i < 100; i++) {
		pin(w.tid, i % cpus);
		ASSERT_EQ(BLOCKED, run(&w));
		there += sched_getcpu() == i % cpus;
		gate_open(&gate);
		until_back(&w);
	}
	EXPECT_LT(25, there);
	finish(&w);
}

/* Asleep, with a word that is not to be reported: nothing happens to it. */
static void sleep_unreported(struct worker *w, uint32_t word)
{
	uint32_t next_tid = w->own.task.next_tid;

	ASSERT_TRUE(umcg_move(&w->own.task, RUNNING, word));
	nap(SOON);
	EXPECT_EQ(word, umcg_word(&w->own.task));
	EXPECT_EQ(IDLE, umcg_word(&me.task));
	/* On the way into umcg_wait(), next_tid may name anything. */
	w->own.task.next_tid = getppid();
	nap(SOON);
	w->own.task.next_tid = next_tid;
	EXPECT_EQ(word, umcg_word(&w->own.task));
	EXPECT_EQ(IDLE, umcg_word(&me.task));
	ASSERT_TRUE(umcg_move(&w->own.task, word, RUNNING));
	atomic_fetch_add(&w->steps, 1);
}

static void sleep_locked(struct worker *w)
{
	sleep_unreported(w, RUNNING | LOCKED);
	sleep_unreported(w, IDLE | LOCKED);
	pass(w);
}

TEST(locked_is_not_reported)
{
	static struct worker w = { .body = sleep_locked };

	begin();
	hire(&w);
	EXPECT_EQ(BLOCKED, run(&w));
	EXPECT_EQ(2, atomic_load(&w.steps));
	pass_and_finish(&w);
}

static struct kept kept;

/* A page fault that sleeps between "next_tid = X" and umcg_wait(). */
static void fault_and_yield(struct worker *w)
{
	ASSERT_TRUE(umcg_move(&w->own.task, RUNNING, IDLE | LOCKED));
	w->result = *(volatile char *)kept.page;
	EXPECT_EQ(IDLE | LOCKED, umcg_word(&w->own.task));
	EXPECT_EQ(IDLE, umcg_word(&me.task));
	ASSERT_TRUE(umcg_move(&w->own.task, IDLE | LOCKED, RUNNING));
	atomic_fetch_add(&w->steps, 1);
	umcg_yield(&w->own, 0);
}

static void *give_when_wanted(void *arg)
{
	until_wanted(&kept);
	nap(SOON);
	page_give(&kept);
	return arg;
}

TEST(fault_on_the_way_to_a_wait)
{
	static struct worker w = { .body = fault_and_yield };
	pthread_t giver;

	begin();
	page_keep(&kept, own_page());
	hire(&w);
	ASSERT_EQ(0, pthread_create(&giver, NULL, give_when_wanted, NULL));
	EXPECT_EQ(IDLE, run(&w));
	EXPECT_EQ(1, atomic_load(&w.steps));
	finish(&w);
}

static void await_go_and_pass(struct worker *w)
{
	while (!atomic_load(&go))
		;
	pass(w);
}

TEST(server_runs_already)
{
	static struct worker w = { .body = await_go_and_pass };

	begin();
	hire(&w);
	EXPECT_EQ(-ETIMEDOUT, umcg_resume(&me, &w.own, from_now(MS)));
	EXPECT_EQ(RUNNING, umcg_word(&w.own.task));
	atomic_store(&go, true);
	until_word(&w, BLOCKED);
	EXPECT_EQ(RUNNING, umcg_word(&me.task));
	/* That block was not saved up for this server. */
	EXPECT_EQ(-ETIMEDOUT, umcg_wait(&me, from_now(SOON)));
	pass_and_finish(&w);
}

/*
 * Another thread closes what the worker reads from, so it is for the worker to
 * let go of it. It has done so when it is back, run or not: others wait for that.
 */
TEST(back_with_nothing_in_hand)
{
	static struct worker w = { .body = pass };
	struct pollfd poll_fd = { .events = POLLOUT };

	begin();
	on_signal(SIGPIPE, SIG_IGN, 0);
	hire(&w);
	ASSERT_EQ(BLOCKED, run(&w));
	until_word(&w, BLOCKED);
	ASSERT_EQ(0, close(gate.fd[0]));
	gate_open(&gate);
	until_back(&w);
	poll_fd.fd = gate.fd[1];
	ASSERT_EQ(1, poll(&poll_fd, 1, 0));
	EXPECT_TRUE(poll_fd.revents & POLLERR);
	finish(&w);
	EXPECT_EQ(0, w.result);
}

#define BULK	(1 << 20)

/* Sleeps each time the pipe is full, many times over. */
static void write_bulk(struct worker *w)
{
	static char bulk[BULK];

	w->result = write(gate.fd[1], bulk, BULK) == BULK ? 0 : -1;
}

static struct worker bulky = { .body = write_bulk };
static atomic_int drained;

/* Not a UMCG task: empty the pipe, sleeping now and then for it to fill. */
static void *drain(void *arg)
{
	static char buf[16384];

	while (!atomic_load(&go))
		nap(MS);
	while (atomic_load(&drained) < BULK) {
		ssize_t n = read(gate.fd[0], buf, sizeof(buf));

		ASSERT_LT(0, n);
		atomic_fetch_add(&drained, n);
		/* Only its way back may end its being BLOCKED. */
		if (drained <= BULK / 2) {
			until_state(getpid(), bulky.tid, 'S');
			EXPECT_EQ(BLOCKED, umcg_word(&bulky.own.task));
		}
	}
	return arg;
}

/* Runs on the same server while the bulky one goes on in the kernel. */
static void see_it_drain(struct worker *w)
{
	atomic_store(&go, true);
	while (atomic_load(&drained) < BULK / 2) {
		EXPECT_EQ(IDLE, umcg_word(&me.task));
		sched_yield();
	}
	atomic_fetch_add(&w->steps, 1);
}

TEST(second_sleep_is_not_reported)
{
	static struct worker w = { .body = see_it_drain };
	pthread_t thread;

	begin();
	hire(&bulky);
	hire(&w);
	ASSERT_EQ(0, pthread_create(&thread, NULL, drain, NULL));
	ASSERT_EQ(BLOCKED, run(&bulky));
	/* One wait, ended by the one worker that runs, when that ends. */
	EXPECT_EQ(0, umcg_resume(&me, &w.own, 0));
	EXPECT_EQ(1, atomic_load(&w.steps));
	worker_join(&w);
	pthread_join(thread, NULL);
	until_back(&bulky);
	finish(&bulky);
	EXPECT_EQ(0, bulky.result);
}

static long times_preempted(void)
{
	struct rusage usage;

	ASSERT_EQ(0, getrusage(RUSAGE_THREAD, &usage));
	return usage.ru_nivcsw;
}

static void expect_to_run_on(struct worker *w)
{
	EXPECT_EQ(RUNNING, umcg_word(&w->own.task));
	EXPECT_EQ(IDLE, umcg_word(&me.task));
}

static void be_preempted(struct worker *w)
{
	long before = times_preempted();

	while (times_preempted() < before + 10)
		expect_to_run_on(w);
	for (int i = 0; i < 1000; i++) {
		sched_yield();
		expect_to_run_on(w);
	}
	atomic_store(&go, true);
	atomic_fetch_add(&w->steps, 1);
}

static void *compete(void *arg)
{
	while (!atomic_load(&go))
		;
	return arg;
}

/* Two plain threads want the worker's CPU as well. */
TEST(preempted_by_the_scheduler)
{
	static struct worker w = { .body = be_preempted };
	pthread_t rivals[2];

	become_server();
	pin(0, 0);
	hire(&w);
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&rivals[i], NULL, compete, NULL));
	finish(&w);
	EXPECT_EQ(1, atomic_load(&w.steps));
	for (int i = 0; i < 2; i++)
		pthread_join(rivals[i], NULL);
}

UMCG_TEST_MAIN
