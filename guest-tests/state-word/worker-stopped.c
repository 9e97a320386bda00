// SPDX-License-Identifier: GPL-2.0
/* Timeouts of workers that are stopped or frozen. */
#include "cgroup.h"
#include "crew.h"

/* A server, and a worker that times out in half a second, to be stopped. */
static struct stage {
	atomic_int tid;
	uint64_t until;
} *stage;

static void yield_until(struct worker *w)
{
	w->result = umcg_yield(w->umcg, stage->until);
}

static void time_out(void)
{
	static struct worker w = { .body = yield_until };

	become_server();
	hire(&w);
	stage->until = from_now(50 * SOON * ktap_slow);
	EXPECT_EQ(0, umcg_resume(&me, w.umcg, 0));
	until_word(&w, IDLE);
	atomic_store(&stage->tid, w.tid);
	EXPECT_EQ(0, umcg_await_idle(&me, &pool, 0));
	EXPECT_LE(stage->until, clock_ns(CLOCK_REALTIME));
	expect_queued(&w);
	finish(&w);
	EXPECT_EQ(-ETIMEDOUT, w.result);
}

static pid_t start_stage(void)
{
	pid_t pid;

	stage = shared_memory(sizeof(*stage));
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		time_out();
		_exit(0);
	}
	while (!atomic_load(&stage->tid))
		nap(MS);
	return pid;
}

/* Whether the worker's time is yet to come. A guest may have stood still for that long. */
static bool in_time(void)
{
	return clock_ns(CLOCK_REALTIME) < stage->until;
}

/* Return whether it was in time: if not, it may have ended, and has been reaped. */
static bool stop_it(pid_t pid)
{
	int status;

	ASSERT_EQ(0, kill(pid, SIGSTOP));
	ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
	if (WIFSTOPPED(status) && in_time())
		return true;
	if (WIFSTOPPED(status)) {
		ASSERT_EQ(0, kill(pid, SIGCONT));
		status = reap_child(pid);
	}
	EXPECT_EQ(0, status);
	return false;
}

TEST(outlives_stops)
{
	pid_t pid = start_stage();

	for (int stops = 0; stops < 5; stops++) {
		while (!stop_it(pid)) {
			pid = start_stage();
			stops = 0;
		}
		ASSERT_EQ(0, kill(pid, SIGCONT));
	}
	EXPECT_EQ(0, reap_child(pid));
}

TEST(passes_while_stopped)
{
	pid_t pid;

	do
		pid = start_stage();
	while (!stop_it(pid));
	while (clock_ns(CLOCK_REALTIME) < stage->until + SOON)
		nap(MS);
	EXPECT_EQ('T', thread_state(pid, stage->tid));
	ASSERT_EQ(0, kill(pid, SIGCONT));
	EXPECT_EQ(0, reap_child(pid));
}

#define FREEZER	CGROUPS "/umcg-worker-time"

TEST(passes_while_frozen)
{
	pid_t pid;

	cgroup_mount();
	cgroup_make(FREEZER);
	for (;;) {
		pid = start_stage();
		cgroup_add(FREEZER, pid);
		cgroup_freeze(FREEZER, true);
		cgroup_freeze(FREEZER, false);
		cgroup_freeze(FREEZER, true);
		if (in_time())
			break;
		cgroup_freeze(FREEZER, false);
		EXPECT_EQ(0, reap_child(pid));
	}
	while (clock_ns(CLOCK_REALTIME) < stage->until + SOON)
		nap(MS);
	EXPECT_EQ(0, waitpid(pid, NULL, WNOHANG));
	cgroup_freeze(FREEZER, false);
	EXPECT_EQ(0, reap_child(pid));
	cgroup_remove(FREEZER);
}

UMCG_TEST_MAIN
