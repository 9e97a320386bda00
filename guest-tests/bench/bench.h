/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the benches share: C counts, Python computes.
 *
 *	prog --sched fair|fifo [--size N] [--batches N] [--rounds N]
 *
 * A bench times batches of rounds and prints one line of JSON with the total
 * of every batch, as a histogram. All its threads run on CPU 0.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdatomic.h>

struct bench {
	const char *name;
	unsigned int version;	/* of what is measured: a change starts a new line */
	const char *op;		/* what one operation is */
	unsigned int ops_per_round;
	/*
	 * Called in the measuring thread. setup() starts the other threads; it
	 * returns NULL, or why the bench cannot run on this kernel.
	 */
	const char *(*setup)(void);
	void (*rounds)(unsigned int rounds);
};

/*
 * How many of what the bench is about; 1 unless --size says otherwise, which then
 * is part of the name: scale/workers-10.
 */
extern unsigned int bench_size;

/* The body of main(); returns its exit status. */
int bench_main(int argc, char **argv, const struct bench *bench);

/* Start a thread that runs until the process ends, like its creator scheduled. */
void bench_thread(void *(*body)(void *));

void bench_die(const char *what) __attribute__((noreturn));

#endif
