// SPDX-License-Identifier: GPL-2.0
/*
 * One operation: a signal to oneself, its handler, and the return from it. What
 * UMCG does where signals are delivered must cost nothing to those who have none.
 */
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

static atomic_uint handled;
static pid_t pid, tid;

static void on_signal(int signal)
{
	(void)signal;
	atomic_fetch_add_explicit(&handled, 1, memory_order_relaxed);
}

static const char *setup(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	if (sigaction(SIGUSR1, &action, NULL))
		bench_die("sigaction");
	pid = getpid();
	tid = gettid();
	return NULL;
}

static void rounds(unsigned int rounds)
{
	unsigned int before = atomic_load(&handled), left = rounds;

	while (left--)
		syscall(SYS_tgkill, pid, tid, SIGUSR1);
	if (atomic_load(&handled) - before != rounds)
		bench_die("signal");
}

static const struct bench bench = {
	.name = "yard/signal", .version = 1, .op = "one signal and its handler",
	.ops_per_round = 1, .setup = setup, .rounds = rounds,
};

int main(int argc, char **argv) { return bench_main(argc, argv, &bench); }
