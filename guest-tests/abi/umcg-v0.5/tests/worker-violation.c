// SPDX-License-Identifier: GPL-2.0
/* Workers with impossible words, or no server; and what happens to them. */
#include <sys/ptrace.h>

#include "breach.h"

TEST(impossible_word_in_a_wait, .clauses = "WVIOL-1 WVIOL-2 WVIOL-3 WRUN-6 R19")
{
	static const uint32_t words[] = {
		NONE, BLOCKED, 4, 0xff, BLOCKED | LOCKED, NONE | LOCKED,
		IDLE | LOCKED | PREEMPTED, RUNNING | LOCKED | PREEMPTED,
		IDLE | 0x400, IDLE | 0x8000, RUNNING | 0x10000, RUNNING | 0x800000,
	};
	static struct worker w[2 * COUNT(words)];

	handle_violations();
	for (int i = 0; i < 2 * COUNT(words); i++) {
		have_it_wait(&w[i]);
		umcg_set_word(&w[i].umcg->task,
			      words[i / 2] | (i % 2 ? SOME_BITS : 0));
		EXPECT_EQ(0, wake_tid(w[i].tid, 0));
		expect_violation(&w[i], -EINVAL);
	}
}

TEST(impossible_word_after_a_block, .clauses = "WVIOL-1 WVIOL-2 WVIOL-3 WRUN-4 R19")
{
	static const uint32_t words[] = {
		4, 0xff, BLOCKED | 0x400, BLOCKED | 0x8000, BLOCKED | 0x10000,
		BLOCKED | 0x800000, BLOCKED | LOCKED | PREEMPTED,
		RUNNING | LOCKED | PREEMPTED, IDLE | LOCKED | PREEMPTED,
	};
	static struct worker w[COUNT(words)];

	handle_violations();
	gate_make(&gate);
	for (int i = 0; i < COUNT(words); i++) {
		have_it_sleep(&w[i]);
		umcg_set_word(&w[i].umcg->task, words[i] | SOME_BITS);
		gate_open(&gate);
		expect_violation(&w[i], -EINVAL);
		expect_none_queued(&pool);
	}
}

TEST(impossible_word_at_a_signal, .clauses = "WVIOL-1 WVIOL-2 WRUN-4 R19")
{
	static const uint32_t words[] = {
		4, 0xff, RUNNING | 0x400, RUNNING | 0x8000, RUNNING | 0x10000,
		RUNNING | 0x800000, RUNNING | LOCKED | PREEMPTED,
	};
	static struct worker w[COUNT(words)];

	handle_violations();
	for (int i = 0; i < COUNT(words); i++) {
		have_it_run(&w[i]);
		umcg_set_word(&w[i].umcg->task, words[i] | SOME_BITS);
		ASSERT_EQ(0, tgkill(getpid(), w[i].tid, SIGUSR1));
		expect_violation(&w[i], 0);
	}
}

/* A worker that sleeps with no server to be told, or with a worker in its place. */
static void lose_server_and_sleep(struct worker *w)
{
	w->umcg->task.next_tid = *(uint32_t *)w->arg;
	sleep_body(w);
}

TEST(no_server_at_a_block, .clauses = "WVIOL-1 WVIOL-2 WVIOL-3 BLOCK-8 R15 R57")
{
	static struct worker other, w[2];
	uint32_t tids[COUNT(w)] = { 0 };
	long before;

	handle_violations();
	gate_make(&gate);
	hire(&other);
	tids[1] = other.tid;
	for (int i = 0; i < COUNT(tids); i++) {
		w[i].body = lose_server_and_sleep;
		w[i].arg = &tids[i];
		w[i].stays = true;
		hire(&w[i]);
		before = sleeps(getpid(), w[i].tid);
		EXPECT_EQ(-ETIMEDOUT, umcg_resume(&me, w[i].umcg, from_now(SOON)));
		/* Its sleep while it was held can be counted late: hence the letter, too. */
		until_state(getpid(), w[i].tid, 'S');
		until_slept(getpid(), w[i].tid, before + 1);
		/* Not in the scheduler, but on the way back. */
		EXPECT_EQ(0, atomic_load(&segvs));
		gate_open(&gate);
		expect_violation(&w[i], -EINVAL);
	}
}

static struct worker culprit;
static int how;

/* Break the contract of a worker whose server sleeps. */
static void *break_it(void *arg)
{
	while (!atomic_load(&culprit.steps))
		sched_yield();
	until_state(getpid(), me.tid, 'S');
	if (how < 2)
		umcg_set_word(&culprit.umcg->task, how ? RUNNING | 0x400 : 0xff);
	else
		take_page(culprit.umcg, how == 2 ? 0 : 2);
	EXPECT_EQ(0, tgkill(getpid(), culprit.tid, SIGUSR1));
	return arg;
}

TEST(server_is_woken, .clauses = "WVIOL-1 WREG-5 R35")
{
	pthread_t thread;

	handle_violations();
	for (how = 0; how < 4; how++) {
		culprit = (struct worker) {
			.body = spin_body, .stays = true, .umcg = new_page(),
		};
		hire(&culprit);
		ASSERT_EQ(0, pthread_create(&thread, NULL, break_it, NULL));
		EXPECT_EQ(0, umcg_resume(&me, culprit.umcg, 0));
		EXPECT_EQ(RUNNING, umcg_word(&me.task));
		expect_violation(&culprit, 0);
		pthread_join(thread, NULL);
	}
}

