// SPDX-License-Identifier: GPL-2.0
/* Workers that end, and workers whose servers do. */
#include <linux/sched.h>

#include "crew.h"

static struct worker w;
static struct gate gate;
static atomic_bool go;

static void begin(void (*body)(struct worker *))
{
	become_server();
	gate_make(&gate);
	w.body = body;
	hire(&w);
}

/* Ways to end; the worker stays registered to its last breath. */
static void return_from_thread(struct worker *worker)
{
	(void)worker;
}

static void exit_thread(struct worker *worker)
{
	(void)worker;
	syscall(SYS_exit, 0);
}

static void exit_locked(struct worker *worker)
{
	ASSERT_TRUE(umcg_lock(&worker->own));
	syscall(SYS_exit, 0);
}

static void exit_on_the_way_to_a_wait(struct worker *worker)
{
	ASSERT_TRUE(umcg_move(&worker->own.task, RUNNING, IDLE | LOCKED));
	syscall(SYS_exit, 0);
}

TEST(exit_wakes_the_server)
{
	static void (*const ends[])(struct worker *) = {
		return_from_thread, exit_thread, exit_locked, exit_on_the_way_to_a_wait,
	};
	static struct worker crew[4];

	become_server();
	for (int i = 0; i < 4; i++) {
		crew[i].body = ends[i];
		crew[i].stays = true;
		hire(&crew[i]);
		umcg_flip_bits(&crew[i].own.task, OTHER_BITS);
		EXPECT_EQ(0, umcg_resume(&me, &crew[i].own, 0));
		worker_join(&crew[i]);
		EXPECT_EQ(RUNNING, umcg_word(&me.task));
		EXPECT_EQ(NONE | OTHER_BITS, umcg_word(&crew[i].own.task));
		EXPECT_EQ(-ESRCH, wake_tid(crew[i].tid, 0));
	}
	expect_none_queued(&pool);
}

static void await_go_and_exit(struct worker *worker)
{
	(void)worker;
	while (!atomic_load(&go))
		;
	syscall(SYS_exit, 0);
}

TEST(exit_tells_no_running_server)
{
	w.stays = true;
	begin(await_go_and_exit);
	EXPECT_EQ(-ETIMEDOUT, umcg_resume(&me, &w.own, from_now(MS)));
	atomic_store(&go, true);
	worker_join(&w);
	EXPECT_EQ(NONE, umcg_word(&w.own.task));
	EXPECT_EQ(RUNNING, umcg_word(&me.task));
	EXPECT_EQ(-ETIMEDOUT, umcg_wait(&me, from_now(MS)));
}

/*
 * A server that runs its worker, and goes, in one of three ways: when the worker
 * blocks, or has taken so many steps.
 */
enum way { UNREGISTERS, RETURNS, EXITS, WAYS };

struct leaver {
	enum way way;
	bool until_blocked;
	int steps;
	pid_t tid;
	struct umcg umcg;
};

static void *run_and_leave(void *arg)
{
	struct leaver *leaver = arg;

	ASSERT_EQ(0, umcg_register_server(&leaver->umcg, NULL));
	leaver->tid = leaver->umcg.tid;
	if (leaver->until_blocked) {
		ASSERT_EQ(0, umcg_resume(&leaver->umcg, &w.own, 0));
	} else {
		ASSERT_EQ(-ETIMEDOUT, umcg_resume(&leaver->umcg, &w.own, from_now(SOON)));
		while (atomic_load(&w.steps) < leaver->steps)
			nap(MS);
	}
	if (leaver->way == UNREGISTERS)
		ASSERT_EQ(0, umcg_unregister(&leaver->umcg));
	if (leaver->way == EXITS)
		syscall(SYS_exit, 0);
	return arg;
}

static void let_go_by(struct leaver *leaver)
{
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, run_and_leave, leaver));
	pthread_join(thread, NULL);
}

static void spin(struct worker *worker)
{
	while (!atomic_load(&go))
		atomic_fetch_add(&worker->steps, 1);
}

/* In user space it stops at once, without a system call of its own. */
TEST(server_leaves_a_running_worker)
{
	begin(spin);
	for (enum way way = 0; way < WAYS; way++) {
		struct leaver leaver = { .way = way };

		let_go_by(&leaver);
		until_back(&w);
		EXPECT_EQ(RUNNING, umcg_word(&me.task));
	}
	atomic_store(&go, true);
	finish(&w);
}

