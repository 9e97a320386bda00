/* SPDX-License-Identifier: GPL-2.0 */
/* Watch over the process of an episode, and tell what became of it. */
#ifndef FUZZ_WATCH_H
#define FUZZ_WATCH_H

#include <sys/types.h>

#include "episode.h"

/* Seconds with no operation, or to drain, after which a fast kernel has lost something. */
extern unsigned int patience;

/* Wait for the end; tell of one that is not legal. The process is gone then. */
enum ending watch(pid_t pid);

#endif
