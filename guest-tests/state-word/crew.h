/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of workers share: workers in threads, and servers to run
 * them. The test's first thread is the server `me` of peer.h.
 *
 * Every sleep of a worker that runs is reported, also one that the test did not
 * think of: between registering and unregistering a body prints nothing, maps
 * nothing and takes no lock.
 */
#ifndef CREW_H
#define CREW_H

#include "peer.h"
#include "shift.h"

#define NONE		UMCG_TASK_NONE
#define LOCKED		UMCG_TF_LOCKED
#define PREEMPTED	UMCG_TF_PREEMPTED

struct worker {
	struct umcg own;
	struct umcg *umcg;		/* NULL: the one above */
	struct umcg_pool *pool;		/* NULL: the common one */
	/* What it does once it is run; nothing if NULL. Then it unregisters. */
	void (*body)(struct worker *w);
	bool stays;			/* ends without unregistering */
	uint32_t bits;			/* of user space, to register with */
	void *arg;			/* for the body */
	/* What came of it. */
	atomic_int steps;		/* counted by the body */
	int result;			/* for the body */
	atomic_bool ended;
	/* Where it is. */
	atomic_int tid;
	pthread_t thread;
};

/* The idle workers, unless a test has several such pools. */
static struct umcg_pool pool;

static inline uint32_t bare_word(struct umcg *umcg)
{
	return umcg_word(&umcg->task) & ~UMCG_TASK_USER_MASK;
}

/* umcg_register_worker() with bits of user space in the word. */
static inline int register_worker(struct umcg *umcg, struct umcg_pool *p,
				  uint32_t bits)
{
	*umcg = (struct umcg) {
		.task = {
			.idle_workers_ptr = (uintptr_t)&p->idle_workers,
			.idle_server_tid_ptr = (uintptr_t)&p->idle_server_tid,
		},
		.tid = gettid(),
		.pool = p,
	};
	umcg_set_word(&umcg->task, BLOCKED | bits);
	return umcg_sys_ctl(UMCG_CTL_REGISTER | UMCG_CTL_WORKER, &umcg->task);
}

static inline void *worker_body(void *arg)
{
	struct worker *w = arg;

	/* From here on it sleeps nowhere but in the call. */
	atomic_store(&w->tid, gettid());
	ASSERT_EQ(0, register_worker(w->umcg, w->pool, w->bits));
	if (w->body)
		w->body(w);
	if (!w->stays)
		ASSERT_EQ(0, umcg_unregister(w->umcg));
	atomic_store(&w->ended, true);
	return NULL;
}

/* Start a worker, which may not have registered yet when this returns. */
static inline void worker_start(struct worker *w)
{
	w->umcg = w->umcg ?: &w->own;
	w->pool = w->pool ?: &pool;
	ASSERT_EQ(0, pthread_create(&w->thread, NULL, worker_body, w));
	while (!atomic_load(&w->tid))
		sched_yield();
}

static inline void worker_join(struct worker *w)
{
	ASSERT_EQ(0, pthread_join(w->thread, NULL));
}

/*
 * Wait until the worker is asleep with this word. IDLE: it waits to be run, and
 * has been queued if it was to be. BLOCKED: it sleeps in whatever it called.
 */
static inline void until_word(struct worker *w, uint32_t word)
{
	do {
		while (bare_word(w->umcg) != word)
			nap(MS);
		until_state(getpid(), w->tid, 'S');
	} while (bare_word(w->umcg) != word);
}

/* It is asleep with this word, and stays so. */
static inline void expect_word(struct worker *w, uint32_t word)
{
	EXPECT_EQ('S', rest_state(getpid(), w->tid));
	EXPECT_EQ(word, bare_word(w->umcg));
}

/*
 * If the worker is in its pool, where it is alone, take it out. Who runs it sets
 * its idle_workers_ptr, so not before the kernel has stored the link there.
 */
static inline bool take_queued(struct worker *w)
{
	struct umcg *worker = umcg_take_idle(w->pool);

	if (!worker)
		return false;
	ASSERT_EQ(w->umcg, worker);
	ASSERT_EQ(NULL, umcg_next_idle(worker));
	return true;
}

