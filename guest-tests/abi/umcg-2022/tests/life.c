// SPDX-License-Identifier: GPL-2.0
/* Fork, exec, exit; servers that go, and tids that pass on. */
#include "staff.h"

extern char **environ;

static struct worker w;
static struct peer p;

static bool is_nobody(void)
{
	return umcg_sys_wait(0, 1) == -EINVAL;
}

TEST(children_are_not_registered, .clauses = "LIFE-1 R4")
{
	pid_t pid;
	int status;

	become_server();
	pid = fork();
	if (!pid)
		_exit(!is_nobody());
	EXPECT_EQ(0, reap_child(pid));
	pid = vfork();
	if (!pid)
		_exit(!is_nobody());
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_FALSE(is_nobody());
}

static void fail_to_exec(struct worker *worker)
{
	char *const argv[] = { "none", NULL };

	execve("/nonexistent", argv, environ);
	worker->result = is_nobody();
}

TEST(failed_exec_changes_nothing, .clauses = "LIFE-2 WLIFE-3 R51")
{
	char *const argv[] = { "none", NULL };

	become_server();
	execve("/nonexistent", argv, environ);
	EXPECT_FALSE(is_nobody());
	w.body = fail_to_exec;
	hire(&w);
	finish_in_time(&w);
	EXPECT_EQ(0, w.result);
}

static void exec_away(struct worker *worker)
{
	char *const argv[] = { "life", "--after-exec", NULL };

	(void)worker;
	execve("/proc/self/exe", argv, environ);
	_exit(2);
}

static void exec_as(void *worker)
{
	become_server();
	if (!worker)
		exec_away(NULL);
	w.body = exec_away;
	hire(&w);
	for (;;)
		if (run(&w) != NONE)
			until_back(&w);
}

TEST(exec_unregisters, .clauses = "LIFE-2 WLIFE-3 R4 R51")
{
	EXPECT_EQ(0, status_of_child(exec_as, NULL));
	EXPECT_EQ(0, status_of_child(exec_as, (void *)1));
}

static void *register_and_end(void *arg)
{
	struct umcg *umcg = arg;

	ASSERT_EQ(0, enrol(umcg, 0));
	return NULL;
}

TEST(exit_unregisters, .clauses = "LIFE-3 NEXT-4 R4 R49")
{
	static struct umcg gone;
	pthread_t thread;

	become_server();
	ASSERT_EQ(0, pthread_create(&thread, NULL, register_and_end, &gone));
	pthread_join(thread, NULL);
	/* Its memory is not touched any more. */
	EXPECT_EQ(RUNNING, umcg_word(&gone.task));
	EXPECT_EQ(-ESRCH, wait_with(&me, gone.tid, 0, 0));
	EXPECT_EQ(-ESRCH, umcg_sys_kick(0, gone.tid));
}

static void end_in_a_call(struct worker *worker)
{
	(void)worker;
	/* It dies with its word as it is: R49. */
	syscall(SYS_exit, 0);
}

TEST(exit_wakes_the_server, .clauses = "WLIFE-1 TASK-3 R35 R49")
{
	w.body = end_in_a_call;
	w.bits = SOME_BITS;
	become_server();
	hire(&w);
	EXPECT_EQ(NONE, run(&w));
	EXPECT_EQ(NONE | SOME_BITS, umcg_word(&w.own.task));
	pthread_join(w.thread, NULL);
}

static void *be_server_for_a_while(void *arg)
{
	struct peer *server = arg;

	peer_body(server);
	EXPECT_EQ(0, leave(&server->umcg, server->kind));
	return NULL;
}

/* A server that runs a worker until it is let go, and then goes itself. */
static void server_leaves(void (*body)(struct worker *))
{
	w.body = body;
	gate_make(&gate);
	become_server();
	hire(&w);
	/* Under the other one. */
	ASSERT_EQ(0, pthread_create(&p.thread, NULL, be_server_for_a_while, &p));
	while (!atomic_load(&p.tid))
		sched_yield();
	until_asleep(&p);
	w.own.task.server_tid = p.tid;
	/* As if that had run it. */
	p.umcg.task.next_tid = w.tid | RUNS;
}

TEST(server_leaves_a_running_worker, .clauses = "WLIFE-2 WREG-5 R56")
{
	server_leaves(spin);
	EXPECT_EQ(-ETIMEDOUT, wait_with(&me, w.tid, 0, from_now(MS)));
	rouse(&p.umcg);
	pthread_join(p.thread, NULL);
	/* Looked at, and preempted, by nobody. */
	ASSERT_EQ(0, umcg_sys_kick(0, w.tid));
	ASSERT_TRUE(umcg_move(&w.own.task, RUNNING, RUNNING | PREEMPT));
	ASSERT_EQ(0, umcg_sys_kick(0, w.tid));
	while (umcg_word(&w.own.task) != RUNNING)
		nap(MS);
	atomic_store(&over, true);
	pthread_join(w.thread, NULL);
	EXPECT_EQ(-ESRCH, w.left);
	EXPECT_EQ(NONE, umcg_word(&w.own.task));
}

