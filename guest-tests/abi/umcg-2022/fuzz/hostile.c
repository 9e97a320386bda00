// SPDX-License-Identifier: GPL-2.0
/* What a thread does to what is in the pages that its process shares with the kernel. */
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "2022.h"

enum outcome op_scribble(struct actor *me)
{
	static const uint32_t words[] = {
		NONE, RUNNING, RUNNABLE, BLOCKED, 4, 0xff, RUNNABLE | COND_WAIT,
		RUNNING | PREEMPT, BLOCKED | PREEMPT, RUNNABLE | PREEMPT, RUNNING | COND_WAIT,
		RUNNING | 0x1000,
	};
	struct actor *party = any_party(me);
	struct umcg_task *task = &page_of(party)->task;
	const uint64_t places[] = {
		0, 1, 4, 4096, UINT64_MAX & ~UINT64_C(7), UINT64_C(1) << 63,
		(uintptr_t)task, (uintptr_t)any_page(me),
	};
	const uint32_t tids[] = { 0, 1, party->tid, me->tid, any_party(me)->tid,
				  0xffffffff, any_party(me)->tid | UMCG_TID_RUNNING };

	switch (below(&me->rng, 5)) {
	case 0:
		umcg_set_word(task, words[below(&me->rng, 12)] |
				    (uint32_t)rng_next(&me->rng) << 16);
		break;
	case 1:
		task->next_tid = tids[below(&me->rng, 7)];
		break;
	case 2:
		task->server_tid = tids[below(&me->rng, 7)];
		break;
	case 3:
		task->runnable_workers_ptr = places[below(&me->rng, 8)];
		break;
	default:
		task->blocked_workers_ptr = places[below(&me->rng, 8)];
	}
	return DONE;
}

/* A list without an end. */
enum outcome op_cycle(struct actor *me)
{
	struct umcg *u = page_of(worker_at(below(&me->rng, arena->workers)));
	struct umcg *server = page_of(server_at(below(&me->rng, arena->servers)));

	u->task.runnable_workers_ptr = (uintptr_t)u;
	__atomic_store_n(&server->task.runnable_workers_ptr, (uintptr_t)u, __ATOMIC_SEQ_CST);
	return DONE;
}

/*
 * Threads of its own, which nobody joins: a worker may never be run. Each takes a
 * structure that is another's as well, or will be.
 */
#define EXTRAS	8	/* of one villain */

static unsigned int extras;

static void *share(void *structure)
{
	struct umcg_task *task = structure;
	bool worker = (umcg_word(task) & UMCG_TASK_MASK) == BLOCKED;

	if (!worker)
		task->server_tid = gettid();
	umcg_sys_ctl(UMCG_CTL_REGISTER | (worker ? UMCG_CTL_WORKER : 0), task,
		     CLOCK_MONOTONIC);
	/* As a server it may be run from there, or take somebody's wakeup. */
	umcg_sys_wait(0, 0);
	return NULL;
}

enum outcome op_share(struct actor *me)
{
	struct umcg_task *task = &page_of(any_party(me))->task;

	if (extras >= EXTRAS)
		return NOTHING;
	extras++;
	task->next_tid = 0;
	umcg_set_word(task, one_in(&me->rng, 3) ? RUNNING : BLOCKED);
	return spawn_extra(share, task) ? DONE : REFUSED;
}
