// SPDX-License-Identifier: GPL-2.0
/* What kills, stops and traces a process whose workers wait, run or block. */
#include <sys/ptrace.h>

#include "crew.h"
#include "trace.h"

/*
 * A process: its first thread is the server, and its workers are in memory
 * shared with the test.
 */
struct firm {
	struct umcg_pool pool;
	struct worker idle, other;
	struct gate gate;
	atomic_int turns, handled;
	atomic_bool ready, over;
};

static struct firm *firm;

static void found(void)
{
	firm = shared_memory(sizeof(*firm));
	firm->idle.pool = &firm->pool;
	firm->other.pool = &firm->pool;
	gate_make(&firm->gate);
}

static void take_turns(struct worker *worker)
{
	(void)worker;
	while (!atomic_load(&firm->over))
		atomic_fetch_add(&firm->turns, 1);
}

static void pass(struct worker *worker)
{
	worker->result = gate_pass(&firm->gate) ? 0 : -errno;
}

/*
 * One worker waits in IDLE, the other is at it, and the server in its wait; if
 * the other comes to its end, the first is let go as well.
 */
static void be_busy(void)
{
	become_server();
	hire(&firm->idle);
	hire(&firm->other);
	atomic_store(&firm->ready, true);
	while (run(&firm->other) != NONE)
		while (!take_queued(&firm->other))
			umcg_await_idle(&me, &firm->pool, 0);
	worker_join(&firm->other);
	EXPECT_EQ(IDLE, bare_word(&firm->idle.own));
	finish(&firm->idle);
}

static pid_t open_firm(void (*body)(struct worker *))
{
	pid_t pid;

	found();
	firm->other.body = body;
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		be_busy();
		_exit(0);
	}
	while (!atomic_load(&firm->ready))
		nap(MS);
	return pid;
}

static void until_running(pid_t pid)
{
	int turns = atomic_load(&firm->turns);

	while (atomic_load(&firm->turns) == turns)
		nap(MS);
	until_state(pid, pid, 'S');
}

static void dies_of(int signal, void (*body)(struct worker *), bool of_idle)
{
	pid_t pid = open_firm(body);

	if (body == take_turns)
		until_running(pid);
	else
		until_state(pid, firm->other.tid, 'S');
	if (of_idle)
		ASSERT_EQ(0, tgkill(pid, firm->idle.tid, signal));
	else
		ASSERT_EQ(0, kill(pid, signal));
	EXPECT_EQ(signal, WTERMSIG(reap_child(pid)));
}

TEST(fatal_signals_end_it)
{
	static const int fatal[] = { SIGKILL, SIGTERM, SIGSEGV, SIGQUIT };

	for (int i = 0; i < 4; i++) {
		dies_of(fatal[i], take_turns, false);
		dies_of(fatal[i], take_turns, true);
		dies_of(fatal[i], pass, false);
		dies_of(fatal[i], pass, true);
	}
}

static void wait_for_a_while(struct worker *worker)
{
	worker->result = umcg_yield(&worker->own, from_now(3000 * MS * ktap_slow));
}

/* The deadline comes, and finds nobody. */
TEST(fatal_signals_end_a_timed_wait)
{
	/* Those that dump core are not looked at before all others. */
	static const int fatal[] = { SIGQUIT, SIGABRT, SIGTERM, SIGKILL };

	for (int i = 0; i < 12; i++) {
		pid_t pid = open_firm(wait_for_a_while);

		while (bare_word(&firm->other.own) != IDLE)
			nap(MS);
		until_state(pid, firm->other.tid, 'S');
		ASSERT_EQ(0, tgkill(pid, firm->other.tid, fatal[i % 4]));
		EXPECT_EQ(fatal[i % 4], WTERMSIG(reap_child(pid)));
	}
	nap(4000 * MS * ktap_slow);
}

static void stop(pid_t pid)
{
	ASSERT_EQ(0, kill(pid, SIGSTOP));
	until_state(pid, firm->idle.tid, 'T');
	until_state(pid, firm->other.tid, 'T');
	until_state(pid, pid, 'T');
}

