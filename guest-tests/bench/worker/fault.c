// SPDX-License-Identifier: GPL-2.0
/* One operation: that of yard/fault, in a running worker. */
#include "work.h"
#include "workers.h"

static const char *setup(void)
{
	const char *why = bench_lacks(UMCG_WORKERS);

	if (!why) {
		work_fault_setup();
		bench_become_worker();
	}
	return why;
}

static const struct bench bench = {
	.name = "worker/fault", .version = 1,
	.op = "one first touch of a page in a worker",
	.ops_per_round = 1, .setup = setup, .rounds = work_fault,
};

int main(int argc, char **argv) { return bench_main(argc, argv, &bench); }
