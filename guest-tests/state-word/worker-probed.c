// SPDX-License-Identifier: GPL-2.0
/*
 * Workers that a uprobe single-steps. While it does the kernel keeps all signals
 * back, fatal ones included, so a worker must not be held in the middle.
 */
#include <linux/perf_event.h>
#include <sys/ptrace.h>

#include "away.h"
#include "crew.h"
#include "trace.h"

/* One load, which is what is probed: where its operand is not there it sleeps. */
int probed_load(const int *from);
asm(".text\n"
    ".globl probed_load\n"
    ".type probed_load, %function\n"
    "probed_load:\n"
#ifdef __x86_64__
    "	movl (%rdi), %eax\n"
    "	ret\n"
#else
    "	ldr w0, [x0]\n"
    "	ret\n"
#endif
    ".size probed_load, .-probed_load\n");

/* In a process of its own, to be killed; in memory that is shared with the test. */
struct firm {
	struct umcg_pool pool;
	struct worker worker;
	atomic_bool given, go_on;
};

static struct firm *firm;
static int *operand;

static uint32_t type_of_uprobes(void)
{
	FILE *file = fopen("/sys/bus/event_source/devices/uprobe/type", "r");
	unsigned int type;

	ASSERT_TRUE(file);
	ASSERT_EQ(1, fscanf(file, "%u", &type));
	fclose(file);
	return type;
}

/* Where in this program's file an instruction is. */
static uint64_t file_offset(uintptr_t address)
{
	unsigned long start, end, offset;
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];

	ASSERT_TRUE(maps);
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %*s %lx", &start, &end, &offset) == 3 &&
		    start <= address && address < end) {
			fclose(maps);
			return address - start + offset;
		}
	ktap_fail_and_exit();
}

static void set_probe(void)
{
	static char path[256];
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.type = type_of_uprobes(),
		.config1 = (uintptr_t)path,
		.config2 = file_offset((uintptr_t)probed_load),
	};

	ASSERT_LT(0, readlink("/proc/self/exe", path, sizeof(path) - 1));
	ASSERT_NE(-1, syscall(SYS_perf_event_open, &attr, getpid(), -1, -1, 0));
}

static void load(struct worker *worker)
{
	worker->result = probed_load(operand);
}

/* The worker is run, sleeps in the step, and comes back. */
static void serve_the_step(void)
{
	static struct kept kept;

	set_probe();
	operand = own_page();
	*operand = 42;
	become_server();
	hire(&firm->worker);
	page_keep(&kept, operand);
	ASSERT_EQ(BLOCKED, run(&firm->worker));
	until_wanted(&kept);
	page_give(&kept);
	atomic_store(&firm->given, true);
	until_back(&firm->worker);
	while (!atomic_load(&firm->go_on))
		nap(MS);
	finish(&firm->worker);
	_exit(firm->worker.result == 42 ? 0 : 1);
}

/* A process whose worker is held after a step in which it slept. */
static pid_t step(void)
{
	pid_t pid;

	firm = shared_memory(sizeof(*firm));
	firm->worker.pool = &firm->pool;
	firm->worker.body = load;
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid)
		serve_the_step();
	while (!atomic_load(&firm->given))
		nap(MS);
	while (bare_word(&firm->worker.own) != IDLE)
		nap(MS);
	until_state(pid, firm->worker.tid, 'S');
	return pid;
}

TEST(runs_on)
{
	pid_t pid = step();

	atomic_store(&firm->go_on, true);
	EXPECT_EQ(0, reap_child(pid));
}

TEST(killed)
{
	pid_t pid = step();

	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(SIGKILL, WTERMSIG(reap_child(pid)));
}

TEST(stopped)
{
	pid_t pid = step();

	ASSERT_EQ(0, kill(pid, SIGSTOP));
	until_state(pid, firm->worker.tid, 'T');
	ASSERT_EQ(0, kill(pid, SIGCONT));
	until_state(pid, firm->worker.tid, 'S');
	atomic_store(&firm->go_on, true);
	EXPECT_EQ(0, reap_child(pid));
}

TEST(traced)
{
	pid_t pid = step(), tid = firm->worker.tid;

	trace_begin(tid);
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, tid, NULL, NULL));
	atomic_store(&firm->go_on, true);
	EXPECT_EQ(0, reap_child(pid));
}

UMCG_TEST_MAIN
