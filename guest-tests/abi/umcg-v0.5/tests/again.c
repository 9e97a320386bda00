// SPDX-License-Identifier: GPL-2.0
/*
 * Waits and switches of a task whose next one is that of its last wakeup: the kernel
 * knows that one already, and may take a shorter way. What is otherwise this time is
 * to be seen all the same.
 */
#include <grp.h>

#include "crew.h"

#define NOBODY	65534

/* Woken for nothing, it sleeps on, and is what the caller has woken last. */
static void know(struct peer *p)
{
	ASSERT_EQ(0, wake_tid(p->tid, 0));
	ASSERT_EQ(0, wake_tid(p->tid, 0));
	until_asleep(p);
}

static int switch_with(uint32_t word, uint32_t next_tid)
{
	me.task.next_tid = next_tid;
	umcg_set_word(&me.task, word);
	return umcg_sys_wait(0, 0);
}

static void begin_with(struct peer *p)
{
	become_server();
	peer_start(p);
	until_asleep(p);
	know(p);
}

/* It returns at once, for nobody will wake it. */
TEST(server_is_running, .clauses = "WAIT-2 SWITCH-1 R1")
{
	static struct peer p;

	begin_with(&p);
	ASSERT_TRUE(umcg_move(&p.umcg.task, IDLE, RUNNING));
	EXPECT_EQ(0, switch_with(RUNNING | SOME_BITS, p.tid));
	EXPECT_EQ(0, peer_join(&p));
	EXPECT_EQ(RUNNING | SOME_BITS, umcg_word(&me.task));
}

TEST(server_with_a_word_that_is_refused, .clauses = "ARG-5 R19")
{
	static const uint32_t words[] = UMCG_REFUSED;
	static struct peer p;

	begin_with(&p);
	for (int i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		EXPECT_EQ(-EINVAL, switch_with(words[i] | UMCG_NOISE, p.tid));
		EXPECT_EQ(words[i] | UMCG_NOISE, umcg_word(&me.task));
	}
	expect_asleep(&p);
}

static void *wake_me(void *arg)
{
	struct umcg mine;

	ASSERT_EQ(0, umcg_register_server(&mine, NULL));
	until_state(getpid(), me.tid, 'S');
	ASSERT_EQ(0, umcg_wake(&mine, &me));
	return arg;
}

TEST(server_to_itself, .clauses = "SWITCH-4")
{
	pthread_t thread;

	become_server();
	ASSERT_EQ(0, wake_tid(me.tid, 0));
	ASSERT_EQ(0, pthread_create(&thread, NULL, wake_me, NULL));
	EXPECT_EQ(0, switch_with(IDLE, me.tid));
	EXPECT_EQ(RUNNING, umcg_word(&me.task));
	pthread_join(thread, NULL);
}

static atomic_bool left, leave_now;

static void *unregister_and_stay(void *arg)
{
	struct peer *p = arg;

	peer_body(p);
	ASSERT_EQ(0, umcg_sys_ctl(UMCG_CTL_UNREGISTER, NULL));
	atomic_store(&left, true);
	while (!atomic_load(&leave_now))
		nap(MS);
	return NULL;
}

/* The tid is still that of a thread, which is no server any more. */
TEST(server_to_one_that_has_left, .clauses = "SWITCH-2 WAKE-6 R36")
{
	static struct peer p;

	become_server();
	ASSERT_EQ(0, pthread_create(&p.thread, NULL, unregister_and_stay, &p));
	while (!atomic_load(&p.tid))
		sched_yield();
	until_asleep(&p);
	know(&p);
	peer_wake(&p);
	while (!atomic_load(&left))
		nap(MS);
	EXPECT_EQ(-ESRCH, switch_with(IDLE, p.tid));
	EXPECT_EQ(IDLE, umcg_word(&me.task));
	atomic_store(&leave_now, true);
	pthread_join(p.thread, NULL);
}

/* One that it was allowed to wake, and is not any more. */
TEST(server_to_one_of_another_user, .clauses = "XPROC-2 SWITCH-2 R5")
{
	struct peer *p;
	pid_t pid = process_asleep(&p), child;

	child = fork();
	ASSERT_NE(-1, child);
	if (!child) {
		become_server();
		know(p);
		ASSERT_EQ(0, setgroups(0, NULL));
		ASSERT_EQ(0, setresgid(NOBODY, NOBODY, NOBODY));
		ASSERT_EQ(0, setresuid(NOBODY, NOBODY, NOBODY));
		EXPECT_EQ(-EPERM, switch_with(IDLE, p->tid));
		_exit(0);
	}
	EXPECT_EQ(0, reap_child(child));
	expect_asleep(p);
	peer_wake(p);
	EXPECT_EQ(0, reap_child(pid));
}

