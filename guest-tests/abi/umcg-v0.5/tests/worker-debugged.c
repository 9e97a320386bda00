// SPDX-License-Identifier: GPL-2.0
/* What a debugger sees of a worker that is held, and what the program sees in the end. */
#include <elf.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

#include "crew.h"
#include "trace.h"

/* A process whose worker waits until `until`, and is run when that is over. */
struct firm {
	struct worker worker;
	struct umcg_pool pool;
	uint64_t until;
	atomic_bool waits;
};

static struct firm *firm;

static void wait_until(struct worker *worker)
{
	worker->result = umcg_yield(&worker->own, firm->until);
}

static void serve_firm(void)
{
	become_server();
	hire(&firm->worker);
	ASSERT_EQ(IDLE, run(&firm->worker));
	until_word(&firm->worker, IDLE);
	atomic_store(&firm->waits, true);
	/* That it is in the pool is the end of its time. */
	while (!__atomic_load_n(&firm->pool.idle_workers, __ATOMIC_SEQ_CST))
		nap(MS);
	until_back(&firm->worker);
	finish_in_time(&firm->worker);
	_exit(0);
}

/* What the system call that a thread is in or comes from has returned. */
static int64_t result_seen(pid_t tid)
{
	struct user_regs_struct regs;
	struct iovec all = { &regs, sizeof(regs) };

	ASSERT_EQ(0, ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &all));
#ifdef __x86_64__
	return regs.rax;
#else
	return regs.regs[0];
#endif
}

/* The wait goes on behind the call, which has returned 0 to whoever looks. */
TEST(interrupted_wait_that_times_out, .clauses = "WTIME-1 WSIG-3")
{
	pid_t pid, tid;

	firm = shared_memory(sizeof(*firm));
	firm->worker.pool = &firm->pool;
	firm->worker.body = wait_until;
	firm->until = from_now(1000 * MS * ktap_slow);
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid)
		serve_firm();
	while (!atomic_load(&firm->waits))
		nap(MS);
	tid = firm->worker.tid;
	trace_begin(tid);
	EXPECT_EQ(0, result_seen(tid));
	/* A second look, as a debugger may have. */
	ASSERT_EQ(0, ptrace(PTRACE_CONT, tid, NULL, NULL));
	trace_stop(tid);
	EXPECT_EQ(0, result_seen(tid));
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, tid, NULL, NULL));
	EXPECT_EQ(0, reap_child(pid));
	EXPECT_EQ(-ETIMEDOUT, firm->worker.result);
	EXPECT_LE(firm->until, clock_ns(CLOCK_REALTIME));
}

UMCG_TEST_MAIN
