// SPDX-License-Identifier: GPL-2.0
/* umcg_ctl() for workers: registering and unregistering. */
#include <sys/prctl.h>

#include "crew.h"

static int reg(void *self)
{
	return umcg_sys_ctl(UMCG_CTL_REGISTER | UMCG_CTL_WORKER, self);
}

static int unreg(void)
{
	return umcg_sys_ctl(UMCG_CTL_UNREGISTER, NULL);
}

/* A structure to register with, anew at each call. */
static struct umcg_task *good(void)
{
	static struct umcg_task task;

	task = (struct umcg_task) {
		.state_ts = BLOCKED,
		.idle_workers_ptr = (uintptr_t)&pool.idle_workers,
		.idle_server_tid_ptr = (uintptr_t)&pool.idle_server_tid,
	};
	return &task;
}

static void expect_refused(int err, struct umcg_task *task)
{
	struct umcg_task before = *task;

	EXPECT_EQ(err, reg(task));
	EXPECT_EQ(0, memcmp(&before, task, sizeof(before)));
	expect_none_queued(&pool);
	EXPECT_EQ(-EINVAL, unreg());
}

static void count_step(struct worker *w)
{
	atomic_fetch_add(&w->steps, 1);
}

TEST(waits_to_be_run, .clauses = "WREG-1 WRUN-1 WIDLE-1")
{
	static struct worker w = { .body = count_step };

	become_server();
	worker_start(&w);
	until_word(&w, IDLE);
	expect_word(&w, IDLE);
	EXPECT_EQ(0, atomic_load(&w.steps));
	expect_queued(&w);
	finish(&w);
	EXPECT_EQ(1, atomic_load(&w.steps));
}

TEST(word_must_be_blocked, .clauses = "WREG-2 CTL-12 R19")
{
	static const uint64_t bad[] = {
		NONE, RUNNING, IDLE, 4, 0x3f,
		BLOCKED | LOCKED, BLOCKED | PREEMPTED, BLOCKED | 0x100,
		BLOCKED | 0x200, BLOCKED | 0x400, BLOCKED | 0x1000,
	};

	for (int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct umcg_task *task = good();

		task->state_ts = bad[i];
		expect_refused(-EINVAL, task);
		task->state_ts = bad[i] | SOME_BITS;
		expect_refused(-EINVAL, task);
	}
}

TEST(next_tid_must_be_zero, .clauses = "WREG-2 CTL-12")
{
	struct umcg_task *task = good();

	task->next_tid = gettid();
	expect_refused(-EINVAL, task);
	task->next_tid = 0x80000000;
	expect_refused(-EINVAL, task);
	task = good();
	task->flags = 1;
	expect_refused(-EINVAL, task);
}

static struct gate gate;

static void show_bits(struct worker *w)
{
	struct umcg_task *task = &w->umcg->task;

	EXPECT_EQ(RUNNING | w->bits, umcg_word(task));
	ASSERT_EQ(0, umcg_yield(w->umcg, 0));
	EXPECT_EQ(RUNNING | w->bits, umcg_word(task));
	ASSERT_TRUE(gate_pass(&gate));
	EXPECT_EQ(RUNNING | w->bits, umcg_word(task));
	EXPECT_EQ(0, unreg());
	EXPECT_EQ(NONE | w->bits, umcg_word(task));
}

TEST(user_bits_are_kept,
     .clauses = "TASK-2 WREG-1 WREG-2 WREG-5 WRUN-2 WIDLE-1 BLOCK-1 R19")
{
	static struct worker w[6];

	become_server();
	gate_make(&gate);
	umcg_set_word(&me.task, RUNNING | SOME_BITS);
	for (int i = 0; i < 6; i++) {
		uint64_t bits = i < 5 ? 1U << (13 + i) : UMCG_TASK_USER_MASK;
		struct umcg_task *task = &w[i].own.task;

		w[i] = (struct worker) { .body = show_bits, .stays = true, .bits = bits };
		hire(&w[i]);
		EXPECT_EQ(IDLE | bits, umcg_word(task));
		EXPECT_EQ(IDLE, run(&w[i]));
		EXPECT_EQ(IDLE | bits, umcg_word(task));
		EXPECT_EQ(BLOCKED, run(&w[i]));
		EXPECT_EQ(BLOCKED | bits, umcg_word(task));
		gate_open(&gate);
		until_back(&w[i]);
		EXPECT_EQ(IDLE | bits, umcg_word(task));
		finish(&w[i]);
		EXPECT_EQ(RUNNING | SOME_BITS, umcg_word(&me.task));
	}
}

static void expect_unusable(void *address)
{
	EXPECT_EQ(-EFAULT, reg(address));
	EXPECT_EQ(-EINVAL, unreg());
}

