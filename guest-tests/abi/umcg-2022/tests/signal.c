// SPDX-License-Identifier: GPL-2.0
/* Signals, as unmanaged time: handlers run, and the wait goes on. */
#include <setjmp.h>
#include <sys/ptrace.h>

#include "staff.h"
#include "trace.h"

static struct worker w;
static struct peer p;
static atomic_int handled;
static atomic_int stage;

static void count(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
}

static void until_handled(int n)
{
	while (atomic_load(&handled) < n)
		nap(MS);
}

TEST(wait_goes_on, .clauses = "SIG-1 R2 R44")
{
	for (int i = 0; i < 2; i++) {
		on_signal(SIGUSR1, count, i ? SA_RESTART : 0);
		memset(&p, 0, sizeof(p));
		peer_start(&p);
		until_asleep(&p);
		for (int n = 1; n <= 5; n++) {
			ASSERT_EQ(0, tgkill(getpid(), p.tid, SIGUSR1));
			until_handled(5 * i + n);
		}
		until_asleep(&p);
		expect_asleep(&p);
		rouse(&p.umcg);
		EXPECT_EQ(0, peer_join(&p));
	}
}

static void run_myself(int signal)
{
	(void)signal;
	ASSERT_TRUE(umcg_move(&p.umcg.task, RUNNABLE, RUNNING));
	atomic_fetch_add(&handled, 1);
}

TEST(run_in_the_handler, .clauses = "SIG-2 R2")
{
	on_signal(SIGUSR1, run_myself, 0);
	peer_start(&p);
	until_asleep(&p);
	ASSERT_EQ(0, tgkill(getpid(), p.tid, SIGUSR1));
	EXPECT_EQ(0, peer_join(&p));
	EXPECT_EQ(1, atomic_load(&handled));
}

/* It has run the next task, and does not do so again. */
TEST(next_is_run_once, .clauses = "SIG-4 R36")
{
	static struct peer next;

	on_signal(SIGUSR1, count, 0);
	peer_start(&next);
	until_asleep(&next);
	p.next_tid = next.tid;
	peer_start(&p);
	EXPECT_EQ(0, peer_join(&next));
	until_asleep(&p);
	EXPECT_EQ(next.tid | RUNS, p.umcg.task.next_tid);
	ASSERT_EQ(0, tgkill(getpid(), p.tid, SIGUSR1));
	until_handled(1);
	until_asleep(&p);
	expect_asleep(&p);
	rouse(&p.umcg);
	EXPECT_EQ(0, peer_join(&p));
}

static void wait_in_handler(int signal)
{
	(void)signal;
	/* Asleep for all others, it becomes a sleeper again after this. */
	if (atomic_fetch_add(&handled, 1) == 0) {
		umcg_set_word(&p.umcg.task, RUNNABLE | COND_WAIT);
		EXPECT_EQ(-ETIMEDOUT, umcg_sys_wait(0, from_now(MS)));
		umcg_set_word(&p.umcg.task, RUNNABLE);
	}
}

TEST(handler_waits, .clauses = "SIG-3 R43 R44")
{
	on_signal(SIGUSR1, wait_in_handler, 0);
	peer_start(&p);
	until_asleep(&p);
	ASSERT_EQ(0, tgkill(getpid(), p.tid, SIGUSR1));
	until_handled(1);
	nap(SOON);
	until_asleep(&p);
	rouse(&p.umcg);
	EXPECT_EQ(0, peer_join(&p));
}

static sigjmp_buf elsewhere;

static void jump(int signal)
{
	(void)signal;
	siglongjmp(elsewhere, 1);
}

static void *wait_and_jump(void *arg)
{
	struct peer *peer = arg;

	ASSERT_EQ(0, enrol(&peer->umcg, 0));
	atomic_store(&peer->tid, gettid());
	if (!sigsetjmp(elsewhere, 1))
		wait_with(&peer->umcg, 0, 0, 0);
	/* It has left its wait, and begins another. */
	umcg_set_word(&peer->umcg.task, RUNNING);
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(-ETIMEDOUT, wait_with(&peer->umcg, 0, 0, from_now(MS)));
	EXPECT_EQ(0, wait_with(&peer->umcg, peer->tid, 0, 0));
	return NULL;
}

