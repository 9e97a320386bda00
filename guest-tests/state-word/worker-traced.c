// SPDX-License-Identifier: GPL-2.0
/* What tracing tells of a worker: that it registers, is held, run, blocks and leaves. */
#include <sys/mount.h>

#include "crew.h"

#define TRACING		"/sys/kernel/tracing/"

static void set_event(const char *name, const char *value)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), TRACING "%s", name);
	file = fopen(path, "w");
	ASSERT_TRUE(file);
	ASSERT_LT(0, fputs(value, file));
	ASSERT_EQ(0, fclose(file));
}

/* The next event of thread `tid`, as "umcg_block server=7"; false at the end. */
static bool next_event(FILE *file, pid_t tid, char *event, size_t size)
{
	char line[512], mark[32], *name;

	snprintf(mark, sizeof(mark), "-%d ", tid);
	while (fgets(line, sizeof(line), file)) {
		name = strstr(line, " umcg_");
		if (line[0] == '#' || !name || !strstr(line, mark))
			continue;
		line[strcspn(line, "\n")] = 0;
		snprintf(event, size, "%s", name + 1);
		return true;
	}
	return false;
}

static struct gate gate;

static void sleep_once(struct worker *w)
{
	gate_pass(&gate);
	atomic_fetch_add(&w->steps, 1);
}

TEST(life_of_a_worker)
{
	static struct worker w = { .body = sleep_once };
	char event[128], expected[128];
	const char *const events[] = {
		"umcg_register: self=0x%lx worker=1", "umcg_hold: ran=0", "umcg_run: server=%u",
		"umcg_block: server=%u", "umcg_hold: ran=0", "umcg_run: server=%u",
		"umcg_leave: worker=1",
	};
	FILE *file;

	ASSERT_TRUE(mount("tracefs", TRACING, "tracefs", 0, NULL) == 0 || errno == EBUSY);
	set_event("events/umcg/enable", "1");
	set_event("trace", "\n");
	gate_make(&gate);
	become_server();
	hire(&w);
	ASSERT_EQ(BLOCKED, run(&w));
	gate_open(&gate);
	until_back(&w);
	finish(&w);
	set_event("events/umcg/enable", "0");
	EXPECT_EQ(1, atomic_load(&w.steps));

	file = fopen(TRACING "trace", "r");
	ASSERT_TRUE(file);
	for (unsigned int i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		ASSERT_TRUE(next_event(file, w.tid, event, sizeof(event)));
		if (strstr(events[i], "self"))
			snprintf(expected, sizeof(expected), events[i], (unsigned long)&w.own.task);
		else
			snprintf(expected, sizeof(expected), events[i], me.tid);
		TH_LOG("%s", event);
		EXPECT_STREQ(expected, event);
	}
	EXPECT_FALSE(next_event(file, w.tid, event, sizeof(event)));
	fclose(file);
}

UMCG_TEST_MAIN
