// SPDX-License-Identifier: GPL-2.0
/* What the core of a process with workers says of them. */
#include <elf.h>
#include <sys/procfs.h>
#include <sys/resource.h>

#include "crew.h"

/* In memory that is shared with the test, and that cores have. */
struct crash {
	struct umcg_pool pool;
	struct worker parked, crashing;
	struct umcg server;
};

static struct crash *crash;

static void park(struct worker *worker)
{
	umcg_yield(&worker->own, 0);
}

static void do_crash(struct worker *worker)
{
	(void)worker;
	raise(SIGABRT);
}

static void ignore(int signal)
{
	(void)signal;
}

/* One worker is parked, with a signal to handle; the other one crashes. */
static void crash_process(void)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };

	ASSERT_EQ(0, setrlimit(RLIMIT_CORE, &unlimited));
	on_signal(SIGUSR1, ignore, 0);
	ASSERT_EQ(0, umcg_register_server(&crash->server, NULL));
	hire(&crash->parked);
	ASSERT_EQ(IDLE, run_under(&crash->server, &crash->parked.own));
	until_word(&crash->parked, IDLE);
	ASSERT_EQ(0, tgkill(getpid(), crash->parked.tid, SIGUSR1));
	nap(SOON);
	until_word(&crash->parked, IDLE);
	hire(&crash->crashing);
	umcg_resume(&crash->server, &crash->crashing.own, 0);
}

#define PATTERN	"/proc/sys/kernel/core_pattern"

static void set_pattern(const char *pattern)
{
	int fd = open(PATTERN, O_WRONLY);

	ASSERT_LE(0, fd);
	ASSERT_EQ(strlen(pattern), write(fd, pattern, strlen(pattern)));
	close(fd);
}

static int core = -1;
static Elf64_Ehdr head;

static void read_core(void *to, size_t size, uint64_t at)
{
	ASSERT_EQ(size, pread(core, to, size, at));
}

static void open_core(const char *path)
{
	core = open(path, O_RDONLY);
	ASSERT_LE(0, core);
	unlink(path);
	read_core(&head, sizeof(head), 0);
	ASSERT_EQ(0, memcmp(head.e_ident, ELFMAG, SELFMAG));
}

/* The segment of that type that has `address`, if it is not 0. */
static Elf64_Phdr segment(uint32_t type, uint64_t address)
{
	Elf64_Phdr p;

	for (int i = 0; i < head.e_phnum; i++) {
		read_core(&p, sizeof(p), head.e_phoff + i * sizeof(p));
		if (p.p_type == type && (!address || (address >= p.p_vaddr &&
		    address < p.p_vaddr + p.p_filesz)))
			return p;
	}
	TH_LOG("no segment %u with %lx", type, address);
	ktap_fail_and_exit();
}

/* A word as it was in the process. */
static uint32_t word_in_core(struct umcg *umcg)
{
	uint64_t address = (uintptr_t)&umcg->task;
	Elf64_Phdr p = segment(PT_LOAD, address);
	struct umcg_task seen;

	read_core(&seen, sizeof(seen), p.p_offset + address - p.p_vaddr);
	return umcg_word(&seen) & ~UMCG_TASK_USER_MASK;
}

/* The signals that a thread blocked. */
static uint64_t mask_in_core(pid_t tid)
{
	Elf64_Phdr p = segment(PT_NOTE, 0);
	uint64_t at = p.p_offset;
	struct elf_prstatus status;
	Elf64_Nhdr note;

	while (at < p.p_offset + p.p_filesz) {
		read_core(&note, sizeof(note), at);
		at += sizeof(note) + (note.n_namesz + 3) / 4 * 4;
		if (note.n_type == NT_PRSTATUS) {
			read_core(&status, sizeof(status), at);
			if (status.pr_pid == tid)
				return status.pr_sighold;
		}
		at += (note.n_descsz + 3) / 4 * 4;
	}
	TH_LOG("no thread %d", tid);
	ktap_fail_and_exit();
}

TEST(tells_the_truth)
{
	char pattern[128] = "", path[64];
	int fd = open(PATTERN, O_RDONLY), status;
	pid_t pid;

	ASSERT_LT(0, read(fd, pattern, sizeof(pattern) - 1));
	close(fd);
	crash = shared_memory(sizeof(*crash));
	crash->parked.pool = crash->crashing.pool = &crash->pool;
	crash->parked.body = park;
	crash->crashing.body = do_crash;

	set_pattern("/tmp/umcg-core.%p");
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		crash_process();
		_exit(0);
	}
	status = reap_child(pid);
	set_pattern(pattern);
	EXPECT_EQ(SIGABRT, WTERMSIG(status));
	ASSERT_TRUE(WCOREDUMP(status));
	snprintf(path, sizeof(path), "/tmp/umcg-core.%d", pid);
	open_core(path);

	EXPECT_EQ(RUNNING, word_in_core(&crash->crashing.own));
	EXPECT_EQ(IDLE, word_in_core(&crash->server));
	EXPECT_EQ(IDLE, word_in_core(&crash->parked.own));
	EXPECT_EQ(0, mask_in_core(crash->parked.tid));
}

UMCG_TEST_MAIN
