/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What all tests share: one server that the test itself is, and peers,
 * servers in threads or processes of their own that make one umcg_wait().
 */
#ifndef PEER_H
#define PEER_H

#include "abi.h"
#include "kit.h"
#include "need.h"

#define RUNNING	UMCG_TASK_RUNNING
#define IDLE	UMCG_TASK_IDLE
#define BLOCKED	UMCG_TASK_BLOCKED

/* Of user space: some bits, and the others. */
#define SOME_BITS	UMCG_SOME_BITS
#define OTHER_BITS	(UMCG_TASK_USER_MASK & ~SOME_BITS)

#define UMCG_TEST_MAIN							\
	int main(int argc, char **argv)					\
	{								\
		ktap_before_each = need_umcg;				\
		return ktap_main(argc, argv);				\
	}

/* An absolute time for umcg_wait(). */
static inline uint64_t from_now(uint64_t ns)
{
	return clock_ns(CLOCK_REALTIME) + ns;
}

/*
 * Set the clock to what it would be by now, and let a while pass: Linux 7.3 may end
 * absolute sleeps that begin right after that (linux/clock.c).
 */
static inline void set_clock_back(uint64_t booted)
{
	set_clock(clock_ns(CLOCK_MONOTONIC) + booted);
	nap(50 * MS);
}

struct peer {
	struct umcg umcg;
	/* What its umcg_wait() is called with, and the word before that. */
	uint32_t flags;
	uint32_t next_tid;
	uint32_t word;
	uint64_t timeout;
	struct umcg_task *task;		/* its structure, if not the one above */
	/* What came of it. */
	atomic_bool returned;
	int result;
	int cpu;
	/* Where it is. */
	pid_t pid;
	atomic_int tid;
	pthread_t thread;
};

static inline void *peer_body(void *arg)
{
	struct peer *p = arg;
	struct umcg_task *task = p->task ?: &p->umcg.task;

	umcg_set_word(task, RUNNING);
	p->pid = getpid();
	p->umcg.tid = gettid();
	ASSERT_EQ(0, umcg_sys_ctl(UMCG_CTL_REGISTER, task));
	task->next_tid = p->next_tid;
	umcg_set_word(task, p->word ?: IDLE);
	atomic_store(&p->tid, gettid());
	p->result = umcg_sys_wait(p->flags, p->timeout);
	p->cpu = sched_getcpu();
	atomic_store(&p->returned, true);
	return NULL;
}

static inline void peer_start(struct peer *p)
{
	ASSERT_EQ(0, pthread_create(&p->thread, NULL, peer_body, p));
	while (!atomic_load(&p->tid))
		sched_yield();
}

static inline int peer_join(struct peer *p)
{
	ASSERT_EQ(0, pthread_join(p->thread, NULL));
	return p->result;
}

/* In a child process; `p` is in shared memory. The child's status is 0 at best. */
static inline pid_t peer_fork(struct peer *p)
{
	pid_t pid = fork();

	ASSERT_NE(-1, pid);
	if (!pid) {
		peer_body(p);
		_exit(0);
	}
	while (!atomic_load(&p->tid))
		sched_yield();
	return pid;
}

/* From its IDLE mark on, the peer sleeps nowhere but in umcg_wait(). */
static inline void until_asleep(struct peer *p)
{
	until_state(p->pid, p->tid, 'S');
	ASSERT_FALSE(atomic_load(&p->returned));
}

static inline void expect_asleep(struct peer *p)
{
	EXPECT_EQ('S', rest_state(p->pid, p->tid));
	EXPECT_FALSE(atomic_load(&p->returned));
}

/* The server that the test's first thread is. */
static struct umcg me;

static inline void become_server(void)
{
	ASSERT_EQ(0, umcg_register_server(&me, NULL));
}

/* Become a server, and have one in another process asleep; its id. */
static inline pid_t process_asleep(struct peer **p)
{
	pid_t pid;

	*p = shared_memory(sizeof(**p));
	become_server();
	pid = peer_fork(*p);
	until_asleep(*p);
	return pid;
}

/* Wake by the kernel alone: the word of `tid` stays as it is. */
static inline int wake_tid(uint32_t tid, uint32_t flags)
{
	me.task.next_tid = tid;
	return umcg_sys_wait(UMCG_WAIT_WAKE_ONLY | flags, 0);
}

/* Make the peer RUNNING and wake it. */
static inline void peer_wake(struct peer *p)
{
	struct umcg_task *task = p->task ?: &p->umcg.task;

	ASSERT_TRUE(umcg_move(task, IDLE, RUNNING));
	ASSERT_EQ(0, wake_tid(p->tid, 0));
}

static inline void *scribble_body(void *arg)
{
	struct umcg_task *task = arg;

	for (;;)
		umcg_flip_bits(task, UMCG_TASK_USER_MASK);
	return NULL;
}

/* Have the bits of user space change all the time, until the test ends. */
static inline void scribble_on(struct umcg_task *task)
{
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, scribble_body, task));
}

#endif
