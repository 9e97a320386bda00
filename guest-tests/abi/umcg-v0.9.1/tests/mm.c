// SPDX-License-Identifier: GPL-2.0
/* All that UMCG tasks do with each other is within one address space. */
#include <sys/ptrace.h>

#include "crew.h"

static struct peer *foreign;

/* Asleep in a wait, and any wakeup would end that. */
static void have_a_foreign_server(void)
{
	process_asleep(&foreign);
	umcg_set_word(&foreign->umcg.task, RUNNING);
}

TEST(server_of_another_process, .clauses = "MM-1 WAKE-6 SWITCH-2 ARG-6 R5 R18 R20")
{
	have_a_foreign_server();
	EXPECT_EQ(-ESRCH, wake_tid(foreign->tid, 0));
	EXPECT_EQ(-ESRCH, wake_tid(foreign->tid, UMCG_WAIT_WF_CURRENT_CPU));
	umcg_set_word(&me.task, IDLE);
	EXPECT_EQ(-ESRCH, umcg_sys_wait(0, 1));
	EXPECT_EQ(IDLE, umcg_word(&me.task));
	umcg_set_word(&me.task, RUNNING);
	expect_asleep(foreign);
}

static void name_the_foreign(struct worker *w)
{
	struct umcg_task *task = &w->umcg->task;

	ASSERT_TRUE(umcg_move(task, RUNNING, IDLE | LOCKED));
	task->next_tid = foreign->tid;
	EXPECT_EQ(-ESRCH, umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, 0));
	EXPECT_EQ(-ESRCH, umcg_sys_wait(0, 1));
	EXPECT_EQ(IDLE | LOCKED, umcg_word(task));
	task->next_tid = me.tid;
	ASSERT_TRUE(umcg_move(task, IDLE | LOCKED, RUNNING));
	atomic_fetch_add(&w->steps, 1);
}

TEST(worker_names_another_process, .clauses = "MM-1 WRUN-7 R5 R18 R20")
{
	static struct worker w = { .body = name_the_foreign };

	have_a_foreign_server();
	hire(&w);
	finish(&w);
	EXPECT_EQ(1, atomic_load(&w.steps));
	expect_asleep(foreign);
}

static struct gate gate;

static void sleep_here(struct worker *w)
{
	w->result = gate_pass(&gate);
}

/* Its tid is where the kernel looks for an idle server: nobody is woken. */
TEST(idle_server_of_another_process, .clauses = "MM-1 WIDLE-2 R18")
{
	static struct worker w = { .body = sleep_here };

	have_a_foreign_server();
	umcg_set_word(&foreign->umcg.task, IDLE);
	gate_make(&gate);
	hire(&w);
	EXPECT_EQ(BLOCKED, run(&w));
	pool.idle_server_tid = foreign->tid;
	gate_open(&gate);
	until_back(&w);
	EXPECT_EQ(0, pool.idle_server_tid);
	expect_asleep(foreign);
	EXPECT_EQ(IDLE, umcg_word(&foreign->umcg.task));
	finish(&w);
}

TEST(killed_process_leaves_its_word, .clauses = "LIFE-3 SIG-5 R49")
{
	struct peer *p;
	pid_t pid = process_asleep(&p);

	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(SIGKILL, reap_child(pid));
	EXPECT_EQ(IDLE, umcg_word(&p->umcg.task));
}

TEST(stop_and_continue, .clauses = "SIG-6 TIME-6")
{
	struct peer *p = shared_memory(2 * sizeof(*p));
	pid_t pid[2];

	become_server();
	p[1].timeout = from_now(1000 * MS);
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
	/* Of another mm: only its word is ours to change. */
	ASSERT_TRUE(umcg_move(&p[0].umcg.task, IDLE, RUNNING));
	ASSERT_EQ(0, kill(pid[0], SIGSTOP));
	ASSERT_EQ(0, kill(pid[0], SIGCONT));
	EXPECT_EQ(0, reap_child(pid[0]));
	EXPECT_EQ(0, p[0].result);
}

TEST(woken_while_stopped, .clauses = "SIG-6 SIG-2")
{
	struct peer *p;
	pid_t pid = process_asleep(&p);

	ASSERT_EQ(0, kill(pid, SIGSTOP));
	until_state(pid, pid, 'T');
	ASSERT_TRUE(umcg_move(&p->umcg.task, IDLE, RUNNING));
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
	ASSERT_TRUE(umcg_move(&p->umcg.task, IDLE, RUNNING));
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, pid, NULL, NULL));
	EXPECT_EQ(0, reap_child(pid));
	EXPECT_EQ(0, p->result);
}

UMCG_TEST_MAIN
