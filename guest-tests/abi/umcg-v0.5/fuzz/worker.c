// SPDX-License-Identifier: GPL-2.0
/* What workers do with their words and umcg_wait(). */
#include <errno.h>
#include <sched.h>
#include <time.h>

#include "v0.5.h"

#define HOUR UINT64_C(3600000000000)

/*
 * From here on the kernel leaves us alone until we call it. The server we run
 * under does not change any more either.
 */
static struct umcg *stop_running(struct actor *w)
{
	struct umcg_task *task = &w->u->task;

	/* It waits for us until we have stopped. */
	w->server_life = atomic_load(&actor_of(w->u->server)->life);
	while (!umcg_move(task, RUNNING, IDLE | LOCKED) &&
	       !umcg_move(task, RUNNING | PREEMPTED, IDLE | LOCKED)) {
		uint32_t word = bare_word(w);

		if (word != RUNNING && word != (RUNNING | PREEMPTED)) {
			broken(w, "word %#x of a worker that runs", word);
			break;
		}
	}
	return w->u->server;
}

static bool stopped(struct actor *w)
{
	return bare_word(w) == (IDLE | LOCKED);
}

/* Sleep with the token out: only who takes it runs us again. */
static void sleep_parked(struct actor *w)
{
	w->u->task.next_tid = 0;
	LEGAL(w, umcg_sys_wait(0, 0), 0);
}

/*
 * The server has gone, and nobody knows that we run: go by way of the list. One that
 * was up saw us IDLE, within the call, and may be registered anew.
 */
static void come_back_alone(struct actor *w, struct umcg *server)
{
	struct actor *s = actor_of(server);
	struct timespec ts = { 0, 1 };

	if (!atomic_load(&s->abandoned) && atomic_load(&s->life) == w->server_life)
		broken(w, "no server %u, and it is there", server->tid);
	w->u->task.next_tid = server->tid;
	umcg_move(&w->u->task, IDLE | LOCKED, RUNNING);
	nanosleep(&ts, NULL);
}

/* After a wait that was to wake the server: it may have gone. */
static enum outcome woken(struct actor *w, struct umcg *server, int err, bool parked)
{
	if (stopped(w)) {
		LEGAL(w, err, -ESRCH);
		if (!parked || take_token(w))
			come_back_alone(w, server);
		else
			sleep_parked(w);
	}
	check_running(w);
	return err ? REFUSED : DONE;
}

static enum outcome give_way(struct actor *w, uint64_t deadline)
{
	struct umcg *server = stop_running(w);
	int err;

	park(w);
	if (arena->sabotage != LOSE_WAKEUP || atomic_load(&w->progress) < 20)
		umcg_move(&server->task, IDLE, RUNNING);
	err = umcg_sys_wait(0, deadline);
	LEGAL(w, err, 0, -ESRCH);
	return woken(w, server, err, true);
}

enum outcome abi_give_way(struct actor *w)
{
	return give_way(w, 0);
}

enum outcome op_yield(struct actor *w)
{
	return give_way(w, 0);
}

enum outcome op_yield_far(struct actor *w)
{
	return give_way(w, soon(&w->rng, 1000) + HOUR);
}

/* No token: once timed out it is on the list, and its word does not tell. */
enum outcome op_yield_timed(struct actor *w)
{
	uint64_t deadline = soon(&w->rng, 60);
	struct umcg *server = stop_running(w);
	int err;

	umcg_move(&server->task, IDLE, RUNNING);
	err = umcg_sys_wait(0, deadline);
	LEGAL(w, err, -ETIMEDOUT, -ESRCH);
	woken(w, server, err, false);
	return err == -ETIMEDOUT ? DONE : REFUSED;
}

/* A token is given out a moment before its worker is IDLE. */
static void claim(struct actor *me, struct actor *other)
{
	struct umcg_task *task = &other->u->task;

	while (!umcg_move(task, IDLE, RUNNING | LOCKED) &&
	       !umcg_move(task, IDLE | PREEMPTED, RUNNING | LOCKED)) {
		uint32_t word = bare_word(other);

		if (word != IDLE && word != (IDLE | LOCKED))
			broken(me, "worker %u, parked, has word %#x", other->tid, word);
		sched_yield();
	}
}

enum outcome op_yield_to(struct actor *w)
{
	struct actor *other = take_any(&w->rng);
	struct umcg *server;
	int err;

	if (!other)
		return NOTHING;
	check_frozen(w, other);
	server = stop_running(w);
	claim(w, other);
	atomic_fetch_add(&other->runs, 1);
	other->u->server = server;
	other->u->task.next_tid = server->tid;
	other->u->task.idle_workers_ptr = (uintptr_t)&other->pool->idle_workers;
	__atomic_store_n(&server->task.next_tid, other->u->tid, __ATOMIC_SEQ_CST);
	w->u->task.next_tid = other->u->tid;
	/* Before the other can wake the server, which looks for tokens then. */
	park(w);
	umcg_move(&other->u->task, RUNNING | LOCKED, RUNNING);
	err = umcg_sys_wait(0, 0);
	/* Something else has woken it, and it has gone. */
	LEGAL(w, err, 0, -ESRCH);
	if (err)
		sleep_parked(w);
	check_running(w);
	return err ? REFUSED : DONE;
}

enum outcome op_park(struct actor *w)
{
	struct umcg *server = stop_running(w);
	int err;

	park(w);
	umcg_move(&server->task, IDLE, RUNNING);
	err = umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, 0);
	LEGAL(w, err, 0, -ESRCH);
	if (!err)
		sleep_parked(w);
	return woken(w, server, err, true);
}

enum outcome op_worker_wakes(struct actor *w)
{
	struct actor *other = server_at(below(&w->rng, arena->servers));
	uint32_t tid = atomic_load(&other->tid);
	struct umcg *server;
	int err;

	if (!tid)
		return NOTHING;
	server = stop_running(w);
	umcg_move(&other->u->task, IDLE, RUNNING);
	w->u->task.next_tid = tid;
	err = umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, 0);
	if (!stopped(w))
		broken(w, "word %#x after WAKE_ONLY", bare_word(w));
	w->u->task.next_tid = server->tid;
	umcg_move(&w->u->task, IDLE | LOCKED, RUNNING);
	/* It may not have registered yet, or have gone. */
	return LEGAL(w, err, 0, -ESRCH) ? DONE : REFUSED;
}

enum outcome op_wait_while_running(struct actor *w)
{
	int err = umcg_sys_wait(0, 0);

	/* next_tid is looked at first: the server may have gone. */
	LEGAL(w, err, -EINVAL, -ESRCH);
	check_running(w);
	return REFUSED;
}

enum outcome op_user_bits(struct actor *w)
{
	uint32_t bits = below(&w->rng, 256) << 24;

	w->bits ^= bits;
	__atomic_fetch_xor(&w->u->task.state, bits, __ATOMIC_SEQ_CST);
	check_running(w);
	return DONE;
}

enum outcome op_preempt_self(struct actor *w)
{
	enum outcome outcome = move_and_preempt(w) ? REFUSED : DONE;

	check_running(w);
	return outcome;
}
