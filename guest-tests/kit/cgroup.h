/* SPDX-License-Identifier: GPL-2.0 */
/* Control groups (v2) of a test's own. */
#ifndef CGROUP_H
#define CGROUP_H

#include <sys/mount.h>
#include <sys/stat.h>

#include "kit.h"

#define CGROUPS	"/sys/fs/cgroup"

static inline void cgroup_mount(void)
{
	mkdir(CGROUPS, 0755);
	if (access(CGROUPS "/cgroup.procs", F_OK))
		ASSERT_EQ(0, mount("none", CGROUPS, "cgroup2", 0, NULL));
}

/* What a failed test has left behind is there already. */
static inline void cgroup_make(const char *group)
{
	if (mkdir(group, 0755))
		ASSERT_EQ(EEXIST, errno);
}

/* Once the last process in it is gone. */
static inline void cgroup_remove(const char *group)
{
	while (rmdir(group) && errno == EBUSY)
		nap(MS);
}

static inline void cgroup_write(const char *group, const char *file, const char *text)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", group, file);
	fd = open(path, O_WRONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(strlen(text), write(fd, text, strlen(text)));
	close(fd);
}

static inline void cgroup_add(const char *group, pid_t pid)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", pid);
	cgroup_write(group, "cgroup.procs", text);
}

/* Freeze or thaw who is in it, and wait until they are. */
static inline void cgroup_freeze(const char *group, bool frozen)
{
	const char *said = frozen ? "frozen 1" : "frozen 0";
	char path[96], text[128];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.events", group);
	cgroup_write(group, "cgroup.freeze", frozen ? "1" : "0");
	for (;;) {
		fd = open(path, O_RDONLY);
		n = read(fd, text, sizeof(text) - 1);
		ASSERT_LT(0, n);
		text[n] = '\0';
		close(fd);
		if (strstr(text, said))
			return;
		nap(MS);
	}
}

#endif
