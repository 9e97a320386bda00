// SPDX-License-Identifier: GPL-2.0
/*
 * One operation: a one-way hand-off from a server to its worker, or back from
 * the worker that yields.
 */
#include <stddef.h>

#include "workers.h"

static struct umcg *worker;

static void yielding(struct umcg *me)
{
	for (;;)
		bench_check(umcg_yield(me, 0));
}

static const char *setup(void)
{
	const char *why = bench_lacks(UMCG_WORKERS);

	if (why)
		return why;
	bench_serve();
	worker = bench_worker(yielding);
	return NULL;
}

static void rounds(unsigned int rounds)
{
	while (rounds--)
		bench_check(umcg_resume(&bench_server, worker, 0));
}

static const struct bench bench = {
	.name = "switch/server-worker", .version = 1, .op = "one-way hand-off",
	.ops_per_round = 2, .setup = setup, .rounds = rounds,
};

int main(int argc, char **argv) { return bench_main(argc, argv, &bench); }
