// SPDX-License-Identifier: GPL-2.0
/*
 * Which kernels and callers have the system calls. Runs and passes on the
 * control kernel too, where it is what makes every other SKIP believable.
 */
#include <asm/unistd.h>
#include <elf.h>
#include <stddef.h>

#include "peer.h"

TEST(absent_from_the_control_alone)
{
	int expected = umcg_kernel() == UMCG_CONTROL ? -ENOSYS : -EINVAL;

	EXPECT_EQ(expected, umcg_sys_ctl(0, NULL));
	EXPECT_EQ(expected, umcg_sys_ctl(UMCG_CTL_REGISTER, NULL));
	EXPECT_EQ(expected, umcg_sys_ctl(UMCG_CTL_UNREGISTER, NULL));
	EXPECT_EQ(expected, umcg_sys_wait(0, 1));
	EXPECT_EQ(expected, umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, 0));
}

#ifdef __x86_64__
#define I386_NR_GETPID	20

/* By int $0x80 as i386 does. But for debug kernels it is a SIGSEGV: not emulated. */
TEST(no_32_bit_callers)
{
	long result;
	pid_t pid;

	EXPECT_EQ(-1, syscall(__NR_umcg_ctl | __X32_SYSCALL_BIT, 0, NULL));
	EXPECT_EQ(ENOSYS, errno);
	EXPECT_EQ(-1, syscall(__NR_umcg_wait | __X32_SYSCALL_BIT, 0, 1));
	EXPECT_EQ(ENOSYS, errno);
	pid = fork();
	if (!pid) {
		asm volatile("int $0x80" : "=a" (result) : "a" (I386_NR_GETPID));
		EXPECT_EQ(getpid(), result);
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
/*
 * An AArch32 program that makes one system call and exits with its errno: ENOSYS.
 * None but debug kernels even start it; that counts as ENOSYS.
 */
static int errno_of_aarch32(uint32_t number)
{
	struct {
		Elf32_Ehdr file;
		Elf32_Phdr segment;
		uint32_t code[7];
	} program = {
		.file = {
			.e_ident = ELFMAG "\1\1\1",
			.e_type = ET_EXEC,
			.e_machine = EM_ARM,
			.e_version = EV_CURRENT,
			.e_entry = 0x10000 + offsetof(typeof(program), code),
			.e_phoff = offsetof(typeof(program), segment),
			.e_flags = 0x05000000,	/* EABI 5 */
			.e_ehsize = sizeof(Elf32_Ehdr),
			.e_phentsize = sizeof(Elf32_Phdr),
			.e_phnum = 1,
		},
		.segment = {
			.p_type = PT_LOAD,
			.p_vaddr = 0x10000,
			.p_filesz = sizeof(program),
			.p_memsz = sizeof(program),
			.p_flags = PF_R | PF_X,
			.p_align = 0x1000,
		},
		.code = {
			0xe3a00000,	/* mov r0, #0 */
			0xe3a01000,	/* mov r1, #0 */
			0xe3007000 | (number & 0xf000) << 4 | (number & 0xfff),
					/* movw r7, #number */
			0xef000000,	/* svc #0 */
			0xe2600000,	/* rsb r0, r0, #0 */
			0xe3a07001,	/* mov r7, #1: exit */
			0xef000000,	/* svc #0 */
		},
	};
	int fd = memfd_create("aarch32", MFD_CLOEXEC), status;
	char *const argv[] = { "aarch32", NULL };
	pid_t pid;

	ASSERT_EQ(sizeof(program), write(fd, &program, sizeof(program)));
	pid = fork();
	if (!pid) {
		fexecve(fd, argv, argv + 1);
		_exit(errno == ENOEXEC ? ENOSYS : 255);
	}
	status = reap_child(pid);
	ASSERT_TRUE(WIFEXITED(status));
	return WEXITSTATUS(status);
}

TEST(no_32_bit_callers)
{
	EXPECT_EQ(ENOSYS, errno_of_aarch32(__NR_umcg_ctl));
	EXPECT_EQ(ENOSYS, errno_of_aarch32(__NR_umcg_wait));
}
#endif

TEST_HARNESS_MAIN
