// SPDX-License-Identifier: GPL-2.0
/* How servers run workers, and what they do with umcg_wait(). */
#include <errno.h>
#include <sched.h>

#include "2022.h"

/* The worker that this server has run last, or one that this has run in its place. */
static struct actor *running(struct actor *s, uint32_t *tid)
{
	*tid = __atomic_load_n(&s->u->task.next_tid, __ATOMIC_SEQ_CST) & UMCG_TID_MASK;
	return worker_of_tid(*tid);
}

/*
 * Return when no worker runs under us, or false if we leave one behind. With a
 * time-out, or a worker that has joined our list, the worker still runs.
 */
static bool see_it_off(struct actor *s)
{
	for (;;) {
		uint32_t *next = &s->u->task.next_tid, tid, word = NONE;
		struct actor *w = running(s, &tid);
		uint64_t back = 0;
		bool ours = false;

		if (w) {
			word = umcg_word(&w->u->task);
			back = __atomic_load_n(&w->u->task.runnable_ts, __ATOMIC_SEQ_CST);
			ours = __atomic_load_n(&w->u->server, __ATOMIC_SEQ_CST) == s->u;
		}
		if (ours && word & COND_WAIT) {
			/* On its way to a wait, perhaps in favour of another. */
			sched_yield();
			continue;
		}
		if (ours && (word & UMCG_TASK_MASK) == RUNNING) {
			if (has(DEATHS) && one_in(&s->rng, 8) &&
			    perform(s, &ops[OP_ABANDON]) == DONE)
				return false;
			if (has(PREEMPTS) && one_in(&s->rng, 2) && !(word & PREEMPT))
				umcg_preempt(w->u, 0);
			perform(s, &ops[OP_AGAIN]);
			continue;
		}
		/* It may have run another in its place. */
		if ((__atomic_load_n(next, __ATOMIC_SEQ_CST) & UMCG_TID_MASK) != tid)
			continue;
		if (ours && (word & UMCG_TASK_MASK) == RUNNABLE && word & UMCG_YIELDS && !back)
			park(w);
		__atomic_store_n(next, 0, __ATOMIC_SEQ_CST);
		return true;
	}
}

/* Sleep again while our worker runs. */
enum outcome op_again(struct actor *s)
{
	uint32_t tid;
	struct actor *w = running(s, &tid);
	int err;

	if (!w)
		return NOTHING;
	umcg_mark(s->u);
	/* Not a store that the worker's own, for another, may come before. */
	__atomic_fetch_or(&s->u->task.next_tid, UMCG_TID_RUNNING, __ATOMIC_SEQ_CST);
	/* Before the mark it may have stopped, and begun to run under another. */
	w = running(s, &tid);
	if (!w || !umcg_runs(s->u, w->u)) {
		umcg_move(&s->u->task, RUNNABLE, RUNNING);
		return NOTHING;
	}
	umcg_share(s->u);
	err = umcg_sys_wait(0, has(TIMED) ? soon(&s->rng, 100) : 0);
	LEGAL(s, err, 0, -EAGAIN, -ETIMEDOUT, -ESRCH);
	return err && err != -ETIMEDOUT ? REFUSED : DONE;
}

enum outcome op_run(struct actor *s)
{
	struct actor *w = take_any(&s->rng);
	uint64_t deadline = 0;
	int err;

	if (!w)
		return NOTHING;
	if (has(TIMED) && one_in(&s->rng, 4))
		deadline = soon(&s->rng, 150);
	check_frozen(s, w);
	atomic_fetch_add(&w->runs, 1);
	__atomic_fetch_and(&w->u->task.state, ~(UMCG_YIELDS | UMCG_ASKED), __ATOMIC_SEQ_CST);
	err = umcg_resume(s->u, w->u, deadline);
	/* It is seen to below, and never left beside another. */
	s->u->runs_on = false;
	LEGAL(s, err, 0, -ETIMEDOUT);
	see_it_off(s);
	return DONE;
}

/* A wakeup, or a look, out of nowhere. */
enum outcome op_kick(struct actor *me)
{
	uint32_t tid = atomic_load(&any_party(me)->tid);

	if (!tid)
		return NOTHING;
	return LEGAL(me, umcg_sys_kick(0, tid), 0, -ESRCH) ? DONE : REFUSED;
}

enum outcome op_run_missing(struct actor *s)
{
	static const uint32_t missing[] = { 1, 0x3fffffff, 0x80000000, 0x80000001 };

	s->u->task.next_tid = missing[below(&s->rng, 4)];
	umcg_mark(s->u);
	LEGAL(s, umcg_sys_wait(0, 0), -ESRCH, -EAGAIN);
	if (state_of(s) != RUNNING)
		broken(s, "word %#x after an error", word_of(s));
	s->u->task.next_tid = 0;
	return REFUSED;
}

enum outcome op_not_runnable(struct actor *s)
{
	static const uint32_t words[] = { NONE, RUNNING, BLOCKED, 4, RUNNING | PREEMPT };

	s->u->task.next_tid = 0;
	umcg_set_word(&s->u->task, words[below(&s->rng, 5)]);
	LEGAL(s, umcg_sys_wait(0, 0), -EAGAIN);
	umcg_set_word(&s->u->task, RUNNING);
	return REFUSED;
}

/* It is a server of another process. */
enum outcome op_kick_watcher(struct actor *s)
{
	LEGAL(s, umcg_sys_kick(0, arena->watcher), -ESRCH);
	return REFUSED;
}