static void go_on(pid_t pid)
{
	ASSERT_EQ(0, kill(pid, SIGCONT));
	until_state(pid, firm->idle.tid, 'S');
}

/* Stopped as a group: the running worker blocks by it, the idle one waits on. */
TEST(stop_and_continue)
{
	pid_t pid = open_firm(take_turns);
	unsigned int blocked = 0;
	uint32_t word;

	for (int i = 0; i < 10; i++) {
		until_running(pid);
		stop(pid);
		word = bare_word(&firm->other.own);
		/* RUNNING, if its server ran it when it had stopped already. */
		EXPECT_TRUE(word == BLOCKED || word == RUNNING);
		blocked += word == BLOCKED;
		EXPECT_EQ(IDLE, bare_word(&firm->idle.own));
		go_on(pid);
	}
	EXPECT_LT(0, blocked);
	atomic_store(&firm->over, true);
	EXPECT_EQ(0, reap_child(pid));
	EXPECT_TRUE(atomic_load(&firm->idle.ended));
	EXPECT_TRUE(atomic_load(&firm->other.ended));
}

/* Attach, stop and detach a worker that waits, while another runs on undisturbed. */
TEST(idle_worker_traced)
{
	pid_t pid = open_firm(take_turns), tid = firm->idle.tid;

	for (int i = 0; i < 5; i++) {
		ASSERT_EQ(0, ptrace(PTRACE_SEIZE, tid, NULL, NULL));
		for (int n = 0; n < 3; n++) {
			trace_stop(tid);
			EXPECT_EQ(IDLE, bare_word(&firm->idle.own));
			until_running(pid);
			ASSERT_EQ(0, ptrace(PTRACE_CONT, tid, NULL, NULL));
			until_state(pid, tid, 'S');
		}
		trace_stop(tid);
		ASSERT_EQ(0, ptrace(PTRACE_DETACH, tid, NULL, NULL));
		until_state(pid, tid, 'S');
	}
	EXPECT_EQ(IDLE, bare_word(&firm->idle.own));
	expect_none_queued(&firm->pool);
	atomic_store(&firm->over, true);
	EXPECT_EQ(0, reap_child(pid));
}

static void note(int signal)
{
	(void)signal;
	atomic_fetch_add(&firm->handled, 1);
}

/* Its tracer makes of a signal that it takes one with a handler, for which it has to run. */
TEST(tracer_changes_a_signal)
{
	int status, tid;
	pid_t pid;

	on_signal(SIGUSR1, note, 0);
	pid = open_firm(take_turns);
	tid = firm->idle.tid;
	ASSERT_EQ(0, ptrace(PTRACE_SEIZE, tid, NULL, NULL));
	ASSERT_EQ(0, tgkill(pid, tid, SIGTERM));
	ASSERT_EQ(tid, waitpid(tid, &status, __WALL));
	ASSERT_TRUE(WIFSTOPPED(status));
	EXPECT_EQ(SIGTERM, WSTOPSIG(status));
	ASSERT_EQ(0, ptrace(PTRACE_CONT, tid, NULL, SIGUSR1));
	until_state(pid, tid, 'S');
	trace_stop(tid);
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, tid, NULL, NULL));
	EXPECT_EQ('S', rest_state(pid, tid));
	EXPECT_EQ(IDLE, bare_word(&firm->idle.own));
	EXPECT_EQ(0, atomic_load(&firm->handled));
	atomic_store(&firm->over, true);
	EXPECT_EQ(0, reap_child(pid));
	EXPECT_EQ(1, atomic_load(&firm->handled));
}

/* Run while it is in a ptrace stop, it is not lost: it goes when it may. */
TEST(run_while_traced)
{
	pid_t pid = open_firm(take_turns), tid = firm->idle.tid;

	trace_begin(tid);
	atomic_store(&firm->over, true);
	while (bare_word(&firm->idle.own) != RUNNING)
		nap(MS);
	until_state(pid, pid, 'S');
	EXPECT_EQ('t', thread_state(pid, tid));
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, tid, NULL, NULL));
	EXPECT_EQ(0, reap_child(pid));
	EXPECT_TRUE(atomic_load(&firm->idle.ended));
}

UMCG_TEST_MAIN
