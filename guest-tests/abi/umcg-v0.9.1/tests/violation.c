// SPDX-License-Identifier: GPL-2.0
/*
 * Broken contracts. The kernel kills the process: so each is broken in a child, by a
 * worker that is brought to a place where it is found out.
 */
#include "crew.h"

#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))

static struct worker w;
static struct gate gate;
static atomic_int handled;

static void count(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
}

/* What is broken about the worker, and with what. */
struct breach {
	void (*break_it)(const struct breach *breach);
	uint64_t word;		/* state and flags */
	uint32_t next_tid;	/* 0: left as it is; NOBODY: zero */
	uint64_t pointer;
	int how;
};

#define NOBODY	UINT32_MAX

static void set_word(const struct breach *breach)
{
	struct umcg_task *task = &w.umcg->task;

	if (breach->next_tid)
		task->next_tid = breach->next_tid == NOBODY ? 0 : breach->next_tid;
	umcg_set_word(task, umcg_restate(umcg_stamped_word(task), breach->word));
}

/* Its structure: may not be touched, may not be written, is not there. */
static void take_page(const struct breach *breach)
{
	if (breach->how == 2)
		ASSERT_EQ(0, munmap(w.umcg, 4096));
	else
		ASSERT_EQ(0, mprotect(w.umcg, 4096, breach->how ? PROT_READ : PROT_NONE));
}

static void set_list(const struct breach *breach)
{
	w.umcg->task.idle_workers_ptr = breach->pointer;
}

static void set_tid_ptr(const struct breach *breach)
{
	w.umcg->task.idle_server_tid_ptr = breach->pointer;
}

static void begin(void (*body)(struct worker *))
{
	on_signal(SIGUSR1, count, 0);
	on_signal(SIGSEGV, count, 0);
	become_server();
	gate_make(&gate);
	w.umcg = new_page();
	w.body = body;
	w.stays = true;
	hire(&w);
}

/* In a wait: it is woken. */
static void wait_here(struct worker *worker)
{
	(void)umcg_yield(worker->umcg, 0);
}

static void break_in_a_wait(void *arg)
{
	const struct breach *breach = arg;

	begin(wait_here);
	EXPECT_EQ(0, umcg_resume(&me, w.umcg, 0));
	until_word(&w, IDLE);
	breach->break_it(breach);
	wake_tid(w.tid, 0);
	nap(20 * SOON);
}

/* After a block: it comes back. */
static void sleep_here(struct worker *worker)
{
	worker->result = gate_pass(&gate);
}

static void break_in_a_sleep(void *arg)
{
	const struct breach *breach = arg;

	begin(sleep_here);
	EXPECT_EQ(0, umcg_resume(&me, w.umcg, 0));
	until_word(&w, BLOCKED);
	breach->break_it(breach);
	gate_open(&gate);
	nap(20 * SOON);
}

/* In user space: a signal comes. It does not get to its handler. */
static void spin_here(struct worker *worker)
{
	atomic_fetch_add(&worker->steps, 1);
	while (!atomic_load(&handled))
		;
}

static void break_while_it_runs(void *arg)
{
	const struct breach *breach = arg;

	begin(spin_here);
	EXPECT_EQ(-ETIMEDOUT, umcg_resume(&me, w.umcg, from_now(MS)));
	while (!atomic_load(&w.steps))
		sched_yield();
	breach->break_it(breach);
	ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR1));
	nap(20 * SOON);
}

/* On its way into a sleep: found in the scheduler, and dealt with when it is back. */
static const struct breach *to_break;

static void break_and_sleep(struct worker *worker)
{
	to_break->break_it(to_break);
	gate_pass(&gate);
	atomic_fetch_add(&worker->steps, 1);
}

static void break_before_a_sleep(void *arg)
{
	long before;

	to_break = arg;
	begin(break_and_sleep);
	before = sleeps(getpid(), w.tid);
	/* Its server may have to do without being told. */
	umcg_resume(&me, w.umcg, from_now(SOON));
	/* Its sleep while it was held can be counted late: hence the letter, too. */
	until_state(getpid(), w.tid, 'S');
	until_slept(getpid(), w.tid, before + 1);
	EXPECT_EQ(0, atomic_load(&w.steps));
	gate_open(&gate);
	nap(20 * SOON);
}

static void expect_killed(void (*where)(void *), struct breach breach)
{
	int status = status_of_child(where, &breach);

	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
}

static void expect_all_killed(void (*where)(void *), const uint64_t *words, int n)
{
	for (int i = 0; i < n; i++)
		expect_killed(where, (struct breach) { set_word, .word = words[i] });
}

TEST(impossible_word_in_a_wait, .clauses = "WVIOL-1 WVIOL-2 WRUN-6 R19")
{
	static const uint64_t words[] = {
		NONE, 4, 0x3f, IDLE | 0x100, RUNNING | 0x1000,
		IDLE | LOCKED | PREEMPTED, BLOCKED | LOCKED,
	};

	expect_all_killed(break_in_a_wait, words, COUNT(words));
}

TEST(impossible_word_after_a_block, .clauses = "WVIOL-1 WVIOL-2 WRUN-4 R19")
{
	static const uint64_t words[] = {
		NONE, IDLE, IDLE | PREEMPTED, 4, 0x3f, BLOCKED | 0x200, BLOCKED | LOCKED,
	};

	expect_all_killed(break_in_a_sleep, words, COUNT(words));
}

TEST(impossible_word_at_a_signal, .clauses = "WVIOL-1 WVIOL-2 WRUN-4 R19 R30")
{
	static const uint64_t words[] = {
		NONE, IDLE, 4, 0x3f, RUNNING | 0x400, RUNNING | LOCKED | PREEMPTED,
	};

	expect_all_killed(break_while_it_runs, words, COUNT(words));
}

