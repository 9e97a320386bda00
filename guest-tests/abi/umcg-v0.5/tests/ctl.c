// SPDX-License-Identifier: GPL-2.0
/* The structure, and what umcg_ctl() takes and refuses. */
#include <stddef.h>
#include <sys/prctl.h>

#include "peer.h"

static int reg(void *self)
{
	return umcg_sys_ctl(UMCG_CTL_REGISTER, self);
}

static int unreg(void)
{
	return umcg_sys_ctl(UMCG_CTL_UNREGISTER, NULL);
}

/* A structure that would do. */
static struct umcg_task *good(void)
{
	static struct umcg_task task;

	memset(&task, 0, sizeof(task));
	task.state = RUNNING;
	return &task;
}

TEST(layout, .clauses = "TASK-1")
{
	EXPECT_EQ(64, sizeof(struct umcg_task));
	EXPECT_EQ(64, _Alignof(struct umcg_task));
	EXPECT_EQ(0, offsetof(struct umcg_task, state));
	EXPECT_EQ(4, offsetof(struct umcg_task, next_tid));
	EXPECT_EQ(8, offsetof(struct umcg_task, idle_workers_ptr));
	EXPECT_EQ(16, offsetof(struct umcg_task, idle_server_tid_ptr));
	EXPECT_EQ(4, sizeof(((struct umcg_task *)0)->state));
	EXPECT_EQ(8, sizeof(((struct umcg_task *)0)->idle_workers_ptr));
}

TEST(values, .clauses = "TASK-2")
{
	EXPECT_EQ(0, UMCG_TASK_NONE);
	EXPECT_EQ(1, UMCG_TASK_RUNNING);
	EXPECT_EQ(2, UMCG_TASK_IDLE);
	EXPECT_EQ(3, UMCG_TASK_BLOCKED);
	EXPECT_EQ(0x100, UMCG_TF_LOCKED);
	EXPECT_EQ(0x200, UMCG_TF_PREEMPTED);
	EXPECT_EQ(0xff000000, UMCG_TASK_USER_MASK);
}

/* Bytes 24-63 are for later kernels: zero at registration, whatever they mean. */
TEST(reserved_bytes_are_zero, .clauses = "TASK-1 CTL-12")
{
	static struct umcg_pool pool;
	struct umcg_task before, worker = {
		.state = BLOCKED,
		.idle_workers_ptr = (uintptr_t)&pool.idle_workers,
		.idle_server_tid_ptr = (uintptr_t)&pool.idle_server_tid,
	};
	static struct umcg_task task;

	for (int i = 24; i < 64; i++) {
		task = *good();
		((char *)&task)[i] = i % 2 ? 1 : 0x80;
		before = task;
		EXPECT_EQ(-EINVAL, reg(&task));
		EXPECT_EQ(0, memcmp(&before, &task, sizeof(before)));
		task = worker;
		((char *)&task)[i] = i % 2 ? 0x80 : 1;
		EXPECT_EQ(-EINVAL, umcg_sys_ctl(UMCG_CTL_REGISTER | UMCG_CTL_WORKER,
						&task));
		unreg();
	}
	EXPECT_EQ(0, reg(good()));
	EXPECT_EQ(0, unreg());
}

/* From then on this kernel neither looks at them nor writes them. */
TEST(tail_is_ours, .clauses = "TASK-1 TASK-3")
{
	struct umcg_task *task = good(), before;

	ASSERT_EQ(0, reg(task));
	memset((char *)task + 24, 0xa5, 40);
	before = *task;
	umcg_set_word(task, IDLE);
	EXPECT_EQ(-ETIMEDOUT, umcg_sys_wait(0, 1));
	EXPECT_EQ(0, memcmp(&before, task, sizeof(before)));
	EXPECT_EQ(0, unreg());
	EXPECT_EQ(0, memcmp(&before, task, sizeof(before)));
}

TEST(register_server, .clauses = "CTL-1")
{
	struct umcg_task *task = good();

	ASSERT_EQ(0, reg(task));
	EXPECT_EQ(RUNNING, umcg_word(task));
	EXPECT_EQ(0, unreg());
}

TEST(misaligned_self, .clauses = "CTL-2 R16")
{
	char *nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	static const int offsets[] = { 1, 2, 4, 8, 16, 32, 63 };

	EXPECT_EQ(-EINVAL, reg(NULL));
	for (int i = 0; i < 7; i++)
		EXPECT_EQ(-EINVAL, reg(nowhere + offsets[i]));
	EXPECT_EQ(-EINVAL, reg((void *)-1));
}

