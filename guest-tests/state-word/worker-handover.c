// SPDX-License-Identifier: GPL-2.0
/* Hand-overs between many workers and servers, and with those that go away. */
#include "crew.h"
#include "inject.h"

#define CHAIN	8
#define LAPS	50

static struct worker chain[CHAIN];
static atomic_int order;

static void pass_on(struct worker *w)
{
	int mine = w - chain, turn;

	while ((turn = atomic_fetch_add(&order, 1)) < CHAIN * LAPS) {
		ASSERT_EQ(mine, turn % CHAIN);
		ASSERT_EQ(IDLE, bare_word(&me));
		atomic_fetch_add(&w->steps, 1);
		ASSERT_EQ(0, umcg_yield_to(w->umcg, chain[(mine + 1) % CHAIN].umcg, 0));
	}
}

TEST(chain_of_workers)
{
	become_server();
	for (int i = 0; i < CHAIN; i++) {
		chain[i].body = pass_on;
		hire(&chain[i]);
	}
	/* All of it goes by under this server, which the first to end wakes. */
	EXPECT_EQ(0, umcg_resume(&me, chain[0].umcg, 0));
	for (int i = 0; i < CHAIN; i++) {
		EXPECT_EQ(LAPS, atomic_load(&chain[i].steps));
		if (bare_word(chain[i].umcg) == NONE)
			worker_join(&chain[i]);
		else
			finish(&chain[i]);
	}
}

/*
 * Rings of three workers, of which one runs, or is about to, at any time. It
 * hands over to the next one, or yields to its server; then any server may go on
 * with the ring. Whatever is lost, a wake or a worker, keeps it from its end.
 */
#define RINGS	4
#define MEMBERS	3
#define TURNS	600

static struct ring {
	struct worker worker[MEMBERS];
	_Atomic(struct umcg *) baton;	/* the one to be run; NULL: one runs */
	atomic_int turns;
} rings[RINGS];

static atomic_int rings_left;

static void go_round(struct worker *w)
{
	struct ring *ring = w->arg;
	struct worker *next = &ring->worker[(w - ring->worker + 1) % MEMBERS];

	while (atomic_fetch_add(&ring->turns, 1) < TURNS) {
		if (atomic_fetch_add(&w->steps, 1) % 3 == 0) {
			ASSERT_EQ(0, umcg_yield(w->umcg, 0));
			continue;
		}
		/* It may still be on its way to sleep. */
		while (umcg_yield_to(w->umcg, next->umcg, 0) == -EAGAIN)
			sched_yield();
	}
}

/* The word of a worker that is not on its way to sleep any more. */
static uint32_t settled_word(struct umcg *worker)
{
	uint32_t word;

	while ((word = bare_word(worker)) == (IDLE | LOCKED))
		sched_yield();
	return word;
}

/* Run the one that has the baton; return who is to have it then. */
static struct umcg *run_member(struct umcg *server, struct ring *ring,
			       struct umcg *worker)
{
	int err = umcg_resume(server, worker, 0);
	uint32_t word;

	ASSERT_TRUE(err == 0 || err == -ESRCH);
	for (int i = 0; i < MEMBERS; i++)
		if (ring->worker[i].tid == server->task.next_tid)
			worker = ring->worker[i].umcg;
	word = settled_word(worker);
	if (word == IDLE)
		return worker;
	ASSERT_EQ(NONE, word);
	for (int i = 0; i < MEMBERS; i++) {
		worker = ring->worker[i].umcg;
		word = settled_word(worker);
		if (word == IDLE)
			return worker;
		ASSERT_EQ(NONE, word);
	}
	return NULL;
}

static void run_rings(struct umcg *server)
{
	while (atomic_load(&rings_left) > 0) {
		bool idle = true;

		for (int i = 0; i < RINGS; i++) {
			struct umcg *worker = atomic_exchange(&rings[i].baton, NULL);

			if (!worker)
				continue;
			idle = false;
			worker = run_member(server, &rings[i], worker);
			if (worker)
				atomic_store(&rings[i].baton, worker);
			else
				atomic_fetch_sub(&rings_left, 1);
		}
		if (idle)
			sched_yield();
	}
}

static void *run_rings_too(void *arg)
{
	struct umcg server;

	ASSERT_EQ(0, umcg_register_server(&server, NULL));
	run_rings(&server);
	ASSERT_EQ(0, umcg_unregister(&server));
	return arg;
}

