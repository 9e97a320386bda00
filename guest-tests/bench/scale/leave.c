// SPDX-License-Identifier: GPL-2.0
/*
 * One operation: a server registers, runs a worker, and leaves. There are as many
 * threads that have no part in it as the size says: to leave costs the same.
 */
#include <unistd.h>

#include "workers.h"

static struct umcg *worker;

static void *sleeping(void *arg)
{
	pause();
	return arg;
}

static void yielding(struct umcg *me)
{
	for (;;)
		bench_check(umcg_yield(me, 0));
}

static void rounds(unsigned int rounds)
{
	while (rounds--) {
		bench_serve();
		bench_check(umcg_resume(&bench_server, worker, 0));
		bench_check(umcg_unregister(&bench_server));
	}
}

static const char *setup(void)
{
	const char *why = bench_lacks(UMCG_WORKERS);

	if (why)
		return why;
	bench_allow_threads();
	for (unsigned int i = 0; i < bench_size; i++)
		bench_small_thread(sleeping, NULL);
	/* A worker may need a server to register; this one leaves it to the next. */
	bench_serve();
	worker = bench_worker(yielding);
	bench_check(umcg_unregister(&bench_server));
	return NULL;
}

static const struct bench bench = {
	.name = "scale/leave", .version = 1, .op = "registering and leaving",
	.ops_per_round = 1, .setup = setup, .rounds = rounds,
};

int main(int argc, char **argv) { return bench_main(argc, argv, &bench); }
