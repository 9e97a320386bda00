// SPDX-License-Identifier: GPL-2.0
/* How servers run workers, and what they do with their words and umcg_wait(). */
#include <errno.h>
#include <sched.h>

#include "v0.5.h"

/*
 * Tell the word of a worker; true if that is about its being with this server. One that
 * is LOCKED and wakes somebody points elsewhere for a while, so both are of one moment.
 */
static bool with(struct actor *s, struct actor *w, uint32_t *word)
{
	const uint32_t *next = &w->u->task.next_tid;
	uint32_t tid;

	do {
		tid = __atomic_load_n(next, __ATOMIC_SEQ_CST);
		*word = bare_word(w);
	} while (tid != __atomic_load_n(next, __ATOMIC_SEQ_CST) || *word != bare_word(w));
	return tid == s->tid;
}

/*
 * Return when no worker runs under us, or false if we leave one behind. With a
 * time-out, or a wakeup meant for another wait of ours, the worker still runs.
 */
static bool see_it_off(struct actor *s)
{
	for (;;) {
		uint32_t *next = &s->u->task.next_tid, word = NONE;
		uint32_t tid = __atomic_load_n(next, __ATOMIC_SEQ_CST);
		struct actor *w = worker_of_tid(tid);
		bool ours = w && with(s, w, &word);

		if (word & LOCKED) {
			/* About to change, and it may not look at us any more. */
			sched_yield();
			continue;
		}
		if (ours && (word & UMCG_TASK_STATE_MASK) == RUNNING) {
			if (has(DEATHS) && one_in(&s->rng, 8) &&
			    perform(s, &ops[OP_ABANDON]) == DONE)
				return false;
			if (has(PREEMPTS) && one_in(&s->rng, 2) && !(word & PREEMPTED)) {
				/* It may have stopped running in the meantime. */
				move_and_preempt(w);
			}
			perform(s, &ops[OP_AGAIN]);
			continue;
		}
		/* It may have run another in its place. */
		if (__atomic_load_n(next, __ATOMIC_SEQ_CST) != tid)
			continue;
		if (ours && word == (IDLE | PREEMPTED))
			park(w);
		__atomic_store_n(next, 0, __ATOMIC_SEQ_CST);
		return true;
	}
}

/* Sleep again while our worker runs. */
enum outcome op_again(struct actor *s)
{
	uint32_t tid = s->u->task.next_tid, word;
	struct actor *w;
	int err = 0;

	umcg_move(&s->u->task, RUNNING, IDLE);
	w = worker_of_tid(tid);
	if (w && s->u->task.next_tid == tid && with(s, w, &word) &&
	    (word == RUNNING || word == (RUNNING | PREEMPTED)))
		err = umcg_sys_wait(0, has(TIMED) ? soon(&s->rng, 100) : 0);
	umcg_move(&s->u->task, IDLE, RUNNING);
	LEGAL(s, err, 0, -ETIMEDOUT, -ESRCH);
	return err == -ESRCH ? REFUSED : DONE;
}

static void run(struct actor *s, struct actor *w)
{
	uint64_t deadline = 0;
	int err;

	if (has(TIMED) && one_in(&s->rng, 4))
		deadline = soon(&s->rng, 150);
	check_frozen(s, w);
	atomic_fetch_add(&w->runs, 1);
	/* A token is given out a moment before its worker is IDLE. */
	while ((err = umcg_resume(s->u, w->u, deadline)) == -EAGAIN) {
		uint32_t word = bare_word(w);

		if (word != IDLE && word != (IDLE | LOCKED))
			broken(s, "worker %u, parked, has word %#x", w->tid, word);
		sched_yield();
	}
	/* Something else has woken it, and it has gone. */
	LEGAL(s, err, 0, -ETIMEDOUT, -ESRCH);
}

enum outcome op_run(struct actor *s)
{
	struct actor *w = take_any(&s->rng);

	if (!w)
		return NOTHING;
	run(s, w);
	see_it_off(s);
	return DONE;
}

/* A wakeup out of nowhere, to a worker in whatever state. */
enum outcome op_wake_worker(struct actor *s)
{
	s->u->task.next_tid = worker_at(below(&s->rng, arena->workers))->tid;
	if (!s->u->task.next_tid)
		return NOTHING;
	return LEGAL(s, umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, 0), 0, -ESRCH) ? DONE : REFUSED;
}

enum outcome op_wake_nobody(struct actor *s)
{
	bool nobody = one_in(&s->rng, 2);

	/* No target, or a time-out with nothing to time. */
	s->u->task.next_tid = nobody ? 0 : s->tid;
	LEGAL(s, umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, nobody ? 0 : 1), -EINVAL);
	return REFUSED;
}

enum outcome op_wake_missing(struct actor *s)
{
	static const uint32_t missing[] = { 1, 0x7fffffff, 0x80000000, 0xffffffff };

	s->u->task.next_tid = missing[below(&s->rng, 4)];
	LEGAL(s, umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, 0), -ESRCH, -EPERM);
	return REFUSED;
}

enum outcome op_bad_word(struct actor *s)
{
	static const uint32_t bad[] = { NONE, BLOCKED, 4, RUNNING | LOCKED,
					IDLE | PREEMPTED, IDLE | 0x10000 };

	s->u->task.next_tid = 0;
	umcg_set_word(&s->u->task, bad[below(&s->rng, 6)]);
	LEGAL(s, umcg_sys_wait(0, 0), -EINVAL);
	umcg_set_word(&s->u->task, RUNNING);
	return REFUSED;
}

/* It is a server of another process. */
enum outcome op_wake_watcher(struct actor *s)
{
	s->u->task.next_tid = arena->watcher;
	return LEGAL(s, umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, 0), 0) ? DONE : REFUSED;
}
