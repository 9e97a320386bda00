/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A process with a worker that is held, and what has to work on a held worker,
 * whatever it was at: it stops and goes on, is traced, is frozen, and dies.
 */
#ifndef HELD_H
#define HELD_H

#include <sys/ptrace.h>

#include "cgroup.h"
#include "crew.h"
#include "trace.h"

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
	trace_begin(held->tid);
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, held->tid, NULL, NULL));
	until_state(pid, held->tid, 'S');
}

#define HELD_CGROUP	CGROUPS "/umcg-held"

static inline void freezes_and_thaws(pid_t pid)
{
	cgroup_mount();
	cgroup_make(HELD_CGROUP);
	cgroup_add(HELD_CGROUP, pid);
	cgroup_freeze(HELD_CGROUP, true);
	cgroup_freeze(HELD_CGROUP, false);
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
	cgroup_remove(HELD_CGROUP);
}

#endif
