// SPDX-License-Identifier: GPL-2.0
/* Sleeping tasks, by deadline. Only servers lock this. */
#include <errno.h>
#include <stdlib.h>

#include "mn.h"

void mn_timers_init(struct mn_timers *timers, unsigned int most)
{
	pthread_mutex_init(&timers->lock, NULL);
	timers->count = 0;
	timers->heap = calloc(most, sizeof(*timers->heap));
	mn_check(timers->heap ? 0 : -ENOMEM, "timers");
}

/* Put `task` where there is a hole, or further up. */
static unsigned int rise(struct mn_timers *timers, unsigned int hole,
			 struct mn_task *task)
{
	struct mn_task **heap = timers->heap;

	for (; hole && task->deadline < heap[(hole - 1) / 2]->deadline;
	     hole = (hole - 1) / 2)
		heap[hole] = heap[(hole - 1) / 2];
	heap[hole] = task;
	return hole;
}

/* Put `task` at the top, or further down. */
static void sink(struct mn_timers *timers, struct mn_task *task)
{
	struct mn_task **heap = timers->heap;
	unsigned int hole = 0, child;

	while ((child = 2 * hole + 1) < timers->count) {
		if (child + 1 < timers->count &&
		    heap[child + 1]->deadline < heap[child]->deadline)
			child++;
		if (task->deadline <= heap[child]->deadline)
			break;
		heap[hole] = heap[child];
		hole = child;
	}
	heap[hole] = task;
}

/* True if no other has to be woken before this one. */
bool mn_timer_add(struct mn_timers *timers, struct mn_task *task)
{
	bool first;

	pthread_mutex_lock(&timers->lock);
	first = !rise(timers, timers->count++, task);
	pthread_mutex_unlock(&timers->lock);
	return first;
}

struct mn_task *mn_timer_due(struct mn_timers *timers, uint64_t now)
{
	struct mn_task *task = NULL;

	pthread_mutex_lock(&timers->lock);
	if (timers->count && timers->heap[0]->deadline <= now) {
		task = timers->heap[0];
		if (--timers->count)
			sink(timers, timers->heap[timers->count]);
	}
	pthread_mutex_unlock(&timers->lock);
	return task;
}

/* When somebody has to be woken; 0 if nobody sleeps. */
uint64_t mn_timer_next(struct mn_timers *timers)
{
	uint64_t next;

	pthread_mutex_lock(&timers->lock);
	next = timers->count ? timers->heap[0]->deadline : 0;
	pthread_mutex_unlock(&timers->lock);
	return next;
}
