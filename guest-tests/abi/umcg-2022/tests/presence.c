// SPDX-License-Identifier: GPL-2.0
/*
 * Which kernels and callers have the system calls. Runs and passes on the
 * control kernel too, where it is what makes every other SKIP believable.
 */
#include <asm/unistd.h>

#include "staff.h"

TEST(absent_from_the_control_alone, .clauses = "COMPAT-3")
{
	int expected = umcg_kernel() == UMCG_CONTROL ? -ENOSYS : -EINVAL;

	EXPECT_EQ(expected, umcg_sys_ctl(0, NULL, 0));
	EXPECT_EQ(expected, umcg_sys_ctl(REGISTER, NULL, CLOCK_MONOTONIC));
	EXPECT_EQ(expected, umcg_sys_ctl(UNREGISTER, NULL, 0));
	EXPECT_EQ(expected, umcg_sys_wait(0, 1));
	EXPECT_EQ(expected, umcg_sys_kick(1, 0));
}

#ifdef __x86_64__
TEST(no_other_callers, .clauses = "COMPAT-1 R59")
{
	static const long numbers[] = { __NR_umcg_ctl, __NR_umcg_wait, __NR_umcg_kick };

	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(-1, syscall(numbers[i] | __X32_SYSCALL_BIT, 0, NULL, 0));
		EXPECT_EQ(ENOSYS, errno);
	}
}
#else
/* That AArch32 has a table of its own is for the tests of the others to say. */
TEST(no_other_callers, .clauses = "COMPAT-1 R59")
{
	EXPECT_EQ(__NR_umcg_ctl + 1, __NR_umcg_wait);
	EXPECT_EQ(__NR_umcg_ctl + 2, __NR_umcg_kick);
}
#endif

TEST_HARNESS_MAIN
