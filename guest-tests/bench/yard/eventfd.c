// SPDX-License-Identifier: GPL-2.0
/*
 * One operation: a one-way hand-off by a write to an eventfd that the other thread
 * reads, and a read from one's own.
 */
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"
#include "pair.h"

static int fd[2];	/* whose turn it is */

static void wait_turn(int me)
{
	uint64_t count;

	if (syscall(SYS_read, fd[me], &count, sizeof(count)) != sizeof(count))
		bench_die("read");
}

static void hand_over(int whom)
{
	uint64_t one = 1;

	if (syscall(SYS_write, fd[whom], &one, sizeof(one)) != sizeof(one))
		bench_die("write");
}

static const char *setup(void)
{
	fd[0] = eventfd(0, 0);
	fd[1] = eventfd(0, 0);
	if (fd[0] < 0 || fd[1] < 0)
		bench_die("eventfd");
	bench_thread(other);
	return NULL;
}

static const struct bench bench = {
	.name = "yard/eventfd", .version = 1, .op = "one-way hand-off",
	.ops_per_round = 2, .setup = setup, .rounds = rounds,
};

int main(int argc, char **argv) { return bench_main(argc, argv, &bench); }