TEST(unusable_self, .clauses = "CTL-3 R47")
{
	struct umcg_task *task = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, (void *)task);
	task->state = RUNNING;
	ASSERT_EQ(0, mprotect(task, 4096, PROT_READ));
	EXPECT_EQ(-EFAULT, reg(task));
	ASSERT_EQ(0, mprotect(task, 4096, PROT_NONE));
	EXPECT_EQ(-EFAULT, reg(task));
	ASSERT_EQ(0, munmap(task, 4096));
	EXPECT_EQ(-EFAULT, reg(task));
	EXPECT_EQ(-EFAULT, reg((void *)-4096L));
	EXPECT_EQ(-EFAULT, reg((void *)(1UL << 63)));
}

TEST(state_must_be_running, .clauses = "CTL-4 R19")
{
	struct umcg_task *task = good();
	static const uint32_t bad[] = {
		UMCG_TASK_NONE, IDLE, BLOCKED, 4, 0xff,
		RUNNING | UMCG_TF_LOCKED, RUNNING | UMCG_TF_PREEMPTED,
		RUNNING | 0x400, RUNNING | 0x8000,
		RUNNING | 0x10000, RUNNING | 0x800000,
	};

	for (int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		task->state = bad[i];
		EXPECT_EQ(-EINVAL, reg(task));
		EXPECT_EQ(bad[i], umcg_word(task));
		task->state |= 0x5a000000;
		EXPECT_EQ(-EINVAL, reg(task));
	}
}

TEST(user_bits_are_kept, .clauses = "TASK-2 CTL-4 R19")
{
	struct umcg_task *task = good();

	for (int bit = 24; bit < 32; bit++) {
		task->state = RUNNING | 1U << bit;
		ASSERT_EQ(0, reg(task));
		EXPECT_EQ(RUNNING | 1U << bit, umcg_word(task));
		umcg_set_word(task, IDLE | 1U << bit);
		EXPECT_EQ(-ETIMEDOUT, umcg_sys_wait(0, 1));
		EXPECT_EQ(RUNNING | 1U << bit, umcg_word(task));
		EXPECT_EQ(0, unreg());
	}
}

TEST(other_fields_must_be_zero, .clauses = "CTL-5 CTL-12")
{
	struct umcg_task *task = good();

	task->next_tid = gettid();
	EXPECT_EQ(-EINVAL, reg(task));
	task = good();
	task->idle_workers_ptr = (uintptr_t)task;
	EXPECT_EQ(-EINVAL, reg(task));
	task = good();
	task->idle_server_tid_ptr = 8;
	EXPECT_EQ(-EINVAL, reg(task));
	EXPECT_EQ(8, task->idle_server_tid_ptr);
	EXPECT_EQ(0, reg(good()));
}

TEST(register_twice, .clauses = "CTL-6")
{
	struct umcg_task *first = good();
	static struct umcg_task second = { .state = RUNNING };

	ASSERT_EQ(0, reg(first));
	EXPECT_EQ(-EINVAL, reg(first));
	EXPECT_EQ(-EINVAL, reg(&second));
	EXPECT_EQ(-EINVAL, reg(NULL));
	/* It is still the first that counts. */
	umcg_set_word(&second, 0xff);
	umcg_set_word(first, IDLE);
	EXPECT_EQ(-ETIMEDOUT, umcg_sys_wait(0, 1));
	EXPECT_EQ(RUNNING, umcg_word(first));
}

TEST(unregister_touches_nothing, .clauses = "CTL-7")
{
	struct umcg_task *task = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, (void *)task);
	task->state = RUNNING;
	ASSERT_EQ(0, reg(task));
	umcg_set_word(task, 0x12345678);
	EXPECT_EQ(0, unreg());
	EXPECT_EQ(0x12345678, umcg_word(task));
	task->state = RUNNING;
	ASSERT_EQ(0, reg(task));
	ASSERT_EQ(0, munmap(task, 4096));
	EXPECT_EQ(0, unreg());
	EXPECT_EQ(0, reg(good()));
	EXPECT_EQ(0, unreg());
}

TEST(unregister_takes_no_self, .clauses = "CTL-8")
{
	struct umcg_task *task = good();

	ASSERT_EQ(0, reg(task));
	EXPECT_EQ(-EINVAL, umcg_sys_ctl(UMCG_CTL_UNREGISTER, task));
	EXPECT_EQ(-EINVAL, umcg_sys_ctl(UMCG_CTL_UNREGISTER, (void *)1));
	EXPECT_EQ(-EINVAL, reg(task));
	EXPECT_EQ(0, unreg());
}

