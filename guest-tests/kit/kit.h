/* SPDX-License-Identifier: GPL-2.0 */
/* What tests need that has nothing to do with UMCG. */
#ifndef KIT_H
#define KIT_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ktap.h"

#define MS	UINT64_C(1000000)	/* in ns */
#define SOON	(20 * MS)		/* long enough to see that nothing happens */

static inline uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
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

/* Keep a thread on one CPU; 0 is this one, and all that it starts from now on. */
static inline void pin(pid_t tid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	ASSERT_EQ(0, sched_setaffinity(tid, sizeof(set), &set));
}

static inline void schedule_as(int policy, int priority)
{
	struct sched_param param = { .sched_priority = priority };

	ASSERT_EQ(0, sched_setscheduler(0, policy, &param));
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

/* How often a thread of any process has gone to sleep and left its CPU for that. */
static inline long sleeps(pid_t pid, pid_t tid)
{
	static const char key[] = "\nvoluntary_ctxt_switches:";
	char path[64], text[4096], *at;
	FILE *file;
	size_t n;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", pid, tid);
	file = fopen(path, "r");
	ASSERT_TRUE(file);
	n = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[n] = '\0';
	at = strstr(text, key);
	ASSERT_TRUE(at);
	return atol(at + sizeof(key) - 1);
}

/*
 * Wait until sleeps() is at least `times`. Who wakes a thread before it has left its CPU
 * has it go on without a sleep.
 */
static inline void until_slept(pid_t pid, pid_t tid, long times)
{
	while (sleeps(pid, tid) < times)
		nap(MS);
}

/*
 * Whether a thread of any process has left its CPU, if we may know: the state letter
 * says S before the thread looks for the last time whether it has to sleep.
 */
static inline bool is_off_cpu(pid_t pid, pid_t tid)
{
	static const char running[] = "running";
	char path[64], text[256];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", pid, tid);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return true;
	n = read(fd, text, sizeof(text));
	close(fd);
	return n < (ssize_t)strlen(running) || memcmp(text, running, strlen(running));
}

/*
 * Wait until the thread is in `state`, and off its CPU if that is S; the test's deadline
 * bounds it.
 */
static inline void until_state(pid_t pid, pid_t tid, char state)
{
	while (thread_state(pid, tid) != state ||
	       (state == 'S' && !is_off_cpu(pid, tid)))
		nap(MS);
}

/* The state letter of a thread that sleeps on, though it may have been woken just now. */
static inline char rest_state(pid_t pid, pid_t tid)
{
	char state;

	nap(SOON);
	/* Woken for nothing, it may not have had a CPU since. */
	while ((state = thread_state(pid, tid)) == 'R')
		nap(MS);
	return state;
}

/* The exit or signal status of a child, as wait() has it. */
static inline int reap_child(pid_t pid)
{
	int status;

	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	return status;
}

/* Something for workers to sleep at, and to be reported blocked. */
struct gate {
	int fd[2];
};

static inline void gate_make(struct gate *gate)
{
	ASSERT_EQ(0, pipe(gate->fd));
}

/* True once the gate has been opened; false if a signal ended the sleep. */
static inline bool gate_pass(struct gate *gate)
{
	char byte;

	return read(gate->fd[0], &byte, 1) == 1;
}

/* Let one through. */
static inline void gate_open(struct gate *gate)
{
	ASSERT_EQ(1, write(gate->fd[1], "", 1));
}

/* Make `signal` call `handler`; SA_RESTART is the caller's to ask for. */
static inline void on_signal(int signal, void (*handler)(int), int flags)
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = flags };

	ASSERT_EQ(0, sigaction(signal, &sa, NULL));
}

/*
 * Run `body` in a process of its own, which it may well end, and return the
 * status as wait() has it. What the two share is in shared_memory().
 */
static inline int status_of_child(void (*body)(void *arg), void *arg)
{
	pid_t pid = fork();

	ASSERT_NE(-1, pid);
	if (!pid) {
		body(arg);
		_exit(0);
	}
	return reap_child(pid);
}

#endif
