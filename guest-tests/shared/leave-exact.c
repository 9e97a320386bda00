// SPDX-License-Identifier: GPL-2.0
/*
 * The memory of a server that has left is its own again, whatever is there by then; and its
 * worker may be on its way to tell it something. For each place from where the worker has
 * another state: it is brought there (kit/stepping.h), the server leaves, and has its memory
 * look as it did when it slept in a wait, which is when the kernel would change it.
 *
 * That the server has a worker and is awake comes of a time-out.
 */
#include "stepping.h"
#include "worker.h"

#define KERNELS_PART	(UMCG_SIZE / 2)
/* In steps, of some dozen instructions each. */
#define FAR		400	/* longer than any way */
#define STRIDE		4	/* to find out when it has another state */
#define REST		12	/* of the way, in which it may tell the server */

/* Of a step: what there is to tell may take fewer instructions than one. */
#define PARTS		5
#define PART		5	/* turns of count_down() */

static struct worker w;
static struct gate gate;
static char asleep[KERNELS_PART];	/* what the server is like then */
static atomic_bool runs, go;
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
	/* Now: it takes long for as long as the worker does not sleep. */
	await_tick();
	ASSERT_EQ(UMCG_TIMED_OUT, umcg_run(&me, &w.own, from_now(MS / 5)));
	ASSERT_TRUE(atomic_load(&runs));
}

/* Leave, and then have the worker do the rest of its way. */
static void leave_and_look(void)
{
	ASSERT_EQ(0, umcg_unregister(&me));
	memcpy(&me, asleep, sizeof(asleep));
	brake_off();
	nap(2 * MS);
	EXPECT_EQ(0, memcmp(&me, asleep, sizeof(asleep)));
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

/*
 * Have a worker with this body go on from where it is told to, so many steps; or, without
 * one, from where it is woken. Return whether it has another state then.
 */
static bool attempt(void (*body)(struct worker *w), int steps)
{
	enum umcg_state state;
	bool changed;

	set_up(body ?: block);
	if (!body) {
		atomic_store(&go, true);
		ASSERT_EQ(UMCG_BLOCKED, umcg_run_on(&me, &w.own, 0));
		until_asleep_in(&w, UMCG_IS_BLOCKED);
		await_tick();
	}
	state = umcg_state(&w.own);
	brake_on();
	if (body)
		atomic_store(&go, true);
	else
		gate_open(&gate);
	while (steps--)
		go_on();
	changed = umcg_state(&w.own) != state;
	leave_and_look();
	if (body == block)
		gate_open(&gate);
	clean_up();
	return changed;
}

static void go_through(void (*body)(struct worker *w))
{
	int steps = 0, last;

	begin_stepping();
	gate_make(&gate);
	while (!attempt(body, steps)) {
		steps += STRIDE;
		ASSERT_LT(steps, FAR);
	}
	TH_LOG("another state after %d steps", steps);
	ASSERT_LT(STRIDE, steps);
	last = steps + REST;
	/* One that is woken begins when it does. */
	for (part = 0; part < (body ? PARTS : 1); part++)
		for (steps = last; steps > last - REST - STRIDE; steps--)
			attempt(body, steps);
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
