/* SPDX-License-Identifier: GPL-2.0 */
/* A worker that sleeps in one way, and a test that this is reported. */
#ifndef SLEEPER_H
#define SLEEPER_H

#include "worker.h"

struct sleeper {
	void (*prepare)(void);		/* may be NULL */
	int (*sleep)(void);		/* in the worker: 0 if it slept well */
	void (*release)(void);		/* ends the sleep */
};

static struct worker w;

static inline void sleep_once(struct worker *worker)
{
	const struct sleeper *sleeper = worker->arg;

	atomic_store(&worker->steps, 1);
	worker->result = sleeper->sleep();
	atomic_store(&worker->steps, 2);
}

static inline void is_reported(const struct sleeper *sleeper)
{
	w.body = sleep_once;
	w.arg = (void *)sleeper;
	if (sleeper->prepare)
		sleeper->prepare();
	become_server();
	hire(&w);
	EXPECT_EQ(UMCG_BLOCKED, run(&w));
	EXPECT_EQ(1, atomic_load(&w.steps));
	expect_none_queued();
	/* Again awake, it has to be run before it is out of its system call. */
	sleeper->release();
	until_back(&w);
	EXPECT_EQ(1, atomic_load(&w.steps));
	finish_in_time(&w);
	EXPECT_EQ(2, atomic_load(&w.steps));
	EXPECT_EQ(0, w.result);
}

/* SLEEPS(name, prepare, release) { what the worker does } */
#define SLEEPS(_name, _prepare, _release)				\
	static int _name##_sleep(void);					\
	TEST(_name)							\
	{								\
		static const struct sleeper sleeper = {			\
			_prepare, _name##_sleep, _release		\
		};							\
		is_reported(&sleeper);					\
	}								\
	static int _name##_sleep(void)

#endif
