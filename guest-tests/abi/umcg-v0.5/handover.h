/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel counts of hand-overs, by how and why not, and a pair that hands over:
 * `me` of peer.h, and `second`.
 */
#ifndef HANDOVER_H
#define HANDOVER_H

#include <sched.h>
#include <sys/resource.h>

#include "attr.h"
#include "peer.h"

#define DEBUGFS	"/sys/kernel/debug/sched"
#define COUNTS	DEBUGFS "/hand_over"

enum { SWITCHES = 1000 };

static struct umcg second;

static inline long count_of(const char *what)
{
	char name[32];
	long value;
	FILE *file = fopen(COUNTS, "r");

	ASSERT_TRUE(file);
	while (fscanf(file, "%31s %ld", name, &value) == 2)
		if (!strcmp(name, what)) {
			fclose(file);
			return value;
		}
	TH_LOG("no count of %s", what);
	ktap_fail_and_exit();
	return 0;
}

static inline void *answer(void *arg)
{
	void (*otherwise)(void) = arg;

	if (otherwise)
		otherwise();
	ASSERT_EQ(0, umcg_register_server(&second, NULL));
	ASSERT_EQ(0, umcg_wait(&second, 0));
	for (;;)
		ASSERT_EQ(0, umcg_switch(&second, &me, 0));
	return NULL;
}

/* Ways for a thread to be another than the rest, of SCHED_OTHER or FIFO 10. */
static inline void be_fifo(void)
{
	schedule_as(SCHED_FIFO, 10);
}

static inline void be_nice(void)
{
	/* Of this thread. */
	ASSERT_EQ(0, setpriority(PRIO_PROCESS, 0, 1));
}

static inline void be_higher(void)
{
	schedule_as(SCHED_FIFO, 11);
}

/* Hand over and back, to a thread that is `otherwise` than this one, if not NULL. */
static inline void ping_pong(void (*otherwise)(void))
{
	pthread_t thread;

	pin(0, 0);
	become_server();
	ASSERT_EQ(0, pthread_create(&thread, NULL, answer, otherwise));
	while (umcg_state(&second) != UMCG_IS_IDLE)
		nap(MS);
	until_state(getpid(), second.tid, 'S');
	for (int i = 0; i < SWITCHES; i++)
		ASSERT_EQ(0, umcg_switch(&me, &second, 0));
}

/* There are interrupts, and the ends of slices. */
#define NEARLY_ALL	(2 * SWITCHES * 99 / 100)

struct counts {
	long why, delayed, run, wait, exchange;
};

static inline struct counts counts_now(const char *why)
{
	return (struct counts){ count_of(why), count_of("delayed"), count_of("run"),
				count_of("wait"), count_of("exchange") };
}

/*
 * Nothing was handed over since, for this reason: or the task had not even left the queue,
 * which of those that go the ordinary way some do not, in the fair class.
 */
static inline void expect_reason(const char *why, struct counts before)
{
	struct counts now = counts_now(why);

	TH_LOG("%s: %ld, delayed: %ld", why, now.why - before.why, now.delayed - before.delayed);
	EXPECT_LE(NEARLY_ALL, now.why - before.why + now.delayed - before.delayed);
	EXPECT_LT(0, now.why - before.why);
	EXPECT_EQ(0, now.run - before.run);
	EXPECT_EQ(0, now.wait - before.wait);
	EXPECT_EQ(0, now.exchange - before.exchange);
}

#endif
