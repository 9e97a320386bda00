// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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

void bench_allow_threads(void)
{
	/* The default goes by the size of memory and counts on large threads. */
	static const char many[] = "30000";
	int fd = open("/proc/sys/kernel/threads-max", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, many, strlen(many)) < 0)
		bench_die("threads-max");
	close(fd);
	/* Of each stack a page or two are touched, and never again for the first time. */
	if (munlockall())
		bench_die("munlockall");
}

void bench_small_thread(void *(*body)(void *), void *arg)
{
	pthread_attr_t small;
	pthread_t thread;

	/* No guard page, so that the stacks of all are one mapping. */
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, sysconf(_SC_THREAD_STACK_MIN));
	pthread_attr_setguardsize(&small, 0);
	errno = pthread_create(&thread, &small, body, arg);
	if (errno)
		bench_die("pthread_create");
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

	if (!worker)
		bench_die("aligned_alloc");
	worker->body = body;
	bench_small_thread(worker_thread, worker);
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
