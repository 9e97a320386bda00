/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A crowd of workers that do a bit of everything, in whatever order comes of it:
 * what the stress tests run, and what the Python tests make life hard for.
 */
#ifndef STORM_H
#define STORM_H

#include <linux/futex.h>
#include <poll.h>

#include "worker.h"

#define CROWD	16

static struct worker crowd[CROWD];
static struct gate gates[CROWD];
static atomic_bool enough;

/* Have the neighbour pass, and pass oneself, or be tired of waiting. */
static inline void meet(int n)
{
	struct pollfd poll_fd = { .fd = gates[n].fd[0], .events = POLLIN };

	gate_open(&gates[(n + 1) % CROWD]);
	if (poll(&poll_fd, 1, 1) == 1)
		gate_pass(&gates[n]);
}

static inline void wait_on_futex(void)
{
	static uint32_t futex;
	struct timespec soon = { .tv_nsec = MS / 10 };

	syscall(SYS_futex, &futex, FUTEX_WAIT, 0, &soon, NULL, 0);
}

static inline void fault(unsigned int *seed)
{
	static char pages[CROWD][4096] __attribute__((aligned(4096)));
	char *page = pages[rand_r(seed) % CROWD];

	madvise(page, 4096, MADV_DONTNEED);
	*(volatile char *)page = 1;
}

static inline void spin_a_little(unsigned int *seed)
{
	for (int n = rand_r(seed) % 5000; n; n--)
		asm volatile("");
}

/* `steps` turns, or as many as there are until it is enough. */
static inline void do_a_bit_of_everything(struct worker *w)
{
	unsigned int seed = w - crowd;
	int turns = (uintptr_t)w->arg;

	while (!atomic_load(&enough) &&
	       (!turns || atomic_load(&w->steps) < turns)) {
		switch (rand_r(&seed) % 8) {
		case 0:
			nap(MS / 20);
			break;
		case 1:
			meet(w - crowd);
			break;
		case 2:
			ASSERT_EQ(0, umcg_give_way(&w->own));
			break;
		case 3:
			wait_on_futex();
			break;
		case 4:
			spin_a_little(&seed);
			break;
		case 5:
			/* If the ABI has that. */
			if (umcg_lock(&w->own)) {
				nap(MS / 50);
				umcg_unlock(&w->own);
			}
			break;
		case 6:
			fault(&seed);
			break;
		case 7:
			sched_yield();
			break;
		}
		atomic_fetch_add(&w->steps, 1);
	}
}

static inline void start_crowd(void (*body)(struct worker *), int turns)
{
	become_server();
	for (int i = 0; i < CROWD; i++)
		gate_make(&gates[i]);
	for (int i = 0; i < CROWD; i++) {
		crowd[i].body = body;
		crowd[i].arg = (void *)(uintptr_t)turns;
		worker_start(&crowd[i]);
	}
}

/* Run the crowd to its end, under `me` and two servers more; how often it is preempted. */
static inline long serve_crowd(void)
{
	struct shift shift = { .pool = &pool, .left = CROWD };

	serve_all(&me, &shift, 2);
	for (int i = 0; i < CROWD; i++)
		worker_join(&crowd[i]);
	expect_none_queued();
	return atomic_load(&shift.preemptions);
}

static inline long turns_taken(void)
{
	long sum = 0;

	for (int i = 0; i < CROWD; i++)
		sum += atomic_load(&crowd[i].steps);
	return sum;
}

#endif
