// SPDX-License-Identifier: GPL-2.0
/*
 * What a thread does to the memory that its process shares with the kernel. In a
 * process of its own, for which any end is good that is an end.
 */
#include <sched.h>
#include <sys/mman.h>

#include "ops.h"

/* The page of a party, or of a pool. */
static void *any_page(struct actor *me)
{
	unsigned int n = below(&me->rng, arena->workers + arena->servers + arena->pools);

	if (n < arena->workers)
		return page_of(worker_at(n));
	n -= arena->workers;
	return n < arena->servers ? (void *)page_of(server_at(n)) :
				    (void *)pool_at(n - arena->servers);
}

static struct actor *any_party(struct actor *me)
{
	unsigned int n = below(&me->rng, arena->workers + arena->servers);

	return n < arena->workers ? worker_at(n) : server_at(n - arena->workers);
}

/* Out of reach or read-only for a while. */
enum outcome op_protect(struct actor *me)
{
	void *page = any_page(me);
	int err = mprotect(page, PAGE, one_in(&me->rng, 2) ? PROT_NONE : PROT_READ);

	doze(&me->rng, 100);
	mprotect(page, PAGE, PROT_READ | PROT_WRITE);
	return err ? REFUSED : DONE;
}

/* Gone, then another page in its place; or that at once. */
enum outcome op_unmap(struct actor *me)
{
	void *page = any_page(me);

	if (one_in(&me->rng, 2)) {
		munmap(page, PAGE);
		doze(&me->rng, 100);
	}
	return mmap(page, PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page ? DONE : REFUSED;
}

enum outcome op_scribble(struct actor *me)
{
	static const uint32_t words[] = {
		NONE, RUNNING, IDLE, BLOCKED, 4, 0xff, RUNNING | LOCKED, IDLE | LOCKED,
		BLOCKED | LOCKED, RUNNING | PREEMPTED, IDLE | PREEMPTED,
		BLOCKED | PREEMPTED, IDLE | LOCKED | PREEMPTED, RUNNING | 0x10000,
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
		umcg_set_word(task, words[below(&me->rng, 14)] | below(&me->rng, 256) << 24);
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
