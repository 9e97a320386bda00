// SPDX-License-Identifier: GPL-2.0
/* Servers of several processes. */
#include <grp.h>
#include <linux/sched.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>

#include "peer.h"

#define NOBODY	65534
#define OTHER	65533

static void become(uid_t uid)
{
	ASSERT_EQ(0, setgroups(0, NULL));
	ASSERT_EQ(0, setresgid(uid, uid, uid));
	ASSERT_EQ(0, setresuid(uid, uid, uid));
}

TEST(wake_another_process, .clauses = "XPROC-1 WAKE-1 R18")
{
	struct peer *p;
	pid_t pid = process_asleep(&p);

	/* The kernel does not look at the word of another process. */
	EXPECT_EQ(0, wake_tid(pid, 0));
	expect_asleep(p);
	EXPECT_EQ(IDLE, umcg_word(&p->umcg.task));
	peer_wake(p);
	EXPECT_EQ(0, reap_child(pid));
	EXPECT_EQ(0, p->result);
}

/* A structure that is not shared: its owner alone sees and changes it. */
TEST(wake_without_shared_memory, .clauses = "XPROC-1 R18")
{
	static struct peer private;
	pid_t pid = fork();

	if (!pid) {
		private.timeout = from_now(50 * SOON * ktap_slow);
		peer_body(&private);
		_exit(private.result == -ETIMEDOUT ? 0 : 1);
	}
	become_server();
	while (wake_tid(pid, 0) == -ESRCH)
		nap(MS);
	EXPECT_EQ(0, wake_tid(pid, UMCG_WAIT_WF_CURRENT_CPU));
	EXPECT_EQ(0, reap_child(pid));
}

static struct umcg *ring;

/* Hand over from process to process, `laps` times around. */
TEST(hand_over_between_processes, .clauses = "XPROC-1 SWITCH-1 SWITCH-5 R1")
{
	enum { N = 4, LAPS = 50 };
	atomic_int *order = shared_memory(sizeof(*order));
	pid_t pid[N];

	ring = shared_memory(N * sizeof(*ring));
	ASSERT_EQ(0, umcg_register_server(&ring[0], NULL));
	for (int i = 1; i < N; i++) {
		pid[i] = fork();
		if (pid[i]) {
			/* IDLE is what it marks itself just before it waits. */
			while (umcg_word(&ring[i].task) != IDLE)
				sched_yield();
			continue;
		}
		ASSERT_EQ(0, umcg_register_server(&ring[i], NULL));
		ASSERT_EQ(0, umcg_wait(&ring[i], 0));
		for (int lap = 0; lap < LAPS; lap++) {
			ASSERT_EQ(lap * N + i, atomic_fetch_add(order, 1));
			if (lap == LAPS - 1)
				break;
			ASSERT_EQ(0, umcg_switch(&ring[i], &ring[(i + 1) % N], 0));
		}
		/* Nobody hands back to us after the last lap. */
		ASSERT_EQ(0, umcg_wake(&ring[i], &ring[(i + 1) % N]));
		_exit(0);
	}
	for (int lap = 0; lap < LAPS; lap++) {
		ASSERT_EQ(lap * N, atomic_fetch_add(order, 1));
		ASSERT_EQ(0, umcg_switch(&ring[0], &ring[1], 0));
	}
	for (int i = 1; i < N; i++)
		EXPECT_EQ(0, reap_child(pid[i]));
	EXPECT_EQ(LAPS * N, atomic_load(order));
}

/* What a process of `uid` gets for waking, and for handing over to, `tid`. */
static void expect_from(uid_t uid, uint32_t tid, int expected)
{
	pid_t pid = fork();

	ASSERT_NE(-1, pid);
	if (!pid) {
		if (uid)
			become(uid);
		become_server();
		EXPECT_EQ(expected, wake_tid(tid, 0));
		EXPECT_EQ(expected, wake_tid(tid, UMCG_WAIT_WF_CURRENT_CPU));
		umcg_set_word(&me.task, IDLE);
		/* Over at once if it may, for it is past its time. */
		EXPECT_EQ(expected ?: -ETIMEDOUT, umcg_sys_wait(0, 1));
		_exit(0);
	}
	EXPECT_EQ(0, reap_child(pid));
}

TEST(permission_is_that_of_kill, .clauses = "XPROC-2 SWITCH-2 R5")
{
	struct peer *p = shared_memory(2 * sizeof(*p));
	pid_t pid[2], plain;

	pid[0] = peer_fork(&p[0]);
	until_asleep(&p[0]);
	pid[1] = fork();
	if (!pid[1]) {
		become(NOBODY);
		peer_body(&p[1]);
		_exit(0);
	}
	while (!atomic_load(&p[1].tid))
		sched_yield();
	until_asleep(&p[1]);
	plain = fork();
	if (!plain)
		for (;;)
			pause();

	expect_from(NOBODY, pid[0], -EPERM);
	expect_from(OTHER, pid[1], -EPERM);
	expect_from(NOBODY, pid[1], 0);
	expect_from(0, pid[1], 0);
	/* May I comes before is it registered, and after is it there. */
	expect_from(NOBODY, plain, -EPERM);
	expect_from(0, plain, -ESRCH);
	expect_from(NOBODY, 0x3fffffff, -ESRCH);

	/* Nobody was woken in earnest. */
	expect_asleep(&p[0]);
	become_server();
	peer_wake(&p[0]);
	peer_wake(&p[1]);
	EXPECT_EQ(0, reap_child(pid[0]));
	EXPECT_EQ(0, reap_child(pid[1]));
}