/* In a process of its own, to be killed: the arg says in which way. */
enum { PLAINLY, BLOCKS_IT, IGNORES_IT, AFTER_A_BLOCK, WITHOUT_MEMORY };

static void commit(void *arg)
{
	int way = *(int *)arg;
	static struct worker w;
	sigset_t segv;

	sigemptyset(&segv);
	sigaddset(&segv, SIGSEGV);
	if (way == BLOCKS_IT)
		sigprocmask(SIG_BLOCK, &segv, NULL);
	if (way == IGNORES_IT)
		on_signal(SIGSEGV, SIG_IGN, 0);
	become_server();
	gate_make(&gate);
	if (way == WITHOUT_MEMORY)
		w.umcg = new_page();
	if (way == AFTER_A_BLOCK)
		have_it_sleep(&w);
	else
		have_it_wait(&w);
	if (way == WITHOUT_MEMORY)
		take_page(w.umcg, 2);
	else
		umcg_set_word(&w.umcg->task, 0xff);
	if (way == AFTER_A_BLOCK)
		gate_open(&gate);
	else
		wake_tid(w.tid, 0);
	worker_join(&w);
}

TEST(kills_that_process_alone, .clauses = "WVIOL-1 WVIOL-2 VIOL-1 VIOL-3 R15 R25")
{
	static struct worker bystander;
	static struct peer server;

	become_server();
	peer_start(&server);
	until_asleep(&server);
	hire(&bystander);
	for (int way = PLAINLY; way <= WITHOUT_MEMORY; way++) {
		int status = status_of_child(commit, &way);

		EXPECT_TRUE(WIFSIGNALED(status));
		EXPECT_EQ(SIGSEGV, WTERMSIG(status));
	}
	expect_asleep(&server);
	expect_word(&bystander, IDLE);
	finish(&bystander);
	peer_wake(&server);
	EXPECT_EQ(0, peer_join(&server));
}

static struct tracing {
	atomic_int tid;
	atomic_bool let_go;
} *tracing;

/* A process that stops a thread of this one for a while. */
static pid_t fork_tracer(void)
{
	pid_t pid;
	int status;

	tracing = shared_memory(sizeof(*tracing));
	pid = fork();
	ASSERT_NE(-1, pid);
	if (pid)
		return pid;
	while (!atomic_load(&tracing->tid))
		nap(MS);
	ASSERT_EQ(0, ptrace(PTRACE_SEIZE, tracing->tid, NULL, NULL));
	ASSERT_EQ(0, ptrace(PTRACE_INTERRUPT, tracing->tid, NULL, NULL));
	ASSERT_EQ(tracing->tid, waitpid(tracing->tid, &status, __WALL));
	while (!atomic_load(&tracing->let_go))
		nap(MS);
	_exit(0);
}

static void read_locked(struct worker *w)
{
	char byte;

	ASSERT_TRUE(umcg_lock(w->umcg));
	w->result = read(gate.fd[0], &byte, 1);
	if (w->result < 0)
		w->result = -errno;
	be_plain(w);
}

/*
 * The stop interrupts a call, which is to be made again, and is what the worker is
 * reported blocked for. What it is found out for after that is no result of the call.
 */
TEST(call_to_be_restarted, .clauses = "WVIOL-3")
{
	static struct worker w = { .body = read_locked, .stays = true };
	pid_t tracer = fork_tracer();

	handle_violations();
	gate_make(&gate);
	hire(&w);
	EXPECT_EQ(-ETIMEDOUT, umcg_resume(&me, w.umcg, from_now(SOON)));
	until_word(&w, RUNNING | LOCKED);
	__atomic_fetch_and(&w.umcg->task.state, ~LOCKED, __ATOMIC_SEQ_CST);
	atomic_store(&tracing->tid, w.tid);
	EXPECT_EQ(BLOCKED, until_stopped(&me, w.umcg));
	atomic_store(&tracing->let_go, true);
	EXPECT_EQ(0, reap_child(tracer));
	until_back(&w);

	umcg_set_word(&w.umcg->task, IDLE | 0x10000);
	EXPECT_EQ(0, wake_tid(w.tid, 0));
	while (!atomic_load(&segvs))
		sched_yield();
	gate_open(&gate);
	expect_violation(&w, 1);
}

/* Longer than anything here takes that does not wait for ever. */
static uint64_t long_from_now(void)
{
	return from_now(4000 * MS * ktap_slow);
}

/* Made RUNNING by a server that waits, with a word that it does not survive. */
TEST(goes_before_its_first_look, .clauses = "WVIOL-1 WREG-5 R35")
{
	static struct worker w;

	handle_violations();
	have_it_wait(&w);
	umcg_set_word(&me.task, IDLE);
	w.umcg->task.next_tid = me.tid;
	me.task.next_tid = w.tid;
	umcg_set_word(&w.umcg->task, RUNNING | 0x10000);
	EXPECT_EQ(0, umcg_sys_wait(0, long_from_now()));
	EXPECT_EQ(RUNNING, umcg_word(&me.task));
	expect_violation(&w, -EINVAL);
}

UMCG_TEST_MAIN
