// SPDX-License-Identifier: GPL-2.0
/* Signals, stops and tracing that meet a worker, asleep or in a system call. */
#include <linux/futex.h>
#include <poll.h>
#include <setjmp.h>

#include "signalled.h"

static void send(int signal)
{
	ASSERT_EQ(0, tgkill(getpid(), w.tid, signal));
}

static void yield_once(struct worker *worker)
{
	worker->result = umcg_yield(&worker->own, 0);
	/* Before it was back in its program. */
	atomic_store(&worker->steps, atomic_load(&handled));
}

TEST(pending_until_run)
{
	begin(yield_once);
	ASSERT_EQ(IDLE, run(&w));
	until_word(&w, IDLE);
	send(SIGUSR1);
	send(SIGUSR2);
	send(SIGUSR1);
	expect_word(&w, IDLE);
	EXPECT_EQ(0, atomic_load(&handled));
	finish(&w);
	EXPECT_EQ(2, atomic_load(&handled));
	EXPECT_EQ(w.tid, atomic_load(&handled_by));
	EXPECT_EQ(2, atomic_load(&w.steps));
	EXPECT_EQ(0, w.result);
}

static void look_what_came(struct worker *worker)
{
	atomic_store(&worker->steps, atomic_load(&handled));
}

TEST(pending_until_first_run)
{
	begin(look_what_came);
	send(SIGUSR1);
	expect_word(&w, IDLE);
	EXPECT_EQ(0, atomic_load(&handled));
	finish(&w);
	EXPECT_EQ(1, atomic_load(&w.steps));
}

static void yield_with_deadline(struct worker *worker)
{
	worker->result = umcg_yield(&worker->own, from_now(5 * SOON));
}

TEST(pending_over_a_timeout)
{
	begin(yield_with_deadline);
	/* BLOCKED: its time may be over before we see that it has stopped. */
	ASSERT_NE(NONE, run(&w));
	for (int i = 0; i < 5; i++) {
		send(SIGUSR1);
		nap(MS);
	}
	while (!__atomic_load_n(&pool.idle_workers, __ATOMIC_SEQ_CST))
		nap(MS);
	until_back(&w);
	EXPECT_EQ(0, atomic_load(&handled));
	finish(&w);
	EXPECT_EQ(1, atomic_load(&handled));
	EXPECT_EQ(-ETIMEDOUT, w.result);
}

/* Sent to the process: whoever does not wait for a server takes it. */
TEST(process_directed_goes_to_others)
{
	enum { CREW = 8 };
	static struct worker crew[CREW];

	on_signal(SIGUSR1, count, 0);
	become_server();
	for (int i = 0; i < CREW; i++)
		hire(&crew[i]);
	for (int i = 1; i <= 20; i++) {
		ASSERT_EQ(0, kill(getpid(), SIGUSR1));
		while (atomic_load(&handled) < i)
			nap(MS);
		EXPECT_EQ(getpid(), atomic_load(&handled_by));
	}
	for (int i = 0; i < CREW; i++) {
		expect_word(&crew[i], IDLE);
		finish(&crew[i]);
	}
	EXPECT_EQ(20, atomic_load(&handled));
}

/* A server in its wait is one of those others. */
static void *signal_the_process(void *arg)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	until_state(getpid(), getpid(), 'S');
	ASSERT_EQ(0, kill(getpid(), SIGUSR1));
	while (!atomic_load(&handled))
		nap(MS);
	return arg;
}

TEST(process_directed_wakes_a_server)
{
	pthread_t thread;

	begin(NULL);
	ASSERT_EQ(0, pthread_create(&thread, NULL, signal_the_process, NULL));
	EXPECT_EQ(-ETIMEDOUT, umcg_wait(&me, from_now(5 * SOON)));
	pthread_join(thread, NULL);
	EXPECT_EQ(getpid(), atomic_load(&handled_by));
	finish(&w);
}

static void mask(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	ASSERT_EQ(0, pthread_sigmask(how, &set, NULL));
}

/* The kernel begins with this one when it next looks for who takes a signal. */
static void take_one_and_block(struct worker *worker)
{
	mask(SIG_UNBLOCK);
	kill(getpid(), SIGUSR1);
	worker->result = gate_pass(&gate);
}

