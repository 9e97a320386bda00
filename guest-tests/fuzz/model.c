// SPDX-License-Identifier: GPL-2.0
/* See model.h. */
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "fuzz-abi.h"

struct arena *arena;
char *pages;

uint64_t soon(struct rng *rng, unsigned int microseconds)
{
	return umcg_now() + below(rng, microseconds * 1000);
}

struct actor *worker_of_tid(uint32_t tid)
{
	for (unsigned int i = 0; tid && i < arena->workers; i++)
		if (atomic_load(&worker_at(i)->tid) == tid)
			return worker_at(i);
	return NULL;
}

void snapshot(void)
{
	for (struct actor *a = arena->actors; a < arena->actors + MAX_ACTORS; a++)
		a->seen = *a->u;
}

static void tell(struct actor *a, const char *fmt, va_list args)
{
	char text[192];

	/* The first is the cause, others may be what comes of it. */
	if (!atomic_exchange(&arena->failed, true)) {
		vsnprintf(text, sizeof(text), fmt, args);
		snprintf(arena->why, sizeof(arena->why), "actor %d in %s: %s",
			 (int)(a - arena->actors), a->doing ? a->doing->name : "between",
			 text);
		if (!arena->hostile)
			snapshot();
	} else {
		/* Who found the cause is writing it down. */
		sleep(1);
	}
	_exit(1);
}

void broken(struct actor *a, const char *fmt, ...)
{
	va_list args;

	/* Where memory is scribbled upon, user space can be sure of nothing. */
	if (arena->hostile)
		return;
	va_start(args, fmt);
	tell(a, fmt, args);
}

static void unheard_of(struct actor *a, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	tell(a, fmt, args);
}

bool legal(struct actor *a, int result, const int *allowed, unsigned int n)
{
	a->result = result;
	if (arena->hostile) {
		allowed = abi_results;
		n = n_abi_results;
	}
	for (unsigned int i = 0; i < n; i++)
		if (allowed[i] == result)
			return !result;
	unheard_of(a, "result %d", result);
	return false;
}

void check_running(struct actor *w)
{
	atomic_fetch_add_explicit(&w->progress, 1, memory_order_relaxed);
	if (atomic_load(&w->parked))
		broken(w, "runs, and nobody has taken its token");
	abi_check_running(w);
}

/* Who runs it from here on has to take the token, and to count, first. */
void check_sample(struct actor *me, struct actor *w)
{
	unsigned int runs = atomic_load(&w->runs), before, after;

	if (!abi_stands_still(me, w))
		return;
	before = atomic_load(&w->progress);
	for (int i = 0; i < 3; i++)
		sched_yield();
	after = atomic_load(&w->progress);
	if (runs == atomic_load(&w->runs) && before != after)
		broken(me, "worker %u was idle or blocked, and ran unasked", w->tid);
}

void park(struct actor *w)
{
	if (arena->sabotage == LOSE_WORKER && atomic_load(&w->progress) > 20)
		return;
	atomic_store(&w->stamp, atomic_load(&w->progress));
	if (atomic_exchange(&w->parked, true))
		broken(w, "parked twice");
}

bool take_token(struct actor *w)
{
	return atomic_load_explicit(&w->parked, memory_order_relaxed) &&
	       atomic_exchange(&w->parked, false);
}

struct actor *take_any(struct rng *rng)
{
	unsigned int start = below(rng, arena->workers);

	for (unsigned int i = 0; i < arena->workers; i++) {
		struct actor *w = worker_at((start + i) % arena->workers);

		if (take_token(w))
			return w;
	}
	return NULL;
}

bool any_parked(void)
{
	for (unsigned int i = 0; i < arena->workers; i++)
		if (atomic_load(&worker_at(i)->parked))
			return true;
	return false;
}

void check_frozen(struct actor *me, struct actor *w)
{
	if (arena->sabotage == RUN_ASTRAY && w->progress > 20)
		atomic_fetch_add(&w->progress, 1);
	if (atomic_load(&w->progress) != atomic_load(&w->stamp))
		broken(me, "worker %u ran while it was parked", w->tid);
}
