// SPDX-License-Identifier: GPL-2.0
/* What a task does, and the life of a scheduler. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mn.h"

#define STACK	(32 << 10)

static __thread struct mn_task *self;

void mn_check(int err, const char *what)
{
	if (err) {
		fprintf(stderr, "mn: %s: %s\n", what, strerror(-err));
		abort();
	}
}

void mn_yield(void)
{
	self->request = MN_YIELD;
	mn_check(umcg_give_way(&self->umcg), "umcg_give_way");
}

void mn_sleep_until(uint64_t deadline)
{
	self->deadline = deadline;
	self->request = MN_SLEEP;
	mn_check(umcg_give_way(&self->umcg), "umcg_give_way");
}

static void *task_thread(void *arg)
{
	struct mn_task *me = self = arg;

	atomic_store(&me->tid, gettid());
	mn_check(umcg_register_worker(&me->umcg, &me->mn->pool), "umcg_register_worker");
	me->body(me->arg);
	mn_check(umcg_unregister(&me->umcg), "umcg_unregister");
	return NULL;
}

struct mn_task *mn_spawn(struct mn *mn, unsigned int priority, void (*body)(void *arg),
			 void *arg)
{
	unsigned int n = atomic_fetch_add(&mn->tasks, 1);
	struct mn_task *task = &mn->task[n];
	size_t page = sysconf(_SC_PAGESIZE);
	char *stack = mn->stacks + n * (mn->stack + page);
	pthread_attr_t attr;

	mn_check(n < mn->most ? 0 : -ENOSPC, "tasks");
	*task = (struct mn_task) {
		.mn = mn, .priority = priority, .body = body, .arg = arg,
	};
	atomic_fetch_add(&mn->live, 1);
	mn_check(mprotect(stack, page, PROT_NONE) ? -errno : 0, "guard page");
	pthread_attr_init(&attr);
	mn_check(-pthread_attr_setstack(&attr, stack + page, mn->stack), "stack");
	mn_check(-pthread_create(&task->thread, &attr, task_thread, task),
		 "pthread_create");
	return task;
}

static void preempted(int signal)
{
	(void)signal;
}

void mn_init(struct mn *mn, unsigned int servers, unsigned int tasks, uint64_t slice)
{
	/* Interrupts nothing; an ignored signal would not get the kernel to look. */
	struct sigaction sa = { .sa_handler = preempted, .sa_flags = SA_RESTART };
	size_t page = sysconf(_SC_PAGESIZE), least = sysconf(_SC_THREAD_STACK_MIN);

	memset(mn, 0, sizeof(*mn));
	mn->servers = servers;
	mn->slice = slice;
	mn->most = tasks;
	mn->stack = least > STACK ? (least + page - 1) / page * page : STACK;
	mn->task = aligned_alloc(_Alignof(struct mn_task), tasks * sizeof(*mn->task));
	mn->stacks = mmap(NULL, tasks * (mn->stack + page), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	mn_check(mn->task && mn->stacks != MAP_FAILED ? 0 : -ENOMEM, "tasks");
	mn_timers_init(&mn->timers, tasks);
	mn_check(sigaction(SIGURG, &sa, NULL) ? -errno : 0, "sigaction");
	for (unsigned int i = 0; i < servers; i++) {
		mn->server[i].mn = mn;
		mn_queue_init(&mn->server[i].queue);
	}
}

void mn_run(struct mn *mn)
{
	pthread_t tick;

	for (unsigned int i = 0; i < mn->servers; i++)
		mn_check(-pthread_create(&mn->server[i].thread, NULL, mn_serve,
					 &mn->server[i]), "pthread_create");
	if (mn->slice)
		mn_check(-pthread_create(&tick, NULL, mn_tick, mn), "pthread_create");
	for (unsigned int i = 0; i < mn->servers; i++)
		mn_check(-pthread_join(mn->server[i].thread, NULL), "pthread_join");
	if (mn->slice)
		mn_check(-pthread_join(tick, NULL), "pthread_join");
	for (unsigned int i = 0; i < atomic_load(&mn->tasks); i++)
		mn_check(-pthread_join(mn->task[i].thread, NULL), "pthread_join");
}

void mn_free(struct mn *mn)
{
	munmap(mn->stacks, mn->most * (mn->stack + sysconf(_SC_PAGESIZE)));
	free(mn->timers.heap);
	free(mn->task);
}
