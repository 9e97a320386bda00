// SPDX-License-Identifier: GPL-2.0
/* Signals that meet a server in umcg_wait(). */
#include "inject.h"
#include "peer.h"

static atomic_int handled;

static void count(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
}

static void send(struct peer *p, int signal)
{
	ASSERT_EQ(0, tgkill(p->pid, p->tid, signal));
}

static void until_handled(int n)
{
	while (atomic_load(&handled) < n)
		nap(MS);
}

static void handler_and_on(int flags)
{
	static struct peer p;

	on_signal(SIGUSR1, count, flags);
	become_server();
	peer_start(&p);
	for (int i = 1; i <= 20; i++) {
		until_asleep(&p);
		send(&p, SIGUSR1);
		until_handled(i);
	}
	until_asleep(&p);
	expect_asleep(&p);
	EXPECT_EQ(20, atomic_load(&handled));
	peer_wake(&p);
	EXPECT_EQ(0, peer_join(&p));
}

TEST(wait_goes_on) { handler_and_on(0); }
TEST(wait_goes_on_with_sa_restart) { handler_and_on(SA_RESTART); }

TEST(signal_between_mark_and_call)
{
	static struct umcg late;

	on_signal(SIGUSR1, count, 0);
	ASSERT_EQ(0, umcg_register_server(&late, NULL));
	inject_at[INJECT_MARKED_SELF] = (struct injection){ INJECT_SIGNAL, SIGUSR1 };
	EXPECT_EQ(-ETIMEDOUT, umcg_wait(&late, from_now(MS)));
	EXPECT_EQ(1, atomic_load(&handled));
}

static struct peer interrupted;

/* Run in the interrupted thread, which finds the word as the kernel left it. */
static void make_myself_running(int signal)
{
	count(signal);
	EXPECT_TRUE(umcg_move(&interrupted.umcg.task, IDLE, RUNNING));
}

TEST(handler_makes_it_running)
{
	on_signal(SIGUSR1, make_myself_running, 0);
	peer_start(&interrupted);
	until_asleep(&interrupted);
	send(&interrupted, SIGUSR1);
	EXPECT_EQ(0, peer_join(&interrupted));
	EXPECT_EQ(1, atomic_load(&handled));
}

/* Both are there when it looks: neither is lost, the handler runs first. */
TEST(wake_and_signal_together)
{
	on_signal(SIGUSR1, count, 0);
	become_server();
	for (int i = 1; i <= 50; i++) {
		struct peer *p = aligned_alloc(64, sizeof(*p));

		memset(p, 0, sizeof(*p));
		peer_start(p);
		if (i % 2) {
			send(p, SIGUSR1);
			ASSERT_TRUE(umcg_move(&p->umcg.task, IDLE, RUNNING));
		} else {
			until_asleep(p);
			ASSERT_TRUE(umcg_move(&p->umcg.task, IDLE, RUNNING));
			send(p, SIGUSR1);
		}
		/* The signal may have had it look at its word, return and exit. */
		wake_tid(p->tid, 0);
		ASSERT_EQ(0, peer_join(p));
		ASSERT_EQ(i, atomic_load(&handled));
	}
}

static void unregister(int signal)
{
	EXPECT_EQ(0, umcg_sys_ctl(UMCG_CTL_UNREGISTER, NULL));
	count(signal);
}

TEST(handler_unregisters)
{
	static struct peer p;

	on_signal(SIGUSR1, unregister, 0);
	peer_start(&p);
	until_asleep(&p);
	send(&p, SIGUSR1);
	EXPECT_EQ(-EINVAL, peer_join(&p));
	EXPECT_EQ(1, atomic_load(&handled));
}

/* A wait in the handler of a wait, itself interrupted by another signal. */
static void wait_inside(int signal)
{
	struct umcg_task *task = &interrupted.umcg.task;

	count(signal);
	EXPECT_EQ(IDLE, umcg_word(task));
	EXPECT_EQ(-ETIMEDOUT, umcg_sys_wait(0, from_now(5 * SOON)));
	EXPECT_EQ(RUNNING, umcg_word(task));
	umcg_set_word(task, IDLE);
	count(signal);
}

TEST(handlers_nest_and_wait)
{
	become_server();
	on_signal(SIGUSR1, wait_inside, 0);
	on_signal(SIGUSR2, count, 0);
	peer_start(&interrupted);
	until_asleep(&interrupted);
	send(&interrupted, SIGUSR1);
	until_handled(1);
	send(&interrupted, SIGUSR2);
	until_handled(3);
	until_asleep(&interrupted);
	expect_asleep(&interrupted);
	peer_wake(&interrupted);
	EXPECT_EQ(0, peer_join(&interrupted));
}

static atomic_bool partner_gone;

static void until_partner_is_gone(int signal)
{
	count(signal);
	while (!atomic_load(&partner_gone))
		nap(MS);
}