static inline void expect_queued(struct worker *w)
{
	ASSERT_TRUE(take_queued(w));
}

static inline void expect_none_queued(struct umcg_pool *p)
{
	EXPECT_EQ(0, __atomic_load_n(&p->idle_workers, __ATOMIC_SEQ_CST));
}

/* Start a worker and have it ready to be run: asleep, IDLE, in no pool. */
static inline void hire(struct worker *w)
{
	worker_start(w);
	until_word(w, IDLE);
	expect_queued(w);
}

/* Wait until the worker, alone, has come back to its pool, and take it. */
static inline void until_back(struct worker *w)
{
	until_word(w, IDLE);
	expect_queued(w);
}

/* Whose worker it is: that of who ran it last, until it is taken from a pool. */
static inline bool runs_under(struct umcg *server, struct umcg *worker)
{
	return __atomic_load_n(&worker->server, __ATOMIC_SEQ_CST) == server;
}

/*
 * Sleep until the worker does not run any more, and return its word: BLOCKED
 * also if it has come back from that, and another server has taken it over. A
 * server can be woken for nothing, by a worker that took its tid from the pool
 * before it gave up waiting there; and one that yields makes its server RUNNING
 * before the kernel unlocks it.
 */
static inline uint32_t until_stopped(struct umcg *server, struct umcg *worker)
{
	uint32_t word;
	int err;

	for (;;) {
		umcg_move(&server->task, RUNNING, IDLE);
		word = bare_word(worker);
		if (!runs_under(server, worker))
			word = BLOCKED;
		if (word == (IDLE | LOCKED)) {
			sched_yield();
			continue;
		}
		if ((word & UMCG_TASK_STATE_MASK) != RUNNING)
			break;
		err = umcg_sys_wait(0, 0);
		/* next_tid is still the worker, which may be gone. */
		ASSERT_TRUE(err == 0 || err == -ESRCH);
	}
	umcg_move(&server->task, IDLE, RUNNING);
	return word;
}

/* Run an idle worker until it blocks, yields, is preempted or is gone. */
static inline uint32_t run_under(struct umcg *server, struct umcg *worker)
{
	int err = umcg_resume(server, worker, 0);

	/* It can have gone before it was looked up. */
	ASSERT_TRUE(err == 0 || err == -ESRCH);
	return until_stopped(server, worker);
}

static inline uint32_t run(struct worker *w)
{
	return run_under(&me, w->umcg);
}

/* Run a worker that comes to its end without a stop. */
static inline void finish(struct worker *w)
{
	ASSERT_EQ(NONE, run(w));
	worker_join(w);
}

/* It may sleep on its way there, for a lock of the kernel that somebody else has. */
static inline void finish_in_time(struct worker *w)
{
	while (run(w) != NONE)
		until_back(w);
	worker_join(w);
}

/* A body that gives way to its server once. */
static inline void yield_and_step(struct worker *w)
{
	w->result = umcg_yield(w->umcg, 0);
	atomic_fetch_add(&w->steps, 1);
}

/* umcg_wait() of a worker that has this in its structure. */
static inline int wait_with(struct worker *w, uint32_t word, uint32_t next_tid)
{
	struct umcg_task *task = &w->umcg->task;

	task->next_tid = next_tid;
	umcg_set_word(task, word | SOME_BITS);
	return umcg_sys_wait(0, 1);
}

static inline void *pause_for_ever(void *arg)
{
	atomic_store((atomic_int *)arg, gettid());
	while (true)
		pause();
	return NULL;
}

/* The tid of a thread that UMCG knows nothing of. */
static inline uint32_t plain_thread(void)
{
	static atomic_int tid;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, pause_for_ever, &tid));
	while (!atomic_load(&tid))
		sched_yield();
	return tid;
}

/* The tid of a server that is gone. */
static inline uint32_t gone_server(void)
{
	static struct peer gone;

	peer_start(&gone);
	until_asleep(&gone);
	peer_wake(&gone);
	ASSERT_EQ(0, peer_join(&gone));
	return gone.tid;
}

/* For bodies of workers that a shift runs, in place of umcg_yield(me, 0). */
static inline int give_way(struct worker *w)
{
	return umcg_give_way(w->umcg);
}

#endif