TEST(handler_does_not_return, .clauses = "SIG-7")
{
	on_signal(SIGUSR1, jump, 0);
	ASSERT_EQ(0, pthread_create(&p.thread, NULL, wait_and_jump, &p));
	while (!atomic_load(&p.tid))
		sched_yield();
	until_asleep(&p);
	ASSERT_EQ(0, tgkill(getpid(), p.tid, SIGUSR1));
	pthread_join(p.thread, NULL);
}

TEST(blocked_and_ignored, .clauses = "SIG-1")
{
	signal(SIGUSR1, SIG_IGN);
	peer_start(&p);
	until_asleep(&p);
	for (int i = 0; i < 20; i++)
		ASSERT_EQ(0, tgkill(getpid(), p.tid, SIGUSR1));
	expect_asleep(&p);
	rouse(&p.umcg);
	EXPECT_EQ(0, peer_join(&p));
}

static void be_killed(void *arg)
{
	(void)arg;
	become_server();
	hire(&w);
	peer_start(&p);
	until_asleep(&p);
	kill(getpid(), SIGTERM);
	for (;;)
		pause();
}

TEST(fatal_signals_end_it, .clauses = "SIG-5 WSIG-4")
{
	EXPECT_EQ(SIGTERM, WTERMSIG(status_of_child(be_killed, NULL)));
}

/* Workers. */
TEST(handler_of_one_that_waits, .clauses = "WSIG-1 SIG-1 R2 R44")
{
	on_signal(SIGUSR1, count, 0);
	w.body = stop_and_step;
	become_server();
	hire(&w);
	EXPECT_EQ(RUNNABLE, run(&w));
	for (int i = 1; i <= 5; i++) {
		ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR1));
		until_handled(i);
		expect_state(&w, RUNNABLE);
		EXPECT_EQ(0, atomic_load(&w.steps));
	}
	expect_none_listed(&me);
	finish(&w);
	EXPECT_EQ(0, w.result);
}

TEST(handler_of_one_that_is_listed, .clauses = "WSIG-1 SIG-4 R44")
{
	on_signal(SIGUSR1, count, 0);
	w.body = stop_and_step;
	become_server();
	worker_start(&w);
	until_state_is(&w, RUNNABLE);
	for (int i = 1; i <= 5; i++) {
		ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR1));
		until_handled(i);
		expect_state(&w, RUNNABLE);
	}
	/* Once. */
	expect_listed(&w);
	EXPECT_EQ(RUNNABLE, run(&w));
	finish(&w);
}

TEST(handler_of_one_that_is_back, .clauses = "WSIG-1 WSIG-3 R44 R50")
{
	on_signal(SIGUSR1, count, SA_RESTART);
	gate_make(&gate);
	w.body = pass_gate;
	become_server();
	hire(&w);
	EXPECT_EQ(BLOCKED, run(&w));
	/* Its call is interrupted; it is listed, and its handler runs all the same. */
	ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR1));
	until_handled(1);
	until_back(&w);
	EXPECT_EQ(0, atomic_load(&w.steps));
	for (int i = 2; i <= 5; i++) {
		ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR1));
		until_handled(i);
		expect_state(&w, RUNNABLE);
	}
	expect_none_listed(&me);
	/* The call is restarted, and blocks again. */
	EXPECT_EQ(BLOCKED, run(&w));
	gate_open(&gate);
	until_back(&w);
	finish_in_time(&w);
	EXPECT_EQ(0, w.result);
}

TEST(interrupted_call_fails, .clauses = "WSIG-3 R40 R50")
{
	on_signal(SIGUSR1, count, 0);
	gate_make(&gate);
	w.body = pass_gate;
	become_server();
	hire(&w);
	EXPECT_EQ(BLOCKED, run(&w));
	ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR1));
	until_handled(1);
	until_back(&w);
	finish_in_time(&w);
	EXPECT_EQ(-EINTR, w.result);
}

