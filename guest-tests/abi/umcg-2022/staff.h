/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of this ABI share: one server that the test's first thread is, peers,
 * servers in threads that make one umcg_wait(), and workers in threads. They stand on
 * the bare calls and not on the port.
 *
 * Every sleep of a worker that runs is reported, also one that the test did not
 * think of: between registering and unregistering a body prints nothing, maps
 * nothing and takes no lock.
 */
#ifndef STAFF_H
#define STAFF_H

#include "abi.h"
#include "kit.h"
#include "need.h"

#define NONE		UMCG_TASK_NONE
#define RUNNING		UMCG_TASK_RUNNING
#define RUNNABLE	UMCG_TASK_RUNNABLE
#define BLOCKED		UMCG_TASK_BLOCKED
#define PREEMPT		UMCG_TF_PREEMPT
#define COND_WAIT	UMCG_TF_COND_WAIT
#define RUNS		UMCG_TID_RUNNING

#define REGISTER	UMCG_CTL_REGISTER
#define UNREGISTER	UMCG_CTL_UNREGISTER
#define WORKER		UMCG_CTL_WORKER
#define MULTI		UMCG_CTL_MULTI

/* Of user space: some bits, but not all. */
#define SOME_BITS	0xa5000000U

#define UMCG_TEST_MAIN							\
	int main(int argc, char **argv)					\
	{								\
		ktap_before_each = need_umcg;				\
		return ktap_main(argc, argv);				\
	}

static inline uint64_t from_now(uint64_t ns)
{
	return clock_ns(CLOCK_MONOTONIC) + ns;
}

/* The server that the test's first thread is. */
static struct umcg me;

static inline int enrol(struct umcg *umcg, uint32_t flags)
{
	memset(umcg, 0, sizeof(*umcg));
	umcg->tid = gettid();
	umcg->task.server_tid = umcg->tid;
	umcg_set_word(&umcg->task, RUNNING);
	return umcg_sys_ctl(REGISTER | flags, &umcg->task, CLOCK_MONOTONIC);
}

static inline void become_server(void)
{
	ASSERT_EQ(0, enrol(&me, 0));
}

static inline int leave(struct umcg *umcg, uint32_t flags)
{
	return umcg_sys_ctl(UNREGISTER | flags, &umcg->task, 0);
}

/* Mark oneself and wait, with this in next_tid. */
static inline int wait_with(struct umcg *umcg, uint32_t next_tid, uint32_t flags, uint64_t timo)
{
	umcg->task.next_tid = next_tid;
	umcg_move(&umcg->task, RUNNING, RUNNABLE | COND_WAIT);
	return umcg_sys_wait(flags, timo);
}

/* A server in a thread of its own, which waits once. */
struct peer {
	struct umcg umcg;
	uint32_t next_tid, flags, bits, kind;
	uint64_t timo;
	atomic_bool returned;
	int result;
	int cpu;
	atomic_int tid;
	pthread_t thread;
};

static inline void *peer_body(void *arg)
{
	struct peer *p = arg;

	ASSERT_EQ(0, enrol(&p->umcg, p->kind));
	p->umcg.task.next_tid = p->next_tid;
	umcg_set_word(&p->umcg.task, RUNNABLE | COND_WAIT | p->bits);
	atomic_store(&p->tid, gettid());
	p->result = umcg_sys_wait(p->flags, p->timo);
	p->cpu = sched_getcpu();
	atomic_store(&p->returned, true);
	return NULL;
}

static inline void peer_start(struct peer *p)
{
	ASSERT_EQ(0, pthread_create(&p->thread, NULL, peer_body, p));
	while (!atomic_load(&p->tid))
		sched_yield();
}

static inline int peer_join(struct peer *p)
{
	ASSERT_EQ(0, pthread_join(p->thread, NULL));
	return p->result;
}

/* From its mark on, the peer sleeps nowhere but in umcg_wait(). */
static inline void until_asleep(struct peer *p)
{
	do {
		while (umcg_bits(umcg_word(&p->umcg.task)) != RUNNABLE)
			nap(MS);
		until_state(getpid(), p->tid, 'S');
	} while (umcg_bits(umcg_word(&p->umcg.task)) != RUNNABLE);
	ASSERT_FALSE(atomic_load(&p->returned));
}

static inline void expect_asleep(struct peer *p)
{
	nap(SOON);
	EXPECT_EQ('S', thread_state(getpid(), p->tid));
	EXPECT_FALSE(atomic_load(&p->returned));
}

/* Make it RUNNING, and have it see that. */
static inline void rouse(struct umcg *umcg)
{
	int err;

	ASSERT_TRUE(umcg_move(&umcg->task, RUNNABLE, RUNNING));
	/* It may have seen that for another reason, and be gone. */
	err = umcg_sys_kick(0, umcg->tid);
	ASSERT_TRUE(err == 0 || err == -ESRCH);
}

struct worker {
	struct umcg own;
	struct umcg *under;		/* the server to register with; NULL: `me` */
	/* What it does once it is run; nothing if NULL. Then it unregisters. */
	void (*body)(struct worker *w);
	bool stays;			/* ends without unregistering */
	uint32_t bits;			/* of user space, to register with */
	void *arg;			/* for the body */
	/* What came of it. */
	atomic_int steps;		/* counted by the body */
	int result;			/* for the body */
	int left;			/* what unregistering has returned */
	/* Where it is. */
	atomic_int tid;
	pthread_t thread;
};

