// SPDX-License-Identifier: GPL-2.0
/*
 * One operation: a one-way hand-off from one worker to another, under a server
 * that sleeps all the while.
 */
#include <stddef.h>

#include "workers.h"

static struct umcg *first, *second;

static void back(struct umcg *me)
{
	for (;;)
		bench_check(umcg_yield_to(me, first, 0));
}

static const char *setup(void)
{
	const char *why = bench_lacks(UMCG_WORKERS | UMCG_YIELDS_TO);

	if (why)
		return why;
	/* A worker may need a server to register; here it leaves it to another one. */
	bench_serve();
	second = bench_worker(back);
	bench_check(umcg_unregister(&bench_server));
	first = bench_become_worker();
	return NULL;
}

static void rounds(unsigned int rounds)
{
	while (rounds--)
		bench_check(umcg_yield_to(first, second, 0));
}

static const struct bench bench = {
	.name = "switch/worker-worker", .version = 1, .op = "one-way hand-off",
	.ops_per_round = 2, .setup = setup, .rounds = rounds,
};

int main(int argc, char **argv) { return bench_main(argc, argv, &bench); }
