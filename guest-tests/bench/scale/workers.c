// SPDX-License-Identifier: GPL-2.0
/*
 * One operation: a one-way hand-off between a server and its workers, which it
 * runs in turn. There are as many as the size says.
 */
#include <stdlib.h>

#include "workers.h"

static struct umcg **worker;
static unsigned int turn;

static void yielding(struct umcg *me)
{
	for (;;)
		bench_check(umcg_yield(me, 0));
}

static void rounds(unsigned int rounds)
{
	while (rounds--) {
		bench_check(umcg_resume(&bench_server, worker[turn], 0));
		if (++turn == bench_size)
			turn = 0;
	}
}

static const char *setup(void)
{
	const char *why = bench_lacks(UMCG_WORKERS);

	if (why)
		return why;
	bench_allow_threads();
	worker = calloc(bench_size, sizeof(*worker));
	if (!worker)
		bench_die("calloc");
	bench_serve();
	for (unsigned int i = 0; i < bench_size; i++)
		worker[i] = bench_worker(yielding);
	rounds(bench_size);
	return NULL;
}

static const struct bench bench = {
	.name = "scale/workers", .version = 1, .op = "one-way hand-off",
	.ops_per_round = 2, .setup = setup, .rounds = rounds,
};

int main(int argc, char **argv) { return bench_main(argc, argv, &bench); }