TEST(server_leaves_a_blocked_worker, .clauses = "WLIFE-2 R53 R56")
{
	server_leaves(pass_gate);
	EXPECT_EQ(-ETIMEDOUT, wait_with(&me, w.tid, 0, from_now(MS)));
	until_state_is(&w, BLOCKED);
	pthread_join(p.thread, NULL);
	gate_open(&gate);
	pthread_join(w.thread, NULL);
	EXPECT_EQ(0, w.result);
	EXPECT_EQ(-ESRCH, w.left);
}

static void spin_and_pass(struct worker *worker)
{
	spin(worker);
	pass_gate(worker);
}

/* Another server with that tid has not run it, and does not have to name it. */
TEST(server_comes_back, .clauses = "WLIFE-2 WLIFE-4 BLOCK-8 R56 R57")
{
	w.body = spin_and_pass;
	gate_make(&gate);
	become_server();
	hire(&w);
	let_run(&w);
	ASSERT_EQ(0, leave(&me, 0));
	ASSERT_EQ(0, umcg_sys_kick(0, w.tid));
	become_server();
	atomic_store(&over, true);
	until_state_is(&w, BLOCKED);
	gate_open(&gate);
	until_back(&w);
	EXPECT_EQ(0, atomic_load(&w.steps) - 1);
	finish_in_time(&w);
	EXPECT_EQ(0, w.result);
}

static void find_another(struct worker *worker)
{
	pass_gate(worker);
	worker->result = wait_with(&worker->own, 0, 0, 0);
	worker->own.task.server_tid = me.tid;
	atomic_store(&worker->steps, wait_with(&worker->own, 0, UMCG_WAIT_ENQUEUE, 0) ? 9 : 3);
}

TEST(worker_finds_another_server, .clauses = "WLIFE-2 WRUN-5 ARG-5 R56")
{
	server_leaves(find_another);
	EXPECT_EQ(-ETIMEDOUT, wait_with(&me, w.tid, 0, from_now(MS)));
	until_state_is(&w, BLOCKED);
	pthread_join(p.thread, NULL);
	gate_open(&gate);
	until_back(&w);
	EXPECT_EQ(-ESRCH, w.result);
	finish(&w);
	EXPECT_EQ(3, atomic_load(&w.steps));
}

TEST(server_leaves_a_waiting_worker, .clauses = "WLIFE-2 WRUN-5 R56")
{
	server_leaves(NULL);
	/* It sleeps on, for others to run. */
	rouse(&p.umcg);
	pthread_join(p.thread, NULL);
	expect_state(&w, RUNNABLE);
	finish(&w);
}

/* A tid that passes on: who has it now is what it says it is. */
static atomic_uint wanted;
static atomic_int got;	/* 1: another one; 2: that */

static void *take_tid(void *arg)
{
	struct umcg *umcg = arg;

	if (gettid() != atomic_load(&wanted)) {
		atomic_store(&got, 1);
		return NULL;
	}
	ASSERT_EQ(0, enrol(umcg, 0));
	/* The worker comes to our list. */
	atomic_store(&got, 2);
	ASSERT_EQ(0, wait_with(umcg, 0, 0, 0));
	expect_listed_under(umcg, &w);
	EXPECT_EQ(NONE, run_under(umcg, &w));
	return (void *)1;
}

TEST(tid_passes_to_another_server, .clauses = "WLIFE-4 R18 R57")
{
	static struct umcg other;
	char text[16];
	void *done = NULL;
	int fd;

	server_leaves(pass_gate);
	EXPECT_EQ(-ETIMEDOUT, wait_with(&me, w.tid, 0, from_now(MS)));
	until_state_is(&w, BLOCKED);
	atomic_store(&wanted, p.tid);
	pthread_join(p.thread, NULL);
	while (!done) {
		pthread_t thread;

		atomic_store(&got, 0);
		fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY);
		ASSERT_LE(0, fd);
		snprintf(text, sizeof(text), "%u", atomic_load(&wanted) - 1);
		ASSERT_LT(0, write(fd, text, strlen(text)));
		close(fd);
		ASSERT_EQ(0, pthread_create(&thread, NULL, take_tid, &other));
		while (!atomic_load(&got))
			nap(MS);
		if (atomic_load(&got) == 2)
			gate_open(&gate);
		pthread_join(thread, &done);
	}
	worker_join(&w);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--after-exec"))
		return !is_nobody();
	ktap_before_each = need_umcg;
	return ktap_main(argc, argv);
}
