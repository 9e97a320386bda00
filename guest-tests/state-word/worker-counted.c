// SPDX-License-Identifier: GPL-2.0
/* What the scheduler's statistics say of hand-overs: a wakeup each, as on any other way. */
#include <sched.h>

#include "crew.h"

#define TURNS	100

static long statistic(pid_t tid, const char *name)
{
	char path[64], line[256], key[64];
	long value;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/sched", tid);
	file = fopen(path, "r");
	ASSERT_TRUE(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%63s : %ld", key, &value) == 2 && !strcmp(key, name)) {
			fclose(file);
			return value;
		}
	TH_LOG("%s has no %s", path, name);
	abort();
}

static void yield_each_turn(struct worker *w)
{
	for (int i = 0; i < TURNS; i++) {
		ASSERT_EQ(0, umcg_yield(w->umcg, 0));
		atomic_fetch_add(&w->steps, 1);
	}
}

/*
 * On one CPU, so that each is woken where the other one leaves. The guest has turned
 * the statistics on.
 */
TEST(wakeups_are_counted)
{
	static const char *const names[] = { "nr_wakeups", "nr_wakeups_local", "nr_wakeups_sync" };
	static struct worker w = { .body = yield_each_turn };
	long server[3], worker[3], gained;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(set), &set));
	become_server();
	hire(&w);
	ASSERT_EQ(IDLE, run(&w));
	for (int i = 0; i < 3; i++) {
		server[i] = statistic(me.tid, names[i]);
		worker[i] = statistic(w.tid, names[i]);
	}
	for (int i = 0; i < TURNS - 1; i++)
		ASSERT_EQ(IDLE, run(&w));
	for (int i = 0; i < 3; i++) {
		gained = statistic(me.tid, names[i]) - server[i];
		TH_LOG("%s of the server: %ld more", names[i], gained);
		EXPECT_LE(TURNS - 1, gained);
		gained = statistic(w.tid, names[i]) - worker[i];
		TH_LOG("%s of the worker: %ld more", names[i], gained);
		EXPECT_LE(TURNS - 1, gained);
	}
	finish(&w);
	EXPECT_EQ(TURNS, atomic_load(&w.steps));
}

UMCG_TEST_MAIN
