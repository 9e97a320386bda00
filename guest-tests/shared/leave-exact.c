// SPDX-License-Identifier: GPL-2.0
/*
 * The memory of a server that has left is its own again, whatever is there by then; and its
 * worker may be on its way to tell it something. For each place at the end of that way: the
 * worker is brought there (kit/stepping.h), the server leaves, and has its memory look as it
 * did when it slept in a wait, which is when the kernel would change it.
 *
 * That the server has a worker and is awake comes of a time-out.
 */
#include "stepping.h"
#include "worker.h"

#define KERNELS_PART	(UMCG_SIZE / 2)
/* In steps, of some dozen instructions each. */
#define FAR		400	/* longer than any way */
#define STRIDE		4	/* to find out how long it is */
#define END		10	/* of the way, where it may tell the server */

/* Of a step: what there is to tell may take fewer instructions than one. */
#define PARTS		5
#define PART		5	/* turns of count_down() */

static struct worker w;
static struct gate gate;
static char asleep[KERNELS_PART];	/* what the server is like then */
static atomic_bool runs, go, has_left;
static long slept;			/* how often, before it goes on */
static int part;			/* of a step, by which it is late */

static void get_there(void)
{
	memcpy(asleep, &me, sizeof(asleep));
	atomic_store(&runs, true);
	while (!atomic_load(&go))
		relax();
	count_down(part * PART);
}

static void block(struct worker *worker)
{
	get_there();
	worker->result = gate_pass(&gate);
}

static void leave(struct worker *worker)
{
	(void)worker;
	get_there();
}

/* worker_body(), which tells when it has left. */
static void *work(void *arg)
{
	atomic_store(&w.tid, gettid());
	ASSERT_EQ(0, umcg_register_worker(&w.own, &pool));
	w.body(&w);
	ASSERT_EQ(0, umcg_unregister(&w.own));
	atomic_store(&has_left, true);
	return arg;
}

/* A server, and its worker, which runs on. */
static void set_up(void (*body)(struct worker *w))
{
	memset(&w, 0, sizeof(w));
	atomic_store(&runs, false);
	atomic_store(&go, false);
	atomic_store(&has_left, false);
	become_server();
	w.body = body;
	pin(0, STEPPED);
	ASSERT_EQ(0, pthread_create(&w.thread, NULL, work, NULL));
	pin(0, STEPPING);
	while (!atomic_load(&w.tid))
		nap(MS);
	until_back(&w);
	ASSERT_EQ(UMCG_TIMED_OUT, umcg_run(&me, &w.own, from_now(MS)));
	ASSERT_TRUE(atomic_load(&runs));
}

/*
 * Leave, and then have the worker do the rest of its way. Return whether that was behind
 * it: it had left, or slept.
 */
static bool leave_and_look(void)
{
	/* Not is_off_cpu(), which would wait until it is. */
	bool over = atomic_load(&has_left) || sleeps(getpid(), w.tid) > slept;

	ASSERT_EQ(0, umcg_unregister(&me));
	memcpy(&me, asleep, sizeof(asleep));
	brake_off();
	nap(2 * MS);
	EXPECT_EQ(0, memcmp(&me, asleep, sizeof(asleep)));
	return over;
}

/* Whoever is the worker's server by now, it comes to its end. */
static void clean_up(void)
{
	become_server();
	while (umcg_state(&w.own) != UMCG_IS_NOBODY) {
		if (take_queued(&w))
			umcg_run(&me, &w.own, 0);
		nap(MS);
	}
	worker_join(&w);
	ASSERT_EQ(0, umcg_unregister(&me));
}

/* Have the worker go on from where it is told to, so many steps. */
static bool attempt(void (*body)(struct worker *w), int steps)
{
	bool over;

	set_up(body);
	slept = sleeps(getpid(), w.tid);
	await_tick();
	brake_on();
	atomic_store(&go, true);
	while (steps--)
		go_on();
	over = leave_and_look();
	if (body == block)
		gate_open(&gate);
	clean_up();
	return over;
}

/* The same from where it is woken, and comes back. */
static bool attempt_to_come_back(int steps)
{
	bool over;

	set_up(block);
	atomic_store(&go, true);
	ASSERT_EQ(UMCG_BLOCKED, umcg_run_on(&me, &w.own, 0));
	until_asleep_in(&w, UMCG_IS_BLOCKED);
	slept = sleeps(getpid(), w.tid);
	await_tick();
	brake_on();
	gate_open(&gate);
	while (steps--)
		go_on();
	over = leave_and_look();
	clean_up();
	return over;
}

static bool is_over(void (*body)(struct worker *w), int steps)
{
	return body ? attempt(body, steps) : attempt_to_come_back(steps);
}

static void go_through(void (*body)(struct worker *w))
{
	int length = 0;

	begin_stepping();
	gate_make(&gate);
	while (!is_over(body, length)) {
		length += STRIDE;
		ASSERT_LT(length, FAR);
	}
	for (part = 0; part < PARTS; part++)
		for (int steps = length; steps && steps > length - END - STRIDE; steps--)
			is_over(body, steps);
	TH_LOG("the way takes %d steps", length);
}

TEST(of_one_that_blocks, .deadline = 300)
{
	go_through(block);
}

TEST(of_one_that_leaves, .deadline = 300)
{
	go_through(leave);
}

TEST(of_one_that_comes_back, .deadline = 300)
{
	go_through(NULL);
}

UMCG_TEST_MAIN
