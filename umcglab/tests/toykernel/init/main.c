// SPDX-License-Identifier: GPL-2.0
int fork_idle(int cpu);

int start_kernel(void)
{
	return fork_idle(0);
}