static void *drop_privileges_and_wait(void *arg)
{
	struct peer *p = arg;

	/* The bare system call is of this thread alone. */
	ASSERT_EQ(0, syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY));
	return peer_body(p);
}

TEST(threads_of_a_process_need_no_permission, .clauses = "XPROC-2 R5")
{
	static struct peer p;
	pid_t pid = fork();

	if (!pid) {
		ASSERT_EQ(0, pthread_create(&p.thread, NULL,
					    drop_privileges_and_wait, &p));
		while (!atomic_load(&p.tid))
			sched_yield();
		ASSERT_EQ(0, syscall(SYS_setresuid, OTHER, OTHER, OTHER));
		become_server();
		ASSERT_TRUE(umcg_move(&p.umcg.task, IDLE, RUNNING));
		/* It may have found that out, returned and gone. */
		while (!atomic_load(&p.returned))
			ASSERT_NE(-EPERM, wake_tid(p.tid, 0));
		_exit(peer_join(&p));
	}
	EXPECT_EQ(0, reap_child(pid));
}

TEST(pid_namespaces, .clauses = "XPROC-3 WAKE-8 R5 R18")
{
	struct peer *inside = shared_memory(2 * sizeof(*inside));
	struct peer *outside = &inside[1];
	pid_t init, pid;

	become_server();
	pid = peer_fork(outside);
	until_asleep(outside);
	umcg_set_word(&outside->umcg.task, RUNNING);
	ASSERT_EQ(0, unshare(CLONE_NEWPID));
	init = fork();
	ASSERT_NE(-1, init);
	if (!init) {
		ASSERT_EQ(1, getpid());
		become_server();
		EXPECT_EQ(0, wake_tid(1, 0));
		/* The number it has outside means nothing here. */
		EXPECT_EQ(-ESRCH, wake_tid(pid, 0));
		ASSERT_EQ(0, umcg_unregister(&me));
		peer_body(inside);
		_exit(0);
	}
	while (!atomic_load(&inside->tid))
		sched_yield();
	EXPECT_EQ(1, inside->tid);
	until_state(init, init, 'S');
	EXPECT_EQ('S', thread_state(pid, pid));
	EXPECT_FALSE(outside->returned);
	/* From outside it has a number that works. */
	ASSERT_TRUE(umcg_move(&inside->umcg.task, IDLE, RUNNING));
	EXPECT_EQ(0, wake_tid(init, 0));
	EXPECT_EQ(0, reap_child(init));
	EXPECT_EQ(0, wake_tid(pid, 0));
	EXPECT_EQ(0, reap_child(pid));
}

#define CGROUPS	"/sys/fs/cgroup"
#define GROUP	CGROUPS "/umcg-partners"

/* How many groups that were removed are still referred to, by tasks say. */
static int dying_groups(void)
{
	FILE *file = fopen(CGROUPS "/cgroup.stat", "r");
	int n = -1;

	ASSERT_NE(NULL, file);
	while (fscanf(file, "nr_dying_descendants %d", &n) != 1 && !feof(file))
		fscanf(file, "%*[^\n]\n");
	fclose(file);
	ASSERT_LE(0, n);
	return n;
}

/* In the group: two threads register, one wakes the other, and both end. */
static void come_and_go(void)
{
	static struct peer p;
	FILE *file = fopen(GROUP "/cgroup.procs", "w");

	ASSERT_NE(NULL, file);
	fputs("0", file);
	ASSERT_EQ(0, fclose(file));
	peer_start(&p);
	become_server();
	EXPECT_EQ(0, wake_tid(p.tid, 0));
	ASSERT_TRUE(umcg_move(&p.umcg.task, IDLE, RUNNING));
	/* It may have found that out, and be gone. */
	wake_tid(p.tid, 0);
	_exit(peer_join(&p));
}

/* A task that somebody still refers to keeps its cgroup, though it was removed. */
TEST(partners_are_let_go, .clauses = "LIFE-5 R3 R20")
{
	int before;

	mkdir(CGROUPS, 0755);
	if (access(CGROUPS "/cgroup.procs", F_OK))
		ASSERT_EQ(0, mount("none", CGROUPS, "cgroup2", 0, NULL));
	before = dying_groups();
	for (int i = 0; i < 8; i++) {
		pid_t pid;

		ASSERT_EQ(0, mkdir(GROUP, 0755));
		pid = fork();
		if (!pid)
			come_and_go();
		EXPECT_EQ(0, reap_child(pid));
		ASSERT_EQ(0, rmdir(GROUP));
	}
	/* They go by and by, or this test runs into its deadline. */
	while (dying_groups() > before)
		nap(10 * MS);
}