static inline int register_worker(struct umcg *umcg, uint32_t server_tid, uint32_t bits)
{
	memset(umcg, 0, sizeof(*umcg));
	umcg->tid = gettid();
	umcg->task.server_tid = server_tid;
	umcg_set_word(&umcg->task, BLOCKED | bits);
	return umcg_sys_ctl(REGISTER | WORKER, &umcg->task, CLOCK_MONOTONIC);
}

static inline void *worker_body(void *arg)
{
	struct worker *w = arg;

	/* From here on it sleeps nowhere but in the call. */
	atomic_store(&w->tid, gettid());
	ASSERT_EQ(0, register_worker(&w->own, w->under ? w->under->tid : me.tid, w->bits));
	if (w->body)
		w->body(w);
	if (!w->stays)
		w->left = leave(&w->own, WORKER);
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
	EXPECT_EQ(0, w->left);
}

static inline uint32_t state_of(struct umcg *umcg)
{
	return umcg_word(&umcg->task) & UMCG_TASK_MASK;
}

/* Wait until the worker is asleep with this state. */
static inline void until_state_is(struct worker *w, uint32_t state)
{
	do {
		while (umcg_bits(umcg_word(&w->own.task)) != state)
			nap(MS);
		until_state(getpid(), w->tid, 'S');
	} while (umcg_bits(umcg_word(&w->own.task)) != state);
}

/* It is asleep with this state, and stays so. */
static inline void expect_state(struct worker *w, uint32_t state)
{
	nap(SOON);
	EXPECT_EQ(state, umcg_bits(umcg_word(&w->own.task)));
	EXPECT_EQ('S', thread_state(getpid(), w->tid));
}

/* Take what is in the list of a server. */
static inline struct umcg *take(struct umcg *server)
{
	return umcg_of(__atomic_exchange_n(&server->task.runnable_workers_ptr, 0,
					   __ATOMIC_SEQ_CST));
}

static inline struct umcg *next_of(struct umcg *worker)
{
	return umcg_of(worker->task.runnable_workers_ptr);
}

static inline void expect_none_listed(struct umcg *server)
{
	EXPECT_EQ(0, __atomic_load_n(&server->task.runnable_workers_ptr, __ATOMIC_SEQ_CST));
}

/* The worker, and nobody else, is in the list of that server; take it. */
static inline void expect_listed_under(struct umcg *server, struct worker *w)
{
	ASSERT_EQ(&w->own, take(server));
	ASSERT_EQ(NULL, next_of(&w->own));
}

static inline void expect_listed(struct worker *w)
{
	expect_listed_under(&me, w);
}

/* Wait until the worker, alone, has come to its list, and take it. */
static inline void until_back(struct worker *w)
{
	until_state_is(w, RUNNABLE);
	expect_listed_under(w->under ?: &me, w);
}

/* Start a worker and have it ready to be run: asleep, RUNNABLE, in no list. */
static inline void hire(struct worker *w)
{
	worker_start(w);
	until_back(w);
}

/*
 * Run a worker until it stops, and return its word. We are woken, too, by another one
 * that joins our list.
 */
static inline uint32_t run_under(struct umcg *server, struct worker *w)
{
	uint32_t next = w->own.tid, word;
	int err;

	w->own.task.server_tid = server->tid;
	do {
		err = wait_with(server, next, 0, 0);
		next |= RUNS;
		/* It may have stopped before we slept on. */
		ASSERT_TRUE(err == 0 || err == -EAGAIN || err == -ESRCH);
		word = umcg_bits(umcg_word(&w->own.task));
	} while ((word & UMCG_TASK_MASK) == RUNNING);
	return word;
}

static inline uint32_t run(struct worker *w)
{
	return run_under(&me, w);
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

/* Of a worker: stop, in no list, until run again. */
static inline int stop(struct worker *w)
{
	return wait_with(&w->own, 0, 0, UMCG_NEVER);
}

static inline void stop_and_step(struct worker *w)
{
	w->result = stop(w);
	atomic_fetch_add(&w->steps, 1);
}

static struct gate gate;

static inline void pass_gate(struct worker *w)
{
	w->result = gate_pass(&gate) ? 0 : -errno;
	atomic_fetch_add(&w->steps, 1);
}

static atomic_bool over;

static inline void spin(struct worker *w)
{
	atomic_store(&w->steps, 1);
	while (!atomic_load(&over))
		;
}

/* Run a worker that spins, and let it run on. */
static inline void let_run(struct worker *w)
{
	ASSERT_EQ(-ETIMEDOUT, wait_with(&me, w->own.tid, 0, from_now(MS)));
	while (!atomic_load(&w->steps))
		nap(MS);
	EXPECT_EQ(RUNNING, state_of(&w->own));
}

/* The tid of a thread that UMCG knows nothing of, and one that is gone. */
static inline void *pause_for_ever(void *arg)
{
	atomic_store((atomic_int *)arg, gettid());
	while (true)
		pause();
	return NULL;
}

static inline uint32_t plain_thread(void)
{
	static atomic_int tid;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, pause_for_ever, &tid));
	while (!atomic_load(&tid))
		sched_yield();
	return tid;
}

static inline void *say_tid(void *arg)
{
	*(uint32_t *)arg = gettid();
	return NULL;
}

static inline uint32_t gone_thread(void)
{
	uint32_t tid;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, say_tid, &tid));
	pthread_join(thread, NULL);
	return tid;
}

static inline void *flip_bits(void *arg)
{
	struct umcg_task *task = arg;

	for (;;)
		__atomic_fetch_xor(&task->state, UMCG_USER_MASK, __ATOMIC_SEQ_CST);
	return NULL;
}

/* Have the bits of user space change all the time, until the test ends. */
static inline void scribble_on(struct umcg_task *task)
{
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, flip_bits, task));
}

#endif
