// SPDX-License-Identifier: GPL-2.0
/* What any thread may try, and what one that is no party does to those that are. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "2022.h"

enum outcome op_bad_flags(struct actor *me)
{
	uint32_t flags = (2u << below(&me->rng, 31)) | below(&me->rng, 2);
	int expected = arena->sabotage == WRONG_ERROR ? 0 : -EINVAL;

	LEGAL(me, umcg_sys_wait(flags, 0), expected);
	return REFUSED;
}

/* Flags that are no command, or a command that a registered thread cannot give. */
enum outcome op_bad_ctl(struct actor *me)
{
	static const uint32_t flags[] = {
		0, UMCG_CTL_WORKER, UMCG_CTL_REGISTER | UMCG_CTL_UNREGISTER, UMCG_CTL_MULTI,
		4, UMCG_CTL_REGISTER | 0x100, 0x80000000, UMCG_CTL_REGISTER,
		UMCG_CTL_REGISTER | UMCG_CTL_WORKER, UMCG_CTL_UNREGISTER,
		UMCG_CTL_UNREGISTER | UMCG_CTL_WORKER,
	};
	struct umcg_task task = { .state = RUNNING, .server_tid = me->tid };

	/* That is not what it has registered. */
	LEGAL(me, umcg_sys_ctl(flags[below(&me->rng, 11)], &task, CLOCK_MONOTONIC), -EINVAL);
	return REFUSED;
}

enum outcome op_preempt(struct actor *me)
{
	struct actor *w = any_worker(me);
	int err = umcg_preempt(w->u, 0);

	if (err == -EAGAIN)
		return NOTHING;
	return LEGAL(me, err, 0, -ESRCH) ? DONE : REFUSED;
}

enum outcome op_stranger(struct actor *me)
{
	if (one_in(&me->rng, 2))
		LEGAL(me, umcg_sys_wait(below(&me->rng, 2), 0), -EINVAL);
	else
		LEGAL(me, umcg_sys_ctl(UMCG_CTL_UNREGISTER, &me->u->task, 0), -EINVAL);
	return REFUSED;
}

/* Registrations that have to fail, and to leave no trace. */
enum outcome op_bad_register(struct actor *me)
{
	static char beyond[PAGE] __attribute__((aligned(PAGE)));
	void *const bad_places[] = { (void *)64, (void *)(UINTPTR_MAX & ~63ul), beyond };
	bool worker = one_in(&me->rng, 2);
	struct umcg_task task = {
		.state = worker ? BLOCKED : RUNNING, .server_tid = me->tid,
	}, before;
	void *self = &task;
	int expected = -EINVAL;

	switch (below(&me->rng, 6)) {
	case 0:
		self = one_in(&me->rng, 2) ? NULL : (char *)&task + 8;
		break;
	case 1:
		/* Nothing else is wrong with what is read-only. */
		mprotect(beyond, PAGE, PROT_READ | PROT_WRITE);
		memcpy(beyond, &task, sizeof(task));
		mprotect(beyond, PAGE, PROT_READ);
		self = bad_places[below(&me->rng, worker ? 2 : 3)];
		expected = -EFAULT;
		break;
	case 2:
		task.state ^= 4u << below(&me->rng, 14);
		break;
	case 3:
		task.next_tid = me->tid;
		break;
	case 4:
		task.server_tid = worker ? me->tid : any_worker(me)->tid;
		expected = -ESRCH;
		break;
	default:
		task.__zero[below(&me->rng, 2)] = UINT64_C(1) << below(&me->rng, 64);
	}
	before = task;
	LEGAL(me, umcg_sys_ctl(UMCG_CTL_REGISTER | (worker ? UMCG_CTL_WORKER : 0), self,
			       CLOCK_MONOTONIC), expected);
	if (memcmp(&task, &before, sizeof(task)))
		broken(me, "a registration that failed has changed the structure");
	LEGAL(me, umcg_sys_ctl(UMCG_CTL_UNREGISTER, &task, 0), -EINVAL);
	me->result = expected;
	return REFUSED;
}

/* A server for one kick. */
enum outcome op_visit(struct actor *me)
{
	uint32_t tid = any_worker(me)->tid;

	LEGAL(me, umcg_register_server(me->u, NULL), 0);
	if (tid)
		LEGAL(me, umcg_sys_kick(0, tid), 0, -ESRCH);
	LEGAL(me, umcg_unregister(me->u), 0);
	return DONE;
}
