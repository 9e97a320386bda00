/* SPDX-License-Identifier: GPL-2.0 */
/* The one server of a bench, and its workers. */
#ifndef WORKERS_H
#define WORKERS_H

#include <errno.h>

#include "bench.h"
#include "port.h"

extern struct umcg bench_server;

/* Of a library call: end the bench if it failed. */
static inline void bench_check(int err)
{
	if (err) {
		errno = -err;
		bench_die("umcg");
	}
}

/*
 * Why this kernel, or the ABI, cannot run a bench that needs `capabilities`, for
 * setup() to return; NULL if it can. The manifest of an ABI has the same reason.
 */
const char *bench_lacks(unsigned int capabilities);

/* Before thousands of threads are started. */
void bench_allow_threads(void);

/* Start one of thousands of threads, as bench_thread() does. */
void bench_small_thread(void *(*body)(void *), void *arg);

/*
 * Start a worker in a thread of its own, for any thread to do while no other
 * worker is idle. Once it is run, it runs `body`, which does not return.
 */
struct umcg *bench_worker(void (*body)(struct umcg *me));

/* Become the server; and then wait until a worker, the only one, is idle again. */
void bench_serve(void);
struct umcg *bench_await_worker(void);

/* Become the one running worker of a server in another thread. */
struct umcg *bench_become_worker(void);

#endif
