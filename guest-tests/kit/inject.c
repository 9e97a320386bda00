// SPDX-License-Identifier: GPL-2.0
#include <sched.h>
#include <signal.h>
#include <stddef.h>

#include "inject.h"

struct injection inject_at[INJECT_POINTS];

void inject_run(const struct injection *injection)
{
	unsigned int n = injection->amount;

	switch (injection->action) {
	case INJECT_SPIN:
		while (n--)
			asm volatile("");
		break;
	case INJECT_YIELD:
		while (n--)
			sched_yield();
		break;
	case INJECT_SIGNAL:
		raise(n);
		break;
	case INJECT_NOTHING:
		break;
	}
}
