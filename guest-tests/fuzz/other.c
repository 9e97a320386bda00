// SPDX-License-Identifier: GPL-2.0
/* What a thread that is no party does to those that are. */
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cpu_watch.h"
#include "fuzz-abi.h"
#include "ktap.h"

#define CRIMES	40	/* of one villain */
#define HOG_MS	700	/* as the kernel would that loops */

struct actor *any_worker(struct actor *me)
{
	return worker_at(below(&me->rng, arena->workers));
}

enum outcome op_signal(struct actor *me)
{
	struct actor *to = one_in(&me->rng, 3) ?
		server_at(below(&me->rng, arena->servers)) : any_worker(me);

	if (!atomic_load(&to->tid))
		return NOTHING;
	return send_signal(to) ? REFUSED : DONE;
}

enum outcome op_sample(struct actor *me)
{
	check_sample(me, any_worker(me));
	return DONE;
}

/* Nothing is lost: the memory is shared, and only not mapped just now. */
enum outcome op_drop(struct actor *me)
{
	unsigned int n = below(&me->rng, arena->workers + arena->servers + arena->pools);
	void *page;

	if (n < arena->workers)
		page = page_of(worker_at(n));
	else if (n < arena->workers + arena->servers)
		page = page_of(server_at(n - arena->workers));
	else
		page = pool_at(n - arena->workers - arena->servers);
	return madvise(page, PAGE, MADV_DONTNEED) ? REFUSED : DONE;
}

void *other_body(void *actor)
{
	struct actor *me = actor;

	become(me);
	if (arena->sabotage == HOG_CPU)
		cpu_watch_hog(ktap_slow * HOG_MS);
	while (!atomic_load(&arena->stop)) {
		step(me);
		doze(&me->rng, 30);
		/* What is broken by then may never come to an end by itself. */
		if (me->role == VILLAIN && me->turn == CRIMES)
			kill(getpid(), SIGALRM);
	}
	return NULL;
}