TEST(unregister_what_is_not, .clauses = "CTL-9")
{
	EXPECT_EQ(-EINVAL, unreg());
	ASSERT_EQ(0, reg(good()));
	EXPECT_EQ(0, unreg());
	EXPECT_EQ(-EINVAL, unreg());
}

TEST(flags, .clauses = "CTL-10")
{
	struct umcg_task *task = good();

	EXPECT_EQ(-EINVAL, umcg_sys_ctl(0, task));
	EXPECT_EQ(-EINVAL, umcg_sys_ctl(UMCG_CTL_WORKER, task));
	EXPECT_EQ(-EINVAL, umcg_sys_ctl(UMCG_CTL_REGISTER | UMCG_CTL_UNREGISTER, task));
	for (int bit = 0; bit < 32; bit++) {
		uint32_t flag = 1U << bit;

		if (flag & (UMCG_CTL_REGISTER | UMCG_CTL_UNREGISTER | UMCG_CTL_WORKER))
			continue;
		EXPECT_EQ(-EINVAL, umcg_sys_ctl(UMCG_CTL_REGISTER | flag, task));
	}
	ASSERT_EQ(0, reg(task));
	EXPECT_EQ(-EINVAL, umcg_sys_ctl(UMCG_CTL_UNREGISTER | UMCG_CTL_WORKER, NULL));
	EXPECT_EQ(-EINVAL, umcg_sys_ctl(UMCG_CTL_UNREGISTER | 0x4, NULL));
	EXPECT_EQ(0, unreg());
}

TEST(failure_leaves_no_trace, .clauses = "CTL-12")
{
	struct umcg_task *task = good(), before;

	task->idle_workers_ptr = 8;
	before = *task;
	EXPECT_EQ(-EINVAL, reg(task));
	EXPECT_EQ(0, memcmp(&before, task, sizeof(before)));
	EXPECT_EQ(-EINVAL, umcg_sys_wait(0, 1));
	EXPECT_EQ(0, reg(good()));
}

/* Each of two threads acts on the one word they share. */
TEST(shared_structure, .clauses = "CTL-13")
{
	static struct umcg_task task;
	static struct peer a = { .task = &task }, b = { .task = &task };

	become_server();
	peer_start(&a);
	until_asleep(&a);
	peer_start(&b);
	until_asleep(&b);
	until_asleep(&a);
	umcg_set_word(&task, RUNNING);
	EXPECT_EQ(0, wake_tid(a.tid, 0));
	EXPECT_EQ(0, peer_join(&a));
	expect_asleep(&b);
	EXPECT_EQ(0, wake_tid(b.tid, 0));
	EXPECT_EQ(0, peer_join(&b));
}

TEST(word_changes_while_registering, .clauses = "CTL-14 CTL-12 R19")
{
	struct umcg_task *task = good();
	uint64_t until = clock_ns(CLOCK_MONOTONIC) + 5 * SOON;
	int done = 0, again = 0;

	scribble_on(task);
	while (!done || clock_ns(CLOCK_MONOTONIC) < until) {
		int err = reg(task);

		ASSERT_TRUE(err == 0 || err == -EAGAIN);
		ASSERT_EQ(err ? -EINVAL : 0, unreg());
		ASSERT_EQ(RUNNING, umcg_word(task) & ~UMCG_TASK_USER_MASK);
		done += !err;
		again += !!err;
	}
	TH_LOG("registered %d times, to try again %d times", done, again);
}

/* Top byte ignored is an arm64 thing; elsewhere it makes no address at all. */
TEST(tagged_self, .clauses = "COMPAT-2")
{
	struct umcg_task *task = good();
	void *tagged = (void *)((uintptr_t)task | 0x2aUL << 56);

	EXPECT_EQ(-EFAULT, reg(tagged));
#ifdef __aarch64__
	ASSERT_EQ(0, prctl(PR_SET_TAGGED_ADDR_CTRL, PR_TAGGED_ADDR_ENABLE, 0, 0, 0));
	ASSERT_EQ(0, reg(tagged));
	umcg_set_word(task, IDLE);
	EXPECT_EQ(-ETIMEDOUT, umcg_sys_wait(0, 1));
	EXPECT_EQ(RUNNING, umcg_word(task));
#endif
}

UMCG_TEST_MAIN