static atomic_int handled;

static void count(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
}

static void *preempt_it(void *arg)
{
	int steps = atomic_load(&w.steps);

	while (bare_word(&w.own) != RUNNING || atomic_load(&w.steps) == steps)
		nap(MS);
	ASSERT_EQ(0, umcg_preempt(&w.own, SIGUSR1));
	return arg;
}

/* It had been told: whoever it has told of the worker may run it, or nobody does. */
TEST(server_leaves_a_preempted_worker)
{
	on_signal(SIGUSR1, count, 0);
	begin(spin);
	for (enum way way = 0; way < WAYS; way++) {
		struct leaver leaver = { .way = way, .until_blocked = true };
		pthread_t thread;

		ASSERT_EQ(0, pthread_create(&thread, NULL, preempt_it, NULL));
		let_go_by(&leaver);
		pthread_join(thread, NULL);
		expect_word(&w, IDLE | PREEMPTED);
		expect_none_queued(&pool);
		/* Its signal is still to come. */
		EXPECT_EQ(way, atomic_load(&handled));
	}
	atomic_store(&go, true);
	finish(&w);
	EXPECT_EQ(WAYS, atomic_load(&handled));
}

/* Who waits at the pool is told of it. */
TEST(idle_server_takes_over)
{
	static struct leaver leaver;
	pthread_t thread;

	begin(spin);
	ASSERT_EQ(0, pthread_create(&thread, NULL, run_and_leave, &leaver));
	ASSERT_EQ(0, umcg_await_idle(&me, &pool, 0));
	expect_queued(&w);
	pthread_join(thread, NULL);
	atomic_store(&go, true);
	finish(&w);
}

static void pass(struct worker *worker)
{
	worker->result = gate_pass(&gate) ? 0 : -1;
}

static void pass_often(struct worker *worker)
{
	for (int i = 0; i < WAYS; i++)
		pass(worker);
}

TEST(server_leaves_a_blocked_worker)
{
	begin(pass_often);
	for (enum way way = 0; way < WAYS; way++) {
		struct leaver leaver = { .way = way, .until_blocked = true };

		let_go_by(&leaver);
		until_word(&w, BLOCKED);
		expect_none_queued(&pool);
		gate_open(&gate);
		until_back(&w);
		EXPECT_EQ(RUNNING, umcg_word(&me.task));
	}
	finish(&w);
	EXPECT_EQ(0, w.result);
}

static atomic_bool unlocked;

/* Locked while its server goes; and then it blocks. */
static void lock_then_pass(struct worker *worker)
{
	ASSERT_TRUE(umcg_lock(&worker->own));
	while (!atomic_load(&go))
		atomic_fetch_add(&worker->steps, 1);
	umcg_unlock(&worker->own);
	atomic_store(&unlocked, true);
	pass(worker);
}

TEST(server_leaves_a_locked_worker)
{
	static struct leaver leaver = { .steps = 1 };
	int steps;

	begin(lock_then_pass);
	let_go_by(&leaver);
	/* It goes on, for that is what LOCKED is for. */
	steps = atomic_load(&w.steps);
	while (atomic_load(&w.steps) == steps)
		nap(MS);
	expect_none_queued(&pool);
	atomic_store(&go, true);
	/* Its server having gone is no violation, and wakes nobody. */
	until_word(&w, BLOCKED);
	EXPECT_TRUE(atomic_load(&unlocked));
	EXPECT_EQ(RUNNING, umcg_word(&me.task));
	gate_open(&gate);
	until_back(&w);
	finish(&w);
	EXPECT_EQ(0, w.result);
}

enum { RACES = 100 };

static void nap_often(struct worker *worker)
{
	while (!atomic_load(&go)) {
		nap(MS / 10);
		atomic_fetch_add(&worker->steps, 1);
	}
}

static void *run_and_leave_often(void *arg)
{
	struct umcg server;

	ASSERT_EQ(0, umcg_register_server(&server, NULL));
	/* It may be about to block, blocked, or back already. */
	umcg_resume(&server, &w.own, from_now((uintptr_t)arg));
	ASSERT_EQ(0, umcg_unregister(&server));
	return NULL;
}

TEST(server_leaves_as_its_worker_blocks)
{
	begin(nap_often);
	for (int i = 0; i < RACES; i++) {
		pthread_t thread;

		ASSERT_EQ(0, pthread_create(&thread, NULL, run_and_leave_often,
					    (void *)(uintptr_t)(i * MS / 100 + 1)));
		pthread_join(thread, NULL);
		until_back(&w);
	}
	atomic_store(&go, true);
	finish_in_time(&w);
}

