// SPDX-License-Identifier: GPL-2.0
/* Processes that fork and exec while they have workers. */
#include <sys/rseq.h>

#include "worker.h"

extern char **environ;

static struct worker w;
static struct gate gate;

static void begin(void (*body)(struct worker *))
{
	become_server();
	gate_make(&gate);
	w.body = body;
	hire(&w);
}

/* The child blocks, too, and nobody is told. */
static void fork_and_pass(struct worker *worker)
{
	pid_t pid = fork();

	if (!pid) {
		bool nobody = umcg_is_nobody();

		nap(MS);
		_exit(!nobody || umcg_state(&worker->own) != UMCG_IS_RUNNING);
	}
	/* The child's memory is a copy, and this word is not shared with it. */
	worker->result = reap_child(pid);
	atomic_fetch_add(&worker->steps, 1);
}

TEST(fork_of_a_worker)
{
	begin(fork_and_pass);
	finish_in_time(&w);
	EXPECT_EQ(1, atomic_load(&w.steps));
	EXPECT_EQ(0, w.result);
}

static void *be_nobody(void *arg)
{
	*(int *)arg = !umcg_is_nobody();
	return NULL;
}

static void start_a_thread(struct worker *worker)
{
	static int status = -1;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, be_nobody, &status));
	pthread_join(thread, NULL);
	worker->result = status;
}

TEST(thread_of_a_worker)
{
	begin(start_a_thread);
	finish_in_time(&w);
	EXPECT_EQ(0, w.result);
}

/* Beside workers that wait, run and block: their copies are nobody. */
static struct worker blocked, running;
static atomic_bool over;

static void pass(struct worker *worker)
{
	worker->result = gate_pass(&gate) ? 0 : -1;
}

/* From now on the kernel does not write the caller's CPU to its memory. */
static void leave_rseq(void)
{
	char *area = (char *)__builtin_thread_pointer() + __rseq_offset;

	/* The size that libc has registered, not that of this kernel's structure. */
	ASSERT_EQ(0, syscall(SYS_rseq, area, 32,
			     RSEQ_FLAG_UNREGISTER, RSEQ_SIG));
}

/*
 * A fork beside it is none of its business: nobody writes to its pages, so it does
 * not sleep to have them copied.
 */
static void spin(struct worker *worker)
{
	leave_rseq();
	/* What it touches from now on it has touched before it says that it spins. */
	(void)atomic_load(&over);
	atomic_store(&worker->steps, 1);
	while (!atomic_load(&over))
		;
}

static void hire_all(void)
{
	begin(NULL);
	blocked.body = pass;
	running.body = spin;
	hire(&blocked);
	hire(&running);
	ASSERT_EQ(UMCG_BLOCKED, run(&blocked));
	ASSERT_EQ(UMCG_TIMED_OUT, umcg_run(&me, &running.own, from_now(MS)));
	while (!atomic_load(&running.steps))
		nap(MS);
}

TEST(fork_beside_workers)
{
	pid_t pid;

	hire_all();
	pid = fork();
	if (!pid)
		_exit(!umcg_is_nobody());
	EXPECT_EQ(0, reap_child(pid));
	EXPECT_EQ(UMCG_IS_BLOCKED, umcg_state(&blocked.own));
	EXPECT_EQ(UMCG_IS_RUNNING, umcg_state(&running.own));
	gate_open(&gate);
	until_back(&blocked);
	atomic_store(&over, true);
	worker_join(&running);
	finish(&blocked);
	finish(&w);
}

static void fail_to_exec(struct worker *worker)
{
	char *const argv[] = { "none", NULL };

	EXPECT_EQ(-1, execve("/nonexistent", argv, environ));
	EXPECT_EQ(-1, execve("/proc/self/maps", argv, environ));
	worker->result = umcg_give_way(&worker->own);
}

TEST(failed_exec_changes_nothing)
{
	begin(fail_to_exec);
	/* Looking for a program may sleep. */
	while (run(&w) != UMCG_YIELDED)
		until_back(&w);
	finish(&w);
	EXPECT_EQ(0, w.result);
}

static void exec_myself(void)
{
	char *const argv[] = { "worker-exec", "--after-exec", NULL };

	execve("/proc/self/exe", argv, environ);
	_exit(2);
}

static void exec_as_worker(struct worker *worker)
{
	(void)worker;
	exec_myself();
}

/* Of a process that has workers in every state; one of its threads execs. */
static void worker_execs(void *arg)
{
	(void)arg;
	hire_all();
	w.body = exec_as_worker;
	for (;;)
		if (run(&w) == UMCG_BLOCKED)
			until_back(&w);
}

static void server_execs(void *arg)
{
	(void)arg;
	hire_all();
	exec_myself();
}

static void *exec_thread(void *arg)
{
	exec_myself();
	return arg;
}

static void plain_thread_execs(void *arg)
{
	pthread_t thread;

	(void)arg;
	hire_all();
	pthread_create(&thread, NULL, exec_thread, NULL);
	for (;;)
		umcg_wait(&me, 0);
}

TEST(worker_execs_and_is_nobody)
{
	EXPECT_EQ(0, status_of_child(worker_execs, NULL));
}

TEST(server_execs_away_from_workers)
{
	EXPECT_EQ(0, status_of_child(server_execs, NULL));
}

TEST(plain_thread_execs_away)
{
	EXPECT_EQ(0, status_of_child(plain_thread_execs, NULL));
}

static void need_workers(void)
{
	need_umcg();
	need_capabilities(UMCG_WORKERS | UMCG_DEADLINES);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--after-exec"))
		return !umcg_is_nobody();
	ktap_before_each = need_workers;
	return ktap_main(argc, argv);
}
