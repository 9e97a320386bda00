// SPDX-License-Identifier: GPL-2.0
/* The structure, and what umcg_ctl() takes and refuses. */
#include <stddef.h>
#include <sys/prctl.h>

#include "staff.h"

static int reg(void *self, uint32_t flags)
{
	return umcg_sys_ctl(REGISTER | flags, self, CLOCK_MONOTONIC);
}

/* A structure that would do. */
static struct umcg_task *good(void)
{
	static struct umcg_task task;

	memset(&task, 0, sizeof(task));
	task.state = RUNNING;
	task.server_tid = gettid();
	return &task;
}

static void unreg(struct umcg_task *task)
{
	EXPECT_EQ(0, umcg_sys_ctl(UNREGISTER, task, 0));
}

TEST(layout, .clauses = "TASK-1")
{
	EXPECT_EQ(64, sizeof(struct umcg_task));
	EXPECT_EQ(64, _Alignof(struct umcg_task));
	EXPECT_EQ(64, UMCG_TASK_ALIGN);
	EXPECT_EQ(0, offsetof(struct umcg_task, state));
	EXPECT_EQ(4, offsetof(struct umcg_task, next_tid));
	EXPECT_EQ(8, offsetof(struct umcg_task, server_tid));
	EXPECT_EQ(12, offsetof(struct umcg_task, __hole));
	EXPECT_EQ(16, offsetof(struct umcg_task, blocked_ts));
	EXPECT_EQ(24, offsetof(struct umcg_task, runnable_ts));
	EXPECT_EQ(32, offsetof(struct umcg_task, runnable_workers_ptr));
	EXPECT_EQ(40, offsetof(struct umcg_task, blocked_workers_ptr));
	EXPECT_EQ(48, offsetof(struct umcg_task, __zero));
	EXPECT_EQ(4, sizeof(((struct umcg_task *)0)->state));
	EXPECT_EQ(8, sizeof(((struct umcg_task *)0)->runnable_workers_ptr));
}

TEST(values, .clauses = "TASK-2")
{
	EXPECT_EQ(0, UMCG_TASK_NONE);
	EXPECT_EQ(1, UMCG_TASK_RUNNING);
	EXPECT_EQ(2, UMCG_TASK_RUNNABLE);
	EXPECT_EQ(3, UMCG_TASK_BLOCKED);
	EXPECT_EQ(0xff, UMCG_TASK_MASK);
	EXPECT_EQ(0x100, UMCG_TF_PREEMPT);
	EXPECT_EQ(0x200, UMCG_TF_COND_WAIT);
	EXPECT_EQ(0xff00, UMCG_TF_MASK);
	EXPECT_EQ(0x80000000U, UMCG_TID_RUNNING);
	EXPECT_EQ(0x3fffffffU, UMCG_TID_MASK);
	EXPECT_EQ(1, UMCG_CTL_REGISTER);
	EXPECT_EQ(2, UMCG_CTL_UNREGISTER);
	EXPECT_EQ(0x10000, UMCG_CTL_WORKER);
	EXPECT_EQ(0x20000, UMCG_CTL_MULTI);
	EXPECT_EQ(1, UMCG_WAIT_ENQUEUE);
}

TEST(register_server, .clauses = "CTL-1 CTL-12")
{
	struct umcg_task *task = good();

	ASSERT_EQ(0, reg(task, 0));
	EXPECT_EQ(RUNNING, umcg_word(task));
	unreg(task);
	EXPECT_EQ(NONE, umcg_word(task));
	/* Again, and as another one. */
	ASSERT_EQ(0, reg(good(), MULTI));
	unreg(task);
}

TEST(misaligned_self, .clauses = "CTL-2 R16")
{
	char *nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	static const int offsets[] = { 1, 2, 4, 8, 16, 32, 63 };

	EXPECT_EQ(-EINVAL, reg(NULL, 0));
	for (int i = 0; i < 7; i++) {
		EXPECT_EQ(-EINVAL, reg(nowhere + offsets[i], 0));
		EXPECT_EQ(-EINVAL, reg(nowhere + offsets[i], WORKER));
	}
}

TEST(unusable_self, .clauses = "CTL-3 R47")
{
	struct umcg_task *task = new_page();

	*task = *good();
	ASSERT_EQ(0, mprotect(task, 4096, PROT_READ));
	EXPECT_EQ(-EFAULT, reg(task, 0));
	ASSERT_EQ(0, mprotect(task, 4096, PROT_NONE));
	EXPECT_EQ(-EFAULT, reg(task, 0));
	ASSERT_EQ(0, munmap(task, 4096));
	EXPECT_EQ(-EFAULT, reg(task, 0));
	EXPECT_EQ(-EFAULT, reg((void *)-4096L, 0));
	EXPECT_EQ(-EFAULT, reg((void *)(1UL << 63), 0));
}

