// SPDX-License-Identifier: GPL-2.0
/*
 * The memory of a server that has left is its own again, whatever is there by then; and its
 * worker may be on its way to tell it something. For each place on that way: the worker is
 * brought there (kit/stepping.h), the server leaves, and has its memory look as it did when
 * it slept in a wait, which is when the kernel would change it.
 *
 * That the server has a worker and is awake comes of a time-out.
 */
#include "stepping.h"
#include "worker.h"

#define KERNELS_PART	(UMCG_SIZE / 2)
#define LAST_PLACE	400

static struct worker w;
static struct gate gate;
static char asleep[KERNELS_PART];	/* what the server is like then */
static atomic_bool runs, go;

static void get_there(void)
{
	memcpy(asleep, &me, sizeof(asleep));
	atomic_store(&runs, true);
	while (!atomic_load(&go))
		relax();
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

/* A server, and its worker, which runs on. */
static void set_up(void (*body)(struct worker *w))
{
	memset(&w, 0, sizeof(w));
	atomic_store(&runs, false);
	atomic_store(&go, false);
	become_server();
	w.body = body;
	pin(0, STEPPED);
	worker_start(&w);
	pin(0, STEPPING);
	until_back(&w);
	ASSERT_EQ(UMCG_TIMED_OUT, umcg_run(&me, &w.own, from_now(5 * MS)));
	ASSERT_TRUE(atomic_load(&runs));
}

/*
 * Leave, and then have the worker do the rest of its way. Return whether that was behind
 * it: it had left its CPU.
 */
static bool leave_and_look(void)
{
	bool over = thread_state(getpid(), w.tid) != 'R';

	ASSERT_EQ(0, umcg_unregister(&me));
	memcpy(&me, asleep, sizeof(asleep));
	brake_off();
	nap(5 * MS);
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
	await_tick();
	brake_on();
	gate_open(&gate);
	while (steps--)
		go_on();
	over = leave_and_look();
	clean_up();
	return over;
}

static void go_through(void (*body)(struct worker *w))
{
	int place = 0, overs = 0;

	begin_stepping();
	gate_make(&gate);
	while (place < LAST_PLACE && overs < 3)
		overs += body ? attempt(body, place++) : attempt_to_come_back(place++);
	TH_LOG("%d places", place);
	EXPECT_EQ(3, overs);
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