static void rings_to_their_end(int servers)
{
	pthread_t thread[servers];
	int first = sched_getcpu();

	become_server();
	for (int i = 0; i < RINGS; i++)
		for (int j = 0; j < MEMBERS; j++) {
			struct worker *w = &rings[i].worker[j];

			w->body = go_round;
			w->arg = &rings[i];
			hire(w);
		}
	atomic_store(&rings_left, RINGS);
	for (int i = 0; i < RINGS; i++)
		atomic_store(&rings[i].baton, rings[i].worker[0].umcg);
	for (int i = 1; i < servers; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, run_rings_too, NULL));
	run_rings(&me);
	for (int i = 1; i < servers; i++)
		pthread_join(thread[i], NULL);
	for (int i = 0; i < RINGS; i++) {
		int steps = 0;

		for (int j = 0; j < MEMBERS; j++) {
			worker_join(&rings[i].worker[j]);
			steps += atomic_load(&rings[i].worker[j].steps);
		}
		EXPECT_EQ(TURNS, steps);
	}
	TH_LOG("from CPU %d to CPU %d", first, sched_getcpu());
	expect_none_queued(&pool);
}

TEST(one_server) { rings_to_their_end(1); }
TEST(many_servers) { rings_to_their_end(4); }

TEST(many_servers_on_one_cpu)
{
	pin(0, 0);
	rings_to_their_end(3);
}

TEST(many_servers_with_delays)
{
	inject_at[INJECT_MARKED_SELF] = (struct injection){ INJECT_YIELD, 1 };
	inject_at[INJECT_MARKED_OTHER] = (struct injection){ INJECT_SPIN, 2000 };
	rings_to_their_end(4);
}

TEST(many_servers_with_more_delays)
{
	inject_at[INJECT_MARKED_SELF] = (struct injection){ INJECT_SPIN, 3000 };
	inject_at[INJECT_MARKED_OTHER] = (struct injection){ INJECT_YIELD, 2 };
	rings_to_their_end(4);
}

#define ENOUGH	40

static atomic_int fickle_tid;
static atomic_bool enough;

static void dally(unsigned int turns)
{
	sched_yield();
	inject_run(&(struct injection){ INJECT_SPIN, turns });
}

/* A server now and then. */
static void *be_fickle(void *arg)
{
	struct umcg server;

	atomic_store(&fickle_tid, gettid());
	for (unsigned int i = 0; !atomic_load(&enough); i++) {
		ASSERT_EQ(0, umcg_register_server(&server, NULL));
		dally(i % 7 * 300);
		ASSERT_EQ(0, umcg_unregister(&server));
		dally(i % 5 * 300);
	}
	return arg;
}

static void hand_over_to_the_fickle(struct worker *w)
{
	struct umcg_task *task = &w->umcg->task;

	while (!atomic_load(&enough)) {
		int err;

		task->next_tid = fickle_tid;
		ASSERT_TRUE(umcg_move(task, RUNNING, IDLE | LOCKED));
		err = umcg_sys_wait(0, 0);
		atomic_fetch_add(&w->steps, 1);
		if (!err)
			continue;
		ASSERT_EQ(-ESRCH, err);
		ASSERT_EQ(IDLE | LOCKED, umcg_word(task));
		task->next_tid = me.tid;
		umcg_set_word(task, RUNNING);
		w->result++;
		sched_yield();
	}
}

/*
 * A task that goes away at any moment of the hand-over: an error that leaves the
 * worker as it was, or it is parked. It is never queued: who knows that it gives
 * way, and who finds it in the pool, would both run it.
 */
TEST(hand_over_to_the_fickle_server)
{
	static struct worker w = { .body = hand_over_to_the_fickle };
	pthread_t thread;
	int parked = 0;

	become_server();
	ASSERT_EQ(0, pthread_create(&thread, NULL, be_fickle, NULL));
	while (!fickle_tid)
		sched_yield();
	hire(&w);
	while (!atomic_load(&enough)) {
		int err = umcg_resume(&me, w.umcg, from_now(MS));

		ASSERT_TRUE(err == 0 || err == -ETIMEDOUT);
		/* The server is told nothing of when it stops. */
		until_word(&w, IDLE);
		expect_none_queued(&pool);
		parked++;
		atomic_store(&enough, parked >= ENOUGH && w.result >= ENOUGH);
	}
	finish(&w);
	pthread_join(thread, NULL);
	EXPECT_EQ(w.result + parked, atomic_load(&w.steps));
	TH_LOG("%d errors, parked %d times", w.result, parked);
}

UMCG_TEST_MAIN
