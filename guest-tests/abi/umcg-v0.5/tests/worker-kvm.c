// SPDX-License-Identifier: GPL-2.0
/*
 * Workers that are virtual CPUs. A guest that halts puts its worker to sleep, which is
 * reported; from then on that worker is in a system call like any other that has blocked:
 * it runs its guest for as long as KVM_RUN takes, and is held behind it. Whatever ends
 * KVM_RUN for a plain thread ends it for a worker.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "held.h"

/* Physical addresses in the guest, which has 64 KiB of memory. */
#define CODE	0x1000
#define COUNT	0x2000	/* u32, counted up for ever */
#define LEAVE	0x2004	/* u32, not zero: it exits, and goes on once it is run again */
#define MEMORY	0x10000

static int kvm, vm, vcpu;
static struct kvm_run *run_page;
static unsigned char *memory;
static atomic_int handled, exits;

static void count(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
}

#if defined(__x86_64__)
#define EXIT_REASON	KVM_EXIT_IO

/* In real mode: what comes for it is an NMI, whose handler returns. */
static const unsigned char code[] = {
	0xf4,				/* 1000: hlt */
	0x66, 0xff, 0x06, 0x00, 0x20,	/* 1001: incl COUNT */
	0x80, 0x3e, 0x04, 0x20, 0x00,	/* 1006: cmpb $0, LEAVE */
	0x74, 0xf4,			/* 100b: je 1001 */
	0xe6, 0x10,			/* 100d: out %al, $0x10 */
	0xeb, 0xf0,			/* 100f: jmp 1001 */
	0xcf,				/* 1011: iret */
};

static void make_machine(void)
{
	ASSERT_EQ(0, ioctl(vm, KVM_CREATE_IRQCHIP, 0));
}

static void make_cpu(void)
{
	struct kvm_regs regs = { .rip = CODE, .rsp = MEMORY / 2, .rflags = 2 };
	struct kvm_lapic_state lapic;
	struct kvm_sregs sregs;

	/* Enabled by software, without which no message finds it. */
	ASSERT_EQ(0, ioctl(vcpu, KVM_GET_LAPIC, &lapic));
	lapic.regs[0xf1] |= 1;
	ASSERT_EQ(0, ioctl(vcpu, KVM_SET_LAPIC, &lapic));
	ASSERT_EQ(0, ioctl(vcpu, KVM_GET_SREGS, &sregs));
	sregs.cs.base = sregs.cs.selector = 0;
	ASSERT_EQ(0, ioctl(vcpu, KVM_SET_SREGS, &sregs));
	ASSERT_EQ(0, ioctl(vcpu, KVM_SET_REGS, &regs));
	/* Vector 2. */
	memory[8] = (CODE + sizeof(code) - 1) & 0xff;
	memory[9] = (CODE + sizeof(code) - 1) >> 8;
}

static void interrupt(void)
{
	struct kvm_msi nmi = { .address_lo = 0xfee00000, .data = 4 << 8 };

	ASSERT_LT(0, ioctl(vm, KVM_SIGNAL_MSI, &nmi));
}

#elif defined(__aarch64__)
#define EXIT_REASON	KVM_EXIT_MMIO
#define NOTHING		0x100000	/* where no memory is */

/* With interrupts masked: one that is pending ends a wait for it all the same. */
static const uint32_t code[] = {
	0xd503207f,	/* wfi */
	0xb9400001,	/* 1: ldr w1, [x0] */
	0x11000421,	/* add w1, w1, #1 */
	0xb9000001,	/* str w1, [x0] */
	0xb9400402,	/* ldr w2, [x0, #4] */
	0x34ffff82,	/* cbz w2, 1b */
	0xb9000061,	/* str w1, [x3] */
	0x17fffffa,	/* b 1b */
};

static void make_machine(void)
{
}

static void set_register(uint64_t name, uint64_t value)
{
	struct kvm_one_reg one = {
		.id = KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | name,
		.addr = (uintptr_t)&value,
	};

	ASSERT_EQ(0, ioctl(vcpu, KVM_SET_ONE_REG, &one));
}

static void make_cpu(void)
{
	struct kvm_vcpu_init init;

	ASSERT_EQ(0, ioctl(vm, KVM_ARM_PREFERRED_TARGET, &init));
	ASSERT_EQ(0, ioctl(vcpu, KVM_ARM_VCPU_INIT, &init));
	set_register(KVM_REG_ARM_CORE_REG(regs.regs[0]), COUNT);
	set_register(KVM_REG_ARM_CORE_REG(regs.regs[3]), NOTHING);
	set_register(KVM_REG_ARM_CORE_REG(regs.pc), CODE);
}

static void interrupt(void)
{
	struct kvm_irq_level irq = {
		.irq = KVM_ARM_IRQ_TYPE_CPU << KVM_ARM_IRQ_TYPE_SHIFT |
		       KVM_ARM_IRQ_CPU_IRQ << KVM_ARM_IRQ_NUM_SHIFT,
		.level = 1,
	};

	ASSERT_EQ(0, ioctl(vm, KVM_IRQ_LINE, &irq));
}
#endif

