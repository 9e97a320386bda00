// SPDX-License-Identifier: GPL-2.0
/* Workers that are run, hand over and wait; worker-handover.c has many at once. */
#include "crew.h"

#define NOBODY		65534

static atomic_int stage;

static void at_stage(int n)
{
	while (atomic_load(&stage) < n)
		sched_yield();
}

static void look_around(struct worker *w)
{
	cpu_set_t set;

	EXPECT_EQ(RUNNING, bare_word(w->umcg));
	EXPECT_EQ(IDLE, bare_word(&me));
	/* On the server's CPU, unless another that was idle was quick. */
	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	w->result = CPU_EQUAL(&set, (cpu_set_t *)w->arg);
	atomic_fetch_add(&w->steps, 1);
}

TEST(server_to_worker)
{
	int cpus = sysconf(_SC_NPROCESSORS_ONLN), here = 0;
	static struct worker w[40];
	cpu_set_t set, all;

	become_server();
	ASSERT_EQ(0, sched_getaffinity(0, sizeof(all), &all));
	for (int i = 0; i < 40; i++) {
		w[i].body = look_around;
		w[i].arg = &set;
		hire(&w[i]);
		CPU_ZERO(&set);
		CPU_SET(i % cpus, &set);
		ASSERT_EQ(0, sched_setaffinity(0, sizeof(set), &set));
		finish(&w[i]);
		ASSERT_EQ(0, sched_setaffinity(0, sizeof(all), &all));
		EXPECT_EQ(1, atomic_load(&w[i].steps));
		here += w[i].result;
	}
	TH_LOG("%d of 40 on the CPU of the server", here);
	EXPECT_GT(here, 20);
}

static void park_by_hand(struct worker *w)
{
	struct umcg_task *task = &w->umcg->task;

	ASSERT_EQ(me.tid, task->next_tid);
	ASSERT_TRUE(umcg_move(task, RUNNING, IDLE | LOCKED));
	ASSERT_TRUE(umcg_move(&me.task, IDLE, RUNNING));
	w->result = umcg_sys_wait(0, 0);
	EXPECT_EQ(RUNNING, bare_word(w->umcg));
	atomic_fetch_add(&w->steps, 1);
}

TEST(worker_to_server)
{
	static struct worker w = { .body = park_by_hand, .bits = SOME_BITS, .result = 1 };

	become_server();
	hire(&w);
	EXPECT_EQ(0, umcg_resume(&me, w.umcg, 0));
	until_word(&w, IDLE);
	expect_word(&w, IDLE);
	EXPECT_EQ(IDLE | SOME_BITS, umcg_word(&w.umcg->task));
	expect_none_queued(&pool);
	EXPECT_EQ((uintptr_t)&pool.idle_workers, w.umcg->task.idle_workers_ptr);
	EXPECT_EQ(0, atomic_load(&w.steps));
	finish(&w);
	EXPECT_EQ(0, w.result);
	EXPECT_EQ(1, atomic_load(&w.steps));
}

static struct worker pair[2];

static void hand_over(struct worker *w)
{
	w->result = umcg_yield_to(w->umcg, pair[1].umcg, 0);
	EXPECT_EQ(me.tid, w->umcg->task.next_tid);
}

static void take_over(struct worker *w)
{
	/* The one before is parked; the server has slept through it. */
	EXPECT_EQ(IDLE | SOME_BITS, umcg_word(&pair[0].umcg->task));
	EXPECT_EQ(pair[1].tid, pair[0].umcg->task.next_tid);
	EXPECT_EQ(me.tid, w->umcg->task.next_tid);
	EXPECT_EQ(w->tid, me.task.next_tid);
	EXPECT_EQ(IDLE, bare_word(&me));
	ASSERT_TRUE(umcg_lock(w->umcg));
	EXPECT_EQ('S', thread_state(getpid(), me.tid));
	umcg_unlock(w->umcg);
	w->result = umcg_yield(w->umcg, 0);
}

TEST(worker_to_worker)
{
	pair[0] = (struct worker) { .body = hand_over, .bits = SOME_BITS, .result = 1 };
	pair[1] = (struct worker) { .body = take_over, .result = 1 };
	become_server();
	hire(&pair[0]);
	hire(&pair[1]);
	EXPECT_EQ(IDLE, run(&pair[0]));
	EXPECT_EQ(pair[1].tid, me.task.next_tid);
	until_word(&pair[1], IDLE);
	until_word(&pair[0], IDLE);
	expect_none_queued(&pool);
	finish(&pair[0]);
	finish(&pair[1]);
	EXPECT_EQ(0, pair[0].result);
	EXPECT_EQ(0, pair[1].result);
}

static struct umcg other_server;

static void park_slowly(struct worker *w)
{
	ASSERT_TRUE(umcg_move(&w->umcg->task, RUNNING, IDLE | LOCKED));
	ASSERT_TRUE(umcg_move(&other_server.task, IDLE, RUNNING));
	atomic_store(&stage, 1);
	at_stage(2);
	w->result = umcg_sys_wait(0, 0);
	EXPECT_EQ(me.tid, w->umcg->task.next_tid);
	ASSERT_EQ(0, umcg_yield(w->umcg, 0));
}

