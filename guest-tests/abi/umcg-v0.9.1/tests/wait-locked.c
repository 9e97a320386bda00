// SPDX-License-Identifier: GPL-2.0
/* umcg_wait() of a server that is LOCKED. */
#include "peer.h"

/* RUNNING waits if it is LOCKED, IDLE if it is not; LOCKED is cleared first. */
TEST(locked_is_cleared, .clauses = "ARG-7")
{
	become_server();
	umcg_set_word(&me.task, IDLE | UMCG_TF_LOCKED);
	EXPECT_EQ(-ETIMEDOUT, umcg_sys_wait(0, 1));
	EXPECT_EQ(RUNNING, umcg_word(&me.task));
	umcg_set_word(&me.task, RUNNING | UMCG_TF_LOCKED | 0x2000);
	EXPECT_EQ(0, umcg_sys_wait(0, 0));
	EXPECT_EQ(RUNNING | 0x2000, umcg_word(&me.task));
}

UMCG_TEST_MAIN
