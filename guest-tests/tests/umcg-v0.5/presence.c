// SPDX-License-Identifier: GPL-2.0
/*
 * Which kernels and callers have the system calls. Runs and passes on the
 * control kernel too, where it is what makes every other SKIP believable.
 */
#include <asm/unistd.h>
#include <sys/personality.h>

#include "peer.h"

TEST(absent_from_the_control_alone, .clauses = "COMPAT-3")
{
	int expected = umcg_kernel() == UMCG_CONTROL ? -ENOSYS : -EINVAL;

	EXPECT_EQ(expected, umcg_sys_ctl(0, NULL));
	EXPECT_EQ(expected, umcg_sys_ctl(UMCG_CTL_REGISTER, NULL));
	EXPECT_EQ(expected, umcg_sys_ctl(UMCG_CTL_UNREGISTER, NULL));
	EXPECT_EQ(expected, umcg_sys_wait(0, 1));
	EXPECT_EQ(expected, umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, 0));
}

#ifdef __x86_64__
/* By int $0x80 as i386 does; where that is not emulated it is a SIGSEGV. */
TEST(no_32_bit_callers, .clauses = "COMPAT-1 R59")
{
	long result;
	pid_t pid;

	EXPECT_EQ(-1, syscall(__NR_umcg_ctl | __X32_SYSCALL_BIT, 0, NULL));
	EXPECT_EQ(ENOSYS, errno);
	EXPECT_EQ(-1, syscall(__NR_umcg_wait | __X32_SYSCALL_BIT, 0, 1));
	EXPECT_EQ(ENOSYS, errno);
	pid = fork();
	if (!pid) {
		asm volatile("int $0x80" : "=a" (result)
			     : "a" (__NR_umcg_ctl), "b" (0), "c" (0) : "memory");
		EXPECT_EQ(-ENOSYS, result);
		asm volatile("int $0x80" : "=a" (result)
			     : "a" (__NR_umcg_wait), "b" (0), "c" (0) : "memory");
		EXPECT_EQ(-ENOSYS, result);
		_exit(0);
	}
	result = reap_child(pid);
	EXPECT_TRUE(result == 0 || WTERMSIG(result) == SIGSEGV);
}
#else
/* A kernel that has no AArch32 refuses its personality. */
TEST(no_32_bit_callers, .clauses = "COMPAT-1 R59")
{
	EXPECT_EQ(-1, personality(PER_LINUX32));
	EXPECT_EQ(EINVAL, errno);
}
#endif

TEST_HARNESS_MAIN
