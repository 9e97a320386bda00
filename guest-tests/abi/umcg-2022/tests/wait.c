// SPDX-License-Identifier: GPL-2.0
/* umcg_wait() of servers. */
#include "away.h"
#include "staff.h"

static struct peer p;

TEST(unregistered_caller, .clauses = "ARG-1")
{
	EXPECT_EQ(-EINVAL, umcg_sys_wait(0, 0));
	EXPECT_EQ(-EINVAL, umcg_sys_wait(0, 1));
	EXPECT_EQ(-EINVAL, umcg_sys_wait(UMCG_WAIT_ENQUEUE, 0));
}

TEST(unknown_flags, .clauses = "ARG-2")
{
	become_server();
	umcg_set_word(&me.task, RUNNABLE | COND_WAIT);
	for (int bit = 1; bit < 32; bit++)
		EXPECT_EQ(-EINVAL, umcg_sys_wait(1U << bit, 1));
	/* A server joins no list. */
	EXPECT_EQ(-EINVAL, umcg_sys_wait(UMCG_WAIT_ENQUEUE, 0));
	EXPECT_EQ(-EINVAL, umcg_sys_wait(UMCG_WAIT_ENQUEUE, 1));
	EXPECT_EQ(RUNNABLE | COND_WAIT, umcg_word(&me.task));
}

TEST(unreadable_self, .clauses = "ARG-3 LIFE-4")
{
	struct umcg *own = new_page();

	ASSERT_EQ(0, enrol(own, 0));
	ASSERT_EQ(0, munmap(own, 4096));
	EXPECT_EQ(-EFAULT, umcg_sys_wait(0, 1));
	EXPECT_EQ(-EFAULT, umcg_sys_wait(0, 0));
	nap(MS);
}

TEST(only_who_is_runnable_waits, .clauses = "ARG-4 R1")
{
	static const uint32_t words[] = { RUNNING, RUNNING | PREEMPT, NONE, BLOCKED, 4, 0xff };

	become_server();
	for (int i = 0; i < 6; i++) {
		umcg_set_word(&me.task, words[i] | SOME_BITS);
		EXPECT_EQ(-EAGAIN, umcg_sys_wait(0, 1));
		EXPECT_EQ(-EAGAIN, umcg_sys_wait(0, 0));
		EXPECT_EQ(words[i] | SOME_BITS, umcg_word(&me.task));
	}
}

TEST(flags_are_cleared, .clauses = "WAIT-4 TASK-3")
{
	p.bits = PREEMPT | 0x4000 | SOME_BITS;
	peer_start(&p);
	while (umcg_word(&p.umcg.task) & (COND_WAIT | PREEMPT))
		nap(MS);
	/* What has no meaning yet is left alone. */
	EXPECT_EQ(RUNNABLE | 0x4000 | SOME_BITS, umcg_word(&p.umcg.task));
	until_state(getpid(), p.tid, 'S');
	rouse(&p.umcg);
	EXPECT_EQ(0, peer_join(&p));
}

TEST(sleeps_until_running, .clauses = "WAIT-1 KICK-1")
{
	peer_start(&p);
	until_asleep(&p);
	expect_asleep(&p);
	rouse(&p.umcg);
	EXPECT_EQ(0, peer_join(&p));
}

TEST(run_before_the_call, .clauses = "WAIT-2 ARG-4 R1 R2")
{
	become_server();
	umcg_set_word(&me.task, RUNNABLE | COND_WAIT);
	/* By somebody else. */
	ASSERT_TRUE(umcg_move(&me.task, RUNNABLE, RUNNING));
	EXPECT_EQ(-EAGAIN, umcg_sys_wait(0, 0));
}

TEST(wakeup_of_a_runnable_word, .clauses = "WAIT-3 KICK-1 R2")
{
	peer_start(&p);
	until_asleep(&p);
	for (int i = 0; i < 20; i++)
		ASSERT_EQ(0, umcg_sys_kick(0, p.tid));
	expect_asleep(&p);
	rouse(&p.umcg);
	EXPECT_EQ(0, peer_join(&p));
}

TEST(page_not_present, .clauses = "WAIT-5 R15 R26 R34 R46")
{
	struct peer *away = own_page();
	uint32_t tid;

	swap_on();
	peer_start(away);
	until_asleep(away);
	tid = away->tid;
	page_out(away);
	ASSERT_EQ(0, umcg_sys_kick(0, tid));
	expect_asleep(away);
	page_out(away);
	rouse(&away->umcg);
	EXPECT_EQ(0, peer_join(away));
	swap_off();
}

TEST(garbage_in_a_wait, .clauses = "WAIT-6 R19")
{
	static const uint32_t words[] = { NONE, BLOCKED, 4, 0xff };

	for (int i = 0; i < 4; i++) {
		memset(&p, 0, sizeof(p));
		peer_start(&p);
		until_asleep(&p);
		umcg_set_word(&p.umcg.task, words[i]);
		ASSERT_EQ(0, umcg_sys_kick(0, p.tid));
		EXPECT_EQ(-EINVAL, peer_join(&p));
	}
}

/* Handing over. */
static void *hand_back(void *arg)
{
	struct peer *other = arg;

	ASSERT_EQ(0, enrol(&other->umcg, 0));
	atomic_store(&other->tid, gettid());
	ASSERT_EQ(0, wait_with(&other->umcg, 0, 0, 0));
	for (int i = 0; i < 1000; i++)
		ASSERT_EQ(0, wait_with(&other->umcg, me.tid, 0, 0));
	return NULL;
}

