// SPDX-License-Identifier: GPL-2.0
/* Workers under seccomp and ptrace. */
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>

#include "seccomp.h"
#include "worker.h"

static struct worker w;
static struct gate gate;
static atomic_int handled;

static void begin(void (*body)(struct worker *))
{
	become_server();
	gate_make(&gate);
	w.body = body;
	hire(&w);
}

static void expect_unnoticed(struct worker *worker)
{
	EXPECT_EQ(UMCG_IS_RUNNING, umcg_state(&worker->own));
	EXPECT_EQ(UMCG_IS_IDLE, umcg_state(&me));
}

static void call_what_is_refused(struct worker *worker)
{
	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(-1, syscall(SYS_getppid));
		ASSERT_EQ(EPERM, errno);
		expect_unnoticed(worker);
	}
	atomic_store(&worker->steps, 1);
	worker->result = gate_pass(&gate) ? 0 : -1;
}

/*
 * The worker inherits the filter. To install one may be to sleep: for the mutex of the
 * code that the kernel makes of filters, while those of the test before are freed.
 */
TEST(refused_by_seccomp)
{
	ASSERT_EQ(0, filter_getppid(SECCOMP_RET_ERRNO | EPERM, 0));
	begin(call_what_is_refused);
	EXPECT_EQ(UMCG_BLOCKED, run(&w));
	EXPECT_EQ(1, atomic_load(&w.steps));
	gate_open(&gate);
	until_back(&w);
	finish(&w);
	EXPECT_EQ(0, w.result);
}

static void count(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
}

static void call_what_is_trapped(struct worker *worker)
{
	for (int i = 1; i <= 100; i++) {
		syscall(SYS_getppid);
		ASSERT_EQ(i, atomic_load(&handled));
		expect_unnoticed(worker);
	}
}

TEST(trapped_by_seccomp)
{
	on_signal(SIGSYS, count, 0);
	ASSERT_EQ(0, filter_getppid(SECCOMP_RET_TRAP, 0));
	begin(call_what_is_trapped);
	finish(&w);
	EXPECT_EQ(100, atomic_load(&handled));
}

static void call_what_is_supervised(struct worker *worker)
{
	worker->result = syscall(SYS_getppid);
}

TEST(supervised_by_seccomp)
{
	struct seccomp_notif asked = { 0 };
	struct seccomp_notif_resp answer = { .val = 4711 };
	int listener = filter_getppid(SECCOMP_RET_USER_NOTIF,
				      SECCOMP_FILTER_FLAG_NEW_LISTENER);

	begin(call_what_is_supervised);
	EXPECT_EQ(UMCG_BLOCKED, run(&w));
	ASSERT_EQ(0, ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked));
	EXPECT_EQ(w.tid, asked.pid);
	expect_asleep_in(&w, UMCG_IS_BLOCKED);
	answer.id = asked.id;
	ASSERT_EQ(0, ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer));
	until_back(&w);
	finish(&w);
	EXPECT_EQ(4711, w.result);
}

/* What the tracer, a process of its own, and the test tell each other. */
struct tracing {
	atomic_int stage;	/* where the test is */
	atomic_int reached;	/* where the tracer is */
	atomic_int stops;
	atomic_long turns;	/* that the worker has taken */
	atomic_bool over;
};

static struct tracing *tracing;

static void at(atomic_int *stage, int n)
{
	while (atomic_load(stage) < n)
		nap(MS);
}

static pid_t trace(void (*body)(pid_t tid))
{
	pid_t pid;

	tracing = shared_memory(sizeof(*tracing));
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		body(w.tid);
		_exit(0);
	}
	return pid;
}

static void until_stop(pid_t tid)
{
	int status;

	ASSERT_EQ(tid, waitpid(tid, &status, __WALL));
	ASSERT_TRUE(WIFSTOPPED(status));
}

/* From an IDLE wait on, stop at each system call's entry and exit. */
static void trace_calls(pid_t tid)
{
	int status;

	ASSERT_EQ(0, ptrace(PTRACE_SEIZE, tid, NULL, PTRACE_O_TRACESYSGOOD));
	ASSERT_EQ(0, ptrace(PTRACE_INTERRUPT, tid, NULL, NULL));
	until_stop(tid);
	ASSERT_EQ(0, ptrace(PTRACE_SYSCALL, tid, NULL, NULL));
	atomic_store(&tracing->reached, 1);
	while (waitpid(tid, &status, __WALL) == tid && WIFSTOPPED(status)) {
		atomic_fetch_add(&tracing->stops, 1);
		ptrace(PTRACE_SYSCALL, tid, NULL, NULL);
	}
}

static void call_often(struct worker *worker)
{
	for (int i = 0; i < 20; i++) {
		ASSERT_LT(0, syscall(SYS_getppid));
		atomic_fetch_add(&worker->steps, 1);
	}
}

/* Each stop is a sleep that is reported, the second one of a call excepted. */
TEST(system_calls_traced)
{
	int runs = 0;
	pid_t tracer;

	begin(call_often);
	tracer = trace(trace_calls);
	at(&tracing->reached, 1);
	while (run(&w) != UMCG_EXITED) {
		runs++;
		while (umcg_state(&w.own) == UMCG_IS_BLOCKED)
			nap(MS);
		/* Its unregistering is traced as well: it may be gone now. */
		if (umcg_state(&w.own) == UMCG_IS_NOBODY)
			break;
		while (!take_queued(&w))
			nap(MS);
	}
	worker_join(&w);
	EXPECT_EQ(0, reap_child(tracer));
	EXPECT_EQ(20, atomic_load(&w.steps));
	EXPECT_LE(20, runs);
	EXPECT_LE(40, atomic_load(&tracing->stops));
}

static void spin(struct worker *worker)
{
	(void)worker;
	while (!atomic_load(&tracing->over))
		atomic_fetch_add(&tracing->turns, 1);
}

enum { STOPS = 10 };

static void stop_and_let_go(pid_t tid)
{
	ASSERT_EQ(0, ptrace(PTRACE_SEIZE, tid, NULL, NULL));
	for (int i = 1; i <= STOPS; i++) {
		long turns = atomic_load(&tracing->turns);

		while (atomic_load(&tracing->turns) == turns)
			nap(MS);
		ASSERT_EQ(0, ptrace(PTRACE_INTERRUPT, tid, NULL, NULL));
		until_stop(tid);
		at(&tracing->stage, i);
		ASSERT_EQ(0, ptrace(i < STOPS ? PTRACE_CONT : PTRACE_DETACH,
				    tid, NULL, NULL));
	}
}

TEST(stopped_while_running)
{
	int i = 0, others = 0;
	pid_t tracer;

	begin(spin);
	tracer = trace(stop_and_let_go);
	while (i < STOPS) {
		EXPECT_EQ(UMCG_BLOCKED, run(&w));
		/*
		 * On its first turns it may wait for the lock of its memory, which whoever
		 * forked has been preempted with.
		 */
		if (thread_state(getpid(), w.tid) == 't')
			atomic_store(&tracing->stage, ++i);
		else
			others++;
		until_back(&w);
	}
	EXPECT_LT(others, 3);
	EXPECT_EQ(0, reap_child(tracer));
	atomic_store(&tracing->over, true);
	finish(&w);
}

UMCG_TEST_MAIN
