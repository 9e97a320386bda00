// SPDX-License-Identifier: GPL-2.0
/*
 * One operation: a one-way hand-off by pthread_cond_signal() and
 * pthread_cond_wait() under one mutex.
 */
#include <pthread.h>
#include <stddef.h>

#include "bench.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int turn;	/* written under the mutex */

/* Hand over to the other thread and wait to be handed back; `mutex` is held. */
static void hand_over(int me)
{
	turn = !me;
	pthread_cond_signal(&cond);
	while (turn != me)
		pthread_cond_wait(&cond, &mutex);
}

static void *other(void *arg)
{
	pthread_mutex_lock(&mutex);
	for (;;)
		hand_over(1);
	return arg;
}

static const char *setup(void)
{
	pthread_mutex_lock(&mutex);
	bench_thread(other);
	/* Its first hand_over() gives us the turn. */
	turn = 1;
	while (turn)
		pthread_cond_wait(&cond, &mutex);
	return NULL;
}

static void rounds(unsigned int rounds)
{
	while (rounds--)
		hand_over(0);
}

static const struct bench bench = {
	.name = "yard/condvar", .version = 1, .op = "one-way hand-off",
	.ops_per_round = 2, .setup = setup, .rounds = rounds,
};

int main(int argc, char **argv) { return bench_main(argc, argv, &bench); }
