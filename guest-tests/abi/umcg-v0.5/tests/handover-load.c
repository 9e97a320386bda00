// SPDX-License-Identifier: GPL-2.0
/* Hand-overs with features of the scheduler turned off, and what becomes of load averages. */
#include "handover.h"

/* Set a feature of the scheduler; clear it with NO_ ahead of its name. */
static void set_feature(const char *name)
{
	FILE *file = fopen(DEBUGFS "/features", "w");

	ASSERT_TRUE(file);
	ASSERT_LE(0, fputs(name, file));
	ASSERT_EQ(0, fclose(file));
}

TEST(turned_off, .clauses = "SWITCH-5")
{
	struct counts before = counts_now("feature");

	set_feature("NO_HAND_OVER");
	ping_pong(NULL);
	set_feature("HAND_OVER");
	expect_reason("feature", before);
}

/* The value of a key in a file of "key : value", behind the line `after`, if not NULL. */
static long value_of(const char *path, const char *after, const char *key)
{
	char line[256], name[64];
	long value, found = -1;
	FILE *file = fopen(path, "r");

	ASSERT_TRUE(file);
	while (found < 0 && fgets(line, sizeof(line), file)) {
		if (after && !strncmp(line, after, strlen(after)))
			after = NULL;
		else if (!after && sscanf(line, " %63s : %ld", name, &value) == 2 &&
			 !strcmp(name, key))
			found = value;
	}
	fclose(file);
	return found;
}

static long load_of(uint32_t tid, const char *key)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%u/sched", tid);
	return value_of(path, NULL, key);
}

/* Of all that are queued on CPU 0. With groups of tasks only the root's part has it. */
static long sum_of_estimates(void)
{
	long sum = value_of(DEBUGFS "/debug", "cfs_rq[0]:/\n", ".util_est");

	return sum < 0 ? value_of(DEBUGFS "/debug", "cfs_rq[0]:", ".util_est") : sum;
}

/* What the second thread sees when it is handed the CPU. */
static struct seen {
	long own, other;	/* util_avg */
	long estimate, sum;	/* util_est: of its own, and of all that are queued */
} seen;

static void *look(void *arg)
{
	ASSERT_EQ(0, umcg_register_server(&second, NULL));
	/* The load that a thread begins with is gone by then. */
	nap(500 * MS);
	ASSERT_EQ(0, umcg_wait(&second, 0));
	for (;;) {
		seen.own = load_of(second.tid, "se.avg.util_avg");
		seen.other = load_of(me.tid, "se.avg.util_avg");
		/* Others may be queued at times, but not each time. */
		for (int i = 0; i < 100; i++) {
			seen.estimate = load_of(second.tid, "se.avg.util_est");
			seen.sum = sum_of_estimates();
			if (seen.estimate == seen.sum)
				break;
		}
		ASSERT_EQ(0, umcg_switch(&second, &me, 0));
	}
	return arg;
}

/* Have one that has run for long hand over to one that has slept for as long. */
static void hand_over_a_load(void)
{
	pthread_t thread;
	long before;

	pin(0, 0);
	become_server();
	ASSERT_EQ(0, pthread_create(&thread, NULL, look, NULL));
	while (umcg_state(&second) != UMCG_IS_IDLE)
		nap(MS);
	until_state(getpid(), second.tid, 'S');
	do {
		/*
		 * The sum may be wrong before: with groups of tasks it was 0 at times. It
		 * is right again once the task has slept.
		 */
		do {
			uint64_t end = clock_ns(CLOCK_THREAD_CPUTIME_ID) + 300 * MS;

			nap(MS);
			while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < end)
				;
		} while (load_of(me.tid, "se.avg.util_est") != sum_of_estimates());
		before = count_of("run") + count_of("wait");
		ASSERT_EQ(0, umcg_switch(&me, &second, 0));
		/* It may have gone another way, by an interrupt. */
	} while (count_of("run") + count_of("wait") - before < 2);
	TH_LOG("load: own %ld, other %ld; estimate: %ld of %ld", seen.own, seen.other,
	       seen.estimate, seen.sum);
	EXPECT_EQ(seen.estimate, seen.sum);
}

/* Of 1024: of one that ran for long, and of one that has hardly run since it was made. */
#define MUCH	800
#define LITTLE	700

TEST(load_goes_with_the_place, .clauses = "SWITCH-5")
{
	hand_over_a_load();
	EXPECT_LT(MUCH, seen.own);
	EXPECT_GT(LITTLE, seen.other);
}

TEST(load_stays_with_the_task, .clauses = "SWITCH-5")
{
	set_feature("NO_HAND_OVER_LOAD");
	hand_over_a_load();
	set_feature("HAND_OVER_LOAD");
	EXPECT_GT(LITTLE, seen.own);
	EXPECT_LT(MUCH, seen.other);
}

UMCG_TEST_MAIN
