// SPDX-License-Identifier: GPL-2.0
/*
 * Hand-overs where who holds a lock is run in the place of those who wait for it (proxy
 * execution): such a place is another's, and so is that of a task which waits itself.
 *
 * The lock is that of a file which the kernel makes when it is read. It is held while the
 * text is copied to the reader, whose page is kept back.
 */
#include "away.h"
#include "handover-block.h"

static struct kept kept;
static char *page, here[64];
static int file;

static void read_to(void *to)
{
	ASSERT_EQ(1, pread(file, to, 1, 0));
}

static void make_ready(void)
{
	pin(0, 0);
	reason = "proxy";
	page = own_page();
	file = open("/proc/cpuinfo", O_RDONLY);
	ASSERT_LE(0, file);
}

static void *hold_the_lock(void *arg)
{
	read_to(page);
	return arg;
}

static void wait_for_the_lock(struct worker *worker)
{
	before = peek(reason);
	read_to(here);
	atomic_fetch_add(&worker->steps, 1);
}

TEST(worker_that_waits_for_the_lock, .clauses = "BLOCK-1")
{
	pthread_t thread;

	make_ready();
	hire_one(wait_for_the_lock);
	page_keep(&kept, page);
	ASSERT_EQ(0, pthread_create(&thread, NULL, hold_the_lock, NULL));
	until_wanted(&kept);
	ASSERT_EQ(BLOCKED, run(&w));
	add_since(before);
	EXPECT_EQ(1, sum.why);
	EXPECT_EQ(0, sum.run + sum.wait + sum.exchange);
	page_give(&kept);
	until_back(&w);
	finish(&w);
	pthread_join(thread, NULL);
	EXPECT_EQ(1, atomic_load(&w.steps));
}

/* It sleeps with the lock. */
static void hold_it_for_another(struct worker *worker)
{
	while (!atomic_load(&enough)) {
		before = peek(reason);
		read_to(page);
		atomic_fetch_add(&worker->steps, 1);
	}
}

/* It comes at any time, and before all others. */
static void *come_often(void *arg)
{
	uint32_t number = 1;

	be_fifo();
	while (!atomic_load(&enough)) {
		number = number * 1664525 + 1013904223;
		nap(number >> 12);
		read_to(here);
	}
	return arg;
}

TEST(worker_that_runs_for_another, .clauses = "BLOCK-1", .deadline = 60)
{
	pthread_t thread;
	int blocks = 0;

	make_ready();
	hire_one(hold_it_for_another);
	ASSERT_EQ(0, pthread_create(&thread, NULL, come_often, NULL));
	while (!sum.why) {
		page_keep(&kept, page);
		ASSERT_EQ(BLOCKED, run(&w));
		add_since(before);
		until_wanted(&kept);
		page_give(&kept);
		until_back(&w);
		EXPECT_EQ(blocks, atomic_load(&w.steps));
		blocks++;
	}
	TH_LOG("%s: %ld of %d", reason, sum.why, blocks);
	atomic_store(&enough, true);
	finish(&w);
	pthread_join(thread, NULL);
	EXPECT_EQ(blocks, atomic_load(&w.steps));
}

UMCG_TEST_MAIN
