// SPDX-License-Identifier: GPL-2.0
/* When the kernel looks at the word of a worker, and what it does about it. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#include "crew.h"

static atomic_int stage;

static void at_stage(int n)
{
	while (atomic_load(&stage) < n)
		sched_yield();
}

/* It was run by somebody who has gone, or never was a server: nobody's fault. */
static void expect_sent_back(struct worker *w, uint32_t server)
{
	struct umcg_task *task = &w->umcg->task;

	task->next_tid = server;
	task->idle_workers_ptr = (uintptr_t)&pool.idle_workers;
	ASSERT_TRUE(umcg_move(task, IDLE, RUNNING));
	EXPECT_EQ(0, wake_tid(w->tid, 0));
	until_back(w);
	EXPECT_EQ(IDLE | SOME_BITS, umcg_word(task));
}

TEST(runs_only_under_a_server, .clauses = "WRUN-4 WIDLE-1 R57")
{
	static struct worker fresh = { .body = yield_and_step, .bits = SOME_BITS };
	static struct worker parked = { .body = yield_and_step, .bits = SOME_BITS };
	uint32_t plain, gone;

	become_server();
	plain = plain_thread();
	gone = gone_server();
	hire(&fresh);
	hire(&parked);
	EXPECT_EQ(IDLE, run(&parked));
	until_word(&parked, IDLE);
	for (int i = 0; i < 2; i++) {
		struct worker *w = i ? &parked : &fresh;
		uint32_t no_server[] = { plain, gone, 0x3fffffff, 0x80000000, 0xffffffff };

		for (int j = 0; j < sizeof(no_server) / sizeof(no_server[0]); j++)
			expect_sent_back(w, no_server[j]);
		EXPECT_EQ(0, atomic_load(&w->steps));
	}
	EXPECT_EQ(IDLE, run(&fresh));
	finish(&fresh);
	finish(&parked);
}

/* What no signal and no sleep draws attention to is nobody's business. */
static void scribble_in_private(struct worker *w)
{
	static const uint64_t words[] = { IDLE, BLOCKED, NONE, 0x3f, IDLE | 0x100 };
	struct umcg_task *task = &w->umcg->task;
	char *page = w->arg;

	task->next_tid = 0;
	for (int i = 0; i < 5; i++) {
		umcg_set_word(task, words[i]);
		for (int j = 0; j < 20; j++)
			syscall(SYS_getppid);
		page[i * 4096] = 1;
		sched_yield();
		EXPECT_EQ(words[i], umcg_word(task));
	}
	task->next_tid = me.tid;
	umcg_set_word(task, RUNNING);
	atomic_fetch_add(&w->steps, 1);
}

TEST(not_looked_at_in_between, .clauses = "WRUN-4 BLOCK-7")
{
	static struct worker w = { .body = scribble_in_private };

	become_server();
	w.arg = mmap(NULL, 5 * 4096, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, w.arg);
	hire(&w);
	finish(&w);
	EXPECT_EQ(1, atomic_load(&w.steps));
}

static atomic_int handled;

static void count(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
}

struct claim {
	uint64_t word, next_tid;
};

static void claim_to_be(struct worker *w)
{
	const struct claim *claim = w->arg;
	int before = atomic_load(&handled);

	w->umcg->task.next_tid = claim->next_tid;
	umcg_set_word(&w->umcg->task, claim->word | SOME_BITS);
	atomic_store(&stage, 1);
	while (atomic_load(&handled) == before)
		sched_yield();
	EXPECT_EQ(RUNNING | SOME_BITS, umcg_word(&w->umcg->task));
}

TEST(looked_at_ahead_of_a_signal, .clauses = "WRUN-4 WSIG-1 R57")
{
	static struct worker w[3];
	struct claim claims[] = {
		{ BLOCKED, gettid() }, { RUNNING, 0x3fffffff }, { BLOCKED, 0 },
	};

	on_signal(SIGUSR1, count, 0);
	become_server();
	for (int i = 0; i < 3; i++) {
		w[i].body = claim_to_be;
		w[i].arg = &claims[i];
		atomic_store(&stage, 0);
		hire(&w[i]);
		EXPECT_EQ(-ETIMEDOUT, umcg_resume(&me, w[i].umcg, from_now(MS)));
		at_stage(1);
		ASSERT_EQ(0, tgkill(getpid(), w[i].tid, SIGUSR1));
		until_back(&w[i]);
		EXPECT_EQ(i, atomic_load(&handled));
		finish(&w[i]);
		EXPECT_EQ(i + 1, atomic_load(&handled));
	}
}

static struct gate gate;

