// SPDX-License-Identifier: GPL-2.0
/*
 * UMCG v0.5: who starts a transition writes the state words, then makes the
 * system call. A waker makes the word of a sleeper RUNNING before it calls; so
 * the sleeper may be marked IDLE long before it sleeps, and nothing is lost.
 */
#include <asm/unistd.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "inject.h"
#include "umcg.h"

int umcg_sys_ctl(uint32_t flags, void *self)
{
	return syscall(__NR_umcg_ctl, flags, self) ? -errno : 0;
}

int umcg_sys_wait(uint32_t flags, uint64_t abs_timeout)
{
	return syscall(__NR_umcg_wait, flags, abs_timeout) ? -errno : 0;
}

enum umcg_kernel umcg_kernel(void)
{
	const char *control = getenv("UMCGLAB_CONTROL_RELEASE");
	struct utsname name;

	if (umcg_sys_ctl(0, NULL) != -ENOSYS)
		return UMCG_HERE;
	if (control && !uname(&name) && !strcmp(name.release, control))
		return UMCG_CONTROL;
	return UMCG_ABSENT;
}

int umcg_register_server(struct umcg *me)
{
	memset(me, 0, sizeof(*me));
	me->task.state = UMCG_TASK_RUNNING;
	me->tid = gettid();
	return umcg_sys_ctl(UMCG_CTL_REGISTER, &me->task);
}

int umcg_unregister(struct umcg *me)
{
	int err = umcg_sys_ctl(UMCG_CTL_UNREGISTER, NULL);

	if (!err)
		umcg_set_word(&me->task, UMCG_TASK_NONE);
	return err;
}

/* After an error the kernel leaves the caller marked IDLE. */
static int unmark(struct umcg *me, int err)
{
	if (err)
		umcg_move(&me->task, UMCG_TASK_IDLE, UMCG_TASK_RUNNING);
	return err;
}

int umcg_wait(struct umcg *me, uint64_t deadline)
{
	me->task.next_tid = 0;
	if (!umcg_move(&me->task, UMCG_TASK_RUNNING, UMCG_TASK_IDLE))
		return -EINVAL;
	inject(INJECT_MARKED_SELF);
	return unmark(me, umcg_sys_wait(0, deadline));
}

int umcg_wake(struct umcg *me, struct umcg *other)
{
	if (!umcg_move(&other->task, UMCG_TASK_IDLE, UMCG_TASK_RUNNING))
		return -EAGAIN;
	me->task.next_tid = other->tid;
	inject(INJECT_MARKED_OTHER);
	return umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, 0);
}

int umcg_switch(struct umcg *me, struct umcg *other, uint64_t deadline)
{
	if (!umcg_move(&me->task, UMCG_TASK_RUNNING, UMCG_TASK_IDLE))
		return -EINVAL;
	inject(INJECT_MARKED_SELF);
	if (!umcg_move(&other->task, UMCG_TASK_IDLE, UMCG_TASK_RUNNING))
		return unmark(me, -EAGAIN);
	me->task.next_tid = other->tid;
	inject(INJECT_MARKED_OTHER);
	return unmark(me, umcg_sys_wait(0, deadline));
}
