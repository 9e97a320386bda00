// SPDX-License-Identifier: GPL-2.0
/*
 * A worker that is held in the middle of unlocking a robust futex. Linux 7.3 has code for
 * that in the vDSO of x86_64: the word of the lock becomes zero, then the pointer to the
 * lock that is being unlocked is cleared. If a thread died between the two, the kernel,
 * which looks at that pointer, would take a lock for its own that is not any more. So it
 * clears the pointer for a thread that gets a signal there. A worker may be killed while
 * it is held, so the pointer has to be cleared before that.
 *
 * Other kernels have no such code, and leave the pointer alone.
 */
#include <elf.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#include "held.h"

static struct unlocking {
	atomic_bool spins, stopped, let_go;
	uint64_t pending;	/* what is being unlocked */
} *unlocking;

static bool exchanged;		/* the lock was its own, and now is nobody's */
static atomic_bool never;

static void spin(struct worker *worker)
{
	(void)worker;
	atomic_store(&unlocking->spins, true);
	while (!atomic_load(&never))
		;
}

#ifdef __x86_64__
static const char *function_of_vdso(const char *name, size_t *size)
{
	const char *image = (const char *)getauxval(AT_SYSINFO_EHDR);
	const Elf64_Ehdr *elf = (const void *)image;
	const Elf64_Shdr *section = (const void *)(image + elf->e_shoff);

	for (int i = 0; i < elf->e_shnum; i++) {
		const Elf64_Sym *symbol = (const void *)(image + section[i].sh_offset);
		const char *names = image + section[section[i].sh_link].sh_offset;

		if (section[i].sh_type != SHT_DYNSYM)
			continue;
		for (size_t n = section[i].sh_size / sizeof(*symbol); n; n--, symbol++) {
			if (strcmp(names + symbol->st_name, name))
				continue;
			*size = symbol->st_size;
			return image + symbol->st_value;
		}
	}
	return NULL;
}

/* Where the section begins: after the exchange, a `cmpxchg %ecx,(%rdi)` or the like. */
static const char *section_of_vdso(void)
{
	size_t size = 0;
	const char *code = function_of_vdso("__vdso_futex_robust_list64_try_unlock",
					    &size);
	const char *exchange = code ? memmem(code, size, "\x0f\xb1", 2) : NULL;

	ASSERT_EQ(!code, !exchange);
	return exchange ? exchange + 3 : NULL;
}

/* As if the worker had been interrupted there. */
static void move_there(void)
{
	const char *section = section_of_vdso();
	struct user_regs_struct regs;

	ASSERT_EQ(0, ptrace(PTRACE_GETREGS, w.tid, NULL, &regs));
	regs.rip = (uintptr_t)section ?: regs.rip;
	regs.rcx = 0;
	regs.rdx = (uintptr_t)&unlocking->pending;
	regs.eflags = (regs.eflags & ~0x40UL) | (exchanged ? 0x40 : 0);
	ASSERT_EQ(0, ptrace(PTRACE_SETREGS, w.tid, NULL, &regs));
}
#else
static const char *section_of_vdso(void)
{
	return NULL;
}

static void move_there(void)
{
}
#endif

/* It may be held, for a sleep that nobody thought of, and stop there. */
static bool stopped_as_it_ran(void)
{
	uint32_t word = ptrace(PTRACE_PEEKDATA, w.tid, &w.own.task.state, NULL);

	return (word & ~UMCG_TASK_USER_MASK) == BLOCKED;
}

/* When the tracer ends the worker goes on, and is held, for it slept in its stop. */
static void interrupt(void)
{
	while (!atomic_load(&unlocking->spins))
		nap(MS);
	trace_begin(w.tid);
	while (!stopped_as_it_ran()) {
		ASSERT_EQ(0, ptrace(PTRACE_CONT, w.tid, NULL, NULL));
		nap(MS);
		trace_stop(w.tid);
	}
	move_there();
	atomic_store(&unlocking->stopped, true);
	while (!atomic_load(&unlocking->let_go))
		nap(MS);
	_exit(0);
}

static void bring_from_there(void)
{
	pid_t tracer = fork();

	ASSERT_NE(-1, tracer);
	if (!tracer)
		interrupt();
	/* The fork has made its stack read-only: see worker-held.c. */
	for (;;) {
		ASSERT_EQ(UMCG_BLOCKED, umcg_run(&me, w.umcg, 0));
		while (bare_word(w.umcg) == BLOCKED && !atomic_load(&unlocking->stopped))
			nap(MS);
		if (atomic_load(&unlocking->stopped))
			break;
		until_back(&w);
	}
	EXPECT_EQ(4711, unlocking->pending);
	atomic_store(&unlocking->let_go, true);
	until_back(&w);
	EXPECT_EQ(0, reap_child(tracer));
}

static uint64_t pending_when_held(bool done)
{
	static const struct way way = { spin, bring_from_there, NULL };
	pid_t pid;

	unlocking = shared_memory(sizeof(*unlocking));
	unlocking->pending = 4711;
	exchanged = done;
	pid = fork_held(&way);
	done = unlocking->pending;
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(SIGKILL, WTERMSIG(reap_child(pid)));
	return done ? unlocking->pending : 0;
}

TEST(held_when_the_lock_is_free, .clauses = "WSIG-2")
{
	bool there = section_of_vdso();

	TH_LOG("the vDSO has such code: %d", there);
	EXPECT_EQ(there ? 0 : 4711, pending_when_held(true));
}

TEST(held_when_it_was_not_its_own, .clauses = "WSIG-2")
{
	EXPECT_EQ(4711, pending_when_held(false));
}

UMCG_TEST_MAIN