static void hand_over_often(void)
{
	become_server();
	ASSERT_EQ(0, pthread_create(&p.thread, NULL, hand_back, &p));
	while (!atomic_load(&p.tid))
		sched_yield();
	until_asleep(&p);
	for (int i = 0; i < 1000; i++)
		ASSERT_EQ(0, wait_with(&me, p.tid, 0, 0));
	while (state_of(&p.umcg) != RUNNABLE)
		nap(MS);
	rouse(&p.umcg);
	pthread_join(p.thread, NULL);
}

TEST(hand_over, .clauses = "NEXT-1 NEXT-6 R1 R13")
{
	hand_over_often();
}

TEST(hand_over_on_one_cpu, .clauses = "NEXT-1 NEXT-6 R1")
{
	pin(0, 0);
	hand_over_often();
}

TEST(next_is_run_and_marked, .clauses = "NEXT-1 TASK-4 R29")
{
	become_server();
	peer_start(&p);
	until_asleep(&p);
	EXPECT_EQ(-ETIMEDOUT, wait_with(&me, p.tid, 0, from_now(SOON)));
	EXPECT_EQ(p.tid | RUNS, me.task.next_tid);
	EXPECT_EQ(0, peer_join(&p));
	EXPECT_EQ(RUNNING, umcg_word(&me.task));
}

TEST(next_is_not_runnable, .clauses = "NEXT-2 ARG-5 R28 R36")
{
	static const uint32_t words[] = { NONE, RUNNING, BLOCKED, 4 };

	become_server();
	peer_start(&p);
	until_asleep(&p);
	for (int i = 0; i < 4; i++) {
		umcg_set_word(&p.umcg.task, words[i]);
		EXPECT_EQ(-EAGAIN, wait_with(&me, p.tid, 0, 0));
		EXPECT_EQ(p.tid, me.task.next_tid);
		EXPECT_EQ(words[i], umcg_word(&p.umcg.task));
		EXPECT_EQ(RUNNING, umcg_word(&me.task));
	}
	umcg_set_word(&p.umcg.task, RUNNABLE);
	rouse(&p.umcg);
	peer_join(&p);
}

TEST(next_has_to_run_still, .clauses = "NEXT-3 ARG-5 R37")
{
	become_server();
	peer_start(&p);
	until_asleep(&p);
	EXPECT_EQ(-EAGAIN, wait_with(&me, p.tid | RUNS, 0, 0));
	EXPECT_EQ(p.tid | RUNS, me.task.next_tid);
	umcg_set_word(&p.umcg.task, RUNNING | PREEMPT);
	EXPECT_EQ(-ETIMEDOUT, wait_with(&me, p.tid | RUNS, 0, from_now(MS)));
	EXPECT_EQ(0, umcg_sys_kick(0, p.tid));
	EXPECT_EQ(0, peer_join(&p));
}

TEST(next_is_nobody, .clauses = "NEXT-4 MM-1 ARG-5 R5 R18 R36 R57")
{
	struct peer *other = shared_memory(sizeof(*other));
	uint32_t tids[6];
	pid_t pid = fork();

	if (!pid) {
		peer_body(other);
		_exit(0);
	}
	while (!atomic_load(&other->tid))
		sched_yield();
	tids[0] = plain_thread();
	tids[1] = gone_thread();
	tids[2] = other->tid;
	tids[3] = UMCG_TID_MASK;
	tids[4] = RUNS;
	tids[5] = other->tid | RUNS;
	become_server();
	for (int i = 0; i < 6; i++) {
		EXPECT_EQ(-ESRCH, wait_with(&me, tids[i], 0, 0));
		EXPECT_EQ(tids[i], me.task.next_tid);
		EXPECT_EQ(RUNNING, umcg_word(&me.task));
	}
	EXPECT_EQ(-ESRCH, umcg_sys_kick(0, other->tid));
	EXPECT_EQ(RUNNABLE, umcg_bits(umcg_word(&other->umcg.task)) & UMCG_TASK_MASK);
	kill(pid, SIGKILL);
	reap_child(pid);
}

TEST(next_is_unreadable, .clauses = "NEXT-4 ARG-5 R28")
{
	struct peer *away = own_page();
	uint32_t tid;

	become_server();
	peer_start(away);
	until_asleep(away);
	tid = away->tid;
	ASSERT_EQ(0, mprotect(away, 4096, PROT_NONE));
	EXPECT_EQ(-EFAULT, wait_with(&me, tid, 0, 0));
	EXPECT_EQ(-EFAULT, wait_with(&me, tid | RUNS, 0, 0));
	EXPECT_EQ(RUNNING, umcg_word(&me.task));
	ASSERT_EQ(0, mprotect(away, 4096, PROT_READ | PROT_WRITE));
	rouse(&away->umcg);
	peer_join(away);
}

TEST(next_is_oneself, .clauses = "NEXT-5")
{
	become_server();
	EXPECT_EQ(0, wait_with(&me, me.tid, 0, 0));
	EXPECT_EQ(RUNNING, umcg_word(&me.task));
	EXPECT_EQ(me.tid | RUNS, me.task.next_tid);
}

TEST(next_gets_this_cpu, .clauses = "NEXT-1")
{
	cpu_set_t all;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return;
	CPU_ZERO(&all);
	CPU_SET(0, &all);
	CPU_SET(1, &all);
	become_server();
	pin(0, 1);
	peer_start(&p);
	ASSERT_EQ(0, sched_setaffinity(p.tid, sizeof(all), &all));
	until_asleep(&p);
	pin(0, 0);
	EXPECT_EQ(-ETIMEDOUT, wait_with(&me, p.tid, 0, from_now(SOON)));
	peer_join(&p);
	EXPECT_EQ(0, p.cpu);
}

UMCG_TEST_MAIN