static struct peer switcher;
static atomic_int handled;
static atomic_bool partner_gone;
static int second;

static void count(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
}

static void until_partner_is_gone(int signal)
{
	count(signal);
	while (!atomic_load(&partner_gone))
		nap(MS);
}

/* Two switches to a known one, made from one place, as far as the stack tells. */
static void *switch_twice(void *arg)
{
	struct umcg_task *task = &switcher.umcg.task;
	int result[2];

	umcg_set_word(task, RUNNING);
	switcher.pid = getpid();
	ASSERT_EQ(0, umcg_sys_ctl(UMCG_CTL_REGISTER, task));
	task->next_tid = switcher.next_tid;
	ASSERT_EQ(0, umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, 0));
	for (int i = 0; i < 2; i++) {
		umcg_set_word(task, IDLE);
		atomic_store(&switcher.tid, gettid());
		result[i] = umcg_sys_wait(0, i ? from_now(SOON) : 0);
		while (!atomic_load(&partner_gone))
			nap(MS);
	}
	switcher.result = result[0];
	second = result[1];
	return arg;
}

/* Have `switcher` asleep in its first switch, and send it a signal. */
static void interrupt_a_switch(struct peer *partner, void (*handler)(int))
{
	on_signal(SIGUSR1, handler, 0);
	become_server();
	peer_start(partner);
	until_asleep(partner);
	switcher.next_tid = partner->tid;
	ASSERT_EQ(0, pthread_create(&switcher.thread, NULL, switch_twice, NULL));
	while (!atomic_load(&switcher.tid))
		sched_yield();
	until_asleep(&switcher);
	ASSERT_EQ(0, tgkill(switcher.pid, switcher.tid, SIGUSR1));
	while (!atomic_load(&handled))
		nap(MS);
}

/* The call that goes on after the handler is no new switch, which would fail. */
TEST(interrupted_and_partner_exits, .clauses = "SIG-4 SWITCH-2 R36")
{
	static struct peer partner;

	interrupt_a_switch(&partner, until_partner_is_gone);
	peer_wake(&partner);
	EXPECT_EQ(0, peer_join(&partner));
	atomic_store(&partner_gone, true);
	until_asleep(&switcher);
	expect_asleep(&switcher);
	peer_wake(&switcher);
	EXPECT_EQ(0, peer_join(&switcher));
	EXPECT_EQ(-ESRCH, second);
}

/* The switch after it is a new one, and fails. */
TEST(interrupted_and_again, .clauses = "SIG-4 SWITCH-2 R36")
{
	static struct peer partner;

	interrupt_a_switch(&partner, count);
	until_asleep(&switcher);
	peer_wake(&switcher);
	peer_wake(&partner);
	EXPECT_EQ(0, peer_join(&partner));
	atomic_store(&partner_gone, true);
	EXPECT_EQ(0, peer_join(&switcher));
	EXPECT_EQ(-ESRCH, second);
}

/* A worker yields `STEPS` times; from the second on its server is known to it. */
enum { STEPS = 4 };

static void yield_and_look(struct worker *w)
{
	for (int i = 0; i < STEPS; i++) {
		if (umcg_yield(w->umcg, 0) || umcg_word(&w->umcg->task) != (RUNNING | w->bits))
			w->result++;
		atomic_fetch_add(&w->steps, 1);
	}
}

TEST(worker_keeps_its_bits, .clauses = "TASK-2 WRUN-2 WRUN-6 R19")
{
	static struct worker w[2] = {
		{ .body = yield_and_look, .bits = UMCG_TASK_USER_MASK },
		{ .body = yield_and_look, .bits = SOME_BITS },
	};

	become_server();
	for (int i = 0; i < 2; i++) {
		hire(&w[i]);
		for (int j = 0; j < STEPS; j++) {
			EXPECT_EQ(IDLE, run(&w[i]));
			EXPECT_EQ(IDLE | w[i].bits, umcg_word(&w[i].umcg->task));
			until_state(getpid(), w[i].tid, 'S');
			EXPECT_EQ(j, atomic_load(&w[i].steps));
		}
		finish(&w[i]);
		EXPECT_EQ(STEPS, atomic_load(&w[i].steps));
		EXPECT_EQ(0, w[i].result);
	}
	expect_none_queued(&pool);
}

