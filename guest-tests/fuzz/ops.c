// SPDX-License-Identifier: GPL-2.0
/* How a thread comes to do an operation. */
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "fuzz-abi.h"

#define MENU	256

/* Each operation as many times as it weighs, by role. */
static struct menu {
	unsigned int n;
	const struct op *op[MENU];
} menus[VILLAIN + 1];

void ops_prepare(void)
{
	for (int role = WORKER; role <= VILLAIN; role <<= 1) {
		menus[role].n = 0;
		for (const struct op *op = ops; op < ops + n_ops; op++) {
			if (!(op->roles & role) || (op->needs && !has(op->needs)))
				continue;
			for (unsigned int i = 0; i < op->weight; i++) {
				if (menus[role].n == MENU) {
					fprintf(stderr, "fuzz: MENU is too small\n");
					_exit(2);
				}
				menus[role].op[menus[role].n++] = op;
			}
		}
	}
}

enum outcome perform(struct actor *me, const struct op *op)
{
	const struct op *outer = me->doing;
	struct tally *tally = &arena->stats[op - ops];
	enum outcome outcome;

	me->doing = op;
	me->result = 0;
	outcome = op->run(me);
	me->doing = outer;
	if (outcome == NOTHING)
		return outcome;
	me->ring[me->turn++ % RING] = (struct done){ op, me->result };
	atomic_fetch_add_explicit(&tally->done, 1, memory_order_relaxed);
	if (outcome == DONE)
		atomic_fetch_add_explicit(&tally->succeeded, 1, memory_order_relaxed);
	if (atomic_fetch_sub_explicit(&arena->left, 1, memory_order_relaxed) == 1)
		atomic_store(&arena->stop, true);
	return outcome;
}

const struct op *choose(struct actor *me)
{
	const struct menu *menu = &menus[me->role];

	return menu->op[below(&me->rng, menu->n)];
}

void step(struct actor *me)
{
	perform(me, choose(me));
}

void doze(struct rng *rng, unsigned int microseconds)
{
	struct timespec ts = { 0, 1 + below(rng, microseconds * 1000) };

	nanosleep(&ts, NULL);
}

/* ESRCH where the thread has just ended is no matter. */
int send_signal(struct actor *to)
{
	return syscall(SYS_tgkill, getpid(), atomic_load(&to->tid), SIGUSR1);
}
