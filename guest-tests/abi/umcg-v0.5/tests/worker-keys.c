// SPDX-License-Identifier: GPL-2.0
/*
 * Protection keys. The kernel looks at a structure with the rights of the task that is in
 * the kernel, as it does at all memory: a worker that denies itself its own structure is
 * expelled when it comes back, and a server's wait has the error of memory out of reach.
 */
#include "breach.h"

static const int rights[] = { PKEY_DISABLE_ACCESS, PKEY_DISABLE_WRITE };

static int key, denied;

static void *page_behind_a_key(void)
{
	void *page = new_page();

	ASSERT_EQ(0, pkey_mprotect(page, 4096, PROT_READ | PROT_WRITE, key));
	return page;
}

static void deny_itself(struct worker *worker)
{
	ASSERT_EQ(0, pkey_set(key, denied));
	sleep_body(worker);
}

/* Its server, which has the rights, writes for it that it is blocked. */
static void have_it_deny_itself(struct worker *worker)
{
	worker->umcg = page_behind_a_key();
	worker->body = deny_itself;
	worker->stays = true;
	hire(worker);
	EXPECT_EQ(0, umcg_resume(&me, worker->umcg, 0));
	until_word(worker, BLOCKED);
}

TEST(worker_denies_itself, .clauses = "BLOCK-6 WVIOL-1 WVIOL-3")
{
	static struct worker w[COUNT(rights)];

	handle_violations();
	gate_make(&gate);
	key = pkey_alloc(0, 0);
	ASSERT_LT(0, key);
	for (int i = 0; i < COUNT(rights); i++) {
		denied = rights[i];
		have_it_deny_itself(&w[i]);
		gate_open(&gate);
		expect_violation(&w[i], -EFAULT);
	}
}

TEST(server_denies_itself, .clauses = "ARG-4")
{
	struct umcg_task *task;

	key = pkey_alloc(0, 0);
	ASSERT_LT(0, key);
	task = page_behind_a_key();
	umcg_set_word(task, RUNNING);
	ASSERT_EQ(0, umcg_sys_ctl(UMCG_CTL_REGISTER, task));
	umcg_set_word(task, IDLE);
	ASSERT_EQ(0, pkey_set(key, PKEY_DISABLE_ACCESS));
	EXPECT_EQ(-EFAULT, umcg_sys_wait(0, 0));
	ASSERT_EQ(0, pkey_set(key, 0));
	EXPECT_EQ(IDLE, umcg_word(task));
	EXPECT_EQ(0, umcg_sys_ctl(UMCG_CTL_UNREGISTER, NULL));
}

UMCG_TEST_MAIN
