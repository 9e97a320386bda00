// SPDX-License-Identifier: GPL-2.0
/* What others see of a worker that is held. */
#include <sys/ptrace.h>

#include "crew.h"
#include "trace.h"

/* A traced process: a worker that has been held since before it was traced. */
struct firm {
	struct worker held;
	struct umcg_pool pool;
	atomic_bool ready, run;
	atomic_int handled;
};

static struct firm *firm;

static void count_in_firm(int signal)
{
	(void)signal;
	atomic_fetch_add(&firm->handled, 1);
}

static bool blocks(int signal)
{
	sigset_t set;

	ASSERT_EQ(0, pthread_sigmask(SIG_BLOCK, NULL, &set));
	return sigismember(&set, signal);
}

static void note_what_is_blocked(struct worker *worker)
{
	worker->result = blocks(SIGUSR2);
}

static pid_t open_firm(void)
{
	pid_t pid;

	firm = shared_memory(sizeof(*firm));
	firm->held.pool = &firm->pool;
	firm->held.body = note_what_is_blocked;
	pid = fork();
	ASSERT_NE(-1, pid);
	if (pid) {
		while (!atomic_load(&firm->ready))
			nap(MS);
		return pid;
	}
	on_signal(SIGUSR1, count_in_firm, 0);
	on_signal(SIGUSR2, count_in_firm, 0);
	become_server();
	hire(&firm->held);
	atomic_store(&firm->ready, true);
	while (!atomic_load(&firm->run))
		nap(MS);
	while (run(&firm->held) != NONE)
		until_back(&firm->held);
	worker_join(&firm->held);
	_exit(0);
}

static uint64_t mask_of(pid_t tid)
{
	uint64_t mask = 0;

	ASSERT_EQ(0, ptrace(PTRACE_GETSIGMASK, tid, sizeof(mask), &mask));
	return mask;
}

/* SigBlk of /proc. */
static uint64_t mask_in_proc(pid_t pid, pid_t tid)
{
	char path[64], line[256];
	uint64_t mask = ~UINT64_C(0);
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", pid, tid);
	file = fopen(path, "r");
	ASSERT_TRUE(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "SigBlk: %lx", &mask) == 1)
			break;
	fclose(file);
	return mask;
}

/* It blocks nothing, whatever signals wait for it. */
TEST(signal_mask_as_it_is)
{
	pid_t pid = open_firm(), tid = firm->held.tid;

	ASSERT_EQ(0, tgkill(pid, tid, SIGUSR1));
	nap(SOON);
	until_state(pid, tid, 'S');
	EXPECT_EQ(0, mask_in_proc(pid, tid));
	trace_begin(tid);
	EXPECT_EQ(0, mask_of(tid));
	EXPECT_EQ(0, mask_in_proc(pid, tid));
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, tid, NULL, NULL));
	atomic_store(&firm->run, true);
	EXPECT_EQ(0, reap_child(pid));
	EXPECT_EQ(1, atomic_load(&firm->handled));
	EXPECT_EQ(0, firm->held.result);
}

/* What a debugger sets while the worker is held is what it runs with. */
TEST(signal_mask_set_meanwhile)
{
	uint64_t usr2 = UINT64_C(1) << (SIGUSR2 - 1);
	pid_t pid = open_firm(), tid = firm->held.tid;

	ASSERT_EQ(0, tgkill(pid, tid, SIGUSR1));
	nap(SOON);
	trace_begin(tid);
	ASSERT_EQ(0, ptrace(PTRACE_SETSIGMASK, tid, sizeof(usr2), &usr2));
	EXPECT_EQ(usr2, mask_of(tid));
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, tid, NULL, NULL));
	atomic_store(&firm->run, true);
	EXPECT_EQ(0, reap_child(pid));
	EXPECT_EQ(1, atomic_load(&firm->handled));
	EXPECT_EQ(1, firm->held.result);
}

/* It has moved to another server by its own word, and that one goes. */
static struct gate moved;
static struct peer other;

static void move_and_sleep(struct worker *w)
{
	w->umcg->task.next_tid = other.tid;
	atomic_store(&w->steps, 1);
	while (!atomic_load(&other.returned))
		;
	/* Until the other thread is gone. */
	while (atomic_load(&w->steps) == 1)
		;
	w->result = gate_pass(&moved) ? 0 : -errno;
}

static void nothing(int signal)
{
	(void)signal;
}

static void *send_it_away(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load(&w->steps))
		nap(MS);
	ASSERT_TRUE(umcg_move(&other.umcg.task, IDLE, RUNNING));
	/* The kernel alone wakes it: this thread is no UMCG task. */
	ASSERT_EQ(0, tgkill(getpid(), other.tid, SIGUSR2));
	ASSERT_EQ(0, peer_join(&other));
	atomic_store(&w->steps, 2);
	return NULL;
}

TEST(server_named_by_the_word_has_gone)
{
	static struct worker w = { .body = move_and_sleep };
	pthread_t thread;

	become_server();
	on_signal(SIGUSR2, nothing, 0);
	gate_make(&moved);
	peer_start(&other);
	until_asleep(&other);
	hire(&w);
	ASSERT_EQ(0, pthread_create(&thread, NULL, send_it_away, &w));
	EXPECT_EQ(-ETIMEDOUT, umcg_resume(&me, w.umcg, from_now(5 * SOON)));
	pthread_join(thread, NULL);
	until_state(getpid(), w.tid, 'S');
	gate_open(&moved);
	until_back(&w);
	finish(&w);
	EXPECT_EQ(0, w.result);
}

UMCG_TEST_MAIN
