/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A process with a worker that is held, and what has to work on a held worker,
 * whatever it was at: it stops and goes on, is traced, is frozen, and dies.
 */
#ifndef HELD_H
#define HELD_H

#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>

#include "crew.h"

/* Shared by the process and the test. */
struct held {
	atomic_bool there;	/* the worker is held, and in no pool */
	atomic_bool go;		/* run it to its end */
	atomic_int tid;
};

/* A way for a worker to come to be held. */
struct way {
	void (*body)(struct worker *w);
	/* In its server: run it until it is held, for the first time or again. */
	void (*bring)(void);
	/* In its server, when the worker has come to its end: did it go well? */
	void (*check)(void);
};

static struct held *held;
static struct worker w;

static inline void be_held(const struct way *way)
{
	become_server();
	w.body = way->body;
	hire(&w);
	way->bring();
	until_state(getpid(), w.tid, 'S');
	EXPECT_EQ(IDLE, bare_word(&w.own) & ~PREEMPTED);
	atomic_store(&held->tid, w.tid);
	atomic_store(&held->there, true);
	while (!atomic_load(&held->go))
		nap(MS);
	finish_in_time(&w);
	if (way->check)
		way->check();
}

static inline pid_t fork_held(const struct way *way)
{
	pid_t pid;

	held = held ?: shared_memory(sizeof(*held));
	memset(held, 0, sizeof(*held));
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		be_held(way);
		_exit(0);
	}
	while (!atomic_load(&held->there)) {
		ASSERT_EQ(0, waitpid(pid, NULL, WNOHANG));
		nap(MS);
	}
	return pid;
}

static inline void stops_and_goes_on(pid_t pid)
{
	ASSERT_EQ(0, kill(pid, SIGSTOP));
	until_state(pid, held->tid, 'T');
	ASSERT_EQ(0, kill(pid, SIGCONT));
	until_state(pid, held->tid, 'S');
}

static inline void is_traced(pid_t pid)
{
	int status;

	ASSERT_EQ(0, ptrace(PTRACE_SEIZE, held->tid, NULL, NULL));
	ASSERT_EQ(0, ptrace(PTRACE_INTERRUPT, held->tid, NULL, NULL));
	ASSERT_EQ(held->tid, waitpid(held->tid, &status, __WALL));
	EXPECT_TRUE(WIFSTOPPED(status));
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, held->tid, NULL, NULL));
	until_state(pid, held->tid, 'S');
}

#define HELD_CGROUPS	"/sys/fs/cgroup"
#define HELD_CGROUP	HELD_CGROUPS "/umcg-held"

static inline void tell_cgroup(const char *file, const char *text)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), HELD_CGROUP "/%s", file);
	fd = open(path, O_WRONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(strlen(text), write(fd, text, strlen(text)));
	close(fd);
}

static inline void until_frozen(bool frozen)
{
	const char *said = frozen ? "frozen 1" : "frozen 0";
	char text[128];
	ssize_t n;
	int fd;

	tell_cgroup("cgroup.freeze", frozen ? "1" : "0");
	do {
		nap(MS);
		fd = open(HELD_CGROUP "/cgroup.events", O_RDONLY);
		n = read(fd, text, sizeof(text) - 1);
		ASSERT_LT(0, n);
		text[n] = '\0';
		close(fd);
	} while (!strstr(text, said));
}

/* One that a failed test has left behind is there already. */
static inline void freezes_and_thaws(pid_t pid)
{
	char text[16];

	mkdir(HELD_CGROUPS, 0755);
	if (access(HELD_CGROUPS "/cgroup.procs", F_OK))
		ASSERT_EQ(0, mount("none", HELD_CGROUPS, "cgroup2", 0, NULL));
	if (mkdir(HELD_CGROUP, 0755))
		ASSERT_EQ(EEXIST, errno);
	snprintf(text, sizeof(text), "%d", pid);
	tell_cgroup("cgroup.procs", text);
	until_frozen(true);
	until_frozen(false);
	until_state(pid, held->tid, 'S');
}

static inline void goes_through_all(pid_t pid)
{
	stops_and_goes_on(pid);
	is_traced(pid);
	freezes_and_thaws(pid);
	/* None of it has let it go. */
	EXPECT_EQ('S', thread_state(pid, held->tid));
}

/*
 * First it is killed without more ado: what was done to it before could have
 * cured it. Then one that has been through all of it is killed, and one goes on.
 */
static inline void is_held_like_any_other(const struct way *way)
{
	pid_t pid = fork_held(way);

	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(SIGKILL, WTERMSIG(reap_child(pid)));

	pid = fork_held(way);
	goes_through_all(pid);
	ASSERT_EQ(0, kill(pid, SIGTERM));
	EXPECT_EQ(SIGTERM, WTERMSIG(reap_child(pid)));

	pid = fork_held(way);
	goes_through_all(pid);
	atomic_store(&held->go, true);
	EXPECT_EQ(0, reap_child(pid));
	while (rmdir(HELD_CGROUP) && errno == EBUSY)
		nap(MS);
}

#endif
