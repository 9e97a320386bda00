/* SPDX-License-Identifier: GPL-2.0 */
/* Servers that run the workers of a pool until all have ended. */
#ifndef SHIFT_H
#define SHIFT_H

#include "kit.h"
#include "port.h"

struct shift {
	struct umcg_pool *pool;
	atomic_int left;	/* workers */
	atomic_long runs, preemptions;
};

static inline void serve(struct umcg *server, struct shift *shift)
{
	while (atomic_load(&shift->left) > 0) {
		struct umcg *worker = umcg_take_idle(shift->pool), *next;

		if (!worker) {
			/* The deadline is for who waits when the last one ends. */
			int err = umcg_await_idle(server, shift->pool, umcg_now() + SOON);

			ASSERT_TRUE(err == 0 || err == -EBUSY || err == -ETIMEDOUT);
			if (err == -EBUSY)
				sched_yield();
			continue;
		}
		for (; worker; worker = next) {
			int event;

			next = umcg_next_idle(worker);
			event = umcg_run(server, worker, 0);
			ASSERT_LT(0, event);
			atomic_fetch_add(&shift->runs, 1);
			if (event == UMCG_PREEMPTED)
				atomic_fetch_add(&shift->preemptions, 1);
			if (event == UMCG_EXITED)
				atomic_fetch_sub(&shift->left, 1);
			else if (event != UMCG_BLOCKED)
				/* It may yet have to finish its system call. */
				while (umcg_requeue(server, worker) == -EAGAIN)
					sched_yield();
		}
	}
}

static inline void *serve_body(void *arg)
{
	struct shift *shift = arg;
	struct umcg server;

	ASSERT_EQ(0, umcg_register_server(&server, shift->pool));
	serve(&server, shift);
	ASSERT_EQ(0, umcg_unregister(&server));
	return NULL;
}

/*
 * The caller, which is the server `me`, and `others` more run them. A worker that
 * one of them runs already may be in exec(): until that has killed us, no thread
 * can be made that shares the current directory (EAGAIN).
 */
static inline void serve_all(struct umcg *me, struct shift *shift, int others)
{
	pthread_t thread[others + 1];

	for (int i = 0; i < others; i++) {
		int err;

		while ((err = pthread_create(&thread[i], NULL, serve_body, shift)) == EAGAIN)
			sched_yield();
		ASSERT_EQ(0, err);
	}
	serve(me, shift);
	for (int i = 0; i < others; i++)
		pthread_join(thread[i], NULL);
}

#endif
