/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What shared tests have in common: workers in threads, and servers to run them.
 * The test's first thread is the server `me`.
 *
 * Every sleep of a worker that runs is reported, also one that the test did not
 * think of: between registering and unregistering a body prints nothing, maps
 * nothing and takes no lock.
 */
#ifndef WORKER_H
#define WORKER_H

#include "kit.h"
#include "need.h"
#include "shift.h"

/* What all of a program needs of the ABI, beside workers. */
#define UMCG_TEST_MAIN							\
	static void need_workers(void)					\
	{								\
		need_umcg();						\
		need_capabilities(UMCG_WORKERS);			\
	}								\
									\
	int main(int argc, char **argv)					\
	{								\
		ktap_before_each = need_workers;			\
		return ktap_main(argc, argv);				\
	}

struct worker {
	struct umcg own;
	/* What it does once it is run. Then it unregisters. */
	void (*body)(struct worker *w);
	void *arg;			/* for the body */
	/* What came of it. */
	atomic_int steps;		/* counted by the body */
	int result;			/* for the body */
	/* Where it is. */
	atomic_int tid;
	pthread_t thread;
};

static struct umcg me;
static struct umcg_pool pool;

static inline void become_server(void)
{
	ASSERT_EQ(0, umcg_register_server(&me, &pool));
}

static inline uint64_t from_now(uint64_t ns)
{
	return umcg_now() + ns;
}

static inline void *worker_body(void *arg)
{
	struct worker *w = arg;

	/* From here on it sleeps nowhere but in the call. */
	atomic_store(&w->tid, gettid());
	ASSERT_EQ(0, umcg_register_worker(&w->own, &pool));
	if (w->body)
		w->body(w);
	ASSERT_EQ(0, umcg_unregister(&w->own));
	return NULL;
}

/* Start a worker, which may not have registered yet when this returns. */
static inline void worker_start(struct worker *w)
{
	ASSERT_EQ(0, pthread_create(&w->thread, NULL, worker_body, w));
	while (!atomic_load(&w->tid))
		sched_yield();
}

static inline void worker_join(struct worker *w)
{
	ASSERT_EQ(0, pthread_join(w->thread, NULL));
}

/*
 * Wait until the worker is asleep in this state. Idle, it waits to be run, and has
 * been queued if it was to be. Blocked, it sleeps in whatever it called.
 */
static inline void until_asleep_in(struct worker *w, enum umcg_state state)
{
	do {
		while (umcg_state(&w->own) != state)
			nap(MS);
		until_state(getpid(), w->tid, 'S');
	} while (umcg_state(&w->own) != state);
}

/* It is asleep in this state, and stays so. */
static inline void expect_asleep_in(struct worker *w, enum umcg_state state)
{
	nap(SOON);
	EXPECT_EQ(state, umcg_state(&w->own));
	EXPECT_EQ('S', thread_state(getpid(), w->tid));
}

/* If the worker is in the pool, where it is alone, take it out. */
static inline bool take_queued(struct worker *w)
{
	struct umcg *worker = umcg_take_idle(&pool);

	if (!worker)
		return false;
	ASSERT_EQ(&w->own, worker);
	ASSERT_EQ(NULL, umcg_next_idle(worker));
	return true;
}

static inline void expect_none_queued(void)
{
	EXPECT_FALSE(umcg_any_idle(&pool));
}

/* Wait until the worker, alone, has come back to its pool, and take it. */
static inline void until_back(struct worker *w)
{
	until_asleep_in(w, UMCG_IS_IDLE);
	ASSERT_TRUE(take_queued(w));
}

/* Start a worker and have it ready to be run: asleep, idle, in no pool. */
static inline void hire(struct worker *w)
{
	worker_start(w);
	until_back(w);
}

/* Run an idle worker until something becomes of it: enum umcg_event. */
static inline int run(struct worker *w)
{
	return umcg_run(&me, &w->own, 0);
}

/* Run a worker that comes to its end without a stop. */
static inline void finish(struct worker *w)
{
	ASSERT_EQ(UMCG_EXITED, run(w));
	worker_join(w);
}

/* It may sleep on its way there, for a lock of the kernel that somebody else has. */
static inline void finish_in_time(struct worker *w)
{
	int event;

	while ((event = run(w)) != UMCG_EXITED) {
		ASSERT_EQ(UMCG_BLOCKED, event);
		until_back(w);
	}
	worker_join(w);
}

#endif