static void make_guest(void)
{
	struct kvm_userspace_memory_region region = { .memory_size = MEMORY };
	int size;

	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, memory);
	memcpy(memory + CODE, code, sizeof(code));
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, kvm);
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	ASSERT_LE(0, vm);
	make_machine();
	region.userspace_addr = (uintptr_t)memory;
	ASSERT_EQ(0, ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region));
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	ASSERT_LE(0, vcpu);
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	ASSERT_LT(0, size);
	run_page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	ASSERT_NE(MAP_FAILED, run_page);
	make_cpu();
}

static uint32_t counted(void)
{
	return __atomic_load_n((uint32_t *)(memory + COUNT), __ATOMIC_SEQ_CST);
}

static void until_it_counts(void)
{
	uint32_t before = counted();

	while (counted() == before)
		nap(MS);
}

static void have_it_leave(bool leave)
{
	__atomic_store_n((uint32_t *)(memory + LEAVE), leave, __ATOMIC_SEQ_CST);
}

/* Be the virtual CPU until a signal comes. */
static void be_cpu(struct worker *worker)
{
	for (;;) {
		worker->result = ioctl(vcpu, KVM_RUN, 0) ? -errno : 0;
		if (worker->result)
			return;
		if (run_page->exit_reason != EXIT_REASON)
			return;
		atomic_fetch_add(&exits, 1);
	}
}

/* Its server, and a guest that has been woken from its halt. */
static void bring_to_count(void)
{
	on_signal(SIGUSR1, count, 0);
	make_guest();
	ASSERT_EQ(BLOCKED, run(&w));
	until_word(&w, BLOCKED);
	EXPECT_EQ(0, counted());
	interrupt();
	until_it_counts();
}

static void expect_interrupted(void)
{
	EXPECT_EQ(-EINTR, w.result);
	EXPECT_EQ(1, atomic_load(&handled));
}

TEST(runs_on_after_a_halt, .clauses = "BLOCK-1 BLOCK-2 BLOCK-5 WIDLE-1 WSIG-1")
{
	uint32_t before;

	become_server();
	w.body = be_cpu;
	hire(&w);
	bring_to_count();
	/* Nobody runs the worker, and its guest runs. */
	EXPECT_EQ(BLOCKED, bare_word(&w.own));
	expect_none_queued(&pool);
	ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR1));
	until_back(&w);
	before = counted();
	expect_word(&w, IDLE);
	EXPECT_EQ(before, counted());
	EXPECT_EQ(0, atomic_load(&handled));
	finish(&w);
	expect_interrupted();
}

static void bring_out(void)
{
	bring_to_count();
	have_it_leave(true);
	until_back(&w);
}

static void expect_exit(void)
{
	EXPECT_EQ(1, atomic_load(&exits));
	EXPECT_EQ(EXIT_REASON, run_page->exit_reason);
	EXPECT_EQ(0, w.result);
}

static void be_cpu_once(struct worker *worker)
{
	worker->result = ioctl(vcpu, KVM_RUN, 0) ? -errno : 0;
	atomic_fetch_add(&exits, 1);
}

TEST(held_after_an_exit, .clauses = "BLOCK-2 WIDLE-1 WSIG-2 WSIG-3")
{
	static const struct way way = { be_cpu_once, bring_out, expect_exit };

	is_held_like_any_other(&way);
}

static void count_for_ever(void)
{
	bring_to_count();
	atomic_store(&held->tid, w.tid);
	atomic_store(&held->there, true);
	while (true)
		pause();
}

static const struct way runs_its_guest = { be_cpu, count_for_ever, NULL };

TEST(killed_while_its_guest_runs, .clauses = "WSIG-2")
{
	pid_t pid = fork_held(&runs_its_guest);

	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(SIGKILL, WTERMSIG(reap_child(pid)));
}

TEST(stopped_while_its_guest_runs, .clauses = "WSIG-3")
{
	pid_t pid = fork_held(&runs_its_guest);

	ASSERT_EQ(0, kill(pid, SIGSTOP));
	until_state(pid, held->tid, 'T');
	/* KVM_RUN has ended, so that the worker is held now. */
	ASSERT_EQ(0, kill(pid, SIGCONT));
	until_state(pid, held->tid, 'S');
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(SIGKILL, WTERMSIG(reap_child(pid)));
}

static void *preempt_it(void *arg)
{
	until_it_counts();
	ASSERT_EQ(0, umcg_preempt(&w.own, SIGUSR1));
	return arg;
}

/* It has been in its guest before, so that it does not sleep on its way there. */
TEST(preempted_while_its_guest_runs, .clauses = "WPREEMPT-1")
{
	pthread_t thread;

	become_server();
	w.body = be_cpu;
	hire(&w);
	bring_out();
	have_it_leave(false);
	ASSERT_EQ(0, pthread_create(&thread, NULL, preempt_it, NULL));
	EXPECT_EQ(IDLE | PREEMPTED, run(&w));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	expect_word(&w, IDLE | PREEMPTED);
	expect_none_queued(&pool);
	EXPECT_EQ(0, atomic_load(&handled));
	finish(&w);
	EXPECT_EQ(1, atomic_load(&exits));
	expect_interrupted();
}

UMCG_TEST_MAIN
