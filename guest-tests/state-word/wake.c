// SPDX-License-Identifier: GPL-2.0
/* umcg_wait(): waking others, and handing over to them. */
#include "inject.h"
#include "peer.h"

TEST(wake_leaves_words_alone)
{
	static const uint32_t words[] = {
		RUNNING, IDLE, UMCG_TASK_NONE, BLOCKED, UMCG_TASK_STATE_MASK,
		RUNNING | UMCG_TF_LOCKED, IDLE | UMCG_TF_LOCKED, UMCG_WORD_MASK,
	};
	static struct peer p;

	become_server();
	peer_start(&p);
	until_asleep(&p);
	for (int i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		umcg_set_word(&me.task, words[i]);
		EXPECT_EQ(0, wake_tid(p.tid, 0));
		EXPECT_EQ(words[i], umcg_word(&me.task));
		EXPECT_EQ(p.tid, me.task.next_tid);
		EXPECT_EQ(IDLE, umcg_word(&p.umcg.task));
	}
	/* The last of these may have it look just when its word is changed. */
	until_asleep(&p);
	peer_wake(&p);
	EXPECT_EQ(0, peer_join(&p));
}

static struct umcg late;
static atomic_int stage;

static void at_stage(int n)
{
	while (atomic_load(&stage) < n)
		sched_yield();
}

static void *wait_late(void *arg)
{
	ASSERT_EQ(0, umcg_register_server(&late, NULL));
	atomic_store(&stage, 1);
	at_stage(2);
	ASSERT_EQ(0, umcg_wait(&late, 0));
	atomic_store(&stage, 3);
	return arg;
}

TEST(wake_of_the_running_is_not_saved)
{
	pthread_t thread;

	become_server();
	ASSERT_EQ(0, pthread_create(&thread, NULL, wait_late, NULL));
	at_stage(1);
	for (int i = 0; i < 10; i++)
		EXPECT_EQ(0, wake_tid(late.tid, 0));
	atomic_store(&stage, 2);
	until_state(getpid(), late.tid, 'S');
	nap(SOON);
	EXPECT_EQ(2, atomic_load(&stage));
	EXPECT_EQ(0, umcg_wake(&me, &late));
	pthread_join(thread, NULL);
}

/* A server that sleeps in a call which ends with EINTR if it is woken by nothing. */
static void *wait_for_a_signal(void *arg)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	ASSERT_EQ(0, pthread_sigmask(SIG_BLOCK, &set, NULL));
	ASSERT_EQ(0, umcg_register_server(&late, NULL));
	atomic_store(&stage, 1);
	EXPECT_EQ(SIGUSR1, sigtimedwait(&set, NULL, NULL));
	atomic_store(&stage, 2);
	return arg;
}

TEST(wake_ends_no_other_sleep)
{
	pthread_t thread;

	become_server();
	ASSERT_EQ(0, pthread_create(&thread, NULL, wait_for_a_signal, NULL));
	at_stage(1);
	until_state(getpid(), late.tid, 'S');
	for (int i = 0; i < 10; i++)
		EXPECT_EQ(0, wake_tid(late.tid, i % 2 ? UMCG_WAIT_WF_CURRENT_CPU : 0));
	EXPECT_EQ('S', rest_state(getpid(), late.tid));
	EXPECT_EQ(1, atomic_load(&stage));
	ASSERT_EQ(0, tgkill(getpid(), late.tid, SIGUSR1));
	pthread_join(thread, NULL);
}

TEST(wake_arguments)
{
	static struct peer p;

	become_server();
	EXPECT_EQ(-EINVAL, wake_tid(0, 0));
	peer_start(&p);
	until_asleep(&p);
	umcg_set_word(&p.umcg.task, RUNNING);
	me.task.next_tid = p.tid;
	EXPECT_EQ(-EINVAL, umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, 1));
	EXPECT_EQ(-EINVAL, umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, from_now(SOON)));
	expect_asleep(&p);
	EXPECT_EQ(0, wake_tid(p.tid, 0));
	EXPECT_EQ(0, peer_join(&p));
}

static void *stay(void *arg)
{
	atomic_store((atomic_int *)arg, gettid());
	for (;;)
		pause();
	return arg;
}

TEST(no_such_server)
{
	static atomic_int plain;
	static struct peer gone;
	pthread_t thread;
	uint32_t tids[6];
	pid_t child = fork();

	if (!child)
		stay(&plain);
	become_server();
	ASSERT_EQ(0, pthread_create(&thread, NULL, stay, &plain));
	while (!plain)
		sched_yield();
	peer_start(&gone);
	until_asleep(&gone);
	peer_wake(&gone);
	EXPECT_EQ(0, peer_join(&gone));

	tids[0] = plain;
	tids[1] = gone.tid;
	tids[2] = child;
	tids[3] = 0x7fffffff;
	tids[4] = 0x80000000;
	tids[5] = 0xffffffff;
	for (int i = 0; i < 6; i++) {
		EXPECT_EQ(-ESRCH, wake_tid(tids[i], 0));
		EXPECT_EQ(-ESRCH, wake_tid(tids[i], UMCG_WAIT_WF_CURRENT_CPU));
		umcg_set_word(&me.task, IDLE);
		EXPECT_EQ(-ESRCH, umcg_sys_wait(0, 0));
		EXPECT_EQ(IDLE, umcg_word(&me.task));
		umcg_set_word(&me.task, RUNNING);
	}
}

