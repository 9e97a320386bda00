// SPDX-License-Identifier: GPL-2.0
/* Workers whose structure, list or idle server's word is out of reach. */
#include "breach.h"

TEST(structure_gone_in_a_wait, .clauses = "WVIOL-1 WVIOL-2 WVIOL-3 R26 R53")
{
	static struct worker w[3];

	handle_violations();
	for (int i = 0; i < 3; i++) {
		w[i].umcg = new_page();
		have_it_wait(&w[i]);
		/* One that cannot be written is found out when it is to be. */
		if (i == 1) {
			w[i].umcg->task.next_tid = 0;
			umcg_set_word(&w[i].umcg->task, RUNNING);
		}
		take_page(w[i].umcg, i);
		EXPECT_EQ(0, wake_tid(w[i].tid, 0));
		expect_violation(&w[i], -EFAULT);
	}
}

TEST(structure_gone_after_a_block, .clauses = "WVIOL-1 WVIOL-2 WVIOL-3 R26")
{
	static struct worker w[3];

	handle_violations();
	gate_make(&gate);
	for (int i = 0; i < 3; i++) {
		w[i].umcg = new_page();
		have_it_sleep(&w[i]);
		take_page(w[i].umcg, i);
		gate_open(&gate);
		expect_violation(&w[i], -EFAULT);
	}
}

TEST(structure_gone_at_a_signal, .clauses = "WVIOL-1 WVIOL-2 R26")
{
	static struct worker w[2];

	handle_violations();
	for (int i = 0; i < 2; i++) {
		w[i].umcg = new_page();
		have_it_run(&w[i]);
		take_page(w[i].umcg, i ? 2 : 0);
		ASSERT_EQ(0, tgkill(getpid(), w[i].tid, SIGUSR1));
		expect_violation(&w[i], 0);
	}
}

/* What the two pointers may not be when a worker is to be queued. */
static struct bad_pointer {
	uint64_t pointer;
	int error;
} bad_pointers[7];

static void fill_bad_pointers(void)
{
	uint64_t good = (uintptr_t)&pool.idle_workers;
	for (int i = 0; i < 2; i++) {
		void *page = new_page();

		take_page(page, i);
		bad_pointers[i] = (struct bad_pointer){ (uintptr_t)page, -EFAULT };
	}
	bad_pointers[2] = (struct bad_pointer){ -4096UL, -EFAULT };
	bad_pointers[3] = (struct bad_pointer){ 0, -EINVAL };
	bad_pointers[4] = (struct bad_pointer){ 1, -EINVAL };
	bad_pointers[5] = (struct bad_pointer){ good + 1, -EINVAL };
	bad_pointers[6] = (struct bad_pointer){ good + 4, -EINVAL };
}

/* Have a worker that waits be queued, which it cannot be. */
static void queue_in_vain(struct worker *w)
{
	w->umcg->task.next_tid = 0;
	ASSERT_TRUE(umcg_move(&w->umcg->task, IDLE, RUNNING));
	EXPECT_EQ(0, wake_tid(w->tid, 0));
}

/*
 * The `i`th worker is about to be queued, for having slept or waited, when `word`
 * of its structure points to where the kernel cannot go.
 */
static void break_pointer(struct worker *w, int i, __u64 *word)
{
	if (i % 2)
		have_it_wait(w);
	else
		have_it_sleep(w);
	*word = bad_pointers[i / 2].pointer;
	pool.idle_workers = 0;
	if (i % 2)
		queue_in_vain(w);
	else
		gate_open(&gate);
}

TEST(no_list_to_join, .clauses = "WVIOL-1 WVIOL-3 WIDLE-1 R16 R23 R53")
{
	static struct worker w[2 * COUNT(bad_pointers)];

	handle_violations();
	gate_make(&gate);
	fill_bad_pointers();
	for (int i = 0; i < 2 * COUNT(bad_pointers); i++) {
		break_pointer(&w[i], i, &w[i].own.task.idle_workers_ptr);
		expect_violation(&w[i], bad_pointers[i / 2].error);
	}
}

TEST(no_idle_server_word, .clauses = "WVIOL-1 WVIOL-3 WIDLE-1 WIDLE-3 R16 R23 R53")
{
	static struct worker w[2 * COUNT(bad_pointers)];

	handle_violations();
	gate_make(&gate);
	fill_bad_pointers();
	for (int i = 0; i < 2 * COUNT(bad_pointers); i++) {
		struct umcg_task *task = &w[i].own.task;

		break_pointer(&w[i], i, &task->idle_server_tid_ptr);
		while (!atomic_load(&segvs))
			sched_yield();
		/* Whoever takes the list must not wait for a link for ever. */
		if (pool.idle_workers == (uintptr_t)&task->idle_workers_ptr)
			EXPECT_EQ(0, task->idle_workers_ptr);
		expect_violation(&w[i], bad_pointers[i / 2].error);
	}
}

UMCG_TEST_MAIN
