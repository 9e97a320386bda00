// SPDX-License-Identifier: GPL-2.0
/* Fork, exec, exit; servers that go, and tids that pass on. */
#include <linux/sched.h>

#include "away.h"
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

/* A server in a page of its own. It runs a worker until that blocks, and ends at a gate. */
static struct umcg *apart;
static struct gate way_out;
static atomic_bool at_the_gate;

static void *run_and_end(void *arg)
{
	ASSERT_EQ(0, enrol(apart, 0));
	w.own.task.server_tid = apart->tid;
	ASSERT_EQ(0, wait_with(apart, w.tid, 0, 0));
	atomic_store(&at_the_gate, true);
	EXPECT_TRUE(gate_pass(&way_out));
	return arg;
}

/*
 * The worker is back, and about to join the list: it has its server, and sleeps for the
 * page of that. Then the server ends. `there` says whether the page is there after that.
 */
static void leave_while_joined(bool there)
{
	struct kept kept;
	pthread_t server;

	apart = own_page();
	w.body = pass_gate;
	gate_make(&gate);
	gate_make(&way_out);
	become_server();
	hire(&w);
	ASSERT_EQ(0, pthread_create(&server, NULL, run_and_end, NULL));
	until_state_is(&w, BLOCKED);
	while (!atomic_load(&at_the_gate))
		nap(MS);
	until_state(getpid(), apart->tid, 'S');
	page_keep(&kept, apart);
	gate_open(&gate);
	until_wanted(&kept);
	EXPECT_EQ(RUNNABLE, umcg_word(&w.own.task));
	gate_open(&way_out);
	pthread_join(server, NULL);
	if (there) {
		page_give(&kept);
	} else {
		munmap(apart, PAGE);
		close(kept.fd);
	}
	/* It has no server, and runs on; and is in no list that nobody will empty. */
	pthread_join(w.thread, NULL);
	EXPECT_EQ(0, w.result);
	EXPECT_EQ(-ESRCH, w.left);
	EXPECT_EQ(NONE, umcg_word(&w.own.task));
	if (there)
		expect_none_listed(apart);
}

TEST(server_leaves_who_is_joined, .clauses = "BACK-5 WLIFE-2 R56")
{
	leave_while_joined(true);
}

TEST(server_leaves_with_its_memory, .clauses = "BACK-5 WLIFE-2 VIOL-1 R56")
{
	leave_while_joined(false);
}

static void stop_unknown(struct worker *worker)
{
	pass_gate(worker);
	while (!atomic_load(&over))
		;
	worker->result = stop(worker);
	if (worker->result == -ESRCH)
		wait_with(&worker->own, 0, UMCG_WAIT_ENQUEUE, 0);
}

/* It runs on under nobody; and who has the tid of its server knows of it by a list only. */
TEST(server_comes_back_unaware, .clauses = "WRUN-7 WLIFE-4 R56 R57")
{
	w.body = stop_unknown;
	gate_make(&gate);
	become_server();
	hire(&w);
	EXPECT_EQ(BLOCKED, run(&w));
	ASSERT_EQ(0, leave(&me, 0));
	gate_open(&gate);
	while (!atomic_load(&w.steps))
		nap(MS);
	become_server();
	atomic_store(&over, true);
	until_back(&w);
	EXPECT_EQ(-ESRCH, w.result);
	finish_in_time(&w);
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

/*
 * clone3() by hand: the child runs on its parent's stack, where a function that
 * it had returned from would find its return address gone.
 */
static inline long clone_like_vfork(struct clone_args *args)
{
#ifdef __x86_64__
	long ret = SYS_clone3;

	asm volatile("syscall" : "+a"(ret) : "D"(args), "S"(sizeof(*args))
		     : "rcx", "r11", "memory");
	return ret;
#else
	register long nr asm("x8") = SYS_clone3;
	register long ret asm("x0") = (long)args;
	register long size asm("x1") = sizeof(*args);

	asm volatile("svc #0" : "+r"(ret) : "r"(nr), "r"(size) : "memory");
	return ret;
#endif
}

/* A server that has the tid of one that is gone: who comes back joins its list. */
static struct umcg heir;
static int heir_result;
static atomic_bool heir_waits;

static void live_again(void)
{
	enrol(&heir, 0);
	umcg_set_word(&heir.task, RUNNABLE | COND_WAIT);
	atomic_store(&heir_waits, true);
	heir_result = umcg_sys_wait(0, 0);
	while (!atomic_load(&over))
		nap(MS);
	_exit(0);
}

/* A thread that sleeps until its child, which has its memory, exits. */
static void *give_birth(void *arg)
{
	pid_t tid = p.tid;
	struct clone_args args = {
		.flags = CLONE_VM | CLONE_VFORK,
		.exit_signal = SIGCHLD,
		.set_tid = (uintptr_t)&tid,
		.set_tid_size = 1,
	};
	long pid;

	/* A thread that has been joined may have its tid for a moment longer. */
	while ((pid = clone_like_vfork(&args)) == -EEXIST)
		nap(MS);
	if (!pid)
		live_again();
	ASSERT_EQ(tid, pid);
	reap_child(pid);
	return arg;
}

TEST(tid_passes_to_another_server, .clauses = "WLIFE-4 R18 R57")
{
	pthread_t thread;

	server_leaves(pass_gate);
	EXPECT_EQ(-ETIMEDOUT, wait_with(&me, w.tid, 0, from_now(MS)));
	until_state_is(&w, BLOCKED);
	pthread_join(p.thread, NULL);
	ASSERT_EQ(0, pthread_create(&thread, NULL, give_birth, NULL));
	while (!atomic_load(&heir_waits))
		nap(MS);
	until_state(p.tid, p.tid, 'S');
	gate_open(&gate);
	until_state_is(&w, RUNNABLE);
	expect_listed_under(&heir, &w);
	EXPECT_EQ(RUNNING, umcg_word(&heir.task));
	finish_in_time(&w);
	atomic_store(&over, true);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, heir_result);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--after-exec"))
		return !is_nobody();
	ktap_before_each = need_umcg;
	return ktap_main(argc, argv);
}