/* Give the number of a server that has gone to another task. */
TEST(number_that_passed_on, .clauses = "XPROC-4 WAKE-6 R18 R57")
{
	struct peer *p = shared_memory(2 * sizeof(*p));
	pid_t pid, next;
	struct clone_args args = {
		.exit_signal = SIGCHLD,
		.set_tid = (uintptr_t)&pid,
		.set_tid_size = 1,
	};

	become_server();
	pid = peer_fork(&p[0]);
	until_asleep(&p[0]);
	peer_wake(&p[0]);
	EXPECT_EQ(0, reap_child(pid));
	EXPECT_EQ(-ESRCH, wake_tid(pid, 0));

	next = syscall(SYS_clone3, &args, sizeof(args));
	if (!next) {
		peer_body(&p[1]);
		_exit(0);
	}
	ASSERT_EQ(pid, next);
	while (!atomic_load(&p[1].tid))
		sched_yield();
	until_asleep(&p[1]);
	/* A wake meant for the first reaches the second, for nothing. */
	EXPECT_EQ(0, wake_tid(pid, 0));
	expect_asleep(&p[1]);
	peer_wake(&p[1]);
	EXPECT_EQ(0, reap_child(next));
	EXPECT_EQ(0, p[1].result);
}

TEST(killed_process_is_gone, .clauses = "LIFE-3 SIG-5 R4 R49")
{
	struct peer *p;
	pid_t pid = process_asleep(&p);

	EXPECT_EQ(0, wake_tid(pid, 0));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	until_state(pid, pid, 'Z');
	EXPECT_EQ(-ESRCH, wake_tid(pid, 0));
	EXPECT_EQ(SIGKILL, reap_child(pid));
	EXPECT_EQ(-ESRCH, wake_tid(pid, 0));
	EXPECT_EQ(IDLE, umcg_word(&p->umcg.task));
}

TEST(stop_and_continue, .clauses = "SIG-6 TIME-6")
{
	struct peer *p = shared_memory(2 * sizeof(*p));
	pid_t pid[2];

	become_server();
	p[1].timeout = from_now(1000 * MS * ktap_slow);
	for (int i = 0; i < 2; i++) {
		pid[i] = peer_fork(&p[i]);
		until_state(pid[i], pid[i], 'S');
		ASSERT_EQ(0, kill(pid[i], SIGSTOP));
		until_state(pid[i], pid[i], 'T');
		ASSERT_EQ(0, kill(pid[i], SIGCONT));
	}
	EXPECT_EQ(0, reap_child(pid[1]));
	EXPECT_EQ(-ETIMEDOUT, p[1].result);
	EXPECT_LE(p[1].timeout, clock_ns(CLOCK_REALTIME));
	until_asleep(&p[0]);
	peer_wake(&p[0]);
	EXPECT_EQ(0, reap_child(pid[0]));
	EXPECT_EQ(0, p[0].result);
}

TEST(woken_while_stopped, .clauses = "SIG-6 SIG-2")
{
	struct peer *p;
	pid_t pid = process_asleep(&p);

	ASSERT_EQ(0, kill(pid, SIGSTOP));
	until_state(pid, pid, 'T');
	peer_wake(p);
	nap(SOON);
	EXPECT_EQ('T', thread_state(pid, pid));
	EXPECT_FALSE(p->returned);
	ASSERT_EQ(0, kill(pid, SIGCONT));
	EXPECT_EQ(0, reap_child(pid));
	EXPECT_EQ(0, p->result);
}

TEST(traced, .clauses = "SIG-6")
{
	struct peer *p = shared_memory(sizeof(*p));
	pid_t pid;
	int status;

	become_server();
	pid = peer_fork(p);
	until_asleep(p);
	ASSERT_EQ(0, ptrace(PTRACE_SEIZE, pid, NULL, NULL));
	for (int i = 0; i < 5; i++) {
		ASSERT_EQ(0, ptrace(PTRACE_INTERRUPT, pid, NULL, NULL));
		ASSERT_EQ(pid, waitpid(pid, &status, __WALL));
		ASSERT_TRUE(WIFSTOPPED(status));
		EXPECT_EQ(IDLE, umcg_word(&p->umcg.task));
		ASSERT_EQ(0, ptrace(PTRACE_CONT, pid, NULL, NULL));
		until_asleep(p);
	}
	ASSERT_EQ(0, ptrace(PTRACE_INTERRUPT, pid, NULL, NULL));
	ASSERT_EQ(pid, waitpid(pid, &status, __WALL));
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, pid, NULL, NULL));
	until_asleep(p);
	peer_wake(p);
	EXPECT_EQ(0, reap_child(pid));
	EXPECT_EQ(0, p->result);
}

UMCG_TEST_MAIN
