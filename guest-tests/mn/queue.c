// SPDX-License-Identifier: GPL-2.0
/* Run queues: first in, first out, within a priority. Only servers lock them. */
#include "mn.h"

void mn_queue_init(struct mn_queue *queue)
{
	pthread_mutex_init(&queue->lock, NULL);
}

void mn_push(struct mn_queue *queue, struct mn_task *task)
{
	unsigned int p = task->priority;

	task->next = NULL;
	pthread_mutex_lock(&queue->lock);
	if (queue->first[p])
		queue->last[p]->next = task;
	else
		queue->first[p] = task;
	queue->last[p] = task;
	atomic_fetch_add(&queue->count, 1);
	pthread_mutex_unlock(&queue->lock);
}

/* The first task of the highest priority there is; NULL if there is none. */
struct mn_task *mn_pop(struct mn_queue *queue)
{
	struct mn_task *task = NULL;

	if (!atomic_load(&queue->count))
		return NULL;
	pthread_mutex_lock(&queue->lock);
	for (unsigned int p = 0; p < MN_PRIORITIES && !task; p++) {
		task = queue->first[p];
		if (task)
			queue->first[p] = task->next;
	}
	if (task)
		atomic_fetch_sub(&queue->count, 1);
	pthread_mutex_unlock(&queue->lock);
	return task;
}