/* Have `interrupted` switch to a partner that sleeps on, and `handler` begin there. */
static void interrupt_a_switch(struct peer *partner, void (*handler)(int))
{
	on_signal(SIGUSR1, handler, 0);
	become_server();
	peer_start(partner);
	until_asleep(partner);
	interrupted.next_tid = partner->tid;
	peer_start(&interrupted);
	until_asleep(&interrupted);
	send(&interrupted, SIGUSR1);
	until_handled(1);
}

TEST(partner_exits_meanwhile)
{
	static struct peer partner;

	interrupt_a_switch(&partner, until_partner_is_gone);
	ASSERT_TRUE(umcg_move(&partner.umcg.task, IDLE, RUNNING));
	ASSERT_EQ(0, wake_tid(partner.tid, 0));
	EXPECT_EQ(0, peer_join(&partner));
	EXPECT_EQ(-ESRCH, wake_tid(partner.tid, 0));
	atomic_store(&partner_gone, true);
	until_asleep(&interrupted);
	expect_asleep(&interrupted);
	peer_wake(&interrupted);
	EXPECT_EQ(0, peer_join(&interrupted));
}

/* A switch of its own to a partner that has gone by now. */
static void switch_inside(int signal)
{
	until_partner_is_gone(signal);
	EXPECT_EQ(-ESRCH, umcg_sys_wait(0, from_now(SOON)));
	EXPECT_EQ(IDLE, umcg_word(&interrupted.umcg.task));
	count(signal);
}

/* It is not taken for the switch that was interrupted, which is restarted after it. */
TEST(handler_switches_to_one_that_has_gone)
{
	static struct peer partner;

	interrupt_a_switch(&partner, switch_inside);
	peer_wake(&partner);
	EXPECT_EQ(0, peer_join(&partner));
	atomic_store(&partner_gone, true);
	until_handled(2);
	until_asleep(&interrupted);
	peer_wake(&interrupted);
	EXPECT_EQ(0, peer_join(&interrupted));
}

static struct peer twice;
static int second;

/* Both switches are made from one place, as far as the stack tells. */
static void *switch_twice(void *arg)
{
	struct umcg_task *task = &twice.umcg.task;
	int result[2];

	umcg_set_word(task, RUNNING);
	ASSERT_EQ(0, umcg_sys_ctl(UMCG_CTL_REGISTER, task));
	task->next_tid = twice.next_tid;
	twice.pid = getpid();
	for (int i = 0; i < 2; i++) {
		umcg_set_word(task, IDLE);
		atomic_store(&twice.tid, gettid());
		result[i] = umcg_sys_wait(0, i ? from_now(SOON) : 0);
		while (!atomic_load(&partner_gone))
			nap(MS);
	}
	twice.result = result[0];
	second = result[1];
	return arg;
}

/* That a switch was interrupted once is no excuse for a later one. */
TEST(switches_again_to_one_that_has_gone)
{
	static struct peer partner;

	on_signal(SIGUSR1, count, 0);
	become_server();
	peer_start(&partner);
	until_asleep(&partner);
	twice.next_tid = partner.tid;
	ASSERT_EQ(0, pthread_create(&twice.thread, NULL, switch_twice, NULL));
	while (!atomic_load(&twice.tid))
		sched_yield();
	until_asleep(&twice);
	send(&twice, SIGUSR1);
	until_handled(1);
	until_asleep(&twice);
	peer_wake(&twice);
	peer_wake(&partner);
	EXPECT_EQ(0, peer_join(&partner));
	atomic_store(&partner_gone, true);
	EXPECT_EQ(0, peer_join(&twice));
	EXPECT_EQ(-ESRCH, second);
}

TEST(fatal_signals_end_it)
{
	static const int fatal[] = { SIGKILL, SIGTERM, SIGKILL, SIGSEGV };
	struct peer *p = shared_memory(4 * sizeof(*p));

	for (int i = 0; i < 4; i++) {
		pid_t pid;

		p[i].timeout = i < 2 ? 0 : from_now(600 * 1000 * MS);
		pid = peer_fork(&p[i]);
		until_asleep(&p[i]);
		ASSERT_EQ(0, kill(pid, fatal[i]));
		EXPECT_EQ(fatal[i], WTERMSIG(reap_child(pid)));
	}
}

TEST(blocked_and_ignored)
{
	static struct peer p;
	sigset_t set;

	on_signal(SIGUSR1, count, 0);
	on_signal(SIGUSR2, SIG_IGN, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	become_server();
	ASSERT_EQ(0, pthread_sigmask(SIG_BLOCK, &set, NULL));
	peer_start(&p);
	until_asleep(&p);
	for (int i = 0; i < 5; i++) {
		send(&p, SIGUSR1);
		send(&p, SIGUSR2);
		send(&p, SIGCHLD);
	}
	expect_asleep(&p);
	EXPECT_EQ(0, atomic_load(&handled));
	peer_wake(&p);
	EXPECT_EQ(0, peer_join(&p));
}

UMCG_TEST_MAIN
