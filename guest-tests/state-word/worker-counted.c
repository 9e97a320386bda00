// SPDX-License-Identifier: GPL-2.0
/*
 * What the scheduler's statistics say of hand-overs: a wakeup each, a wait for the CPU and a
 * sleep before, as on any other way.
 */
#include <sched.h>

#include "crew.h"

#define TURNS	100

/* As it is printed: times in milliseconds. */
static double statistic(pid_t tid, const char *name)
{
	char path[64], line[256], key[64];
	double value;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/sched", tid);
	file = fopen(path, "r");
	ASSERT_TRUE(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%63s : %lf", key, &value) == 2 && !strcmp(key, name)) {
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
	static const struct {
		const char *name;
		double least;
	} each[] = {
		{ "nr_wakeups", TURNS - 1 },
		{ "nr_wakeups_local", TURNS - 1 },
		{ "nr_wakeups_sync", TURNS - 1 },
		{ "wait_count", TURNS - 1 },
		{ "sum_sleep_runtime", 1e-6 * (TURNS - 1) },
	};
	enum { NUMBER = sizeof(each) / sizeof(each[0]) };
	static struct worker w = { .body = yield_each_turn };
	double server[NUMBER], worker[NUMBER], gained;

	pin(0, 0);
	become_server();
	hire(&w);
	ASSERT_EQ(IDLE, run(&w));
	for (int i = 0; i < NUMBER; i++) {
		server[i] = statistic(me.tid, each[i].name);
		worker[i] = statistic(w.tid, each[i].name);
	}
	for (int i = 0; i < TURNS - 1; i++)
		ASSERT_EQ(IDLE, run(&w));
	for (int i = 0; i < NUMBER; i++) {
		gained = statistic(me.tid, each[i].name) - server[i];
		TH_LOG("%s of the server: %f more", each[i].name, gained);
		EXPECT_TRUE(gained >= each[i].least);
		gained = statistic(w.tid, each[i].name) - worker[i];
		TH_LOG("%s of the worker: %f more", each[i].name, gained);
		EXPECT_TRUE(gained >= each[i].least);
	}
	finish(&w);
	EXPECT_EQ(TURNS, atomic_load(&w.steps));
}

UMCG_TEST_MAIN
