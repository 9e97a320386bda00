// SPDX-License-Identifier: GPL-2.0
/*
 * The least a guest can do: what QEMU start to this power-off takes is the
 * floor that boots are measured against, and a guest that gets here proves an
 * accelerator.
 */
#include "init.h"

int main(void)
{
	reboot(RB_POWER_OFF);
	fatal("power off");
}
