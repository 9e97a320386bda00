/* SPDX-License-Identifier: GPL-2.0 */
/* Watch over the process of an episode, and tell what became of it. */
#ifndef FUZZ_WATCH_H
#define FUZZ_WATCH_H

#include <sys/types.h>

#include "episode.h"

/* Seconds with no operation, or to drain, after which a fast kernel has lost something. */
extern unsigned int patience;

/* Milliseconds after which a CPU that does not schedule is the fault of the episode. */
extern unsigned int cpu_patience;

/* Ahead of the process: what CPUs have done so far is none of its doing. */
void watch_begin(void);

/* Wait for the end; tell of one that is not legal. The process is gone then. */
enum ending watch(pid_t pid);

#endif