static void block_in_handler(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
	/* Its sleeps are no blocks, and it is nobody's to hold. */
	gate_pass(&gate);
	atomic_store(&stage, 1);
	while (atomic_load(&stage) < 2)
		sched_yield();
	EXPECT_EQ(-EAGAIN, umcg_sys_wait(0, 0));
	atomic_fetch_add(&handled, 1);
}

TEST(handler_is_not_looked_at, .clauses = "WSIG-2 R44")
{
	on_signal(SIGUSR1, block_in_handler, 0);
	on_signal(SIGUSR2, count, 0);
	gate_make(&gate);
	w.body = stop_and_step;
	become_server();
	hire(&w);
	EXPECT_EQ(RUNNABLE, run(&w));
	ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR1));
	until_handled(1);
	until_state(getpid(), w.tid, 'S');
	EXPECT_EQ(RUNNABLE, umcg_word(&w.own.task));
	gate_open(&gate);
	while (!atomic_load(&stage))
		nap(MS);
	/* Another one in that one, and a kick. */
	ASSERT_EQ(0, umcg_sys_kick(0, w.tid));
	ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR2));
	until_handled(2);
	nap(SOON);
	EXPECT_EQ('R', thread_state(getpid(), w.tid));
	atomic_store(&stage, 2);
	until_handled(3);
	expect_state(&w, RUNNABLE);
	EXPECT_EQ(0, atomic_load(&w.steps));
	expect_none_listed(&me);
	finish(&w);
	EXPECT_EQ(0, w.result);
}

static void wait_for_stage(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
	while (!atomic_load(&stage))
		sched_yield();
}

TEST(run_while_in_a_handler, .clauses = "WSIG-2 SIG-2 R2")
{
	on_signal(SIGUSR1, wait_for_stage, 0);
	w.body = pass_gate;
	gate_make(&gate);
	become_server();
	worker_start(&w);
	until_state_is(&w, RUNNABLE);
	expect_listed(&w);
	ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR1));
	until_handled(1);
	EXPECT_EQ(-ETIMEDOUT, wait_with(&me, w.tid, 0, from_now(MS)));
	EXPECT_EQ(RUNNING, state_of(&w.own));
	atomic_store(&stage, 1);
	/* And then it is a worker as ever. */
	until_state_is(&w, BLOCKED);
	gate_open(&gate);
	until_back(&w);
	finish_in_time(&w);
}

static void yield_in_handler(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
	EXPECT_EQ(0, stop(&w));
	atomic_fetch_add(&handled, 1);
}

TEST(handler_of_one_that_runs, .clauses = "WSIG-2 SIG-3")
{
	on_signal(SIGUSR1, yield_in_handler, 0);
	w.body = spin;
	become_server();
	hire(&w);
	let_run(&w);
	ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR1));
	until_handled(1);
	until_state_is(&w, RUNNABLE);
	let_run(&w);
	until_handled(2);
	atomic_store(&over, true);
	finish_in_time(&w);
}

TEST(stop_and_continue, .clauses = "SIG-6 WSIG-4")
{
	struct shared {
		atomic_int server, worker, go;
	} *s = shared_memory(sizeof(*s));
	pid_t pid = fork();

	if (!pid) {
		become_server();
		hire(&w);
		peer_start(&p);
		until_asleep(&p);
		atomic_store(&s->worker, w.tid);
		atomic_store(&s->server, p.tid);
		while (!atomic_load(&s->go))
			nap(MS);
		finish_in_time(&w);
		rouse(&p.umcg);
		_exit(peer_join(&p));
	}
	while (!atomic_load(&s->server))
		nap(MS);
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, kill(pid, SIGSTOP));
		until_state(pid, s->worker, 'T');
		until_state(pid, s->server, 'T');
		ASSERT_EQ(0, kill(pid, SIGCONT));
		until_state(pid, s->worker, 'S');
		until_state(pid, s->server, 'S');
	}
	trace_begin(s->worker);
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, s->worker, NULL, NULL));
	until_state(pid, s->worker, 'S');
	nap(SOON);
	EXPECT_EQ('S', thread_state(pid, s->worker));
	EXPECT_EQ('S', thread_state(pid, s->server));
	atomic_store(&s->go, 1);
	EXPECT_EQ(0, reap_child(pid));
}

UMCG_TEST_MAIN
