// SPDX-License-Identifier: GPL-2.0
/* All that UMCG tasks do with each other is within one address space. */
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

UMCG_TEST_MAIN
