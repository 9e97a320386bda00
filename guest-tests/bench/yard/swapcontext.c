// SPDX-License-Identifier: GPL-2.0
/*
 * One operation: a one-way swapcontext() between two contexts of one thread,
 * with the rt_sigprocmask() glibc makes in each.
 */
#include <stdlib.h>
#include <ucontext.h>

#include "bench.h"

static ucontext_t here, there;

static void other(void)
{
	for (;;)
		swapcontext(&there, &here);
}

static const char *setup(void)
{
	static char stack[65536];

	getcontext(&there);
	there.uc_stack.ss_sp = stack;
	there.uc_stack.ss_size = sizeof(stack);
	makecontext(&there, other, 0);
	return NULL;
}

static void rounds(unsigned int rounds)
{
	while (rounds--)
		swapcontext(&here, &there);
}

static const struct bench bench = {
	.name = "yard/swapcontext", .version = 1, .op = "one-way switch",
	.ops_per_round = 2, .setup = setup, .rounds = rounds,
};

int main(int argc, char **argv) { return bench_main(argc, argv, &bench); }
