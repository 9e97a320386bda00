// SPDX-License-Identifier: GPL-2.0
/* umcg_wait(): its arguments, and waiting. */
#include "inject.h"
#include "peer.h"

/* A peer that is asleep with its word RUNNING: any wakeup would end its wait. */
static void sleep_lightly(struct peer *p)
{
	peer_start(p);
	until_asleep(p);
	umcg_set_word(&p->umcg.task, RUNNING);
	me.task.next_tid = p->tid;
}

static void wake_and_join(struct peer *p)
{
	EXPECT_EQ(0, wake_tid(p->tid, 0));
	EXPECT_EQ(0, peer_join(p));
}

TEST(unregistered_caller)
{
	EXPECT_EQ(-EINVAL, umcg_sys_wait(0, 0));
	EXPECT_EQ(-EINVAL, umcg_sys_wait(0, 1));
	EXPECT_EQ(-EINVAL, umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, 0));
	become_server();
	EXPECT_EQ(0, umcg_unregister(&me));
	EXPECT_EQ(-EINVAL, umcg_sys_wait(0, 1));
}

TEST(unknown_flags)
{
	static struct peer p;

	become_server();
	sleep_lightly(&p);
	umcg_set_word(&me.task, IDLE);
	for (int bit = 2; bit < 32; bit++) {
		EXPECT_EQ(-EINVAL, umcg_sys_wait(1U << bit, 1));
		EXPECT_EQ(-EINVAL, umcg_sys_wait(1U << bit | UMCG_WAIT_WAKE_ONLY, 0));
	}
	expect_asleep(&p);
	wake_and_join(&p);
}

TEST(current_cpu_without_wake_only)
{
	become_server();
	umcg_set_word(&me.task, IDLE);
	EXPECT_EQ(-ETIMEDOUT, umcg_sys_wait(UMCG_WAIT_WF_CURRENT_CPU, 1));
	EXPECT_EQ(0, umcg_sys_wait(UMCG_WAIT_WF_CURRENT_CPU, 0));
}

TEST(unreadable_self)
{
	struct umcg_task *task = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	static struct peer p;

	ASSERT_NE(MAP_FAILED, (void *)task);
	become_server();
	sleep_lightly(&p);
	EXPECT_EQ(0, umcg_unregister(&me));

	umcg_set_word(task, RUNNING);
	ASSERT_EQ(0, umcg_sys_ctl(UMCG_CTL_REGISTER, task));
	task->next_tid = p.tid;
	umcg_set_word(task, IDLE);
	ASSERT_EQ(0, mprotect(task, 4096, PROT_NONE));
	EXPECT_EQ(-EFAULT, umcg_sys_wait(0, 1));
	EXPECT_EQ(-EFAULT, umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, 0));
	expect_asleep(&p);
	ASSERT_EQ(0, mprotect(task, 4096, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, 0));
	EXPECT_EQ(0, peer_join(&p));

	ASSERT_EQ(0, munmap(task, 4096));
	nap(MS);
	EXPECT_EQ(-EFAULT, umcg_sys_wait(0, 1));
	EXPECT_EQ(0, umcg_sys_ctl(UMCG_CTL_UNREGISTER, NULL));
}

/* Of a server: what of it is refused, and that nobody is woken then. */
TEST(word_must_make_sense)
{
	static const uint32_t bad[] = UMCG_REFUSED;
	struct umcg_task before;
	static struct peer p;

	become_server();
	sleep_lightly(&p);
	for (int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		umcg_set_word(&me.task, bad[i] | UMCG_NOISE);
		before = me.task;
		EXPECT_EQ(-EINVAL, umcg_sys_wait(0, 1));
		EXPECT_EQ(0, memcmp(&before, &me.task, sizeof(before)));
	}
	expect_asleep(&p);
	/* Still registered. */
	umcg_set_word(&me.task, RUNNING);
	wake_and_join(&p);
}

TEST(error_leaves_the_mark)
{
	become_server();
	umcg_set_word(&me.task, IDLE | SOME_BITS);
	me.task.next_tid = 0x3fffffff;
	EXPECT_EQ(-ESRCH, umcg_sys_wait(0, 0));
	EXPECT_EQ(IDLE | SOME_BITS, umcg_word(&me.task));
	EXPECT_EQ(-EINVAL, umcg_sys_wait(0x80, 0));
	EXPECT_EQ(IDLE | SOME_BITS, umcg_word(&me.task));
}

TEST(sleeps_until_running)
{
	static struct peer p;

	become_server();
	peer_start(&p);
	until_asleep(&p);
	expect_asleep(&p);
	EXPECT_EQ(IDLE, umcg_word(&p.umcg.task));
	peer_wake(&p);
	EXPECT_EQ(0, peer_join(&p));
	EXPECT_EQ(RUNNING, umcg_word(&p.umcg.task));
}