TEST(impossible_word_at_a_block, .clauses = "BLOCK-9 WVIOL-1 WVIOL-2")
{
	static const uint64_t words[] = { NONE, IDLE, BLOCKED, 4, RUNNING | 0x800 };

	expect_all_killed(break_before_a_sleep, words, COUNT(words));
}

/* RUNNING under nobody: zero is no server, and neither is a task that is a worker. */
static void run_under_a_lie(void *arg)
{
	struct breach breach = { set_word, .word = RUNNING, .next_tid = NOBODY };
	static struct worker other = { .body = wait_here };

	begin(wait_here);
	EXPECT_EQ(0, umcg_resume(&me, w.umcg, 0));
	until_word(&w, IDLE);
	if (arg) {
		hire(&other);
		breach.next_tid = other.tid;
	}
	breach.break_it(&breach);
	wake_tid(w.tid, 0);
	nap(20 * SOON);
}

TEST(running_without_a_server, .clauses = "WRUN-4 WVIOL-1 R57")
{
	expect_killed(break_while_it_runs,
		      (struct breach) { set_word, .word = RUNNING, .next_tid = NOBODY });
	EXPECT_EQ(SIGKILL, WTERMSIG(status_of_child(run_under_a_lie, NULL)));
	EXPECT_EQ(SIGKILL, WTERMSIG(status_of_child(run_under_a_lie, "a worker")));
}

TEST(blocks_without_a_server, .clauses = "BLOCK-8 WVIOL-1 WVIOL-2 R15 R57")
{
	expect_killed(break_before_a_sleep,
		      (struct breach) { set_word, .word = RUNNING, .next_tid = NOBODY });
}

TEST(structure_gone, .clauses = "WVIOL-1 WVIOL-2 R26 R47")
{
	for (int how = 0; how < 3; how++) {
		struct breach breach = { take_page, .how = how };

		/* Read, it is as good as any as long as nobody has to write it. */
		if (how != 1)
			expect_killed(break_in_a_wait, breach);
		expect_killed(break_in_a_sleep, breach);
		if (how != 1)
			expect_killed(break_while_it_runs, breach);
	}
}

TEST(no_list_to_join, .clauses = "WVIOL-1 WIDLE-1 R16 R23")
{
	uint64_t bad[] = { 0, 1, 4, 12, (uintptr_t)-4096, (uintptr_t)new_page() };

	ASSERT_EQ(0, munmap((void *)bad[5], 4096));
	for (int i = 0; i < COUNT(bad); i++)
		expect_killed(break_in_a_sleep, (struct breach) { set_list, .pointer = bad[i] });
}

TEST(no_idle_server_word, .clauses = "WVIOL-1 WIDLE-1 R16 R23")
{
	uint64_t bad[] = { 0, 1, 2, (uintptr_t)-4096, (uintptr_t)new_page() };

	ASSERT_EQ(0, munmap((void *)bad[4], 4096));
	for (int i = 0; i < COUNT(bad); i++)
		expect_killed(break_in_a_sleep,
			      (struct breach) { set_tid_ptr, .pointer = bad[i] });
}

/* Found on the way out of umcg_ctl(), where the worker is to be queued. */
static void register_badly(void *arg)
{
	static struct umcg_task task = { .state_ts = BLOCKED };

	task.idle_workers_ptr = (uintptr_t)arg;
	task.idle_server_tid_ptr = (uintptr_t)&pool.idle_server_tid;
	umcg_sys_ctl(UMCG_CTL_REGISTER | UMCG_CTL_WORKER, &task);
}

TEST(registers_without_a_list, .clauses = "WREG-4 WVIOL-1 R16")
{
	EXPECT_EQ(SIGKILL, WTERMSIG(status_of_child(register_badly, NULL)));
	EXPECT_EQ(SIGKILL, WTERMSIG(status_of_child(register_badly, (char *)&pool + 4)));
}

/* A server may wait and err as it likes: it is told, and lives. */
TEST(servers_are_told, .clauses = "VIOL-1 R26")
{
	static struct peer p;
	struct umcg_task *page = new_page();

	become_server();
	p.task = page;
	peer_start(&p);
	until_asleep(&p);
	umcg_set_word(page, 0x3f);
	EXPECT_EQ(0, wake_tid(p.tid, 0));
	EXPECT_EQ(-EINVAL, peer_join(&p));
	EXPECT_EQ(0x3f, umcg_word(page));

	memset(&p, 0, sizeof(p));
	p.task = page;
	peer_start(&p);
	until_asleep(&p);
	ASSERT_EQ(0, munmap(page, 4096));
	EXPECT_EQ(0, wake_tid(p.tid, 0));
	EXPECT_EQ(-EFAULT, peer_join(&p));
}

/* The others do not notice. */
TEST(kills_that_process_alone, .clauses = "VIOL-2 R25")
{
	static struct worker other = { .body = yield_and_step };
	static struct peer p;

	become_server();
	peer_start(&p);
	until_asleep(&p);
	hire(&other);
	EXPECT_EQ(IDLE, run(&other));
	for (int i = 0; i < 3; i++) {
		memset(&w, 0, sizeof(w));
		expect_killed(break_in_a_wait, (struct breach) { set_word, .word = 4 });
	}
	expect_asleep(&p);
	expect_word(&other, IDLE);
	finish(&other);
	peer_wake(&p);
	EXPECT_EQ(0, peer_join(&p));
}

UMCG_TEST_MAIN
