// SPDX-License-Identifier: GPL-2.0
/* Hand-overs where the scheduler has more to it, as the kernels of distributions have. */
#include <linux/prctl.h>
#include <sys/prctl.h>

#include "handover.h"
#include "scx.h"

/* It is to see each step, also where none of its own tasks takes one. */
TEST(scheduler_of_sched_ext, .clauses = "SWITCH-5")
{
	struct counts before;

	ASSERT_EQ(0, scx_start(SCX_SWITCH_PARTIAL));
	before = counts_now("scx");
	ping_pong(NULL);
	expect_reason("scx", before);
	scx_stop();
}

/* Its own tasks are not woken in the runqueue's one visit, so nothing is counted. */
TEST(pair_of_sched_ext, .clauses = "SWITCH-5")
{
	struct counts before, now;

	ASSERT_EQ(0, scx_start(SCX_SWITCH_PARTIAL));
	scx_join();
	before = counts_now("scx");
	ping_pong(NULL);
	now = counts_now("scx");
	EXPECT_EQ(0, memcmp(&before, &now, sizeof(now)));
	scx_stop();
}

/* Then the pick is of two tasks, for both threads of a core. */
TEST(core_scheduling, .clauses = "SWITCH-5")
{
	struct counts before;

	ASSERT_EQ(0, prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0,
			   PR_SCHED_CORE_SCOPE_THREAD_GROUP, 0));
	before = counts_now("core");
	ping_pong(NULL);
	expect_reason("core", before);
}

UMCG_TEST_MAIN
