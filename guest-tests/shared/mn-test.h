/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests of the M:N scheduler share. */
#ifndef MN_TEST_H
#define MN_TEST_H

#include <limits.h>
#include <linux/futex.h>

#include "kit.h"
#include "mn.h"
#include "need.h"

#define SLICE	(2 * MS)

/* What the scheduler of mn/ needs; and a tick, that of its tests with a slice. */
#define MN_NEEDS	(UMCG_WORKERS | UMCG_POOLS | UMCG_DEADLINES)

#define MN_TEST_MAIN(_more)						\
	static void need_mn(void)					\
	{								\
		need_umcg();						\
		need_capabilities(MN_NEEDS | (_more));			\
	}								\
									\
	int main(int argc, char **argv)					\
	{								\
		ktap_before_each = need_mn;				\
		return ktap_main(argc, argv);				\
	}

static struct mn mn;

static inline void futex_wait(atomic_uint *word, unsigned int value)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static inline void futex_wake(atomic_uint *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Nothing is left anywhere. */
static inline void expect_all_ended(unsigned int tasks)
{
	EXPECT_EQ(tasks, atomic_load(&mn.tasks));
	EXPECT_EQ(0, atomic_load(&mn.live));
	EXPECT_EQ(0, mn.timers.count);
	EXPECT_TRUE(umcg_pool_unused(&mn.pool));
	for (unsigned int i = 0; i < mn.servers; i++)
		EXPECT_EQ(0, atomic_load(&mn.server[i].queue.count));
	for (unsigned int i = 0; i < tasks; i++)
		EXPECT_EQ(UMCG_IS_NOBODY, umcg_state(&mn.task[i].umcg));
}

#endif