static atomic_int willing;

static void *be_willing(void *arg)
{
	mask(SIG_UNBLOCK);
	atomic_store(&willing, gettid());
	while (atomic_load(&handled) < 2)
		nap(MS);
	return arg;
}

/* Who was chosen to take it is held before it does: the others hear of it. */
TEST(chosen_one_is_held)
{
	pthread_t thread;

	mask(SIG_BLOCK);
	begin(take_one_and_block);
	ASSERT_EQ(BLOCKED, run(&w));
	until_word(&w, BLOCKED);
	EXPECT_EQ(1, atomic_load(&handled));
	EXPECT_EQ(w.tid, atomic_load(&handled_by));
	ASSERT_EQ(0, pthread_create(&thread, NULL, be_willing, NULL));
	while (!atomic_load(&willing))
		nap(MS);
	ASSERT_EQ(0, kill(getpid(), SIGUSR1));
	pthread_join(thread, NULL);
	EXPECT_EQ(atomic_load(&willing), atomic_load(&handled_by));
	until_back(&w);
	gate_open(&gate);
	while (run(&w) != NONE)
		until_back(&w);
	worker_join(&w);
	EXPECT_EQ(2, atomic_load(&handled));
	EXPECT_TRUE(w.result);
}

TEST(blocked_and_ignored)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	ASSERT_EQ(0, pthread_sigmask(SIG_BLOCK, &set, NULL));
	begin(NULL);
	on_signal(SIGUSR2, SIG_IGN, 0);
	for (int i = 0; i < 5; i++) {
		send(SIGUSR1);
		send(SIGUSR2);
		send(SIGCHLD);
	}
	expect_word(&w, IDLE);
	finish(&w);
	EXPECT_EQ(0, atomic_load(&handled));
}

/* The handler gives way itself, inside of the wait that it came upon. */
static void yield_inside(int signal)
{
	count(signal);
	EXPECT_EQ(0, umcg_yield(&w.own, 0));
	count(signal);
}

TEST(handler_yields_and_blocks)
{
	begin(yield_once);
	on_signal(SIGUSR1, yield_inside, 0);
	ASSERT_EQ(IDLE, run(&w));
	send(SIGUSR1);
	expect_word(&w, IDLE);
	ASSERT_EQ(IDLE, run(&w));
	EXPECT_EQ(1, atomic_load(&handled));
	expect_word(&w, IDLE);
	finish(&w);
	EXPECT_EQ(2, atomic_load(&handled));
	EXPECT_EQ(2, atomic_load(&w.steps));
	EXPECT_EQ(0, w.result);
}

/* Now unregistered, it is not made to wait any more; nor is it an error. */
static void unregister_inside(int signal)
{
	EXPECT_EQ(0, umcg_unregister(&w.own));
	count(signal);
}

TEST(handler_unregisters)
{
	w.stays = true;
	begin(yield_once);
	on_signal(SIGUSR1, unregister_inside, 0);
	ASSERT_EQ(IDLE, run(&w));
	send(SIGUSR1);
	expect_word(&w, IDLE);
	finish(&w);
	EXPECT_EQ(1, atomic_load(&w.steps));
	EXPECT_EQ(0, w.result);
}

/* Interrupted system calls: a worker gets what a plain thread gets. */
struct call {
	const char *name;
	int (*make)(void);
	int flags;		/* of the handler */
};

static int read_call(void)
{
	char byte;

	return read(gate.fd[0], &byte, 1);
}

static int sleep_call(void)
{
	struct timespec day = { .tv_sec = 86400 };

	return nanosleep(&day, NULL);
}

static int poll_call(void)
{
	struct pollfd poll_fd = { .fd = gate.fd[0], .events = POLLIN };

	return poll(&poll_fd, 1, -1);
}

static int futex_call(void)
{
	static uint32_t futex;
	struct timespec day = { .tv_sec = 86400 };

	return syscall(SYS_futex, &futex, FUTEX_WAIT, 0, &day, NULL, 0);
}

static int suspend_call(void)
{
	sigset_t none;

	sigemptyset(&none);
	return sigsuspend(&none);
}

