// SPDX-License-Identifier: GPL-2.0
/* One operation: one getppid(), the cheapest system call, and its loop. */
#include "work.h"

static const struct bench bench = {
	.name = "yard/syscall", .version = 1, .op = "one getppid()",
	.ops_per_round = 1, .rounds = work_syscall,
};

int main(int argc, char **argv) { return bench_main(argc, argv, &bench); }
