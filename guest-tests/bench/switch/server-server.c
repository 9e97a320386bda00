// SPDX-License-Identifier: GPL-2.0
/*
 * One operation: a one-way hand-off from one server to another, by one system
 * call, with the state words both sides write for it.
 */
#include <errno.h>
#include <sched.h>
#include <stddef.h>

#include "workers.h"

static struct umcg second;

static void *other(void *arg)
{
	bench_check(umcg_register_server(&second, NULL));
	/* Until the first server waits for us. */
	while (umcg_switch(&second, &bench_server, 0) == -EAGAIN)
		sched_yield();
	for (;;)
		bench_check(umcg_switch(&second, &bench_server, 0));
	return arg;
}

static const char *setup(void)
{
	const char *why = bench_lacks(UMCG_SWITCHES);

	if (why)
		return why;
	bench_serve();
	bench_thread(other);
	bench_check(umcg_wait(&bench_server, 0));
	return NULL;
}

static void rounds(unsigned int rounds)
{
	while (rounds--)
		bench_check(umcg_switch(&bench_server, &second, 0));
}

static const struct bench bench = {
	.name = "switch/server-server", .version = 1, .op = "one-way hand-off",
	.ops_per_round = 2, .setup = setup, .rounds = rounds,
};

int main(int argc, char **argv) { return bench_main(argc, argv, &bench); }
