// SPDX-License-Identifier: GPL-2.0
/*
 * A crowd of workers whose control group changes under their feet: threads are moved
 * from one group to another, groups run out of their share of a CPU, and lose CPUs.
 */
#include <dirent.h>

#include "cgroup.h"
#include "storm.h"

#define ROOM	CGROUPS "/umcg-groups"	/* and two groups of threads in it */

enum { TURNS = 300 };

static const char *const group[] = { ROOM "/a", ROOM "/b" };

static long stat_of(const char *folder, const char *key)
{
	char path[96], name[32];
	long value;
	FILE *file;

	snprintf(path, sizeof(path), "%s/cpu.stat", folder);
	file = fopen(path, "r");
	ASSERT_TRUE(file);
	while (fscanf(file, "%31s %ld", name, &value) == 2)
		if (!strcmp(name, key)) {
			fclose(file);
			return value;
		}
	TH_LOG("%s has no %s", path, key);
	ktap_fail_and_exit();
	return 0;
}

static void make_groups(void)
{
	cgroup_mount();
	cgroup_write(CGROUPS, "cgroup.subtree_control", "+cpu +cpuset");
	cgroup_make(ROOM);
	for (int i = 0; i < 2; i++) {
		cgroup_make(group[i]);
		cgroup_write(group[i], "cgroup.type", "threaded");
	}
	cgroup_write(ROOM, "cgroup.subtree_control", "+cpu +cpuset");
}

static void remove_groups(void)
{
	for (int i = 0; i < 2; i++)
		cgroup_remove(group[i]);
	cgroup_remove(ROOM);
}

/* In a child, which is in the first group from its start. */
static void work(void)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", getpid());
	cgroup_write(ROOM, "cgroup.procs", text);
	cgroup_write(group[0], "cgroup.threads", text);
	start_crowd(do_a_bit_of_everything, TURNS);
	serve_crowd();
	for (int i = 0; i < CROWD; i++)
		EXPECT_EQ(TURNS, atomic_load(&crowd[i].steps));
}

/* Call `change` with 0, 1, 2 ... until the crowd is done; return how often. */
static int while_it_works(void (*change)(pid_t pid, int n))
{
	pid_t pid;
	int status, n = 0;

	make_groups();
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		work();
		_exit(0);
	}
	while (!waitpid(pid, &status, WNOHANG)) {
		change(pid, n++);
		nap(MS / 2);
	}
	EXPECT_EQ(0, status);
	return n;
}

/* All threads, one after the other. Some of those that were there may have ended. */
static void move_threads(pid_t pid, int n)
{
	char path[64];
	struct dirent *entry;
	DIR *tasks;
	int fd = open(n % 2 ? ROOM "/a/cgroup.threads" : ROOM "/b/cgroup.threads",
		      O_WRONLY);

	ASSERT_LE(0, fd);
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	while (tasks && (entry = readdir(tasks)))
		if (entry->d_name[0] != '.' &&
		    write(fd, entry->d_name, strlen(entry->d_name)) < 0)
			EXPECT_TRUE(errno == ESRCH || errno == EOPNOTSUPP);
	if (tasks)
		closedir(tasks);
	close(fd);
}

TEST(moved_between_groups, .deadline = 90)
{
	EXPECT_LT(4, while_it_works(move_threads));
	EXPECT_LT(0, stat_of(group[0], "usage_usec"));
	EXPECT_LT(0, stat_of(group[1], "usage_usec"));
	remove_groups();
}

/* A millisecond in each five, and as much as it likes in between. */
static void throttle(pid_t pid, int n)
{
	(void)pid;
	if (n % 8 == 0)
		cgroup_write(group[0], "cpu.max", "1000 5000");
	else if (n % 8 == 6)
		cgroup_write(group[0], "cpu.max", "max 5000");
}

TEST(throttled, .deadline = 90)
{
	EXPECT_LT(8, while_it_works(throttle));
	EXPECT_LT(0, stat_of(group[0], "nr_throttled"));
	remove_groups();
}

/* From one CPU to the other, and to both; where there is but one it stays there. */
static void take_cpus(pid_t pid, int n)
{
	static const char *const cpus[] = { "0", "1", "0-1" };

	(void)pid;
	cgroup_write(group[0], "cpuset.cpus",
	     sysconf(_SC_NPROCESSORS_ONLN) < 2 ? "0" : cpus[n % 3]);
}

TEST(loses_cpus, .deadline = 90)
{
	EXPECT_LT(4, while_it_works(take_cpus));
	remove_groups();
}

UMCG_TEST_MAIN