TEST(state_must_be_exact, .clauses = "CTL-4 R19 R31")
{
	struct umcg_task *task = good();
	static const uint32_t bad[] = {
		NONE, RUNNABLE, 4, 0xff, RUNNING | PREEMPT, RUNNING | COND_WAIT,
		RUNNING | 0x400, RUNNING | 0x8000, BLOCKED | COND_WAIT,
	};

	for (int i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		umcg_set_word(task, bad[i] | SOME_BITS);
		EXPECT_EQ(-EINVAL, reg(task, 0));
		EXPECT_EQ(-EINVAL, reg(task, WORKER));
		EXPECT_EQ(bad[i] | SOME_BITS, umcg_word(task));
	}
	umcg_set_word(task, BLOCKED);
	EXPECT_EQ(-EINVAL, reg(task, 0));
	umcg_set_word(task, RUNNING);
	EXPECT_EQ(-EINVAL, reg(task, WORKER));
}

TEST(user_bits_are_kept, .clauses = "TASK-3 CTL-4 CTL-12 WAIT-4 TIME-2 R19")
{
	struct umcg_task *task = good();

	umcg_set_word(task, RUNNING | UMCG_USER_MASK);
	ASSERT_EQ(0, reg(task, 0));
	umcg_set_word(task, RUNNABLE | COND_WAIT | SOME_BITS);
	EXPECT_EQ(-ETIMEDOUT, umcg_sys_wait(0, 1));
	EXPECT_EQ(RUNNING | SOME_BITS, umcg_word(task));
	unreg(task);
	EXPECT_EQ(NONE | SOME_BITS, umcg_word(task));
}

TEST(other_fields_must_be_zero, .clauses = "CTL-5 CTL-10")
{
	struct umcg_task *task = good();

	task->next_tid = 1;
	EXPECT_EQ(-EINVAL, reg(task, 0));
	task = good();
	task->__hole[0] = 1;
	EXPECT_EQ(-EINVAL, reg(task, 0));
	for (int i = 0; i < 2; i++) {
		task = good();
		task->__zero[i] = UINT64_C(1) << 63;
		EXPECT_EQ(-EINVAL, reg(task, 0));
		EXPECT_EQ(-EINVAL, reg(task, MULTI));
	}
	task = good();
	task->blocked_workers_ptr = 64;
	EXPECT_EQ(-EINVAL, reg(task, 0));
	/* The list of runnable workers, and with MULTI that of blocked ones, is ours. */
	task->runnable_workers_ptr = 1;
	ASSERT_EQ(0, reg(task, MULTI));
	EXPECT_EQ(1, task->runnable_workers_ptr);
	EXPECT_EQ(64, task->blocked_workers_ptr);
	unreg(task);
}

TEST(server_tid_is_its_own, .clauses = "CTL-6 CTL-10")
{
	struct umcg_task *task = good();

	task->server_tid = 0;
	EXPECT_EQ(-ESRCH, reg(task, 0));
	task->server_tid = plain_thread();
	EXPECT_EQ(-ESRCH, reg(task, 0));
	task->server_tid = gettid();
	ASSERT_EQ(0, reg(task, 0));
	unreg(task);
}

TEST(register_twice, .clauses = "CTL-7")
{
	struct umcg_task *task = good(), other __attribute__((aligned(64))) = *task;

	ASSERT_EQ(0, reg(task, 0));
	EXPECT_EQ(-EINVAL, reg(task, 0));
	EXPECT_EQ(-EINVAL, reg(&other, 0));
	EXPECT_EQ(-EINVAL, reg(&other, MULTI));
	unreg(task);
}

TEST(clocks, .clauses = "CTL-8 R24")
{
	static const clockid_t good_ones[] = {
		CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI,
	};
	struct umcg_task *task;

	for (clockid_t clock = -8; clock < 16; clock++) {
		bool good_one = false;

		for (int i = 0; i < 4; i++)
			good_one |= clock == good_ones[i];
		task = good();
		EXPECT_EQ(good_one ? 0 : -EINVAL, umcg_sys_ctl(REGISTER, task, clock));
		/* It is not looked at here. */
		if (good_one)
			EXPECT_EQ(0, umcg_sys_ctl(UNREGISTER, task, 77));
	}
}

