// SPDX-License-Identifier: GPL-2.0
/*
 * A worker whose structure is in a file system that its own process serves. The kernel
 * looks at the structure when the worker exits, before it closes the worker's files. So
 * a process that is killed while the page is away waits for itself, until somebody else
 * ends that file system. ABI.md does not support such a structure. That is not worse than
 * what threads can do without UMCG: a list of robust futexes there has the same effect.
 */
#include "away.h"
#include "crew.h"
#include "slow_file.h"

static struct served {
	atomic_bool ready;	/* to be killed */
	atomic_int tid;
} *served;

static struct worker w;
static void *page;

static void *serve_file(void *arg)
{
	slow_serve();
	return arg;
}

/* A page that can be changed, and comes back from the file when it has been dropped. */
static void map_page(void)
{
	slow.fd = open(slow_path, O_RDONLY);
	ASSERT_NE(-1, slow.fd);
	/* Have its size known. */
	ASSERT_EQ(SLOW_SIZE, lseek(slow.fd, 0, SEEK_END));
	page = mmap(NULL, SLOW_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, slow.fd, 0);
	ASSERT_NE(MAP_FAILED, page);
	gate_open(&slow.gate);
	*(volatile char *)page = 0;
}

/* Nobody opens the gate again, so the next read does not end. */
static void drop_page(void)
{
	ASSERT_EQ(0, madvise(page, SLOW_SIZE, MADV_DONTNEED));
	ASSERT_EQ(0, posix_fadvise(slow.fd, 0, 0, POSIX_FADV_DONTNEED));
	ASSERT_FALSE(page_present(page));
}

static void have_a_worker(void)
{
	w.umcg = page;
	become_server();
	hire(&w);
	atomic_store(&served->tid, w.tid);
}

static void *hold_robust_futexes(void *arg)
{
	ASSERT_EQ(0, syscall(SYS_set_robust_list, page, 3 * sizeof(void *)));
	atomic_store(&served->tid, gettid());
	for (;;)
		pause();
	return arg;
}

static void have_robust_futexes(void)
{
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, hold_robust_futexes, NULL));
	while (!atomic_load(&served->tid))
		nap(MS);
	until_state(getpid(), served->tid, 'S');
}

static pid_t fork_served(void (*begin)(void))
{
	pthread_t thread;
	pid_t pid = fork();

	ASSERT_NE(-1, pid);
	if (pid)
		return pid;
	ASSERT_EQ(0, pthread_create(&thread, NULL, serve_file, NULL));
	map_page();
	begin();
	drop_page();
	atomic_store(&served->ready, true);
	for (;;)
		pause();
}

static void waits_for_itself(void (*begin)(void))
{
	pid_t pid;

	served = served ?: shared_memory(sizeof(*served));
	memset(served, 0, sizeof(*served));
	slow_file_mount();
	pid = fork_served(begin);
	close(slow.fuse);
	while (!atomic_load(&served->ready)) {
		ASSERT_EQ(0, waitpid(pid, NULL, WNOHANG));
		nap(MS);
	}
	ASSERT_EQ(0, kill(pid, SIGKILL));
	/* One thread of it is left, and asks the others for its page. */
	until_state(pid, pid, 'Z');
	until_state(pid, served->tid, 'D');
	nap(SOON);
	EXPECT_EQ('D', thread_state(pid, served->tid));
	EXPECT_EQ(0, waitpid(pid, NULL, WNOHANG));
	/* This has whoever waits for that file system fail. */
	ASSERT_EQ(0, umount2(slow_path, MNT_FORCE | MNT_DETACH));
	EXPECT_EQ(SIGKILL, WTERMSIG(reap_child(pid)));
}

TEST(killed_while_its_page_is_away, .clauses = "WLIFE-1")
{
	waits_for_itself(have_a_worker);
}

/* The measure: what the kernel allows without UMCG. */
TEST(as_a_list_of_robust_futexes_does, .clauses = "WLIFE-1")
{
	waits_for_itself(have_robust_futexes);
}

UMCG_TEST_MAIN
