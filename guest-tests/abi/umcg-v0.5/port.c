// SPDX-License-Identifier: GPL-2.0
/*
 * UMCG v0.5: who starts a transition writes the state words, then makes the
 * system call. A waker makes the word of a sleeper RUNNING before it calls; so
 * the sleeper may be marked IDLE long before it sleeps, and nothing is lost.
 */
#include <asm/unistd.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "inject.h"
#include "abi.h"

#define RUNNING		UMCG_TASK_RUNNING
#define IDLE		UMCG_TASK_IDLE
#define RUNNING_LOCKED	(RUNNING | UMCG_TF_LOCKED)
#define IDLE_LOCKED	(IDLE | UMCG_TF_LOCKED)

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

int umcg_register_server(struct umcg *me, struct umcg_pool *pool)
{
	(void)pool;
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

int umcg_register_worker(struct umcg *me, struct umcg_pool *pool)
{
	memset(me, 0, sizeof(*me));
	me->task.state = UMCG_TASK_BLOCKED;
	me->task.idle_workers_ptr = (uintptr_t)&pool->idle_workers;
	me->task.idle_server_tid_ptr = (uintptr_t)&pool->idle_server_tid;
	me->tid = gettid();
	me->pool = pool;
	return umcg_sys_ctl(UMCG_CTL_REGISTER | UMCG_CTL_WORKER, &me->task);
}

/* Make `worker` ours to run; it does not run before it is unlocked. */
static bool claim(struct umcg *worker)
{
	return umcg_move(&worker->task, IDLE, RUNNING_LOCKED) ||
	       umcg_move(&worker->task, IDLE | UMCG_TF_PREEMPTED, RUNNING_LOCKED);
}

/* Link a claimed worker with its server and let it go. */
static void release(struct umcg *worker, struct umcg *server)
{
	worker->server = server;
	worker->task.next_tid = server->tid;
	worker->task.idle_workers_ptr = (uintptr_t)&worker->pool->idle_workers;
	server->task.next_tid = worker->tid;
	umcg_move(&worker->task, RUNNING_LOCKED, RUNNING);
}

int umcg_resume(struct umcg *me, struct umcg *worker, uint64_t deadline)
{
	if (!umcg_move(&me->task, RUNNING, IDLE))
		return -EINVAL;
	inject(INJECT_MARKED_SELF);
	if (!claim(worker))
		return unmark(me, -EAGAIN);
	release(worker, me);
	inject(INJECT_MARKED_OTHER);
	return unmark(me, umcg_sys_wait(0, deadline));
}

/*
 * Whether the worker's state and flags, as far as in `mask`, are `word`, under this
 * server. Taking a worker from the pool clears `server` first and sets the state to
 * RUNNING second, so the two are read in the opposite order.
 */
static bool stands(struct umcg *me, struct umcg *worker, uint32_t mask, uint32_t word)
{
	return (umcg_word(&worker->task) & mask) == word &&
	       __atomic_load_n(&worker->server, __ATOMIC_SEQ_CST) == me;
}

bool umcg_runs(struct umcg *me, struct umcg *worker)
{
	return stands(me, worker, UMCG_TASK_STATE_MASK, RUNNING);
}

bool umcg_preempted(struct umcg *me, struct umcg *worker)
{
	return stands(me, worker, ~UMCG_TASK_USER_MASK, IDLE | UMCG_TF_PREEMPTED);
}

int umcg_sleep_on(struct umcg *me, struct umcg *worker, uint64_t deadline)
{
	me->task.next_tid = 0;
	if (!umcg_move(&me->task, RUNNING, IDLE))
		return -EINVAL;
	inject(INJECT_MARKED_SELF);
	if (umcg_runs(me, worker))
		return unmark(me, umcg_sys_wait(0, deadline));
	/* It stopped before the mark, and has woken nobody. */
	umcg_move(&me->task, IDLE, RUNNING);
	return 0;
}

int umcg_requeue(struct umcg *me, struct umcg *worker)
{
	if (!claim(worker))
		return -EAGAIN;
	worker->task.next_tid = 0;
	worker->task.idle_workers_ptr = (uintptr_t)&worker->pool->idle_workers;
	me->task.next_tid = worker->tid;
	umcg_move(&worker->task, RUNNING_LOCKED, RUNNING);
	inject(INJECT_MARKED_OTHER);
	return umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, 0);
}

