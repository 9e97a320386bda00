// SPDX-License-Identifier: GPL-2.0
/* What happens to a server that breaks the contract in its sleep. */
#include "peer.h"

static const uint32_t impossible[] = {
	UMCG_TASK_NONE, BLOCKED, 4, 0xff,
	IDLE | UMCG_TF_LOCKED, RUNNING | UMCG_TF_LOCKED,
	IDLE | UMCG_TF_PREEMPTED, IDLE | 0x8000, IDLE | 0x10000, RUNNING | 0x800000,
};

#define IMPOSSIBLE (sizeof(impossible) / sizeof(impossible[0]))

/*
 * Wake a peer that will not like what it sees. It may have seen that already: its
 * state says asleep just before it looks for the last time.
 */
static void have_it_look(pid_t tid)
{
	int err = wake_tid(tid, 0);

	EXPECT_TRUE(err == 0 || err == -ESRCH);
}

/* Break the word of a sleeping peer in a process of its own. */
static int status_of(struct peer *p, pid_t pid, uint32_t word)
{
	until_asleep(p);
	umcg_set_word(&p->umcg.task, word | 0xa5000000);
	have_it_look(pid);
	return reap_child(pid);
}

TEST(impossible_word_kills, .clauses = "VIOL-1 VIOL-3 R19 R25")
{
	struct peer *p = shared_memory(IMPOSSIBLE * sizeof(*p));
	static struct peer bystander;

	become_server();
	peer_start(&bystander);
	for (int i = 0; i < IMPOSSIBLE; i++) {
		int status = status_of(&p[i], peer_fork(&p[i]), impossible[i]);

		EXPECT_TRUE(WIFSIGNALED(status));
		EXPECT_EQ(SIGSEGV, WTERMSIG(status));
		EXPECT_FALSE(p[i].returned);
		EXPECT_EQ(impossible[i] | 0xa5000000, umcg_word(&p[i].umcg.task));
	}
	/* All was between the kernel and that process. */
	expect_asleep(&bystander);
	peer_wake(&bystander);
	EXPECT_EQ(0, peer_join(&bystander));
}

static void fork_deaf(struct peer *p, bool block)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	if (block)
		sigprocmask(SIG_BLOCK, &set, NULL);
	else
		on_signal(SIGSEGV, SIG_IGN, 0);
	peer_body(p);
	_exit(0);
}

TEST(sigsegv_is_forced, .clauses = "VIOL-1")
{
	struct peer *p = shared_memory(2 * sizeof(*p));

	become_server();
	for (int i = 0; i < 2; i++) {
		pid_t pid = fork();

		if (!pid)
			fork_deaf(&p[i], i);
		while (!atomic_load(&p[i].tid))
			sched_yield();
		EXPECT_EQ(SIGSEGV, WTERMSIG(status_of(&p[i], pid, BLOCKED)));
	}
}

static atomic_int segvs;
static int code, wait_in_handler;

static void note(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	code = info->si_code;
	wait_in_handler = umcg_sys_wait(0, 1);
	atomic_fetch_add(&segvs, 1);
}

static void expect_violation(struct peer *p, int result)
{
	EXPECT_EQ(result, peer_join(p));
	EXPECT_EQ(1, atomic_load(&segvs));
	EXPECT_EQ(SI_KERNEL, code);
	EXPECT_EQ(-EINVAL, wait_in_handler);
	EXPECT_EQ(-ESRCH, wake_tid(p->tid, 0));
	atomic_store(&segvs, 0);
}

static void handle_violations(void)
{
	struct sigaction sa = { .sa_sigaction = note, .sa_flags = SA_SIGINFO };

	ASSERT_EQ(0, sigaction(SIGSEGV, &sa, NULL));
	become_server();
}

TEST(handler_runs_as_a_plain_thread, .clauses = "VIOL-1 R19")
{
	static struct peer p[IMPOSSIBLE];

	handle_violations();
	for (int i = 0; i < IMPOSSIBLE; i++) {
		peer_start(&p[i]);
		until_asleep(&p[i]);
		umcg_set_word(&p[i].umcg.task, impossible[i]);
		have_it_look(p[i].tid);
		expect_violation(&p[i], -EINVAL);
	}
}

TEST(structure_gone, .clauses = "VIOL-2 R26")
{
	static struct peer p[2];

	handle_violations();
	for (int i = 0; i < 2; i++) {
		p[i].task = new_page();
		peer_start(&p[i]);
		until_asleep(&p[i]);
		if (i)
			ASSERT_EQ(0, munmap(p[i].task, 4096));
		else
			ASSERT_EQ(0, mprotect(p[i].task, 4096, PROT_NONE));
		have_it_look(p[i].tid);
		expect_violation(&p[i], -EFAULT);
	}
}

TEST(structure_gone_at_the_timeout, .clauses = "VIOL-2 TIME-2 R26")
{
	static struct peer p[2];

	handle_violations();
	for (int i = 0; i < 2; i++) {
		p[i].task = new_page();
		p[i].timeout = from_now(50 * SOON * ktap_slow);
		peer_start(&p[i]);
		until_asleep(&p[i]);
		ASSERT_EQ(0, mprotect(p[i].task, 4096, i ? PROT_NONE : PROT_READ));
		expect_violation(&p[i], -EFAULT);
	}
}

TEST(structure_gone_kills, .clauses = "VIOL-2 VIOL-3")
{
	struct peer *p = shared_memory(sizeof(*p));
	pid_t pid = fork();

	if (!pid) {
		p->task = new_page();
		peer_start(p);
		until_asleep(p);
		munmap(p->task, 4096);
		become_server();
		wake_tid(p->tid, 0);
		pthread_join(p->thread, NULL);
		_exit(0);
	}
	EXPECT_EQ(SIGSEGV, WTERMSIG(reap_child(pid)));
}

UMCG_TEST_MAIN
