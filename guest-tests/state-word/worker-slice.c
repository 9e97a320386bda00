// SPDX-License-Identifier: GPL-2.0
/*
 * Workers that ask for more time by rseq's slice extension: one that runs gets it as any
 * thread does; one that is to be held, or to be preempted, does not.
 *
 * The only CPU that this process uses is shared by the worker and who makes it stop, so
 * the worker has given back all time it was given before the other one runs.
 */
#include <sys/rseq.h>

#include "away.h"
#include "signalled.h"

/*
 * struct rseq as it is since the slice extension. Headers of older kernels, with which
 * this is compiled, too, do not have all of it.
 */
static struct {
	uint32_t cpu_id_start, cpu_id;
	uint64_t cs;
	uint32_t flags, node_id, mm_cid;
	uint32_t slice_control;
	uint8_t reserved, end[31];
} area __attribute__((aligned(64)));

enum {
	REGISTERS_WITH_IT = 2,		/* a flag of rseq() */
	HAS_IT = 32,			/* in flags */
	ASKED = 1, GRANTED = 0x100,	/* in slice_control */
	SYS_SLICE_YIELD = 471,
};

/*
 * How long a slice may be, in ns: the most that the kernel allows. With the 5 us that it
 * begins with, a slow guest is late for each.
 */
static void allow_long_slices(void)
{
	write_file("/sys/kernel/debug/rseq/slice_ext_nsec", "50000");
}

static atomic_int granted;
static atomic_bool over;

static uint32_t control(void)
{
	return __atomic_load_n(&area.slice_control, __ATOMIC_SEQ_CST);
}

static void ask(void)
{
	*(volatile uint8_t *)&area.slice_control = ASKED;
}

/* libc registered 32 bytes, which have no place for it. */
static void register_area(void)
{
	char *of_libc = (char *)__builtin_thread_pointer() + __rseq_offset;

	ASSERT_EQ(0, syscall(SYS_rseq, of_libc, 32, RSEQ_FLAG_UNREGISTER, RSEQ_SIG));
	ASSERT_EQ(0, syscall(SYS_rseq, &area, offsetof(typeof(area), end),
			     REGISTERS_WITH_IT, RSEQ_SIG));
	ASSERT_TRUE(area.flags & HAS_IT);
}

static void ask_and_give_back(struct worker *worker)
{
	register_area();
	while (!atomic_load(&over)) {
		uint32_t seen = control();

		if (seen & GRANTED) {
			atomic_fetch_add(&granted, 1);
			syscall(SYS_SLICE_YIELD);
		} else if (!seen) {
			ask();
		}
		atomic_fetch_add(&worker->steps, 1);
	}
}

/* Each nap's end asks the worker for its CPU; then it is told to stop. */
static void *preempt_once_granted(void *before)
{
	while (umcg_word(&me.task) != IDLE || bare_word(&w.own) != RUNNING ||
	       atomic_load(&granted) == *(int *)before)
		nap(MS);
	ASSERT_EQ(0, umcg_preempt(&w.own, SIGUSR1));
	return NULL;
}

TEST(preempted_worker_gets_none)
{
	pin(0, 0);
	allow_long_slices();
	begin(ask_and_give_back);
	for (int i = 0; i < 10; i++) {
		int before = atomic_load(&granted);
		pthread_t thread;

		ASSERT_EQ(0, pthread_create(&thread, NULL, preempt_once_granted,
					    &before));
		EXPECT_EQ(IDLE | PREEMPTED, run(&w));
		pthread_join(thread, NULL);
		EXPECT_LT(before, atomic_load(&granted));
		/* It may still ask: that is not looked at before it goes on. */
		EXPECT_EQ(0, control() & GRANTED);
		EXPECT_EQ(i, atomic_load(&handled));
	}
	atomic_store(&over, true);
	finish(&w);
	EXPECT_EQ(10, atomic_load(&handled));
}

/* It asks, and blocks on a page; what it asked for is gone when it goes on. */
static struct kept kept;

static void ask_and_block(struct worker *worker)
{
	register_area();
	ask();
	worker->result = *(volatile char *)kept.page;
	EXPECT_EQ(0, control());
}

TEST(held_worker_gets_none)
{
	pin(0, 0);
	page_keep(&kept, own_page());
	begin(ask_and_block);
	ASSERT_EQ(BLOCKED, run(&w));
	until_word(&w, BLOCKED);
	EXPECT_EQ(0, control() & GRANTED);
	page_give(&kept);
	until_back(&w);
	EXPECT_EQ(0, control() & GRANTED);
	finish(&w);
}

UMCG_TEST_MAIN
