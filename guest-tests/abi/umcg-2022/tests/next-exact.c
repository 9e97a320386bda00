// SPDX-License-Identifier: GPL-2.0
/*
 * The next task leaves while the kernel is about to run it, and has its memory look as if it
 * slept in a wait. It is for an exact guest (kit/stepping.h): who runs it is brought to each
 * place around that.
 */
#include "staff.h"
#include "stepping.h"

/* In steps, of some dozen instructions each. */
#define FAR	200	/* longer than the way to umcg_run() */
#define REST	4	/* from where the kernel has the caller wait */

/* Of a step. */
#define PARTS	5
#define PART	5	/* turns of count_down() */

static struct umcg caller;
static atomic_bool runs, go;
static int part, result;

static void *call(void *arg)
{
	ASSERT_EQ(0, enrol(&caller, 0));
	caller.task.next_tid = me.tid;
	atomic_store(&runs, true);
	while (!atomic_load(&go))
		relax();
	count_down(part * PART);
	result = wait_with(&caller, me.tid, 0, 0);
	ASSERT_EQ(0, leave(&caller, 0));
	return arg;
}

/* Return whether the caller waits by the time, as far as the kernel is concerned. */
static bool attempt(int steps)
{
	struct umcg_task asleep;
	pthread_t thread;
	bool waits;

	atomic_store(&runs, false);
	atomic_store(&go, false);
	become_server();
	asleep = me.task;
	asleep.state = RUNNABLE;
	await_tick();
	pin(0, STEPPED);
	ASSERT_EQ(0, pthread_create(&thread, NULL, call, NULL));
	pin(0, STEPPING);
	while (!atomic_load(&runs))
		relax();
	brake_on();
	atomic_store(&go, true);
	while (steps--)
		go_on();
	waits = umcg_bits(umcg_word(&caller.task)) == RUNNABLE;
	ASSERT_EQ(0, leave(&me, 0));
	me.task = asleep;
	brake_off();
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, memcmp(&me.task, &asleep, sizeof(asleep)));
	/* It found us registered, and then not, or RUNNING. */
	EXPECT_TRUE(result == -ESRCH || result == -EAGAIN);
	return waits;
}

TEST(leaves_meanwhile, .clauses = "CTL-12 NEXT-2 NEXT-4 ARG-5 R28 R57", .deadline = 300)
{
	int first = 0, times = 0;

	begin_stepping();
	while (!attempt(first))
		ASSERT_LT(++first, FAR);
	for (part = 0; part < PARTS; part++)
		for (int steps = first - 1; steps <= first + REST; steps++)
			times += attempt(steps);
	TH_LOG("waits after %d steps, %d times", first, times);
	EXPECT_LT(0, times);
}

UMCG_TEST_MAIN