static const struct call calls[] = {
	{ "read", read_call, 0 },
	{ "nanosleep", sleep_call, 0 },
	{ "nanosleep, SA_RESTART", sleep_call, SA_RESTART },
	{ "poll", poll_call, 0 },
	{ "poll, SA_RESTART", poll_call, SA_RESTART },
	{ "futex", futex_call, 0 },
	{ "sigsuspend", suspend_call, 0 },
	{ "sigsuspend, SA_RESTART", suspend_call, SA_RESTART },
};

#define CALLS (sizeof(calls) / sizeof(calls[0]))

static int outcome[CALLS];
static atomic_int plain_tid;

static void *make_calls(void *arg)
{
	atomic_store(&plain_tid, gettid());
	for (int i = 0; i < CALLS; i++) {
		outcome[i] = calls[i].make() < 0 ? -errno : 0;
		atomic_fetch_add(&w.steps, 1);
	}
	return arg;
}

static void make_calls_too(struct worker *worker)
{
	for (int i = 0; i < CALLS; i++) {
		worker->result = calls[i].make() < 0 ? -errno : 0;
		if (worker->result != outcome[i])
			TH_LOG("%s: %d, and %d in a plain thread", calls[i].name,
			       worker->result, outcome[i]);
		EXPECT_EQ(outcome[i], worker->result);
		/* Its handler has run, and once. */
		EXPECT_EQ(CALLS + i + 1, atomic_load(&handled));
	}
}

TEST(interrupted_calls)
{
	pthread_t thread;

	begin(make_calls_too);
	ASSERT_EQ(0, pthread_create(&thread, NULL, make_calls, NULL));
	while (!atomic_load(&plain_tid))
		nap(MS);
	for (int i = 0; i < CALLS; i++) {
		on_signal(SIGUSR1, count, calls[i].flags);
		while (atomic_load(&w.steps) < i)
			nap(MS);
		until_state(getpid(), plain_tid, 'S');
		ASSERT_EQ(0, tgkill(getpid(), plain_tid, SIGUSR1));
	}
	pthread_join(thread, NULL);
	for (int i = 0; i < CALLS; i++) {
		on_signal(SIGUSR1, count, calls[i].flags);
		ASSERT_EQ(BLOCKED, run(&w));
		until_word(&w, BLOCKED);
		send(SIGUSR1);
		until_back(&w);
		/* It is for when it runs. */
		EXPECT_EQ(CALLS + i, atomic_load(&handled));
	}
	finish(&w);
}

static void read_once(struct worker *worker)
{
	worker->result = read_call();
	atomic_store(&worker->steps, atomic_load(&handled));
}

TEST(restarted_call_blocks_again)
{
	begin(read_once);
	on_signal(SIGUSR1, count, SA_RESTART);
	for (int i = 1; i <= 5; i++) {
		ASSERT_EQ(BLOCKED, run(&w));
		until_word(&w, BLOCKED);
		EXPECT_EQ(i - 1, atomic_load(&handled));
		send(SIGUSR1);
		until_back(&w);
	}
	ASSERT_EQ(BLOCKED, run(&w));
	gate_open(&gate);
	until_back(&w);
	finish(&w);
	EXPECT_EQ(1, w.result);
	EXPECT_EQ(5, atomic_load(&w.steps));
}

static sigjmp_buf escape;

static void leave(int signal)
{
	count(signal);
	siglongjmp(escape, 1);
}

static void fault_often(struct worker *worker)
{
	static char *volatile nowhere;

	for (worker->steps = 0; worker->steps < 20; worker->steps++) {
		if (!sigsetjmp(escape, 1))
			*nowhere = 0;
		EXPECT_EQ(RUNNING, umcg_word(&worker->own.task));
		EXPECT_EQ(IDLE, umcg_word(&me.task));
	}
	worker->result = gate_pass(&gate) ? 0 : -1;
}

/* A bad access of its own is no business of UMCG. */
TEST(handles_its_own_faults)
{
	begin(fault_often);
	on_signal(SIGSEGV, leave, 0);
	EXPECT_EQ(BLOCKED, run(&w));
	EXPECT_EQ(20, atomic_load(&handled));
	gate_open(&gate);
	until_back(&w);
	finish(&w);
	EXPECT_EQ(0, w.result);
}

UMCG_TEST_MAIN