TEST(memory_must_be_usable, .clauses = "WREG-3 CTL-3 CTL-12 R47")
{
	struct umcg_task *page = new_page();

	*page = *good();
	ASSERT_EQ(0, mprotect(page, 4096, PROT_READ));
	expect_unusable(page);
	EXPECT_EQ(BLOCKED, page->state_ts);
	ASSERT_EQ(0, mprotect(page, 4096, PROT_NONE));
	expect_unusable(page);
	ASSERT_EQ(0, munmap(page, 4096));
	expect_unusable(page);
	expect_unusable((void *)-4096L);
	expect_unusable((void *)(1UL << 63));
}

/* Read at best, a page of zeroes that others have too must not be what is changed. */
TEST(memory_may_be_fresh, .clauses = "WREG-3 WIDLE-1 R47")
{
	static struct worker w[2];

	become_server();
	for (int i = 0; i < 2; i++) {
		w[i].umcg = new_page();
		w[i].pool = new_page();
		if (i)
			expect_none_queued(w[i].pool);
		hire(&w[i]);
		finish(&w[i]);
	}
}

static void register_again(struct worker *w)
{
	static struct umcg_task server = { .state_ts = RUNNING };

	EXPECT_EQ(-EINVAL, reg(&w->umcg->task));
	EXPECT_EQ(-EINVAL, reg(good()));
	EXPECT_EQ(-EINVAL, reg(NULL));
	EXPECT_EQ(-EINVAL, umcg_sys_ctl(UMCG_CTL_REGISTER, &server));
	EXPECT_EQ(-EINVAL, umcg_sys_ctl(UMCG_CTL_UNREGISTER, &w->umcg->task));
	EXPECT_EQ(RUNNING, umcg_word(&w->umcg->task));
	/* It is still the first structure that counts. */
	ASSERT_EQ(0, umcg_yield(w->umcg, 0));
}

TEST(register_once, .clauses = "WREG-3 CTL-2 CTL-6 CTL-8 R16")
{
	static struct worker w = { .body = register_again };
	uintptr_t task = (uintptr_t)good();

	EXPECT_EQ(-EINVAL, reg(NULL));
	for (int off = 1; off < 64; off *= 2)
		EXPECT_EQ(-EINVAL, reg((void *)(task + off)));
	become_server();
	EXPECT_EQ(-EINVAL, reg(good()));
	hire(&w);
	EXPECT_EQ(IDLE, run(&w));
	finish(&w);
}

#define REGISTRATIONS	20
#define WAITS		10

static struct umcg scribbled;
static int again;

static void *register_scribbled(void *arg)
{
	struct umcg_task *task = &scribbled.task;

	scribbled.tid = gettid();
	for (int i = 0; i < REGISTRATIONS; i++) {
		int err;

		task->next_tid = 0;
		task->idle_workers_ptr = (uintptr_t)&pool.idle_workers;
		ASSERT_TRUE(umcg_move(task, NONE, BLOCKED));
		while ((err = reg(task)) == -EAGAIN) {
			ASSERT_EQ(-EINVAL, unreg());
			ASSERT_EQ(BLOCKED, bare_word(&scribbled));
			again++;
		}
		ASSERT_EQ(0, err);
		for (int j = 0; j < WAITS; j++)
			ASSERT_EQ(0, umcg_yield(&scribbled, 0));
		ASSERT_EQ(0, unreg());
	}
	return arg;
}

TEST(word_changes_while_registering, .clauses = "WREG-3 CTL-14 TASK-2 VIOL-4 R9 R19")
{
	pthread_t thread;

	become_server();
	scribbled = (struct umcg) {
		.task.idle_server_tid_ptr = (uintptr_t)&pool.idle_server_tid,
		.pool = &pool,
	};
	scribble_on(&scribbled.task);
	ASSERT_EQ(0, pthread_create(&thread, NULL, register_scribbled, NULL));
	for (int i = 0; i < REGISTRATIONS; i++) {
		ASSERT_EQ(0, umcg_await_idle(&me, &pool, 0));
		ASSERT_EQ(&scribbled, umcg_take_idle(&pool));
		ASSERT_EQ(NULL, umcg_next_idle(&scribbled));
		for (int j = 0; j <= WAITS; j++)
			while (umcg_resume(&me, &scribbled, 0) == -EAGAIN)
				sched_yield();
	}
	pthread_join(thread, NULL);
	TH_LOG("%d times to try again", again);
}

/* Unregisters with any word, and sleeps as a plain thread. */
static void unregister_with(struct worker *w)
{
	struct umcg_task *task = &w->umcg->task;

	umcg_set_word(task, *(const uint64_t *)w->arg | SOME_BITS);
	EXPECT_EQ(0, unreg());
	EXPECT_EQ(NONE | SOME_BITS, umcg_word(task));
	umcg_set_word(task, 0x12345);
	ASSERT_TRUE(gate_pass(&gate));
	EXPECT_EQ(0x12345, umcg_word(task));
	EXPECT_EQ(-EINVAL, unreg());
}