int umcg_preempt(struct umcg *worker, int signal)
{
	if (!umcg_move(&worker->task, RUNNING, RUNNING | UMCG_TF_PREEMPTED))
		return -EAGAIN;
	return tgkill(getpid(), worker->tid, signal) ? -errno : 0;
}

static struct umcg *worker_of(uint64_t node)
{
	return node ? (struct umcg *)(uintptr_t)
		(node - offsetof(struct umcg, task.idle_workers_ptr)) : NULL;
}

struct umcg *umcg_take_idle(struct umcg_pool *pool)
{
	return worker_of(__atomic_exchange_n(&pool->idle_workers, 0,
					     __ATOMIC_ACQ_REL));
}

struct umcg *umcg_next_idle(struct umcg *worker)
{
	uint64_t next;

	/* 1: the kernel has exchanged the head and is about to store the link. */
	while ((next = __atomic_load_n(&worker->task.idle_workers_ptr,
				       __ATOMIC_ACQUIRE)) == 1)
		sched_yield();
	/* Its last server may be late to look, when it is about to be run again. */
	__atomic_store_n(&worker->server, NULL, __ATOMIC_SEQ_CST);
	return worker_of(next);
}

int umcg_await_idle(struct umcg *me, struct umcg_pool *pool, uint64_t deadline)
{
	uint32_t tid = 0;
	int err = 0;

	me->task.next_tid = 0;
	if (!umcg_move(&me->task, RUNNING, IDLE))
		return -EINVAL;
	if (!__atomic_compare_exchange_n(&pool->idle_server_tid, &tid, me->tid,
					 false, __ATOMIC_SEQ_CST,
					 __ATOMIC_RELAXED))
		return unmark(me, -EBUSY);
	inject(INJECT_MARKED_SELF);
	/* A worker that came before the exchange has woken nobody. */
	if (!__atomic_load_n(&pool->idle_workers, __ATOMIC_SEQ_CST))
		err = umcg_sys_wait(0, deadline);
	tid = me->tid;
	if (!__atomic_compare_exchange_n(&pool->idle_server_tid, &tid, 0, false,
					 __ATOMIC_SEQ_CST, __ATOMIC_RELAXED) &&
	    !err && (umcg_word(&me->task) & UMCG_TASK_STATE_MASK) != RUNNING)
		/* The kernel has taken it, and is about to make us RUNNING. */
		return unmark(me, umcg_sys_wait(0, deadline));
	umcg_move(&me->task, IDLE, RUNNING);
	return err;
}

/* From running; locked, or about to be preempted, comes to the same. */
static bool stop_running(struct umcg *me)
{
	return umcg_move(&me->task, RUNNING, IDLE_LOCKED) ||
	       umcg_move(&me->task, RUNNING_LOCKED, IDLE_LOCKED) ||
	       umcg_move(&me->task, RUNNING | UMCG_TF_PREEMPTED, IDLE_LOCKED);
}

int umcg_yield(struct umcg *me, uint64_t deadline)
{
	int err;

	if (!stop_running(me))
		return -EINVAL;
	inject(INJECT_MARKED_SELF);
	/* It may have timed out and be RUNNING. */
	umcg_move(&me->server->task, IDLE, RUNNING);
	inject(INJECT_MARKED_OTHER);
	err = umcg_sys_wait(0, deadline);
	if (err)
		umcg_move(&me->task, IDLE_LOCKED, RUNNING);
	return err;
}

int umcg_yield_to(struct umcg *me, struct umcg *other, uint64_t deadline)
{
	struct umcg *server = me->server;
	int err;

	if (!stop_running(me))
		return -EINVAL;
	inject(INJECT_MARKED_SELF);
	if (!claim(other)) {
		umcg_move(&me->task, IDLE_LOCKED, RUNNING);
		return -EAGAIN;
	}
	me->task.next_tid = other->tid;
	release(other, server);
	inject(INJECT_MARKED_OTHER);
	err = umcg_sys_wait(0, deadline);
	/* Not woken, `other` is gone: we are still running. */
	if ((umcg_word(&me->task) & ~UMCG_TASK_USER_MASK) == IDLE_LOCKED) {
		me->task.next_tid = server->tid;
		umcg_move(&me->task, IDLE_LOCKED, RUNNING);
	}
	return err;
}

bool umcg_lock(struct umcg *me)
{
	return umcg_move(&me->task, RUNNING, RUNNING_LOCKED);
}

void umcg_unlock(struct umcg *me)
{
	umcg_move(&me->task, RUNNING_LOCKED, RUNNING);
}
