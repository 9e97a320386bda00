// SPDX-License-Identifier: GPL-2.0
/* Hand-overs where tasks are in groups, which have shares and quotas of the CPU. */
#include <sys/utsname.h>

#include "cgroup.h"
#include "handover.h"

#define GROUP	CGROUPS "/umcg-handover"
#define OTHER	GROUP "/other"		/* for threads of the processes in it */

static void join(const char *group)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", gettid());
	cgroup_write(group, "cgroup.threads", text);
}

/* In a process of its own, that the groups can be removed once it is gone. */
static void in_the_group(void (*test)(void))
{
	pid_t pid;

	cgroup_mount();
	cgroup_write(CGROUPS, "cgroup.subtree_control", "+cpu");
	cgroup_make(GROUP);
	cgroup_make(OTHER);
	cgroup_write(OTHER, "cgroup.type", "threaded");
	cgroup_write(GROUP, "cgroup.subtree_control", "+cpu");
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		cgroup_add(GROUP, getpid());
		test();
		_exit(0);
	}
	EXPECT_EQ(0, reap_child(pid));
	cgroup_remove(OTHER);
	cgroup_remove(GROUP);
}

static void hand_over(void)
{
	long before = count_of("run") + count_of("wait");

	ping_pong(NULL);
	EXPECT_LE(NEARLY_ALL, count_of("run") + count_of("wait") - before);
}

TEST(pair_in_a_group, .clauses = "SWITCH-5")
{
	in_the_group(hand_over);
}

static void join_the_other(void)
{
	join(OTHER);
}

static void hand_over_to_the_other(void)
{
	struct counts before = counts_now("queue");

	ping_pong(join_the_other);
	expect_reason("queue", before);
}

TEST(another_group, .clauses = "SWITCH-5")
{
	in_the_group(hand_over_to_the_other);
}

/*
 * Whether who has used up the quota runs on until it is about to be in user space, and so
 * can come to hand over. Before 6.18 it does not get that far.
 */
static bool stops_for_its_quota_late(void)
{
	struct utsname name;
	int major, minor;

	ASSERT_EQ(0, uname(&name));
	ASSERT_EQ(2, sscanf(name.release, "%d.%d", &major, &minor));
	return major > 6 || (major == 6 && minor >= 18);
}

/* A fifth of the CPU is for both of them: who is handed a place has what is left of it. */
static void hand_over_with_a_quota(void)
{
	long before = count_of("throttled");
	uint64_t began, passed, ran;

	ping_pong(NULL);
	cgroup_write(GROUP, "cpu.max", "20000 100000");
	began = clock_ns(CLOCK_MONOTONIC);
	ran = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	do {
		for (int i = 0; i < SWITCHES; i++)
			ASSERT_EQ(0, umcg_switch(&me, &second, 0));
		passed = clock_ns(CLOCK_MONOTONIC) - began;
	} while (passed < 2000 * MS);
	ran = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - ran;
	before = count_of("throttled") - before;
	TH_LOG("ran for %d %%, throttled: %ld", (int)(100 * ran / passed), before);
	if (stops_for_its_quota_late())
		EXPECT_LT(0, before);
	EXPECT_LE(ran, passed * 3 / 10);
}

TEST(quota_is_kept, .clauses = "SWITCH-5")
{
	in_the_group(hand_over_with_a_quota);
}

UMCG_TEST_MAIN
