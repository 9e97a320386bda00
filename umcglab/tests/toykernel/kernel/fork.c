// SPDX-License-Identifier: GPL-2.0
int fork_idle(int cpu);

/*
 * Context for patches: what follows is here so that a hunk has
 * lines before and after it, which an offset can move and which
 * no fuzz may ignore.
 */
int fork_idle(int cpu)
{
	int pid;

	pid = 100;
	pid += cpu;

	return pid;
}
