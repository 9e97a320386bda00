// SPDX-License-Identifier: GPL-2.0
/*
 * What a thread does to the pages that its process shares with the kernel. In a
 * process of its own, for which any end is good that is an end.
 */
#include <pthread.h>
#include <sys/mman.h>

#include "fuzz-abi.h"

void *any_page(struct actor *me)
{
	unsigned int n = below(&me->rng, arena->workers + arena->servers + arena->pools);

	if (n < arena->workers)
		return page_of(worker_at(n));
	n -= arena->workers;
	return n < arena->servers ? (void *)page_of(server_at(n)) :
				    (void *)pool_at(n - arena->servers);
}

struct actor *any_party(struct actor *me)
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

/* One page for two parties, or for a party and a pool, from now on. */
enum outcome op_merge(struct actor *me)
{
	void *from = any_page(me), *to = any_page(me);

	/* The old size of zero makes a second mapping of what is shared. */
	return from != to && mremap(from, 0, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
				    to) == to ? DONE : REFUSED;
}

bool spawn_extra(void *(*body)(void *), void *arg)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, body, arg))
		return false;
	pthread_detach(thread);
	return true;
}