TEST(woken_before_the_call)
{
	become_server();
	umcg_set_word(&me.task, IDLE);
	umcg_set_word(&me.task, RUNNING);
	EXPECT_EQ(0, umcg_sys_wait(0, 0));
	EXPECT_EQ(RUNNING, umcg_word(&me.task));
}

#define RACES	(5 * 5 * 20)

static struct umcg waiter;

static void *wait_often(void *arg)
{
	ASSERT_EQ(0, umcg_register_server(&waiter, NULL));
	for (int i = 0; i < RACES; i++)
		ASSERT_EQ(0, umcg_wait(&waiter, 0));
	return arg;
}

/*
 * Wake and wait in every order that yields and delays at both sides' critical
 * place can make: a lost wake is a wait for ever.
 */
TEST(wake_races_wait)
{
	static const struct injection delays[] = {
		{ INJECT_NOTHING, 0 }, { INJECT_YIELD, 1 }, { INJECT_YIELD, 3 },
		{ INJECT_SPIN, 300 }, { INJECT_SPIN, 3000 },
	};
	pthread_t thread;
	int err;

	become_server();
	ASSERT_EQ(0, pthread_create(&thread, NULL, wait_often, NULL));
	for (int i = 0; i < RACES; i++) {
		inject_at[INJECT_MARKED_SELF] = delays[i % 5];
		inject_at[INJECT_MARKED_OTHER] = delays[i / 5 % 5];
		while ((err = umcg_wake(&me, &waiter)) == -EAGAIN)
			sched_yield();
		/* The last time it may see its word, return and exit before. */
		ASSERT_TRUE(err == 0 || (err == -ESRCH && i == RACES - 1));
	}
	pthread_join(thread, NULL);
}

TEST(wakeup_of_an_idle_word)
{
	static struct peer p;

	become_server();
	peer_start(&p);
	until_asleep(&p);
	for (int i = 0; i < 50; i++)
		EXPECT_EQ(0, wake_tid(p.tid, 0));
	expect_asleep(&p);
	EXPECT_EQ(IDLE, umcg_word(&p.umcg.task));
	peer_wake(&p);
	EXPECT_EQ(0, peer_join(&p));
}

TEST(word_alone_does_not_wake)
{
	static struct peer p;

	become_server();
	sleep_lightly(&p);
	expect_asleep(&p);
	wake_and_join(&p);
}

/*
 * The page of a sleeping server goes away; who wakes it writes the word through
 * another mapping, so that the kernel is the first to miss the page.
 */
TEST(page_not_present)
{
	int fd = memfd_create("task", 0);
	struct umcg_task *theirs, *ours;
	static struct peer p;

	ASSERT_EQ(0, ftruncate(fd, 4096));
	theirs = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ours = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)theirs);
	ASSERT_NE(MAP_FAILED, (void *)ours);
	become_server();
	p.task = theirs;
	peer_start(&p);
	until_asleep(&p);
	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(0, madvise(theirs, 4096, MADV_DONTNEED));
		EXPECT_EQ(0, wake_tid(p.tid, 0));
		until_asleep(&p);
	}
	ASSERT_EQ(0, madvise(theirs, 4096, MADV_DONTNEED));
	ASSERT_TRUE(umcg_move(ours, IDLE, RUNNING));
	EXPECT_EQ(0, wake_tid(p.tid, 0));
	EXPECT_EQ(0, peer_join(&p));
}

static struct umcg blocker;
static int blocker_pipe[2];

static void *block_in_read(void *arg)
{
	char byte;

	ASSERT_EQ(0, umcg_register_server(&blocker, NULL));
	ASSERT_EQ(1, read(blocker_pipe[0], &byte, 1));
	return arg;
}

TEST(blocking_elsewhere_is_not_told)
{
	static struct peer bystander;
	pthread_t thread;

	become_server();
	peer_start(&bystander);
	until_asleep(&bystander);
	ASSERT_EQ(0, pipe(blocker_pipe));
	ASSERT_EQ(0, pthread_create(&thread, NULL, block_in_read, NULL));
	while (!blocker.tid)
		sched_yield();
	until_state(getpid(), blocker.tid, 'S');
	EXPECT_EQ(RUNNING, umcg_word(&blocker.task));
	/* A wake reaches it and has no effect. */
	EXPECT_EQ(0, wake_tid(blocker.tid, 0));
	until_state(getpid(), blocker.tid, 'S');
	EXPECT_EQ(RUNNING, umcg_word(&blocker.task));
	expect_asleep(&bystander);
	ASSERT_EQ(1, write(blocker_pipe[1], "", 1));
	pthread_join(thread, NULL);
	peer_wake(&bystander);
	EXPECT_EQ(0, peer_join(&bystander));
}

UMCG_TEST_MAIN