/* Nobody has made it RUNNING. */
TEST(worker_woken_for_nothing, .clauses = "WRUN-4 WRUN-6 R2")
{
	static struct worker w = { .body = yield_and_look };

	become_server();
	hire(&w);
	for (int i = 0; i < STEPS; i++) {
		EXPECT_EQ(IDLE, run(&w));
		until_state(getpid(), w.tid, 'S');
		EXPECT_EQ(0, wake_tid(w.tid, 0));
		expect_word(&w, IDLE);
		EXPECT_EQ(i, atomic_load(&w.steps));
	}
	finish(&w);
	EXPECT_EQ(STEPS, atomic_load(&w.steps));
	EXPECT_EQ(0, w.result);
	expect_none_queued(&pool);
}

/* It waits only if it is about to: IDLE and LOCKED. */
static void wait_while_running(struct worker *w)
{
	static const uint32_t words[] = { RUNNING, RUNNING | LOCKED };
	struct umcg_task *task = &w->umcg->task;

	w->result = umcg_yield(w->umcg, 0);
	for (int i = 0; i < 2; i++) {
		umcg_set_word(task, words[i] | SOME_BITS);
		w->result |= umcg_sys_wait(0, 0) != -EINVAL;
		w->result |= umcg_word(task) != (words[i] | SOME_BITS);
	}
	umcg_set_word(task, RUNNING);
	atomic_fetch_add(&w->steps, 1);
}

TEST(worker_that_is_running, .clauses = "WRUN-5 R19")
{
	static struct worker w = { .body = wait_while_running };

	become_server();
	hire(&w);
	EXPECT_EQ(IDLE, run(&w));
	finish(&w);
	EXPECT_EQ(1, atomic_load(&w.steps));
	EXPECT_EQ(0, w.result);
}

/* It asks for another one than the one that it has woken last. */
static void yield_to_two(struct worker *w)
{
	struct umcg_task *task = &w->umcg->task;
	struct peer *other = w->arg;

	w->result = umcg_yield(w->umcg, 0);
	ASSERT_TRUE(umcg_move(task, RUNNING, IDLE | LOCKED));
	ASSERT_TRUE(umcg_move(&other->umcg.task, IDLE, RUNNING));
	task->next_tid = other->tid;
	w->result |= umcg_sys_wait(0, 0);
}

TEST(worker_to_another_one, .clauses = "WRUN-2 SWITCH-1")
{
	static struct peer other;
	static struct worker w = { .body = yield_to_two, .arg = &other };

	begin_with(&other);
	hire(&w);
	EXPECT_EQ(IDLE, run(&w));
	/* It wakes the other one, and not us. */
	EXPECT_EQ(-ETIMEDOUT, umcg_resume(&me, w.umcg, from_now(SOON)));
	EXPECT_EQ(0, peer_join(&other));
	until_word(&w, IDLE);
	finish(&w);
	EXPECT_EQ(0, w.result);
}

static atomic_bool go;

static void yield_and_spin(struct worker *w)
{
	for (int i = 0; i < 2; i++)
		w->result |= umcg_yield(w->umcg, 0);
	while (!atomic_load(&go))
		atomic_fetch_add(&w->steps, 1);
}

static void *run_and_leave(void *arg)
{
	static struct umcg server;
	struct worker *w = arg;

	ASSERT_EQ(0, umcg_register_server(&server, NULL));
	ASSERT_EQ(-ETIMEDOUT, umcg_resume(&server, w->umcg, from_now(SOON)));
	while (!atomic_load(&w->steps))
		nap(MS);
	ASSERT_EQ(0, umcg_unregister(&server));
	return NULL;
}

/* It has another server when it wakes, and stops when that one goes. */
TEST(worker_under_another_server, .clauses = "WRUN-4 WRUN-6")
{
	static struct worker w = { .body = yield_and_spin };
	pthread_t thread;

	become_server();
	hire(&w);
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(IDLE, run(&w));
		until_state(getpid(), w.tid, 'S');
	}
	ASSERT_EQ(0, pthread_create(&thread, NULL, run_and_leave, &w));
	pthread_join(thread, NULL);
	until_back(&w);
	EXPECT_EQ(RUNNING, umcg_word(&me.task));
	atomic_store(&go, true);
	finish(&w);
	EXPECT_EQ(0, w.result);
}

UMCG_TEST_MAIN
