/* SPDX-License-Identifier: GPL-2.0 */
/* What tests do on a kernel that has no UMCG, or an ABI that has not all of it. */
#ifndef NEED_H
#define NEED_H

#include <stddef.h>

#include "ktap.h"
#include "port.h"

/*
 * Skip where the kernel is the control, which must not have UMCG; fail where
 * one that should have it answers ENOSYS.
 */
static inline void need_umcg(void)
{
	switch (umcg_kernel()) {
	case UMCG_CONTROL:
		ktap_skip("the control kernel has no UMCG");
		break;
	case UMCG_ABSENT:
		TH_LOG("ENOSYS from a kernel that should have UMCG");
		ktap_fail_and_exit();
	case UMCG_HERE:
		break;
	}
}

/* Skip, for the reason that the ABI gives, where it lacks one of `capabilities`. */
static inline void need_capabilities(unsigned int capabilities)
{
	const char *why = umcg_lacks(capabilities);

	if (why)
		ktap_skip(why);
}

#endif