TEST(flags, .clauses = "CTL-9")
{
	static const uint32_t bad[] = {
		0, WORKER, MULTI, REGISTER | UNREGISTER, REGISTER | 4, REGISTER | 0x40000,
		REGISTER | WORKER | MULTI, UNREGISTER | MULTI, UNREGISTER | 4, 0xffffffff,
		UNREGISTER | WORKER | MULTI, REGISTER | UNREGISTER | WORKER,
	};
	struct umcg_task *task = good();

	for (int i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		EXPECT_EQ(-EINVAL, umcg_sys_ctl(bad[i], task, CLOCK_MONOTONIC));
	ASSERT_EQ(0, reg(task, 0));
	for (int i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		EXPECT_EQ(-EINVAL, umcg_sys_ctl(bad[i], task, CLOCK_MONOTONIC));
	unreg(task);
}

TEST(failure_leaves_no_trace, .clauses = "CTL-10")
{
	struct umcg_task *task = good(), before;

	task->next_tid = 1;
	before = *task;
	EXPECT_EQ(-EINVAL, reg(task, 0));
	EXPECT_EQ(0, memcmp(&before, task, sizeof(before)));
	EXPECT_EQ(-EINVAL, umcg_sys_wait(0, 1));
	ASSERT_EQ(0, reg(good(), 0));
	unreg(task);
}

/* Whatever comes of it is whole. */
TEST(word_changes_while_registering, .clauses = "CTL-11 R9")
{
	static struct umcg_task task __attribute__((aligned(64)));
	int good_ones = 0;

	task.state = RUNNING;
	task.server_tid = gettid();
	scribble_on(&task);
	for (int i = 0; i < 2000; i++) {
		int err = reg(&task, 0);

		ASSERT_TRUE(err == 0 || err == -EAGAIN);
		if (err)
			continue;
		good_ones++;
		ASSERT_EQ(0, umcg_sys_ctl(UNREGISTER, &task, 0));
		EXPECT_EQ(NONE, umcg_bits(umcg_word(&task)));
		umcg_move(&task, NONE, RUNNING);
	}
	EXPECT_LT(0, good_ones);
}

TEST(unregister_what_it_was, .clauses = "CTL-13")
{
	struct umcg_task *task = good(), other __attribute__((aligned(64))) = *task;

	EXPECT_EQ(-EINVAL, umcg_sys_ctl(UNREGISTER, task, 0));
	EXPECT_EQ(-EINVAL, umcg_sys_ctl(UNREGISTER, NULL, 0));
	ASSERT_EQ(0, reg(task, 0));
	EXPECT_EQ(-EINVAL, umcg_sys_ctl(UNREGISTER, NULL, 0));
	EXPECT_EQ(-EINVAL, umcg_sys_ctl(UNREGISTER, &other, 0));
	EXPECT_EQ(-EINVAL, umcg_sys_ctl(UNREGISTER | WORKER, task, 0));
	EXPECT_EQ(RUNNING, umcg_word(task));
	unreg(task);
	EXPECT_EQ(-EINVAL, umcg_sys_ctl(UNREGISTER, task, 0));
}

TEST(unregister_while_running, .clauses = "CTL-14")
{
	struct umcg_task *task = good();
	static const uint32_t bad[] = { NONE, RUNNABLE, RUNNABLE | COND_WAIT, BLOCKED, 4 };

	ASSERT_EQ(0, reg(task, 0));
	for (int i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		umcg_set_word(task, bad[i]);
		EXPECT_EQ(-EAGAIN, umcg_sys_ctl(UNREGISTER, task, 0));
		EXPECT_EQ(bad[i], umcg_word(task));
	}
	umcg_set_word(task, RUNNING | PREEMPT);
	unreg(task);
	EXPECT_EQ(NONE, umcg_word(task));
}

TEST(unregister_without_its_memory, .clauses = "CTL-15 LIFE-4")
{
	struct umcg_task *task = new_page();

	*task = *good();
	ASSERT_EQ(0, reg(task, 0));
	ASSERT_EQ(0, mprotect(task, 4096, PROT_READ));
	EXPECT_EQ(-EFAULT, umcg_sys_ctl(UNREGISTER, task, 0));
	ASSERT_EQ(0, mprotect(task, 4096, PROT_NONE));
	EXPECT_EQ(-EFAULT, umcg_sys_ctl(UNREGISTER, task, 0));
	EXPECT_EQ(-EFAULT, umcg_sys_wait(0, 1));
	ASSERT_EQ(0, mprotect(task, 4096, PROT_READ | PROT_WRITE));
	unreg(task);
}

#ifdef __aarch64__
TEST(tagged_self, .clauses = "COMPAT-2")
{
	struct umcg_task *task = good();
	void *tagged = (void *)((uintptr_t)task | UINT64_C(0x2a) << 56);

	EXPECT_EQ(-EFAULT, reg(tagged, 0));
	ASSERT_EQ(0, prctl(PR_SET_TAGGED_ADDR_CTRL, PR_TAGGED_ADDR_ENABLE, 0, 0, 0));
	ASSERT_EQ(0, reg(tagged, 0));
	umcg_set_word(task, RUNNABLE | COND_WAIT);
	EXPECT_EQ(-ETIMEDOUT, umcg_sys_wait(0, 1));
	EXPECT_EQ(-EINVAL, umcg_sys_ctl(UNREGISTER, task, 0));
	EXPECT_EQ(0, umcg_sys_ctl(UNREGISTER, tagged, 0));
}
#else
TEST(tagged_self, .clauses = "COMPAT-2")
{
	void *tagged = (void *)((uintptr_t)good() | UINT64_C(0x2a) << 56);

	EXPECT_EQ(-EFAULT, reg(tagged, 0));
}
#endif

UMCG_TEST_MAIN