/* Where a peer finds itself when woken, if it may run anywhere or only on `cpu`. */
static int woken_on(uint32_t flags, int cpu)
{
	struct peer *p = aligned_alloc(64, sizeof(*p));

	memset(p, 0, sizeof(*p));
	peer_start(p);
	until_asleep(p);
	if (cpu >= 0)
		pin(p->tid, cpu);
	ASSERT_TRUE(umcg_move(&p->umcg.task, IDLE, RUNNING));
	EXPECT_EQ(0, wake_tid(p->tid, flags));
	EXPECT_EQ(0, peer_join(p));
	return p->cpu;
}

TEST(current_cpu_is_advice)
{
	int cpu;

	become_server();
	for (int i = 0; i < 20; i++)
		woken_on(UMCG_WAIT_WF_CURRENT_CPU, -1);
	/* Where it may not run it does not run. */
	for (cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++)
		EXPECT_EQ(cpu, woken_on(UMCG_WAIT_WF_CURRENT_CPU, cpu));
}

TEST(wake_oneself)
{
	become_server();
	EXPECT_EQ(0, wake_tid(me.tid, 0));
	EXPECT_EQ(0, wake_tid(me.tid, UMCG_WAIT_WF_CURRENT_CPU));
	/* It was not saved up. */
	umcg_set_word(&me.task, IDLE);
	me.task.next_tid = 0;
	EXPECT_EQ(-ETIMEDOUT, umcg_sys_wait(0, from_now(MS)));
}

static struct umcg partner;
static atomic_int handed, hand_overs;
static struct injection marked_self, marked_other;

/* Hand over to `me`, on being handed over to, until told otherwise. */
static void *hand_back(void *arg)
{
	ASSERT_EQ(0, umcg_register_server(&partner, NULL));
	while (umcg_switch(&partner, &me, 0) == -EAGAIN)
		sched_yield();
	while (atomic_load(&handed) < atomic_load(&hand_overs)) {
		atomic_fetch_add(&handed, 1);
		ASSERT_EQ(0, umcg_switch(&partner, &me, 0));
	}
	umcg_wake(&partner, &me);
	return arg;
}

/* Hand over back and forth `n` times. */
static void ping_pong(int n)
{
	pthread_t thread;

	atomic_store(&hand_overs, n);
	become_server();
	ASSERT_EQ(0, pthread_create(&thread, NULL, hand_back, NULL));
	ASSERT_EQ(0, umcg_wait(&me, 0));
	inject_at[INJECT_MARKED_SELF] = marked_self;
	inject_at[INJECT_MARKED_OTHER] = marked_other;
	for (int i = 0; i < n; i++) {
		ASSERT_EQ(i, atomic_load(&handed));
		ASSERT_EQ(0, umcg_switch(&me, &partner, 0));
		ASSERT_EQ(i + 1, atomic_load(&handed));
	}
	/* It ends, and could do so ahead of the call if it saw its word before it slept. */
	until_state(getpid(), partner.tid, 'S');
	ASSERT_EQ(0, umcg_switch(&me, &partner, 0));
	pthread_join(thread, NULL);
}

TEST(hand_over) { ping_pong(500); }

TEST(hand_over_with_delays)
{
	marked_self = (struct injection){ INJECT_YIELD, 1 };
	marked_other = (struct injection){ INJECT_YIELD, 1 };
	ping_pong(200);
}

TEST(hand_over_on_one_cpu)
{
	pin(0, 0);
	ping_pong(500);
}

TEST(running_caller_wakes_and_returns)
{
	static struct peer p;

	become_server();
	peer_start(&p);
	until_asleep(&p);
	ASSERT_TRUE(umcg_move(&p.umcg.task, IDLE, RUNNING));
	me.task.next_tid = p.tid;
	EXPECT_EQ(0, umcg_sys_wait(0, 0));
	EXPECT_EQ(0, peer_join(&p));
}

/* The one handed over to runs already; it wakes us when it has seen us asleep. */
static void *wake_me(void *arg)
{
	ASSERT_EQ(0, umcg_register_server(&partner, NULL));
	atomic_store(&stage, 1);
	until_state(getpid(), getpid(), 'S');
	atomic_store(&stage, 2);
	ASSERT_EQ(0, umcg_wake(&partner, &me));
	return arg;
}

/* Name `to`, which is running, and sleep until the partner wakes us. */
static void hand_over_to(const struct umcg *to)
{
	pthread_t thread;

	become_server();
	ASSERT_EQ(0, pthread_create(&thread, NULL, wake_me, NULL));
	at_stage(1);
	umcg_set_word(&me.task, IDLE);
	me.task.next_tid = to->tid;
	EXPECT_EQ(0, umcg_sys_wait(0, 0));
	EXPECT_EQ(2, atomic_load(&stage));
	pthread_join(thread, NULL);
}

TEST(hand_over_to_the_running)
{
	hand_over_to(&partner);
}

TEST(hand_over_to_oneself)
{
	hand_over_to(&me);
	umcg_set_word(&me.task, IDLE);
	EXPECT_EQ(-ETIMEDOUT, umcg_sys_wait(0, 1));
}

UMCG_TEST_MAIN
