// SPDX-License-Identifier: GPL-2.0
/*
 * One operation: a one-way hand-off by pthread_cond_signal() of the other
 * thread's condition and pthread_cond_wait() on one's own, under one mutex. The
 * fair class may switch twice: a woken thread that preempts its waker has to
 * sleep again until the mutex is free.
 */
#include <pthread.h>
#include <stddef.h>

#include "bench.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond[2] = {
	PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER
};
static int turn;	/* whose it is to run */

static void wait_turn(int me)
{
	while (turn != me)
		pthread_cond_wait(&cond[me], &mutex);
}

static void hand_over_and_wait(int me)
{
	pthread_mutex_lock(&mutex);
	turn = !me;
	pthread_cond_signal(&cond[!me]);
	wait_turn(me);
	pthread_mutex_unlock(&mutex);
}

static void *other(void *arg)
{
	for (;;)
		hand_over_and_wait(1);
	return arg;
}

static const char *setup(void)
{
	pthread_mutex_lock(&mutex);
	turn = 1;
	bench_thread(other);
	wait_turn(0);
	pthread_mutex_unlock(&mutex);
	return NULL;
}

static void rounds(unsigned int rounds)
{
	while (rounds--)
		hand_over_and_wait(0);
}

static const struct bench bench = {
	.name = "yard/condvar", .version = 1, .op = "one-way hand-off",
	.ops_per_round = 2, .setup = setup, .rounds = rounds,
};

int main(int argc, char **argv) { return bench_main(argc, argv, &bench); }
