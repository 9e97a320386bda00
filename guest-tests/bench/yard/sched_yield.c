// SPDX-License-Identifier: GPL-2.0
/*
 * One operation: a one-way hand-off from a thread that yields to one that had
 * yielded. Both stay runnable.
 */
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

static void *other(void *arg)
{
	for (;;)
		syscall(SYS_sched_yield);
	return arg;
}

static const char *setup(void)
{
	bench_thread(other);
	return NULL;
}

static void rounds(unsigned int rounds)
{
	while (rounds--)
		syscall(SYS_sched_yield);
}

static const struct bench bench = {
	.name = "yard/sched_yield", .version = 1, .op = "one-way hand-off",
	.ops_per_round = 2, .setup = setup, .rounds = rounds,
};

int main(int argc, char **argv) { return bench_main(argc, argv, &bench); }