TEST(unregister_whatever_the_word, .clauses = "WREG-5 R35")
{
	static uint64_t words[] = {
		RUNNING, RUNNING | LOCKED, IDLE | LOCKED, RUNNING | PREEMPTED,
		NONE, IDLE, BLOCKED, IDLE | PREEMPTED, 4, 0x3f,
		RUNNING | LOCKED | PREEMPTED, RUNNING | 0x400, RUNNING | 0x1000,
	};
	static struct worker w[sizeof(words) / sizeof(words[0])];

	become_server();
	gate_make(&gate);
	for (int i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		w[i].body = unregister_with;
		w[i].arg = &words[i];
		w[i].stays = true;
		hire(&w[i]);
		/* The server sleeps until it is woken by that. */
		EXPECT_EQ(0, umcg_resume(&me, w[i].umcg, 0));
		EXPECT_EQ(RUNNING, umcg_word(&me.task));
		until_state(getpid(), w[i].tid, 'S');
		EXPECT_EQ(0x12345, umcg_word(&w[i].umcg->task));
		EXPECT_EQ(-ESRCH, wake_tid(w[i].tid, 0));
		gate_open(&gate);
		worker_join(&w[i]);
	}
}

static atomic_bool go;

static void spin_until_go(struct worker *w)
{
	while (!atomic_load(&go))
		sched_yield();
	count_step(w);
}

TEST(unregister_leaves_a_running_server_alone, .clauses = "WREG-5 R35")
{
	static struct worker w = { .body = spin_until_go };

	become_server();
	hire(&w);
	EXPECT_EQ(-ETIMEDOUT, umcg_resume(&me, w.umcg, from_now(MS)));
	atomic_store(&go, true);
	worker_join(&w);
	EXPECT_EQ(NONE, umcg_word(&w.umcg->task));
	EXPECT_EQ(RUNNING, umcg_word(&me.task));
	/* Nothing of it is left for later. */
	EXPECT_EQ(-ETIMEDOUT, umcg_wait(&me, from_now(MS)));
}

/*
 * A library that wakes the server itself before its worker leaves: the server has
 * gone on to the next worker by then, and is not to be woken again.
 */
static struct worker next_one = { .body = spin_until_go };

static void wake_the_server_and_leave(struct worker *w)
{
	atomic_store(&go, false);
	ASSERT_TRUE(umcg_lock(w->umcg));
	ASSERT_TRUE(umcg_move(&me.task, IDLE, RUNNING));
	ASSERT_EQ(0, umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, 0));
	while (bare_word(next_one.umcg) != RUNNING || bare_word(&me) != IDLE)
		sched_yield();
	EXPECT_EQ(0, unreg());
	count_step(w);
}

TEST(unregister_tells_no_server_that_went_on, .clauses = "WREG-5 R35")
{
	static struct worker w = { .body = wake_the_server_and_leave, .stays = true };

	become_server();
	hire(&next_one);
	hire(&w);
	EXPECT_EQ(0, umcg_resume(&me, w.umcg, 0));
	EXPECT_EQ(-ETIMEDOUT, umcg_resume(&me, next_one.umcg, from_now(5 * SOON)));
	worker_join(&w);
	EXPECT_EQ(1, atomic_load(&w.steps));
	atomic_store(&go, true);
	worker_join(&next_one);
}

static void be_a_server_and_a_worker(struct worker *w)
{
	struct umcg server;

	ASSERT_EQ(0, umcg_unregister(w->umcg));
	ASSERT_EQ(0, umcg_register_server(&server, NULL));
	ASSERT_EQ(0, umcg_unregister(&server));
	ASSERT_EQ(0, umcg_register_worker(w->umcg, w->pool));
	count_step(w);
}

TEST(register_after_unregistering, .clauses = "WREG-5 WREG-1 CTL-7")
{
	static struct worker w = { .body = be_a_server_and_a_worker };

	become_server();
	hire(&w);
	EXPECT_EQ(0, umcg_resume(&me, w.umcg, 0));
	until_back(&w);
	EXPECT_EQ(0, atomic_load(&w.steps));
	finish(&w);
	EXPECT_EQ(1, atomic_load(&w.steps));
}

static uintptr_t tagged(void *address)
{
	return (uintptr_t)address | 0x2aUL << 56;
}

/* Top byte ignored is an arm64 thing; elsewhere it makes no address at all. */
TEST(tagged_pointers, .clauses = "COMPAT-2 WREG-3")
{
	expect_unusable((void *)tagged(good()));
#ifdef __aarch64__
	static struct worker w = { .body = count_step };

	ASSERT_EQ(0, prctl(PR_SET_TAGGED_ADDR_CTRL, PR_TAGGED_ADDR_ENABLE, 0, 0, 0));
	become_server();
	w.umcg = (void *)tagged(&w.own);
	w.pool = (void *)tagged(&pool);
	worker_start(&w);
	until_word(&w, IDLE);
	EXPECT_EQ((uintptr_t)&w.own,
		  (uintptr_t)umcg_take_idle(&pool) & ~(0xffUL << 56));
	EXPECT_EQ(NULL, umcg_next_idle(&w.own));
	finish(&w);
	EXPECT_EQ(1, atomic_load(&w.steps));
#endif
}

UMCG_TEST_MAIN
