// SPDX-License-Identifier: GPL-2.0
/* What workers do with their words and umcg_wait(). */
#include <errno.h>
#include <sched.h>

#include "2022.h"

#define HOUR UINT64_C(3600000000000)

/* The server has gone: join another one's list. There may be none just now. */
static void move_on(struct actor *w)
{
	int err;

	if (!has(DEATHS) && !has(LIVES))
		broken(w, "no server, and none has gone");
	while ((err = umcg_move_on(w->u)) == -ESRCH)
		doze(&w->rng, 30);
	LEGAL(w, err, 0);
}

/* Wait in no list, so that the server leaves the token: see umcg_give_way(). */
static enum outcome give_way(struct actor *w, uint64_t timo)
{
	struct umcg_task *task = &w->u->task;
	int err;

	if (arena->sabotage == LOSE_WAKEUP && atomic_load(&w->progress) > 20) {
		/* Held as RUNNABLE, and nobody is told. */
		umcg_move_with(task, RUNNING, RUNNABLE, UMCG_YIELDS);
		umcg_sys_kick(0, w->u->tid);
	}
	do {
		task->next_tid = 0;
		if (!umcg_move_with(task, RUNNING, RUNNABLE | COND_WAIT, UMCG_YIELDS))
			broken(w, "word %#x of a worker that runs", word_of(w));
		__atomic_store_n(&task->runnable_ts, 0, __ATOMIC_SEQ_CST);
		err = umcg_sys_wait(0, timo);
		__atomic_fetch_and(&task->state, ~UMCG_YIELDS, __ATOMIC_SEQ_CST);
		/* It has blocked on the way, and been run since. */
	} while (err == -EAGAIN);
	LEGAL(w, err, 0, -ESRCH);
	if (err)
		move_on(w);
	check_running(w);
	return err ? REFUSED : DONE;
}

enum outcome abi_give_way(struct actor *w)
{
	return give_way(w, UMCG_NEVER);
}

enum outcome op_yield(struct actor *w)
{
	return give_way(w, UMCG_NEVER);
}

enum outcome op_yield_far(struct actor *w)
{
	return give_way(w, soon(&w->rng, 1000) + HOUR);
}

static enum outcome wait_listed(struct actor *w, uint32_t flags, uint64_t timo, int expected)
{
	int err;

	do {
		w->u->task.next_tid = 0;
		umcg_mark(w->u);
		err = umcg_sys_wait(flags, timo);
	} while (err == -EAGAIN);
	/* Blocked on the way under a tracer alone, it would return 0. */
	LEGAL(w, err, expected, -ESRCH);
	if (err == -ESRCH)
		move_on(w);
	check_running(w);
	return err == -ESRCH ? REFUSED : DONE;
}

/* No token: once timed out it is on the list. */
enum outcome op_yield_timed(struct actor *w)
{
	return wait_listed(w, 0, soon(&w->rng, 60), -ETIMEDOUT);
}

enum outcome op_yield_listed(struct actor *w)
{
	return wait_listed(w, one_in(&w->rng, 2) ? UMCG_WAIT_ENQUEUE : 0, 0, 0);
}

/* From here on `to` may block under the server, and not `from`: see the port. */
static void pass_server(struct umcg *server, struct actor *from, struct actor *to)
{
	uint32_t next_tid = __atomic_load_n(&server->task.next_tid, __ATOMIC_SEQ_CST);

	while ((next_tid & UMCG_TID_MASK) == from->u->tid &&
	       !__atomic_compare_exchange_n(&server->task.next_tid, &next_tid,
					    to->u->tid | UMCG_TID_RUNNING, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
}

static void take_server_back(struct umcg *server, struct actor *from, struct actor *to)
{
	uint32_t next_tid = from->u->tid | UMCG_TID_RUNNING;

	__atomic_compare_exchange_n(&server->task.next_tid, &next_tid,
				    to->u->tid | UMCG_TID_RUNNING, false,
				    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

/* By way of the list, so that no token is needed. */
enum outcome op_yield_to(struct actor *w)
{
	struct umcg *server;
	struct actor *other;
	int err;

	/* Without a server, or with one that goes, the other would run beside another. */
	if (has(DEATHS) || has(LIVES))
		return NOTHING;
	other = take_any(&w->rng);
	if (!other)
		return NOTHING;
	check_frozen(w, other);
	atomic_fetch_add(&other->runs, 1);
	__atomic_fetch_and(&other->u->task.state, ~(UMCG_YIELDS | UMCG_ASKED),
			   __ATOMIC_SEQ_CST);
	for (;;) {
		server = w->u->server;
		other->u->server = server;
		other->u->task.server_tid = server->tid;
		w->u->task.next_tid = other->u->tid;
		umcg_mark(w->u);
		pass_server(server, w, other);
		err = umcg_sys_wait(UMCG_WAIT_ENQUEUE, 0);
		if (!err)
			break;
		/* Blocked on the way, and run since, perhaps by another server. */
		take_server_back(server, other, w);
		if (err != -EAGAIN)
			break;
	}
	LEGAL(w, err, 0, -ESRCH);
	if (err) {
		park(other);
		move_on(w);
	}
	check_running(w);
	return err ? REFUSED : DONE;
}

enum outcome op_wait_while_running(struct actor *w)
{
	LEGAL(w, umcg_sys_wait(0, 0), -EAGAIN);
	check_running(w);
	return REFUSED;
}

enum outcome op_user_bits(struct actor *w)
{
	uint32_t bits = below(&w->rng, 4096) << 20;

	w->bits ^= bits;
	__atomic_fetch_xor(&w->u->task.state, bits, __ATOMIC_SEQ_CST);
	check_running(w);
	return DONE;
}

enum outcome op_preempt_self(struct actor *w)
{
	enum outcome outcome = umcg_preempt(w->u, 0) ? REFUSED : DONE;

	check_running(w);
	return outcome;
}
