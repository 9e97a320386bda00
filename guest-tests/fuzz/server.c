// SPDX-License-Identifier: GPL-2.0
/* What servers do, but for running a worker. */
#include <errno.h>
#include <sched.h>

#include "fuzz-abi.h"

enum outcome op_register(struct actor *s)
{
	LEGAL(s, umcg_register_server(s->u, s->pool), 0);
	return DONE;
}

static struct actor *pick_server(struct actor *s)
{
	struct actor *other = server_at(below(&s->rng, arena->servers));

	return other == s ? NULL : other;
}

bool collect(struct actor *s, struct umcg_pool *pool)
{
	struct umcg *u = umcg_take_idle(pool), *next;
	bool some = u;

	for (; u; u = next) {
		struct actor *w = worker_of(u);

		if (!w) {
			broken(s, "%p in a list of workers", u);
			break;
		}
		next = umcg_next_idle(u);
		park(w);
	}
	return some;
}

/* End with a worker running. A server that waits for us would wait for ever. */
enum outcome op_abandon(struct actor *s)
{
	if (atomic_load(&s->back) || atomic_load(&arena->stop) ||
	    atomic_fetch_add(&arena->heirs, 1) >= MAX_HEIRS)
		return NOTHING;
	atomic_store(&s->abandoned, true);
	if (one_in(&s->rng, 2))
		LEGAL(s, umcg_unregister(s->u), 0);
	return DONE;
}

/* What most of a server's life is. It counts as what it comes to. */
enum outcome op_serve(struct actor *s)
{
	if (one_in(&s->rng, 2))
		collect(s, s->pool);
	if (one_in(&s->rng, 8))
		collect(s, pool_at(below(&s->rng, arena->pools)));
	if (perform(s, &ops[OP_RUN]) == NOTHING)
		perform(s, &ops[OP_IDLE]);
	return NOTHING;
}

enum outcome op_idle(struct actor *s)
{
	uint64_t deadline = 0;
	int err;

	if (collect(s, s->pool) || any_parked())
		return NOTHING;
	if (has(TIMED) && one_in(&s->rng, 2))
		deadline = soon(&s->rng, 200);
	err = umcg_await_idle(s->u, s->pool, deadline);
	LEGAL(s, err, 0, -EBUSY, deadline ? -ETIMEDOUT : 0);
	if (err != -EBUSY)
		return DONE;
	/* The pool has another server that waits; this one looks from time to time. */
	doze(&s->rng, 60);
	return NOTHING;
}

enum outcome op_requeue(struct actor *s)
{
	struct actor *w = take_any(&s->rng);
	int err;

	if (!w)
		return NOTHING;
	check_frozen(s, w);
	while ((err = umcg_requeue(s->u, w->u)) == -EAGAIN)
		sched_yield();
	/* Something else has woken it, and it was run, and has gone. */
	return LEGAL(s, err, 0, -ESRCH) ? DONE : REFUSED;
}

/* Any server, whatever it waits for: it looks, and waits again. */
enum outcome op_wake_server(struct actor *s)
{
	struct actor *other = pick_server(s);

	if (!other)
		return NOTHING;
	return LEGAL(s, umcg_wake(s->u, other->u), 0, -EAGAIN, -ESRCH) ? DONE : REFUSED;
}

/* Hand over to a server that hands back when it has no worker. */
enum outcome op_switch(struct actor *s)
{
	struct actor *other = pick_server(s), *nobody = NULL, *me = s;
	uint64_t deadline = 0;
	int err;

	if (!other || !atomic_compare_exchange_strong(&other->back, &nobody, s))
		return NOTHING;
	if (has(TIMED) && one_in(&s->rng, 2))
		deadline = soon(&s->rng, 200);
	err = umcg_switch(s->u, other->u, deadline);
	if (err)
		atomic_compare_exchange_strong(&other->back, &me, NULL);
	LEGAL(s, err, 0, -EAGAIN, -ESRCH, deadline ? -ETIMEDOUT : 0);
	return err && err != -ETIMEDOUT ? REFUSED : DONE;
}

enum outcome op_give_back(struct actor *s)
{
	struct actor *other = atomic_exchange(&s->back, NULL);
	int err;

	if (!other)
		return NOTHING;
	/* It may have said that it is about to switch to us, and not got that far. */
	while ((err = umcg_wake(s->u, other->u)) == -EAGAIN &&
	       __atomic_load_n(&other->doing, __ATOMIC_SEQ_CST) == &ops[OP_SWITCH])
		sched_yield();
	return LEGAL(s, err, 0, -EAGAIN, -ESRCH) ? DONE : REFUSED;
}

enum outcome op_wait_timed(struct actor *s)
{
	LEGAL(s, umcg_wait(s->u, soon(&s->rng, 60)), 0, -ETIMEDOUT);
	return DONE;
}

enum outcome op_reregister(struct actor *s)
{
	atomic_fetch_add(&s->life, 1);
	LEGAL(s, umcg_unregister(s->u), 0);
	abi_check_nobody(s);
	perform(s, &ops[OP_REGISTER]);
	return DONE;
}

void *server_body(void *actor)
{
	struct actor *s = actor;

	become(s);
	perform(s, &ops[OP_REGISTER]);
	while (!atomic_load(&s->abandoned) &&
	       !(atomic_load(&arena->stop) && !atomic_load(&arena->live))) {
		perform(s, &ops[OP_GIVE_BACK]);
		step(s);
	}
	if (!atomic_load(&s->abandoned)) {
		perform(s, &ops[OP_GIVE_BACK]);
		LEGAL(s, umcg_unregister(s->u), 0);
	}
	atomic_store(&s->leaving, true);
	return NULL;
}
