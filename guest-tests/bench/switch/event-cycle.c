// SPDX-License-Identifier: GPL-2.0
/*
 * One operation: a whole cycle of four switches. The server runs its worker;
 * that blocks on an empty pipe, and the server is woken; it writes to the pipe
 * and waits for idle workers; the worker has read, joins those and wakes it.
 */
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "workers.h"

static struct umcg *worker;
static int fd[2];

static void reading(struct umcg *me)
{
	char byte;

	(void)me;
	for (;;)
		if (syscall(SYS_read, fd[0], &byte, 1) != 1)
			bench_die("read");
}

static const char *setup(void)
{
	const char *why = bench_lacks(UMCG_WORKERS);

	if (why)
		return why;
	if (pipe(fd))
		bench_die("pipe");
	bench_serve();
	worker = bench_worker(reading);
	return NULL;
}

static void rounds(unsigned int rounds)
{
	while (rounds--) {
		bench_check(umcg_resume(&bench_server, worker, 0));
		if (syscall(SYS_write, fd[1], "", 1) != 1)
			bench_die("write");
		worker = bench_await_worker();
	}
}

static const struct bench bench = {
	.name = "switch/event-cycle", .version = 1,
	.op = "run, block, wake, run: four switches", .ops_per_round = 1,
	.setup = setup, .rounds = rounds,
};

int main(int argc, char **argv) { return bench_main(argc, argv, &bench); }
