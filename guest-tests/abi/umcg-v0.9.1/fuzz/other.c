// SPDX-License-Identifier: GPL-2.0
/* What any thread may try, and what one that is no party does to those that are. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "v0.9.1.h"

#define CRIMES	40	/* of one villain */

enum outcome op_bad_flags(struct actor *me)
{
	uint32_t flags = (4u << below(&me->rng, 30)) | below(&me->rng, 4);
	int expected = arena->sabotage == WRONG_ERROR ? 0 : -EINVAL;

	LEGAL(me, umcg_sys_wait(flags, 0), expected);
	return REFUSED;
}

/* Flags that are no command, or a command that a registered thread cannot give. */
enum outcome op_bad_ctl(struct actor *me)
{
	static const uint32_t flags[] = {
		0, UMCG_CTL_WORKER, UMCG_CTL_REGISTER | UMCG_CTL_UNREGISTER,
		UMCG_CTL_UNREGISTER | UMCG_CTL_WORKER, 4, UMCG_CTL_REGISTER | 0x100,
		0x80000000, UMCG_CTL_REGISTER, UMCG_CTL_REGISTER | UMCG_CTL_WORKER,
		UMCG_CTL_UNREGISTER,
	};
	struct umcg_task task = { .state_ts = RUNNING };

	LEGAL(me, umcg_sys_ctl(flags[below(&me->rng, 10)], &task), -EINVAL);
	return REFUSED;
}

enum outcome op_preempt(struct actor *me)
{
	struct actor *w = any_worker(me);

	if (bare_word(w) != RUNNING)
		return NOTHING;
	return move_and_preempt(w) ? REFUSED : DONE;
}

enum outcome op_stranger(struct actor *me)
{
	if (one_in(&me->rng, 2))
		LEGAL(me, umcg_sys_wait(below(&me->rng, 4), 0), -EINVAL);
	else
		LEGAL(me, umcg_sys_ctl(UMCG_CTL_UNREGISTER, NULL), -EINVAL);
	return REFUSED;
}

/* Registrations that have to fail, and to leave no trace. */
enum outcome op_bad_register(struct actor *me)
{
	static char beyond[PAGE] __attribute__((aligned(PAGE)));
	const uint64_t good = (uintptr_t)pool_at(0);
	void *const bad_places[] = { (void *)64, (void *)(UINTPTR_MAX & ~63ul), beyond };
	struct umcg_task task = { .state_ts = RUNNING }, before;
	bool worker = one_in(&me->rng, 2);
	void *self = &task;
	int expected = -EINVAL;

	if (worker)
		task = (struct umcg_task){
			.state_ts = BLOCKED,
			.idle_workers_ptr = good,
			.idle_server_tid_ptr = good + 8,
		};
	switch (below(&me->rng, 5)) {
	case 0:
		self = one_in(&me->rng, 2) ? NULL : (char *)&task + 8;
		break;
	case 1:
		/* Nothing else is wrong with what is read-only. */
		mprotect(beyond, PAGE, PROT_READ | PROT_WRITE);
		memcpy(beyond, &task, sizeof(task));
		mprotect(beyond, PAGE, PROT_READ);
		self = bad_places[below(&me->rng, 3)];
		expected = -EFAULT;
		break;
	case 2:
		task.state_ts ^= 4u << below(&me->rng, 11);
		break;
	case 3:
		task.next_tid = me->tid;
		break;
	default:
		task.flags = 1u << below(&me->rng, 32);
	}
	before = task;
	LEGAL(me, umcg_sys_ctl(UMCG_CTL_REGISTER | (worker ? UMCG_CTL_WORKER : 0),
			       self), expected);
	if (memcmp(&task, &before, sizeof(task)))
		broken(me, "a registration that failed has changed the structure");
	LEGAL(me, umcg_sys_ctl(UMCG_CTL_UNREGISTER, NULL), -EINVAL);
	me->result = expected;
	return REFUSED;
}

/* A server for one wakeup. */
enum outcome op_visit(struct actor *me)
{
	LEGAL(me, umcg_register_server(me->u, NULL), 0);
	me->u->task.next_tid = one_in(&me->rng, 2) ? any_worker(me)->tid : me->tid;
	if (me->u->task.next_tid)
		LEGAL(me, umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, 0), 0, -ESRCH);
	LEGAL(me, umcg_unregister(me->u), 0);
	return DONE;
}
