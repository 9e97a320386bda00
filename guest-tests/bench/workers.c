// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "workers.h"

struct umcg bench_server;
static struct umcg_pool pool;

struct worker {
	struct umcg umcg;
	void (*body)(struct umcg *me);
};

const char *bench_lacks(unsigned int capabilities)
{
	/* The host knows on which kernels a bench may be skipped. */
	return umcg_kernel() == UMCG_HERE ? umcg_lacks(capabilities) :
					    "no UMCG in this kernel";
}

static struct umcg *take_worker(void)
{
	struct umcg *worker = umcg_take_idle(&pool);

	if (worker && umcg_next_idle(worker)) {
		errno = E2BIG;
		bench_die("idle workers");
	}
	return worker;
}

static void *worker_thread(void *arg)
{
	struct worker *worker = arg;

	bench_check(umcg_register_worker(&worker->umcg, &pool));
	worker->body(&worker->umcg);
	return NULL;
}

struct umcg *bench_worker(void (*body)(struct umcg *me))
{
	struct worker *worker = aligned_alloc(_Alignof(struct worker), sizeof(*worker));
	struct umcg *idle;
	pthread_attr_t small;
	pthread_t thread;

	if (!worker)
		bench_die("aligned_alloc");
	worker->body = body;
	/* There may be thousands: no guard page, so that their stacks are one mapping. */
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, sysconf(_SC_THREAD_STACK_MIN));
	pthread_attr_setguardsize(&small, 0);
	errno = pthread_create(&thread, &small, worker_thread, worker);
	if (errno)
		bench_die("pthread_create");
	while (!(idle = take_worker()))
		sched_yield();
	return idle;
}

void bench_serve(void)
{
	bench_check(umcg_register_server(&bench_server, &pool));
}

struct umcg *bench_await_worker(void)
{
	struct umcg *worker;

	while (!(worker = take_worker()))
		bench_check(umcg_await_idle(&bench_server, &pool, 0));
	return worker;
}

/* It has to print what it measured, and may block in that. */
static void *server_thread(void *arg)
{
	bench_serve();
	for (;;)
		bench_check(umcg_resume(&bench_server, bench_await_worker(), 0));
	return arg;
}

struct umcg *bench_become_worker(void)
{
	static struct umcg me;

	bench_thread(server_thread);
	bench_check(umcg_register_worker(&me, &pool));
	return &me;
}