/* getppid() is forbidden from now on, to this thread. */
static void forbid_getppid(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = 4, .filter = code };

	ASSERT_EQ(0, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	ASSERT_EQ(0, prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}

static void call_what_is_forbidden(struct worker *w)
{
	ASSERT_TRUE(umcg_lock(w->umcg));
	forbid_getppid();
	umcg_unlock(w->umcg);
	for (int i = 0; i < 2; i++) {
		for (int j = 0; j < 50; j++) {
			EXPECT_EQ(-1, syscall(SYS_getppid));
			EXPECT_EQ(EPERM, errno);
			EXPECT_EQ(RUNNING, bare_word(w->umcg));
		}
		EXPECT_TRUE(gate_pass(&gate));
		atomic_fetch_add(&w->steps, 1);
	}
}

TEST(rejected_system_calls, .clauses = "WRUN-4 BLOCK-2 R53")
{
	static struct worker w = { .body = call_what_is_forbidden };

	become_server();
	gate_make(&gate);
	hire(&w);
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(BLOCKED, run(&w));
		EXPECT_EQ(i, atomic_load(&w.steps));
		gate_open(&gate);
		until_back(&w);
	}
	finish(&w);
}

/* Set to one that sleeps with its word RUNNING: any wakeup ends its sleep. */
static uint32_t light_sleeper;

static void wait_wrongly(struct worker *w)
{
	static const uint64_t bad[] = {
		NONE, 4, 0x3f, IDLE | LOCKED | PREEMPTED, IDLE | LOCKED | 0x100,
		RUNNING | 0x1000,
	};
	struct umcg_task *task = &w->umcg->task;

	for (int i = 0; i < 6; i++) {
		EXPECT_EQ(-EINVAL, wait_with(w, bad[i], light_sleeper));
		EXPECT_EQ(bad[i] | SOME_BITS, umcg_word(task));
		task->next_tid = me.tid;
		umcg_set_word(task, RUNNING);
		atomic_fetch_add(&w->steps, 1);
	}
}

TEST(wait_needs_a_word_that_makes_sense, .clauses = "WRUN-5 R19")
{
	static struct worker w = { .body = wait_wrongly };
	static struct peer p;

	become_server();
	peer_start(&p);
	until_asleep(&p);
	umcg_set_word(&p.umcg.task, RUNNING);
	light_sleeper = p.tid;
	hire(&w);
	finish(&w);
	EXPECT_EQ(6, atomic_load(&w.steps));
	expect_asleep(&p);
	EXPECT_EQ(0, wake_tid(p.tid, 0));
	EXPECT_EQ(0, peer_join(&p));
}

/* RUNNING, locked or not, it has been woken already; BLOCKED, it is to be queued. */
static void wait_as_it_is(struct worker *w)
{
	struct umcg_task *task = &w->umcg->task;

	EXPECT_EQ(0, wait_with(w, RUNNING, me.tid));
	EXPECT_EQ(RUNNING | SOME_BITS, umcg_word(task));
	EXPECT_EQ(0, wait_with(w, RUNNING | LOCKED, me.tid));
	EXPECT_EQ(RUNNING | SOME_BITS, umcg_word(task));
	atomic_fetch_add(&w->steps, 1);
	ASSERT_TRUE(umcg_move(&me.task, IDLE, RUNNING));
	EXPECT_EQ(0, wait_with(w, BLOCKED, me.tid));
	EXPECT_EQ(RUNNING | SOME_BITS, umcg_word(task));
	atomic_fetch_add(&w->steps, 1);
	/* Not LOCKED: nobody else was to see it IDLE yet, but nobody did. */
	ASSERT_TRUE(umcg_move(&me.task, IDLE, RUNNING));
	EXPECT_EQ(-ETIMEDOUT, wait_with(w, IDLE, me.tid));
	atomic_fetch_add(&w->steps, 1);
}

TEST(wait_goes_by_the_state, .clauses = "WRUN-5 WRUN-4")
{
	static struct worker w = { .body = wait_as_it_is };

	become_server();
	hire(&w);
	EXPECT_EQ(0, umcg_resume(&me, w.umcg, 0));
	until_back(&w);
	EXPECT_EQ(1, atomic_load(&w.steps));
	EXPECT_EQ(0, umcg_resume(&me, w.umcg, 0));
	/* It is IDLE all the time that it waits, and is queued at the end of that. */
	while (!take_queued(&w))
		nap(MS);
	until_word(&w, IDLE);
	EXPECT_EQ(2, atomic_load(&w.steps));
	finish(&w);
	EXPECT_EQ(3, atomic_load(&w.steps));
}

/* LOCKED, it is out of the kernel's hands; BLOCKED, it is to be queued. */
TEST(goes_on_locked, .clauses = "WRUN-6 WRUN-4")
{
	static struct worker w = { .body = yield_and_step, .result = 1 };

	become_server();
	hire(&w);
	EXPECT_EQ(IDLE, run(&w));
	until_word(&w, IDLE);
	w.umcg->task.idle_workers_ptr = (uintptr_t)&pool.idle_workers;
	umcg_set_word(&w.umcg->task, BLOCKED | PREEMPTED | SOME_BITS);
	EXPECT_EQ(0, wake_tid(w.tid, 0));
	until_back(&w);
	EXPECT_EQ(IDLE | SOME_BITS, umcg_word(&w.umcg->task));
	EXPECT_EQ(0, atomic_load(&w.steps));
	umcg_set_word(&w.umcg->task, IDLE | LOCKED);
	EXPECT_EQ(0, wake_tid(w.tid, 0));
	worker_join(&w);
	EXPECT_EQ(0, w.result);
	EXPECT_EQ(1, atomic_load(&w.steps));
}

UMCG_TEST_MAIN
