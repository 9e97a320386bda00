// SPDX-License-Identifier: GPL-2.0
/* Broken contracts: that process is killed, and nobody else notices. */
#include "away.h"
#include "staff.h"

static struct worker w;
static uint32_t bad_word;

static void expect_killed(void (*body)(void *), void *arg)
{
	EXPECT_EQ(SIGKILL, WTERMSIG(status_of_child(body, arg)));
}

static const uint32_t impossible[] = { NONE, 4, 0xff };

static void block_and_tell(struct worker *worker)
{
	umcg_set_word(&worker->own.task, bad_word);
	atomic_store(&worker->steps, 1);
	gate_pass(&gate);
}

static void bad_as_it_blocks(void *arg)
{
	bad_word = (uintptr_t)arg;
	gate_make(&gate);
	w.body = block_and_tell;
	become_server();
	hire(&w);
	wait_with(&me, w.tid, 0, from_now(MS));
	until_state(getpid(), w.tid, 'S');
	gate_open(&gate);
	for (;;)
		nap(MS);
}

TEST(impossible_word_at_a_block, .clauses = "VIOL-1 VIOL-2 R19")
{
	for (int i = 0; i < 3; i++)
		expect_killed(bad_as_it_blocks, (void *)(uintptr_t)impossible[i]);
	expect_killed(bad_as_it_blocks, (void *)(uintptr_t)BLOCKED);
}

static void bad_after_a_block(void *arg)
{
	gate_make(&gate);
	w.body = pass_gate;
	become_server();
	hire(&w);
	EXPECT_EQ(BLOCKED, run(&w));
	umcg_set_word(&w.own.task, (uintptr_t)arg);
	gate_open(&gate);
	for (;;)
		nap(MS);
}

TEST(impossible_word_after_a_block, .clauses = "VIOL-1 R19 R53")
{
	for (int i = 0; i < 3; i++)
		expect_killed(bad_after_a_block, (void *)(uintptr_t)impossible[i]);
}

static void bad_in_a_list(void *arg)
{
	become_server();
	worker_start(&w);
	until_state_is(&w, RUNNABLE);
	umcg_set_word(&w.own.task, (uintptr_t)arg);
	umcg_sys_kick(0, w.tid);
	for (;;)
		nap(MS);
}

TEST(impossible_word_in_a_list, .clauses = "VIOL-1 R19")
{
	for (int i = 0; i < 3; i++)
		expect_killed(bad_in_a_list, (void *)(uintptr_t)impossible[i]);
}

static void spin_with_word(struct worker *worker)
{
	spin(worker);
	umcg_set_word(&worker->own.task, RUNNING);
}

/* It is for the next block to find; until then it is its own affair. */
TEST(impossible_word_at_a_kick, .clauses = "KICK-5 KICK-2 R19")
{
	w.body = spin_with_word;
	become_server();
	hire(&w);
	let_run(&w);
	for (int i = 0; i < 3; i++) {
		umcg_set_word(&w.own.task, impossible[i]);
		ASSERT_EQ(0, umcg_sys_kick(0, w.tid));
		nap(SOON);
		EXPECT_EQ(impossible[i], umcg_word(&w.own.task));
	}
	umcg_set_word(&w.own.task, RUNNING);
	atomic_store(&over, true);
	finish_in_time(&w);
}

static void structure_goes(void *arg)
{
	struct worker *gone = own_page();

	gate_make(&gate);
	gone->body = pass_gate;
	become_server();
	hire(gone);
	EXPECT_EQ(BLOCKED, run(gone));
	if (arg)
		mprotect(gone, PAGE, PROT_READ);
	else
		munmap(gone, PAGE);
	gate_open(&gate);
	for (;;)
		nap(MS);
}

TEST(structure_gone, .clauses = "VIOL-1 R15 R26 R47")
{
	expect_killed(structure_goes, NULL);
	expect_killed(structure_goes, (void *)1);
}

static void *serve_once(void *arg)
{
	ASSERT_EQ(0, enrol(arg, 0));
	run_under(arg, &w);
	mprotect(arg, PAGE, PROT_READ);
	gate_open(&gate);
	for (;;)
		nap(MS);
	return NULL;
}

static void list_goes(void *arg)
{
	pthread_t thread;

	(void)arg;
	gate_make(&gate);
	w.body = pass_gate;
	become_server();
	hire(&w);
	pthread_create(&thread, NULL, serve_once, own_page());
	for (;;)
		nap(MS);
}

TEST(no_list_to_join, .clauses = "VIOL-1 R23 R47")
{
	expect_killed(list_goes, NULL);
}

TEST(kills_that_process_alone, .clauses = "VIOL-2 R25")
{
	static struct peer p;

	become_server();
	peer_start(&p);
	until_asleep(&p);
	for (int i = 0; i < 5; i++)
		expect_killed(bad_as_it_blocks, NULL);
	expect_asleep(&p);
	rouse(&p.umcg);
	EXPECT_EQ(0, peer_join(&p));
}

/* Words and heads that change as fast as the kernel looks cost it no CPU. */
static void *scribble_head(void *arg)
{
	uint64_t *head = arg;

	for (uint64_t n = 64;; n += 64)
		__atomic_store_n(head, n, __ATOMIC_RELAXED);
	return NULL;
}

TEST(looks_are_counted, .clauses = "VIOL-3 SIG-5 R9", .deadline = 60)
{
	pid_t pid = fork();

	if (!pid) {
		pthread_t thread;

		w.body = stop_and_step;
		become_server();
		pthread_create(&thread, NULL, scribble_head, &me.task.runnable_workers_ptr);
		scribble_on(&w.own.task);
		for (int i = 0; i < 8; i++) {
			static struct worker many[8];

			many[i].body = spin;
			worker_start(&many[i]);
		}
		for (;;)
			nap(MS);
	}
	nap(10 * SOON);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(SIGKILL, WTERMSIG(reap_child(pid)));
}

UMCG_TEST_MAIN
