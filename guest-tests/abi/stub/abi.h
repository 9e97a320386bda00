/* SPDX-License-Identifier: GPL-2.0 */
/* An ABI that no kernel has: what port.h asks of an ABI, and nothing else. */
#ifndef ABI_H
#define ABI_H

/* The Makefile defines it for what is built for this ABI, and for nothing else. */
#ifndef UMCG_ABI_stub
#error "abi.h of stub is not for this ABI, nor for what is built for each"
#endif

#include "port.h"

struct umcg_pool {
	char unused[UMCG_POOL_SIZE];
} __attribute__((aligned(64)));

struct umcg {
	char unused[UMCG_SIZE];
} __attribute__((aligned(64)));

#endif
