/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the v0.5 tests share: one server that the test itself is, and peers,
 * servers in threads or processes of their own that make one umcg_wait().
 */
#ifndef PEER_H
#define PEER_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ktap.h"
#include "abi.h"

#define RUNNING	UMCG_TASK_RUNNING
#define IDLE	UMCG_TASK_IDLE
#define BLOCKED	UMCG_TASK_BLOCKED

#define MS	UINT64_C(1000000)	/* in ns */
#define SOON	(20 * MS)		/* long enough to see that nothing happens */

/*
 * Skip where the kernel is the control, which must not have UMCG; fail where
 * one that should have it answers ENOSYS.
 */
static inline void need_umcg(void)
{
	switch (umcg_kernel()) {
	case UMCG_CONTROL:
		ktap_skip("the control kernel has no UMCG");
		break;
	case UMCG_ABSENT:
		TH_LOG("ENOSYS from a kernel that should have UMCG");
		ktap_fail_and_exit();
	case UMCG_HERE:
		break;
	}
}

#define UMCG_TEST_MAIN							\
	int main(int argc, char **argv)					\
	{								\
		ktap_before_each = need_umcg;				\
		return ktap_main(argc, argv);				\
	}

static inline uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

/* An absolute time for umcg_wait(). */
static inline uint64_t from_now(uint64_t ns)
{
	return clock_ns(CLOCK_REALTIME) + ns;
}

static inline void nap(uint64_t ns)
{
	struct timespec ts = { ns / 1000000000, ns % 1000000000 };

	nanosleep(&ts, NULL);
}

static inline void set_clock(uint64_t ns)
{
	struct timespec ts = { ns / 1000000000, ns % 1000000000 };

	ASSERT_EQ(0, clock_settime(CLOCK_REALTIME, &ts));
}

/* Memory that nobody has touched. */
static inline void *new_page(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, page);
	return page;
}

static inline void *shared_memory(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, p);
	return p;
}

/* The state letter of a thread of any process: S in an interruptible sleep. */
static inline char thread_state(pid_t pid, pid_t tid)
{
	char path[64], text[256], *end;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return '-';
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return '-';
	text[n] = '\0';
	end = strrchr(text, ')');
	return end ? end[2] : '-';
}

/* Wait until the thread is in `state`; the test's deadline bounds it. */
static inline void until_state(pid_t pid, pid_t tid, char state)
{
	while (thread_state(pid, tid) != state)
		nap(MS);
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

	task->state = RUNNING;
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

/* The exit or signal status of a child, as wait() has it. */
static inline int reap_child(pid_t pid)
{
	int status;

	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	return status;
}

/* From its IDLE mark on, the peer sleeps nowhere but in umcg_wait(). */
static inline void until_asleep(struct peer *p)
{
	until_state(p->pid, p->tid, 'S');
	ASSERT_FALSE(atomic_load(&p->returned));
}

static inline void expect_asleep(struct peer *p)
{
	nap(SOON);
	EXPECT_EQ('S', thread_state(p->pid, p->tid));
	EXPECT_FALSE(atomic_load(&p->returned));
}

/* The server that the test's first thread is. */
static struct umcg me;

static inline void become_server(void)
{
	ASSERT_EQ(0, umcg_register_server(&me));
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
		__atomic_fetch_xor(&task->state, UMCG_TASK_USER_MASK, __ATOMIC_RELAXED);
	return NULL;
}

/* Have the bits of user space change all the time, until the test ends. */
static inline void scribble_on(struct umcg_task *task)
{
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, scribble_body, task));
}

/* Make `signal` call `handler`; SA_RESTART is the caller's to ask for. */
static inline void on_signal(int signal, void (*handler)(int), int flags)
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = flags };

	ASSERT_EQ(0, sigaction(signal, &sa, NULL));
}

#endif
