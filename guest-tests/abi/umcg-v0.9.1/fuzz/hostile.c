// SPDX-License-Identifier: GPL-2.0
/* What a thread does to what is in the pages that its process shares with the kernel. */
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "ktap.h"
#include "v0.9.1.h"

enum outcome op_scribble(struct actor *me)
{
	static const uint64_t words[] = {
		NONE, RUNNING, IDLE, BLOCKED, 4, 0x3f, RUNNING | LOCKED, IDLE | LOCKED,
		BLOCKED | LOCKED, RUNNING | PREEMPTED, IDLE | PREEMPTED,
		BLOCKED | PREEMPTED, IDLE | LOCKED | PREEMPTED, RUNNING | 0x1000,
	};
	struct actor *party = any_party(me);
	struct umcg_task *task = &page_of(party)->task;
	const uint64_t places[] = {
		0, 1, 4, 4096, UINT64_MAX & ~UINT64_C(7), UINT64_C(1) << 63,
		(uintptr_t)task, (uintptr_t)&task->idle_workers_ptr, (uintptr_t)any_page(me),
	};
	const uint32_t tids[] = { 0, 1, party->tid, me->tid, any_party(me)->tid,
				  0xffffffff, rng_next(&me->rng) };

	switch (below(&me->rng, 4)) {
	case 0:
		umcg_set_word(task, words[below(&me->rng, 14)] |
				    (uint64_t)rng_next(&me->rng) << 13);
		break;
	case 1:
		task->next_tid = tids[below(&me->rng, 7)];
		break;
	case 2:
		task->idle_workers_ptr = places[below(&me->rng, 9)];
		break;
	default:
		task->idle_server_tid_ptr = places[below(&me->rng, 9)];
	}
	return DONE;
}

/* A list without an end. */
enum outcome op_cycle(struct actor *me)
{
	struct umcg *u = page_of(worker_at(below(&me->rng, arena->workers)));
	struct umcg_pool *pool = pool_at(below(&me->rng, arena->pools));

	u->task.idle_workers_ptr = (uintptr_t)&u->task.idle_workers_ptr;
	__atomic_store_n(&pool->idle_workers, (uintptr_t)&u->task.idle_workers_ptr,
			 __ATOMIC_SEQ_CST);
	return DONE;
}

enum outcome op_wrong_tid(struct actor *me)
{
	struct umcg_pool *pool = pool_at(below(&me->rng, arena->pools));
	const uint32_t tids[] = { 1, me->tid, any_party(me)->tid, 0xffffffff,
				  rng_next(&me->rng) };

	__atomic_store_n(&pool->idle_server_tid, tids[below(&me->rng, 5)], __ATOMIC_SEQ_CST);
	return DONE;
}

/* Fields that are each other's list heads and tid words, and tids where links are. */
enum outcome op_overlap(struct actor *me)
{
	struct actor *one = any_party(me), *other = any_party(me);
	struct umcg_task *a = &page_of(one)->task, *b = &page_of(other)->task;
	const uint64_t fields[] = {
		(uintptr_t)a, (uintptr_t)b, (uintptr_t)&a->idle_workers_ptr,
		(uintptr_t)&b->idle_workers_ptr, (uintptr_t)&a->idle_server_tid_ptr,
		(uintptr_t)&b->idle_server_tid_ptr,
	};
	struct umcg_pool *pool = pool_at(below(&me->rng, arena->pools));

	a->idle_workers_ptr = fields[below(&me->rng, 6)];
	a->idle_server_tid_ptr = fields[below(&me->rng, 6)];
	__atomic_store_n(&pool->idle_workers, fields[below(&me->rng, 6)],
			 __ATOMIC_SEQ_CST);
	if (one_in(&me->rng, 2))
		*(uint32_t *)fields[below(&me->rng, 6)] = other->tid;
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

	umcg_sys_ctl(UMCG_CTL_REGISTER |
		     (umcg_stamped_word(task) == BLOCKED ? UMCG_CTL_WORKER : 0), task);
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
	if (one_in(&me->rng, 3)) {
		task->idle_workers_ptr = task->idle_server_tid_ptr = 0;
		umcg_set_word(task, RUNNING);
	} else {
		umcg_set_word(task, BLOCKED);
	}
	return spawn_extra(share, task) ? DONE : REFUSED;
}

/*
 * A server and a worker with one structure, whose list link is the server's tid:
 * the kernel's own writes, as it queues the worker, make the worker RUNNING. The
 * structure stands where the lower half of the link's address is that tid, and
 * the list head where that half is zero.
 */
#define HALL	UINT64_C(0x4200000000)
#define HALL_SIZE	(4 << 20)	/* no tid is larger */
#define LINK	offsetof(struct umcg_task, idle_workers_ptr)

static atomic_uint host;

static void *be_host(void *arg)
{
	unsigned int tid = gettid();
	struct umcg_task *task = (void *)(HALL + tid - LINK);

	if (tid % _Alignof(struct umcg_task) != LINK)
		return arg;
	task->state_ts = RUNNING;
	if (!umcg_sys_ctl(UMCG_CTL_REGISTER, task))
		atomic_store(&host, tid);
	for (;;)
		pause();
}

static void *be_mirrored(void *arg)
{
	struct umcg_task *task = (void *)(HALL + atomic_load(&host) - LINK);

	*task = (struct umcg_task){
		.state_ts = BLOCKED,
		.idle_workers_ptr = HALL,
		.idle_server_tid_ptr = (uintptr_t)&task->idle_workers_ptr,
	};
	*(uint64_t *)HALL = (uintptr_t)&task->idle_workers_ptr;
	umcg_sys_ctl(UMCG_CTL_REGISTER | UMCG_CTL_WORKER, task);
	return arg;
}

enum outcome op_mirror(struct actor *me)
{
	struct itimerval later = { .it_value.tv_sec = 3 * ktap_slow };

	(void)me;
	if (atomic_load(&host))
		return NOTHING;
	/* Long enough to be seen, if only that ends it. */
	setitimer(ITIMER_REAL, &later, NULL);
	if (mmap((void *)HALL, HALL_SIZE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) !=
	    (void *)HALL)
		return NOTHING;
	/* The tid fits for one thread in 64; others may take that one. */
	for (int i = 0; i < 256 && !atomic_load(&host); i++) {
		if (!spawn_extra(be_host, NULL))
			return REFUSED;
		sched_yield();
	}
	return atomic_load(&host) && spawn_extra(be_mirrored, NULL) ? DONE : REFUSED;
}
