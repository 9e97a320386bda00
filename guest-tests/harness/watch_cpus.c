// SPDX-License-Identifier: GPL-2.0
/*
 * The CPU watch for tests that are not in C. For each line of standard input it prints
 * for how many milliseconds a CPU did not schedule since the last one, and which CPU.
 */
#include <stdio.h>
#include <sys/mman.h>

#include "cpu_watch.h"

int main(void)
{
	char line[16];
	int cpu;

	/* A watch that waits for memory would see CPUs that do not schedule. */
	mlockall(MCL_CURRENT | MCL_FUTURE);
	cpu_watch_start();
	while (fgets(line, sizeof(line), stdin)) {
		unsigned int ms = cpu_watch_longest(&cpu);

		printf("%u %d\n", ms, cpu);
		fflush(stdout);
	}
	return 0;
}
