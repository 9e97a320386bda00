// SPDX-License-Identifier: GPL-2.0
/*
 * One operation: a one-way hand-off by FUTEX_WAKE of the other thread's word
 * and FUTEX_WAIT on one's own.
 */
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"
#include "pair.h"

static atomic_int turn[2];	/* whose it is to run */

static void wait_turn(int me)
{
	while (!atomic_load_explicit(&turn[me], memory_order_acquire))
		syscall(SYS_futex, &turn[me], FUTEX_WAIT_PRIVATE, 0, NULL);
	atomic_store_explicit(&turn[me], 0, memory_order_relaxed);
}

static void hand_over(int whom)
{
	atomic_store_explicit(&turn[whom], 1, memory_order_release);
	syscall(SYS_futex, &turn[whom], FUTEX_WAKE_PRIVATE, 1);
}

static const char *setup(void)
{
	bench_thread(other);
	return NULL;
}

static const struct bench bench = {
	.name = "yard/futex", .version = 1, .op = "one-way hand-off",
	.ops_per_round = 2, .setup = setup, .rounds = rounds,
};

int main(int argc, char **argv) { return bench_main(argc, argv, &bench); }
