// SPDX-License-Identifier: GPL-2.0
/* Workers that block under somebody, or with a word, that they may not have. */
#include "crew.h"

static struct gate gate;

/* Set aside by the test, for a body to look at. */
static atomic_bool go;

/* Whom a worker may not have as its server, and who is not one. */
static uint32_t strange_tid;
static atomic_int violations;

static void count_violation(int signal)
{
	(void)signal;
	atomic_fetch_add(&violations, 1);
	/* A plain thread by now. */
	EXPECT_EQ(-EINVAL, umcg_sys_wait(0, 1));
}

static void block_under_a_stranger(struct worker *w)
{
	while (!atomic_load(&go))
		;
	w->own.task.next_tid = strange_tid;
	w->result = gate_pass(&gate) ? 0 : -errno;
}

static struct worker w = { .body = block_under_a_stranger };

/* The worker blocks under it, and nothing comes of that in the scheduler. */
static void have_it_block(uint32_t tid)
{
	on_signal(SIGSEGV, count_violation, 0);
	become_server();
	gate_make(&gate);
	strange_tid = tid;
	hire(&w);
	EXPECT_EQ(-ETIMEDOUT, umcg_resume(&me, &w.own, from_now(MS)));
	atomic_store(&go, true);
	until_state(getpid(), w.tid, 'S');
	nap(SOON);
	EXPECT_EQ(0, atomic_load(&violations));
}

/* It may have been a server of ours, and have unregistered or ended. */
static void is_as_if_it_had_gone(uint32_t tid)
{
	have_it_block(tid);
	EXPECT_EQ(BLOCKED, bare_word(&w.own));
	gate_open(&gate);
	until_back(&w);
	finish(&w);
	EXPECT_EQ(0, atomic_load(&violations));
	EXPECT_EQ(0, w.result);
}

static void is_violation(uint32_t tid)
{
	w.stays = true;
	have_it_block(tid);
	gate_open(&gate);
	worker_join(&w);
	EXPECT_EQ(1, atomic_load(&violations));
	EXPECT_EQ(-EINVAL, w.result);
	EXPECT_EQ(RUNNING, umcg_word(&me.task));
	expect_none_queued(&pool);
}

TEST(no_server_at_all, .clauses = "BLOCK-8 WVIOL-1 WVIOL-2 WVIOL-3")
{
	is_violation(0);
}

static void *sleep_on(void *arg)
{
	atomic_store((atomic_int *)arg, gettid());
	for (;;)
		pause();
	return NULL;
}

TEST(server_that_is_a_plain_thread, .clauses = "BLOCK-8 WLIFE-2 R56 R57")
{
	static atomic_int tid;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, sleep_on, &tid));
	while (!atomic_load(&tid))
		sched_yield();
	is_as_if_it_had_gone(atomic_load(&tid));
}

TEST(server_that_is_nobody, .clauses = "BLOCK-8 WLIFE-2 R56")
{
	is_as_if_it_had_gone(0x3fffffff);
}

TEST(server_of_another_process, .clauses = "BLOCK-8 WVIOL-1 R18")
{
	struct peer *p = shared_memory(sizeof(*p));
	pid_t pid = peer_fork(p);

	until_asleep(p);
	is_violation(pid);
	expect_asleep(p);
	EXPECT_EQ(IDLE, umcg_word(&p->umcg.task));
}

TEST(server_that_is_a_worker, .clauses = "BLOCK-8 WVIOL-1 R57")
{
	static struct worker other;

	worker_start(&other);
	until_word(&other, IDLE);
	expect_queued(&other);
	is_violation(other.tid);
	EXPECT_EQ(IDLE, bare_word(&other.own));
}

static uint32_t scribbled;

/* Set ahead of the word: where the worker sleeps from then on is the gate. */
static atomic_bool runs;

static void sleep_with_that_word(struct worker *w)
{
	atomic_store(&runs, true);
	umcg_set_word(&w->own.task, scribbled);
	ASSERT_TRUE(gate_pass(&gate));
	atomic_fetch_add(&w->steps, 1);
}

/* Another server finds it in the pool, runs it to its end, and wakes the first. */
static void *run_the_strays(void *arg)
{
	struct worker *w = arg;
	struct umcg server;

	ASSERT_EQ(0, umcg_register_server(&server, NULL));
	while (!atomic_load(&runs))
		nap(MS);
	until_state(getpid(), w->tid, 'S');
	gate_open(&gate);
	while (!__atomic_load_n(&pool.idle_workers, __ATOMIC_SEQ_CST))
		nap(MS);
	EXPECT_EQ(IDLE, bare_word(&w->own));
	EXPECT_EQ(IDLE, umcg_word(&me.task));
	EXPECT_EQ(0, atomic_load(&w->steps));
	expect_queued(w);
	EXPECT_EQ(NONE, run_under(&server, &w->own));
	ASSERT_EQ(0, umcg_wake(&server, &me));
	ASSERT_EQ(0, umcg_unregister(&server));
	return arg;
}

static void stray(uint32_t word)
{
	static struct worker w = { .body = sleep_with_that_word };
	pthread_t thread;

	become_server();
	gate_make(&gate);
	scribbled = word;
	hire(&w);
	ASSERT_EQ(0, pthread_create(&thread, NULL, run_the_strays, &w));
	EXPECT_EQ(0, umcg_resume(&me, &w.own, 0));
	EXPECT_EQ(1, atomic_load(&w.steps));
	pthread_join(thread, NULL);
	worker_join(&w);
}

TEST(asleep_with_an_idle_word, .clauses = "BLOCK-9 WRUN-4") { stray(IDLE); }
TEST(asleep_with_a_blocked_word, .clauses = "BLOCK-9 WRUN-4") { stray(BLOCKED); }

UMCG_TEST_MAIN