/* What has the tid of a server that is gone. */
enum heir { PLAIN, WORKER, SERVER };

struct reborn {
	enum heir heir;
	pid_t tid;
	struct umcg umcg;
	atomic_bool ready, over;
	int result;
};

/*
 * clone3() by hand: the child runs on its parent's stack, where a function that
 * it had returned from would find its return address gone.
 */
static inline long clone_like_vfork(struct clone_args *args)
{
#ifdef __x86_64__
	long ret = SYS_clone3;

	asm volatile("syscall" : "+a"(ret) : "D"(args), "S"(sizeof(*args))
		     : "rcx", "r11", "memory");
	return ret;
#else
	register long nr asm("x8") = SYS_clone3;
	register long ret asm("x0") = (long)args;
	register long size asm("x1") = sizeof(*args);

	asm volatile("svc #0" : "+r"(ret) : "r"(nr), "r"(size) : "memory");
	return ret;
#endif
}

static void live_again(struct reborn *r)
{
	static struct umcg_pool other_pool;

	if (r->heir == WORKER) {
		atomic_store(&r->ready, true);
		r->result = umcg_register_worker(&r->umcg, &other_pool);
	} else if (r->heir == SERVER) {
		r->result = umcg_register_server(&r->umcg, NULL);
		umcg_set_word(&r->umcg.task, IDLE);
		atomic_store(&r->ready, true);
		r->result = umcg_sys_wait(0, from_now(100 * SOON * ktap_slow));
	}
	atomic_store(&r->ready, true);
	while (!atomic_load(&r->over))
		nap(MS);
	_exit(0);
}

/* A thread that sleeps until its child, which has its memory, exits. */
static void *give_birth(void *arg)
{
	struct reborn *r = arg;
	struct clone_args args = {
		.flags = CLONE_VM | CLONE_VFORK,
		.exit_signal = SIGCHLD,
		.set_tid = (uintptr_t)&r->tid,
		.set_tid_size = 1,
	};
	long pid;

	/* A thread that has been joined may have its tid for a moment longer. */
	while ((pid = clone_like_vfork(&args)) == -EEXIST)
		nap(MS);
	if (!pid)
		live_again(r);
	ASSERT_EQ(r->tid, pid);
	return arg;
}

/* The worker blocks under a tid that has passed to another. */
static void block_under(struct reborn *r, pthread_t *thread)
{
	static struct leaver leaver = { .steps = 1 };

	begin(lock_then_pass);
	let_go_by(&leaver);
	r->tid = leaver.tid;
	ASSERT_EQ(0, pthread_create(thread, NULL, give_birth, r));
	while (!atomic_load(&r->ready))
		nap(MS);
	until_state(r->tid, r->tid, 'S');
	atomic_store(&go, true);
	until_word(&w, BLOCKED);
}

static void come_back_from(struct reborn *r, pthread_t thread)
{
	gate_open(&gate);
	until_back(&w);
	EXPECT_EQ(RUNNING, umcg_word(&me.task));
	finish(&w);
	EXPECT_EQ(0, w.result);
	atomic_store(&r->over, true);
	/* A worker is in its registration and never run. */
	ASSERT_EQ(0, kill(r->tid, SIGKILL));
	pthread_join(thread, NULL);
}

static void heir_is_not_told(enum heir heir)
{
	static struct reborn r;
	pthread_t thread;
	uint32_t word;

	r.heir = heir;
	block_under(&r, &thread);
	word = umcg_word(&r.umcg.task);
	nap(SOON);
	EXPECT_EQ(word, umcg_word(&r.umcg.task));
	come_back_from(&r, thread);
}

TEST(tid_passed_to_a_plain_thread)
{
	heir_is_not_told(PLAIN);
}

TEST(tid_passed_to_a_worker)
{
	heir_is_not_told(WORKER);
}

TEST(tid_passed_to_a_server)
{
	static struct reborn r = { .heir = SERVER, .result = 1 };
	pthread_t thread;

	block_under(&r, &thread);
	/* It is told in place of the one that has gone. */
	while (umcg_word(&r.umcg.task) != RUNNING)
		nap(MS);
	come_back_from(&r, thread);
	EXPECT_EQ(0, r.result);
}

UMCG_TEST_MAIN