static void take_away(struct worker *w)
{
	at_stage(1);
	EXPECT_EQ(-EAGAIN, umcg_yield_to(w->umcg, pair[0].umcg, 0));
	atomic_store(&stage, 2);
	while (bare_word(pair[0].umcg) != IDLE)
		sched_yield();
	w->result = umcg_yield_to(w->umcg, pair[0].umcg, 0);
}

static void *run_other(void *arg)
{
	ASSERT_EQ(0, umcg_register_server(&other_server, NULL));
	ASSERT_EQ(0, umcg_resume(&other_server, arg, 0));
	ASSERT_EQ(0, umcg_unregister(&other_server));
	return NULL;
}

/* A worker on its way out of one server is handed over to under another. */
TEST(taken_over_by_another_server)
{
	pthread_t thread;

	pair[0] = (struct worker) { .body = park_slowly, .result = 1 };
	pair[1] = (struct worker) { .body = take_away, .result = 1 };
	become_server();
	hire(&pair[0]);
	hire(&pair[1]);
	ASSERT_EQ(0, pthread_create(&thread, NULL, run_other, pair[0].umcg));
	EXPECT_EQ(0, umcg_resume(&me, pair[1].umcg, 0));
	EXPECT_EQ(pair[0].tid, me.task.next_tid);
	pthread_join(thread, NULL);
	finish(&pair[0]);
	finish(&pair[1]);
	EXPECT_EQ(0, pair[0].result);
	EXPECT_EQ(0, pair[1].result);
}

TEST(sleeps_on)
{
	static const uint32_t words[] = UMCG_SLEEPS_ON;
	static struct worker w = { .body = yield_and_step, .result = 1 };

	become_server();
	hire(&w);
	EXPECT_EQ(IDLE, run(&w));
	for (int i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		until_word(&w, i ? words[i - 1] : IDLE);
		umcg_set_word(&w.umcg->task, words[i] | SOME_BITS);
		for (int j = 0; j < 20; j++)
			EXPECT_EQ(0, wake_tid(w.tid, 0));
		expect_word(&w, words[i]);
		EXPECT_EQ(words[i] | SOME_BITS, umcg_word(&w.umcg->task));
	}
	/* The word alone does not wake; the next wakeup looks at it. */
	w.umcg->task.next_tid = me.tid;
	umcg_set_word(&w.umcg->task, RUNNING);
	expect_word(&w, RUNNING);
	EXPECT_EQ(0, atomic_load(&w.steps));
	EXPECT_EQ(0, wake_tid(w.tid, 0));
	worker_join(&w);
	EXPECT_EQ(0, w.result);
}

static struct peer *foreign;
static uint32_t plain, gone;

static void wait_for_nobody(struct worker *w)
{
	uint32_t tids[] = {
		0x3fffffff, 0x80000000, 0xffffffff, plain, gone, foreign->tid,
	};
	struct umcg_task *task = &w->umcg->task;

	for (int i = 0; i < 6; i++) {
		EXPECT_EQ(-ESRCH, wait_with(w, IDLE | LOCKED, tids[i]));
		EXPECT_EQ(IDLE | LOCKED | SOME_BITS, umcg_word(task));
	}
	/* The bare system call is of this thread alone. */
	ASSERT_EQ(0, syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY));
	EXPECT_EQ(UMCG_FOREIGN, wait_with(w, IDLE | LOCKED, foreign->tid));
	EXPECT_EQ(IDLE | LOCKED | SOME_BITS, umcg_word(task));
	task->next_tid = me.tid;
	umcg_set_word(task, RUNNING);
	atomic_fetch_add(&w->steps, 1);
}

TEST(hand_over_to_nobody)
{
	static struct worker w = { .body = wait_for_nobody };

	foreign = shared_memory(sizeof(*foreign));
	peer_fork(foreign);
	until_asleep(foreign);
	become_server();
	plain = plain_thread();
	gone = gone_server();
	hire(&w);
	finish(&w);
	EXPECT_EQ(1, atomic_load(&w.steps));
	expect_none_queued(&pool);
	expect_asleep(foreign);
}

static void park_under_nobody(struct worker *w)
{
	struct umcg_task *task = &w->umcg->task;

	for (int i = 0; i < 2; i++) {
		task->next_tid = i ? w->tid : 0;
		ASSERT_TRUE(umcg_move(task, RUNNING, IDLE | LOCKED));
		EXPECT_EQ(0, umcg_sys_wait(0, 0));
		EXPECT_EQ(me.tid, task->next_tid);
		atomic_fetch_add(&w->steps, 1);
	}
}

TEST(parks_itself)
{
	static struct worker w = { .body = park_under_nobody };

	become_server();
	hire(&w);
	for (int i = 0; i < 2; i++) {
		/* The server is not woken. */
		EXPECT_EQ(-ETIMEDOUT, umcg_resume(&me, w.umcg, from_now(SOON)));
		until_word(&w, IDLE);
		expect_none_queued(&pool);
		EXPECT_EQ(i, atomic_load(&w.steps));
	}
	finish(&w);
	EXPECT_EQ(2, atomic_load(&w.steps));
}

UMCG_TEST_MAIN
