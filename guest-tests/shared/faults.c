// SPDX-License-Identifier: GPL-2.0
/* Page faults and reads that sleep for the page, which are reported as well. */
#include "away.h"
#include "sleeper.h"
#include "slow_file.h"

static struct kept kept;

static void keep_page(void)
{
	page_keep(&kept, own_page());
}

static void give_page(void)
{
	until_wanted(&kept);
	page_give(&kept);
}

SLEEPS(page_fault, keep_page, give_page)
{
	return *(volatile char *)kept.page;
}

/* The same page, but it is the kernel that wants it. */
SLEEPS(page_fault_in_kernel, keep_page, give_page)
{
	return syscall(SYS_getrandom, kept.page, 16, 0) == 16 ? 0 : -1;
}

SLEEPS(slow_read, slow_file_make, slow_file_release)
{
	static char buf[SLOW_SIZE];

	return read(slow.fd, buf, SLOW_SIZE) == SLOW_SIZE ? 0 : -1;
}

static volatile char *slow_page;

static void map_slow_file(void)
{
	slow_file_make();
	slow_page = mmap(NULL, SLOW_SIZE, PROT_READ, MAP_SHARED, slow.fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)slow_page);
}

SLEEPS(slow_page_fault, map_slow_file, slow_file_release)
{
	return *slow_page;
}

static void read_slowly(struct worker *worker)
{
	char byte;

	worker->result = read(slow.fd, &byte, 1) == 1 ? 0 : -1;
}

static void *seek(void *arg)
{
	ASSERT_EQ(1, lseek(slow.fd, 0, SEEK_CUR));
	return arg;
}

/*
 * A worker that has slept under a lock of the kernel (that of the file position)
 * lets go of it before it is made to wait for a server.
 */
TEST(no_kernel_lock_is_kept)
{
	pthread_t thread;

	slow_file_make();
	w.body = read_slowly;
	become_server();
	hire(&w);
	ASSERT_EQ(UMCG_BLOCKED, run(&w));
	ASSERT_EQ(0, pthread_create(&thread, NULL, seek, NULL));
	nap(SOON);
	slow_file_release();
	pthread_join(thread, NULL);
	until_back(&w);
	finish(&w);
	EXPECT_EQ(0, w.result);
}

static volatile char *program;
static size_t program_pages;

static void read_from_disk(struct worker *worker)
{
	for (size_t page = 0; page < program_pages; page++)
		worker->result |= program[page * PAGE];
	atomic_store(&worker->steps, 1);
}

/*
 * Pages that the disk alone brings back, perhaps before the server looks. Some are
 * in memory yet, and some come before the worker gets to sleep.
 */
TEST(page_fault_from_disk)
{
	int file = open("/usr/bin/python3", O_RDONLY);
	off_t size = lseek(file, 0, SEEK_END);
	int slept = 0;

	ASSERT_EQ(0, posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED));
	program = mmap(NULL, size, PROT_READ, MAP_SHARED, file, 0);
	ASSERT_NE(MAP_FAILED, (void *)program);
	/* One read for each page: few sleep, as the disk is the host's memory. */
	ASSERT_EQ(0, madvise((void *)program, size, MADV_RANDOM));
	program_pages = size / PAGE;
	w.body = read_from_disk;
	become_server();
	hire(&w);
	while (run(&w) != UMCG_EXITED) {
		slept++;
		until_back(&w);
	}
	worker_join(&w);
	EXPECT_LT(0, slept);
	EXPECT_EQ(1, atomic_load(&w.steps));
}

UMCG_TEST_MAIN
