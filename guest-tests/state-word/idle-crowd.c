// SPDX-License-Identifier: GPL-2.0
/* Many workers that come back at once, and many who take them off the list. */
#include <linux/futex.h>

#include "crew.h"
#include "inject.h"

#define CROWD	8
#define ROUNDS	100

static struct worker crowd[CROWD];
static atomic_int round_now;

static void sleep_each_round(struct worker *w)
{
	for (int i = 0; i < ROUNDS; i++) {
		while (atomic_load(&round_now) == i)
			syscall(SYS_futex, &round_now, FUTEX_WAIT_PRIVATE, i, NULL);
		atomic_fetch_add(&w->steps, 1);
	}
}

/*
 * Take `n` off the list as they come, of which each is to be seen once, and to
 * be ready when it is seen. Return how many links were not there yet.
 */
static int take_all(int n, int steps)
{
	bool seen[CROWD] = {};
	int pending = 0;

	while (n > 0) {
		struct umcg *u = umcg_take_idle(&pool);

		for (; u; n--) {
			struct worker *w = (struct worker *)u;

			ASSERT_EQ(IDLE, bare_word(u));
			ASSERT_FALSE(seen[w - crowd]);
			ASSERT_EQ(steps, atomic_load(&w->steps));
			seen[w - crowd] = true;
			pending += __atomic_load_n(&u->task.idle_workers_ptr,
						   __ATOMIC_ACQUIRE) == 1;
			u = umcg_next_idle(u);
		}
	}
	expect_none_queued(&pool);
	return pending;
}

TEST(all_come_back_at_once)
{
	int pending = 0;

	become_server();
	for (int i = 0; i < CROWD; i++) {
		crowd[i].body = sleep_each_round;
		worker_start(&crowd[i]);
	}
	for (int i = 0; i < ROUNDS; i++) {
		pending += take_all(CROWD, i ? i - 1 : 0);
		for (int j = 0; j < CROWD; j++)
			ASSERT_EQ(BLOCKED, run(&crowd[j]));
		atomic_store(&round_now, i + 1);
		syscall(SYS_futex, &round_now, FUTEX_WAKE_PRIVATE, CROWD);
	}
	pending += take_all(CROWD, ROUNDS - 1);
	for (int j = 0; j < CROWD; j++)
		finish(&crowd[j]);
	TH_LOG("%d links were followed before they were there", pending);
}

#define WAKES	400

static struct gate gates[CROWD];

static void pass_gates(struct worker *w)
{
	for (int i = 0; i < WAKES / CROWD; i++) {
		ASSERT_TRUE(gate_pass(&gates[w - crowd]));
		atomic_fetch_add(&w->steps, 1);
	}
}

/* Open the gate of each that sleeps at it. */
static void *open_gates(void *arg)
{
	int opened[CROWD] = {};

	for (int left = WAKES; left > 0; sched_yield())
		for (int i = 0; i < CROWD; i++)
			if (bare_word(crowd[i].umcg) == BLOCKED &&
			    atomic_load(&crowd[i].steps) == opened[i]) {
				opened[i]++;
				left--;
				gate_open(&gates[i]);
			}
	return arg;
}

/* A server that is woken for a worker finds one. */
TEST(server_finds_who_it_was_woken_for)
{
	int ended = 0;
	pthread_t thread;

	become_server();
	for (int i = 0; i < CROWD; i++) {
		gate_make(&gates[i]);
		crowd[i].body = pass_gates;
		hire(&crowd[i]);
		ASSERT_EQ(BLOCKED, run(&crowd[i]));
	}
	ASSERT_EQ(0, pthread_create(&thread, NULL, open_gates, NULL));
	while (ended < CROWD) {
		struct umcg *u, *next;

		ASSERT_EQ(0, umcg_await_idle(&me, &pool, 0));
		u = umcg_take_idle(&pool);
		ASSERT_NE(NULL, u);
		for (; u; u = next) {
			next = umcg_next_idle(u);
			ASSERT_EQ(IDLE, bare_word(u));
			ended += run_under(&me, u) == NONE;
		}
	}
	pthread_join(thread, NULL);
	for (int i = 0; i < CROWD; i++)
		EXPECT_EQ(WAKES / CROWD, atomic_load(&crowd[i].steps));
}

/* Workers that sleep, yield and end under servers that share them all. */
#define MANY	12
#define TURNS	60

static struct worker many[MANY];
static struct gate door;

static void sleep_and_yield(struct worker *w)
{
	for (int i = 0; i < TURNS; i++) {
		if (i % 2)
			ASSERT_EQ(0, give_way(w));
		else
			ASSERT_TRUE(gate_pass(&door));
		atomic_fetch_add(&w->steps, 1);
	}
}

static void *open_door(void *arg)
{
	for (int i = 0; i < MANY * TURNS / 2; i++) {
		gate_open(&door);
		if (i % 16 == 0)
			nap(MS);
	}
	return arg;
}

static void many_under(int servers)
{
	struct shift shift = { .pool = &pool, .left = MANY };
	pthread_t thread;

	become_server();
	gate_make(&door);
	for (int i = 0; i < MANY; i++) {
		many[i].body = sleep_and_yield;
		worker_start(&many[i]);
	}
	ASSERT_EQ(0, pthread_create(&thread, NULL, open_door, NULL));
	serve_all(&me, &shift, servers - 1);
	pthread_join(thread, NULL);
	for (int i = 0; i < MANY; i++) {
		worker_join(&many[i]);
		EXPECT_EQ(TURNS, atomic_load(&many[i].steps));
	}
	expect_none_queued(&pool);
	TH_LOG("%ld times run", atomic_load(&shift.runs));
	EXPECT_LE(MANY * TURNS / 2, atomic_load(&shift.runs));
}

TEST(one_server_for_all) { many_under(1); }
TEST(servers_share_all) { many_under(4); }

TEST(servers_share_all_with_delays)
{
	inject_at[INJECT_MARKED_SELF] = (struct injection){ INJECT_YIELD, 1 };
	inject_at[INJECT_MARKED_OTHER] = (struct injection){ INJECT_YIELD, 1 };
	many_under(3);
}

UMCG_TEST_MAIN
