// SPDX-License-Identifier: GPL-2.0
/*
 * Structures that overlap, so that what the kernel writes for one task changes
 * what it reads for another. Such a worker may go round for ever, but it rests,
 * stops, is traced and is killed like any other, and its CPU is free for others.
 */
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <stddef.h>
#include <sys/ptrace.h>

#include "crew.h"
#include "trace.h"

/*
 * One file, mapped twice. A list head at the beginning of the first mapping has
 * zero for the lower half of its address, and a structure stands at an offset
 * that makes the lower half of the address of its second half a tid.
 */
#define HEAD	UINT64_C(0x4200000000)
#define AGAIN	UINT64_C(0x4300000000)
#define SIZE	(4 << 20)	/* no tid is larger */

#define TAIL	offsetof(struct umcg_task, idle_workers_ptr)

struct alias {
	uint64_t base;			/* of the server's structure */
	atomic_int server_tid, worker_tid;
};

static struct alias *alias;

static void map_at(uint64_t address, int fd)
{
	ASSERT_EQ((void *)address,
		  mmap((void *)address, SIZE, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_FIXED, fd, 0));
}

/* Become a server if the tid fits, which is that of every 64th thread. */
static void *server_body(void *arg)
{
	uint32_t tid = gettid();
	struct umcg_task *task = (void *)(alias->base + tid - TAIL);

	if (tid % 64 != TAIL)
		return arg;
	*task = (struct umcg_task) { .state = RUNNING };
	ASSERT_EQ(0, umcg_sys_ctl(UMCG_CTL_REGISTER, task));
	atomic_store(&alias->server_tid, tid);
	for (;;)
		pause();
}

static void find_server(void)
{
	pthread_t thread;

	while (!atomic_load(&alias->server_tid)) {
		ASSERT_EQ(0, pthread_create(&thread, NULL, server_body, NULL));
		while (!atomic_load(&alias->server_tid)) {
			if (!pthread_tryjoin_np(thread, NULL))
				break;
			sched_yield();
		}
	}
}

/*
 * Register as a worker whose list link is its idle server's tid. To queue it
 * the kernel writes the link, whose lower half is that tid; to wake the idle
 * server it takes the tid, which leaves the list head in the link, as before;
 * and the server's word, which it makes RUNNING, is the worker's own.
 */
static void go_round(void)
{
	uint64_t own;
	int fd = memfd_create("alias", 0);

	ASSERT_NE(-1, fd);
	ASSERT_EQ(0, ftruncate(fd, SIZE));
	map_at(HEAD, fd);
	map_at(AGAIN, fd);
	find_server();
	own = HEAD + atomic_load(&alias->server_tid) - TAIL;
	*(uint64_t *)HEAD = own + TAIL;
	*(struct umcg_task *)own = (struct umcg_task) {
		.state = BLOCKED,
		.idle_workers_ptr = HEAD,
		.idle_server_tid_ptr = own + TAIL,
	};
	atomic_store(&alias->worker_tid, gettid());
	umcg_sys_ctl(UMCG_CTL_REGISTER | UMCG_CTL_WORKER, (void *)own);
	/* No server runs it. */
	_exit(1);
}

/* A process whose worker goes round, on this CPU and resting as it should. */
static pid_t fork_going_round(uint64_t base)
{
	pid_t pid;

	alias = shared_memory(sizeof(*alias));
	alias->base = base;
	/* This is who would get no CPU beside it. */
	pin(0, sched_getcpu());
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid)
		go_round();
	while (!atomic_load(&alias->worker_tid))
		nap(MS);
	until_slept(pid, alias->worker_tid, sleeps(pid, alias->worker_tid) + 10);
	return pid;
}

static void is_a_thread_like_any_other(uint64_t base)
{
	pid_t pid = fork_going_round(base), tid = alias->worker_tid;

	ASSERT_EQ(0, kill(pid, SIGSTOP));
	until_state(pid, tid, 'T');
	ASSERT_EQ(0, kill(pid, SIGCONT));
	until_slept(pid, tid, sleeps(pid, tid) + 10);

	trace_begin(tid);
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, tid, NULL, NULL));

	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(SIGKILL, WTERMSIG(reap_child(pid)));
}

TEST(structure_shared_with_its_server, .clauses = "VIOL-4 WSIG-2 WSIG-3")
{
	is_a_thread_like_any_other(HEAD);
}

TEST(structure_mapped_twice, .clauses = "VIOL-4 WSIG-2 WSIG-3")
{
	is_a_thread_like_any_other(AGAIN);
}

/*
 * How often the thread, in the kernel too, has read or written the word at `address`.
 * A CPU of arm64 counts what is done with the rights of user space, and the kernel's
 * compare-and-exchange is not: -1.
 */
static int count_looks(pid_t tid, uint64_t address)
{
#ifdef __x86_64__
	struct perf_event_attr attr = {
		.type = PERF_TYPE_BREAKPOINT,
		.size = sizeof(attr),
		.bp_type = HW_BREAKPOINT_RW,
		.bp_addr = address,
		.bp_len = HW_BREAKPOINT_LEN_4,
	};
	int fd = syscall(SYS_perf_event_open, &attr, tid, -1, -1, 0);

	ASSERT_LE(0, fd);
	return fd;
#else
	(void)tid;
	(void)address;
	return -1;
#endif
}

static uint64_t looks(int counter)
{
	uint64_t count;

	if (counter < 0)
		return 0;
	ASSERT_EQ((ssize_t)sizeof(count), read(counter, &count, sizeof(count)));
	return count;
}

/* Its word is its server's word as well: four reads and four exchanges of each. */
TEST(looks_are_counted, .clauses = "VIOL-4")
{
	pid_t pid = fork_going_round(HEAD), tid = alias->worker_tid;
	long before, after;
	uint64_t seen;
	int counter;

	counter = count_looks(tid, HEAD + alias->server_tid - TAIL);
	before = sleeps(pid, tid);
	seen = looks(counter);
	until_slept(pid, tid, before + 100);
	seen = looks(counter) - seen;
	after = sleeps(pid, tid);
	TH_LOG("%llu looks in %ld sleeps", (unsigned long long)seen, after - before);
	/* It may be at work when it is read. */
	EXPECT_LE(seen, (after - before + 1) * 16);
	if (counter >= 0)
		EXPECT_LT(100, seen);

	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(SIGKILL, WTERMSIG(reap_child(pid)));
}

UMCG_TEST_MAIN
