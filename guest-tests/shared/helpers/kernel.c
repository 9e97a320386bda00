// SPDX-License-Identifier: GPL-2.0
/* Print for the Python tests: here, control or absent; or what the ABI lacks. */
#include <stdio.h>

#include "port.h"

int main(void)
{
	static const char *const names[] = {
		[UMCG_HERE] = "here", [UMCG_CONTROL] = "control",
		[UMCG_ABSENT] = "absent",
	};
	const char *why = umcg_lacks(UMCG_WORKERS);

	if (why)
		return printf("lacks %s\n", why) < 0;
	return puts(names[umcg_kernel()]) < 0;
}
