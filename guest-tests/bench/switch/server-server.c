// SPDX-License-Identifier: GPL-2.0
/*
 * One operation: a one-way hand-off from one server to another, by one system
 * call, with the state words both sides write for it.
 */
#include <errno.h>
#include <sched.h>
#include <stddef.h>

#include "bench.h"
#include "umcg.h"

static struct umcg server[2];

static void check(int err)
{
	if (err) {
		errno = -err;
		bench_die("umcg");
	}
}

static void *other(void *arg)
{
	check(umcg_register_server(&server[1]));
	/* Until the first server waits for us. */
	while (umcg_switch(&server[1], &server[0], 0) == -EAGAIN)
		sched_yield();
	for (;;)
		check(umcg_switch(&server[1], &server[0], 0));
	return arg;
}

static const char *setup(void)
{
	/* The host knows on which kernels a bench may be skipped. */
	if (umcg_kernel() != UMCG_HERE)
		return "no UMCG in this kernel";
	check(umcg_register_server(&server[0]));
	bench_thread(other);
	check(umcg_wait(&server[0], 0));
	return NULL;
}

static void rounds(unsigned int rounds)
{
	while (rounds--)
		check(umcg_switch(&server[0], &server[1], 0));
}

static const struct bench bench = {
	.name = "switch/server-server", .version = 1, .op = "one-way hand-off",
	.ops_per_round = 2, .setup = setup, .rounds = rounds,
};

int main(int argc, char **argv) { return bench_main(argc, argv, &bench); }
