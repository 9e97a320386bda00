// SPDX-License-Identifier: GPL-2.0
/*
 * One operation: the page fault of a first touch, with its share of the
 * madvise() that takes a batch of pages away again.
 */
#include "work.h"

static const char *setup(void)
{
	work_fault_setup();
	return NULL;
}

static const struct bench bench = {
	.name = "yard/fault", .version = 1, .op = "one first touch of a page",
	.ops_per_round = 1, .setup = setup, .rounds = work_fault,
};

int main(int argc, char **argv) { return bench_main(argc, argv, &bench); }
