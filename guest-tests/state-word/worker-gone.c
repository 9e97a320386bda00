// SPDX-License-Identifier: GPL-2.0
/* Workers that go while their server waits for them, in ways that take a while. */
#include <sys/ptrace.h>

#include "crew.h"

/* Longer than anything here takes that does not wait for ever. */
static uint64_t long_from_now(void)
{
	return from_now(4000 * MS * ktap_slow);
}

/*
 * A worker in another process that has the same memory. The two have one errno,
 * and one thread pointer, so it makes system calls and nothing else: one, all the time.
 */
static struct umcg abroad;
static char stack[64 * 1024] __attribute__((aligned(16)));

static int live_abroad(void *arg)
{
	register_worker(&abroad, &pool, 0);
	for (;;)
		syscall((intptr_t)arg, NULL, 0, NULL, NULL, 0);
	return 0;
}

static pid_t emigrate(long call)
{
	pid_t pid = clone(live_abroad, stack + sizeof(stack), CLONE_VM | SIGCHLD,
			  (void *)call);

	ASSERT_NE(-1, pid);
	while (bare_word(&abroad) != IDLE)
		nap(MS);
	until_state(pid, pid, 'S');
	ASSERT_EQ(&abroad, umcg_take_idle(&pool));
	return pid;
}

static void *kill_when_served(void *arg)
{
	until_state(getpid(), me.tid, 'S');
	ASSERT_EQ(0, kill(*(pid_t *)arg, SIGKILL));
	return NULL;
}

static void is_told_of_its_end(pid_t pid)
{
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, kill_when_served, &pid));
	EXPECT_EQ(0, umcg_resume(&me, &abroad, long_from_now()));
	EXPECT_EQ(RUNNING, umcg_word(&me.task));
	EXPECT_EQ(NONE, bare_word(&abroad));
	pthread_join(thread, NULL);
	EXPECT_EQ(SIGKILL, WTERMSIG(reap_child(pid)));
}

TEST(killed_in_another_process)
{
	become_server();
	is_told_of_its_end(emigrate(SYS_sched_yield));
}

/* It has been made RUNNING, and was never awake to see that. */
TEST(killed_before_its_first_look)
{
	pid_t pid;

	become_server();
	pid = emigrate(SYS_sched_yield);
	ASSERT_EQ(0, kill(pid, SIGSTOP));
	until_state(pid, pid, 'T');
	is_told_of_its_end(pid);
}

/* Its server has gone on, and is not to take that for something of its own. */
TEST(killed_while_it_sleeps)
{
	pthread_t thread;
	pid_t pid;

	become_server();
	pid = emigrate(SYS_ppoll);
	EXPECT_EQ(0, umcg_resume(&me, &abroad, 0));
	EXPECT_EQ(BLOCKED, bare_word(&abroad));
	ASSERT_EQ(0, pthread_create(&thread, NULL, kill_when_served, &pid));
	EXPECT_EQ(-ETIMEDOUT, umcg_wait(&me, from_now(200 * MS * ktap_slow)));
	EXPECT_EQ(SIGKILL, WTERMSIG(reap_child(pid)));
	EXPECT_EQ(NONE, bare_word(&abroad));
	pthread_join(thread, NULL);
}

/* One that is at its end stops for a tracer, and runs nothing any more. */
struct end {
	struct umcg_pool pool;
	struct worker worker;
	struct umcg server;
	atomic_bool ready, traced, over;
	atomic_int served;		/* -1, or what the server's wait returned */
};

static struct end *end;

static void exit_when_traced(struct worker *worker)
{
	(void)worker;
	while (!atomic_load(&end->traced))
		;
	syscall(SYS_exit, 0);
}

static void serve_an_end(void)
{
	ASSERT_EQ(0, umcg_register_server(&end->server, NULL));
	hire(&end->worker);
	atomic_store(&end->ready, true);
	atomic_store(&end->served, umcg_resume(&end->server, &end->worker.own, 0));
	while (!atomic_load(&end->over))
		nap(MS);
	_exit(0);
}

TEST(stopped_at_its_exit)
{
	pid_t pid, tid;
	int status;

	end = shared_memory(sizeof(*end));
	end->worker.pool = &end->pool;
	end->worker.body = exit_when_traced;
	atomic_store(&end->served, -1);
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid)
		serve_an_end();
	while (!atomic_load(&end->ready) || bare_word(&end->worker.own) != RUNNING)
		nap(MS);
	tid = end->worker.tid;
	ASSERT_EQ(0, ptrace(PTRACE_SEIZE, tid, NULL, PTRACE_O_TRACEEXIT));
	atomic_store(&end->traced, true);
	ASSERT_EQ(tid, waitpid(tid, &status, __WALL));
	ASSERT_EQ(SIGTRAP | PTRACE_EVENT_EXIT << 8, status >> 8);
	nap(SOON);
	EXPECT_EQ(RUNNING, bare_word(&end->worker.own));
	EXPECT_EQ(IDLE, umcg_word(&end->server.task));
	EXPECT_EQ(-1, atomic_load(&end->served));
	ASSERT_EQ(0, ptrace(PTRACE_CONT, tid, NULL, NULL));
	/* Its end is for the tracer to see, before that of its process. */
	ASSERT_EQ(tid, waitpid(tid, &status, __WALL));
	EXPECT_TRUE(WIFEXITED(status));
	while (atomic_load(&end->served) == -1)
		nap(MS);
	EXPECT_EQ(0, atomic_load(&end->served));
	EXPECT_EQ(NONE, bare_word(&end->worker.own));
	EXPECT_EQ(RUNNING, umcg_word(&end->server.task));
	atomic_store(&end->over, true);
	EXPECT_EQ(0, reap_child(pid));
}

UMCG_TEST_MAIN
