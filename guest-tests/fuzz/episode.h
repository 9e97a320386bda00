/* SPDX-License-Identifier: GPL-2.0 */
/* One episode: a process with workers, servers and a thread that meddles. */
#ifndef FUZZ_EPISODE_H
#define FUZZ_EPISODE_H

#include "model.h"

#define OPS_ORDERLY	3000	/* in an episode without a villain */

struct shape {
	unsigned int workers, servers;	/* 0: as the seed has it */
	enum sabotage sabotage;
};

/* Memory that episodes share with the process that watches them. */
void episodes_begin(void);

enum ending { ENDED, DIED, FAILED };

/* Set one up, run it in a child, and say how it ended; FAILED has been told. */
enum ending episode(uint64_t seed, unsigned int number, const struct shape *shape);

/*
 * Print how an episode is set up, and what each thread would choose if its operations
 * drew no random numbers themselves. That is a matter of the seed alone.
 */
void print_plan(uint64_t seed, unsigned int number, const struct shape *shape);

#endif
