// SPDX-License-Identifier: GPL-2.0
/*
 * One operation: a one-way hand-off by a write to a pipe that the other thread
 * reads, and a read from one's own.
 */
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"
#include "pair.h"

static int fd[2][2];	/* whose turn it is */

static void wait_turn(int me)
{
	char byte;

	if (syscall(SYS_read, fd[me][0], &byte, 1) != 1)
		bench_die("read");
}

static void hand_over(int whom)
{
	char byte = 0;

	if (syscall(SYS_write, fd[whom][1], &byte, 1) != 1)
		bench_die("write");
}

static const char *setup(void)
{
	if (pipe(fd[0]) || pipe(fd[1]))
		bench_die("pipe");
	bench_thread(other);
	return NULL;
}

static const struct bench bench = {
	.name = "yard/pipe", .version = 1, .op = "one-way hand-off",
	.ops_per_round = 2, .setup = setup, .rounds = rounds,
};

int main(int argc, char **argv) { return bench_main(argc, argv, &bench); }
