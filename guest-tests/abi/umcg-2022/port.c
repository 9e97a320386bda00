// SPDX-License-Identifier: GPL-2.0
/*
 * UMCG of January 2022: who is about to wait marks itself; the kernel changes the
 * words of others, of the task to run, and of the server whose worker stops.
 */
#include <asm/unistd.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "inject.h"
#include "abi.h"

#define RUNNING		UMCG_TASK_RUNNING
#define RUNNABLE	UMCG_TASK_RUNNABLE

int umcg_sys_ctl(uint32_t flags, void *self, clockid_t clock)
{
	return syscall(__NR_umcg_ctl, flags, self, clock) ? -errno : 0;
}

int umcg_sys_wait(uint32_t flags, uint64_t timo)
{
	return syscall(__NR_umcg_wait, flags, timo) ? -errno : 0;
}

int umcg_sys_kick(uint32_t flags, pid_t tid)
{
	return syscall(__NR_umcg_kick, flags, tid) ? -errno : 0;
}

enum umcg_kernel umcg_kernel(void)
{
	const char *control = getenv("UMCGLAB_CONTROL_RELEASE");
	struct utsname name;

	if (umcg_sys_ctl(0, NULL, 0) != -ENOSYS)
		return UMCG_HERE;
	if (control && !uname(&name) && !strcmp(name.release, control))
		return UMCG_CONTROL;
	return UMCG_ABSENT;
}

/* Without a worker of its own that runs, a server may have none; now it has two. */
static void become_multi(struct umcg *me)
{
	me->runs_on = false;
	if (me->multi || umcg_sys_ctl(UMCG_CTL_UNREGISTER, &me->task, 0))
		return;
	me->task.next_tid = 0;
	umcg_set_word(&me->task, RUNNING);
	me->multi = !umcg_sys_ctl(UMCG_CTL_REGISTER | UMCG_CTL_MULTI, &me->task,
				  CLOCK_MONOTONIC);
}

/* EAGAIN says that we have been woken before we slept. */
static int wait_until_run(struct umcg *me, uint64_t deadline)
{
	int err;

	if (me->runs_on)
		become_multi(me);
	me->task.next_tid = 0;
	if (!umcg_mark(me))
		return -EINVAL;
	inject(INJECT_MARKED_SELF);
	err = umcg_sys_wait(0, deadline);
	return err == -EAGAIN ? 0 : err;
}

int umcg_wait(struct umcg *me, uint64_t deadline)
{
	return wait_until_run(me, deadline);
}

int umcg_wake(struct umcg *me, struct umcg *other)
{
	(void)me;
	if (!umcg_move(&other->task, RUNNABLE, RUNNING))
		return -EAGAIN;
	inject(INJECT_MARKED_OTHER);
	return umcg_sys_kick(0, other->tid);
}

int umcg_switch(struct umcg *me, struct umcg *other, uint64_t deadline)
{
	if (me->runs_on)
		become_multi(me);
	me->task.next_tid = other->tid;
	if (!umcg_mark(me))
		return -EINVAL;
	inject(INJECT_MARKED_SELF);
	return umcg_sys_wait(0, deadline);
}

static bool is_idle(struct umcg *worker)
{
	return (umcg_word(&worker->task) & UMCG_TASK_MASK) == RUNNABLE;
}

/*
 * Whether the worker is in this state, under this server. Taking a worker from the pool
 * clears `server` first and sets the state to RUNNING second, so the two are read in the
 * opposite order.
 */
bool umcg_runs(struct umcg *me, struct umcg *worker)
{
	return (umcg_word(&worker->task) & UMCG_TASK_MASK) == RUNNING &&
	       __atomic_load_n(&worker->server, __ATOMIC_SEQ_CST) == me;
}

int umcg_resume(struct umcg *me, struct umcg *worker, uint64_t deadline)
{
	int err;

	if (me->runs_on)
		become_multi(me);
	for (;;) {
		if (!is_idle(worker))
			return -EAGAIN;
		worker->server = me;
		worker->task.server_tid = me->tid;
		me->task.next_tid = worker->tid;
		if (!umcg_mark(me))
			return -EINVAL;
		inject(INJECT_MARKED_SELF);
		/* A worker of ours may be back since we have looked: then it runs nobody. */
		umcg_share(me);
		err = umcg_sys_wait(0, deadline);
		/* It runs on, if another one has joined our list, or time is over. */
		if (err == -ETIMEDOUT || (!err && umcg_runs(me, worker)))
			me->runs_on = true;
		if (err != -EAGAIN)
			return err;
	}
}

int umcg_sleep_on(struct umcg *me, struct umcg *worker, uint64_t deadline)
{
	int err;

	me->task.next_tid = worker->tid | UMCG_TID_RUNNING;
	if (!umcg_mark(me))
		return -EINVAL;
	inject(INJECT_MARKED_SELF);
	/*
	 * Before the mark it may have stopped, and begun to run under another server: the
	 * kernel sees that it runs, and does not ask where. What it does from here on to
	 * get away ends the mark.
	 */
	if (!umcg_runs(me, worker)) {
		umcg_move(&me->task, RUNNABLE, RUNNING);
		return 0;
	}
	umcg_share(me);
	err = umcg_sys_wait(0, deadline);
	me->runs_on = err == -ETIMEDOUT;
	/* It has stopped, or come to its end, or we have been woken: look again. */
	return err == -EAGAIN || err == -ESRCH ? 0 : err;
}

int umcg_yield(struct umcg *me, uint64_t deadline)
{
	int err;

	do {
		me->task.next_tid = 0;
		if (!umcg_mark(me))
			return -EINVAL;
		inject(INJECT_MARKED_SELF);
		err = umcg_sys_wait(0, deadline ?: UMCG_NEVER);
		/* EAGAIN: we have blocked on the way, and been run since. */
	} while (err == -EAGAIN);
	return err == -ESRCH ? umcg_move_on(me) : err;
}

/*
 * From here on `to` may block under the server, and not `from`. Nothing
 * changes if the server runs neither: we have blocked, and another server has run us.
 */
static void pass_server(struct umcg *server, struct umcg *from, struct umcg *to)
{
	uint32_t next_tid = __atomic_load_n(&server->task.next_tid, __ATOMIC_SEQ_CST);

	/* That `from` runs the kernel says when it does. */
	while ((next_tid & UMCG_TID_MASK) == from->tid &&
	       !__atomic_compare_exchange_n(&server->task.next_tid, &next_tid,
					    to->tid | UMCG_TID_RUNNING, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
}

/* It has not been run: undo that. */
static void take_server_back(struct umcg *server, struct umcg *from, struct umcg *to)
{
	uint32_t next_tid = from->tid | UMCG_TID_RUNNING;

	__atomic_compare_exchange_n(&server->task.next_tid, &next_tid,
				    to->tid | UMCG_TID_RUNNING, false,
				    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

int umcg_yield_to(struct umcg *me, struct umcg *other, uint64_t deadline)
{
	struct umcg *server;
	int err;

	for (;;) {
		if (!is_idle(other))
			return -EAGAIN;
		server = me->server;
		other->server = server;
		other->task.server_tid = server->tid;
		me->task.next_tid = other->tid;
		if (!umcg_mark(me))
			return -EINVAL;
		inject(INJECT_MARKED_SELF);
		/* Not before the mark: until then that is us. */
		pass_server(server, me, other);
		inject(INJECT_MARKED_OTHER);
		err = umcg_sys_wait(0, deadline ?: UMCG_NEVER);
		if (!err || err == -ETIMEDOUT)
			return err;
		take_server_back(server, other, me);
		if (err != -EAGAIN)
			return err;
	}
}

static void pool_lock(struct umcg_pool *pool)
{
	while (__atomic_exchange_n(&pool->lock, 1, __ATOMIC_ACQUIRE))
		sched_yield();
}

static void pool_unlock(struct umcg_pool *pool)
{
	__atomic_store_n(&pool->lock, 0, __ATOMIC_RELEASE);
}

/* With the lock held. */
static void drop_server(struct umcg_pool *pool, struct umcg *server)
{
	for (struct umcg **link = &pool->servers; *link; link = &(*link)->next)
		if (*link == server) {
			*link = server->next;
			return;
		}
}

static unsigned int length(__u64 *head)
{
	unsigned int n = 0;

	/* Who would take it waits for the lock. */
	for (__u64 node = __atomic_load_n(head, __ATOMIC_ACQUIRE); node;
	     node = umcg_of(node)->task.runnable_workers_ptr)
		n++;
	return n;
}

/* Be one of the pool, and have those join that could not register without one. */
static void join_pool(struct umcg *me, struct umcg_pool *pool)
{
	struct timespec soon = { .tv_nsec = 100000 };
	unsigned int waiting;

	pool_lock(pool);
	me->next = pool->servers;
	pool->servers = me;
	waiting = pool->waiting;
	pool->waiting = 0;
	__atomic_store_n(&pool->came_last, me->tid, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&pool->servers_came, 1, __ATOMIC_SEQ_CST);
	if (waiting) {
		syscall(SYS_futex, &pool->servers_came, FUTEX_WAKE_PRIVATE, INT_MAX,
			NULL, NULL, 0);
		while (length(&me->task.runnable_workers_ptr) < waiting)
			nanosleep(&soon, NULL);
	}
	pool_unlock(pool);
}

int umcg_register_server(struct umcg *me, struct umcg_pool *pool)
{
	int err;

	if (pool) {
		/* It may be left there from a life that ended without a word. */
		pool_lock(pool);
		drop_server(pool, me);
		pool_unlock(pool);
	}
	memset(me, 0, sizeof(*me));
	me->task.state = RUNNING;
	me->tid = gettid();
	me->task.server_tid = me->tid;
	me->pool = pool;
	err = umcg_sys_ctl(UMCG_CTL_REGISTER, &me->task, CLOCK_MONOTONIC);
	if (!err && pool)
		join_pool(me, pool);
	return err;
}

/* The tid of a server of the pool; 0 if there is none. */
static uint32_t any_server(struct umcg_pool *pool)
{
	uint32_t tid;

	pool_lock(pool);
	tid = pool->servers ? pool->servers->tid : 0;
	pool_unlock(pool);
	return tid;
}

/* Likewise, of one that may be yet to come. */
static uint32_t await_server(struct umcg_pool *pool)
{
	uint32_t tid, came;

	pool_lock(pool);
	tid = pool->servers ? pool->servers->tid : 0;
	came = __atomic_load_n(&pool->servers_came, __ATOMIC_SEQ_CST);
	pool->waiting += !tid;
	pool_unlock(pool);
	if (tid)
		return tid;
	/* It keeps the lock until we have joined it. */
	while (__atomic_load_n(&pool->servers_came, __ATOMIC_SEQ_CST) == came)
		syscall(SYS_futex, &pool->servers_came, FUTEX_WAIT_PRIVATE, came, NULL, NULL, 0);
	return __atomic_load_n(&pool->came_last, __ATOMIC_SEQ_CST);
}

__u64 umcg_take_list(__u64 *head)
{
	return __atomic_load_n(head, __ATOMIC_RELAXED) ?
	       __atomic_exchange_n(head, 0, __ATOMIC_ACQ_REL) : 0;
}

void umcg_put_list(__u64 *head, struct umcg *first, struct umcg *last)
{
	__u64 next = __atomic_load_n(head, __ATOMIC_RELAXED);

	do
		last->task.runnable_workers_ptr = next;
	while (!__atomic_compare_exchange_n(head, &next, (uintptr_t)first, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
}

/* Have the server that waits for any worker, if there is one, look. */
static void wake_idle_server(struct umcg_pool *pool)
{
	struct umcg *server;

	/* While we are at it, it does not go away. */
	__atomic_fetch_add(&pool->wakers, 1, __ATOMIC_SEQ_CST);
	server = __atomic_load_n(&pool->idle_server, __ATOMIC_SEQ_CST);
	inject(INJECT_MARKED_SELF);
	if (server && umcg_move(&server->task, RUNNABLE, RUNNING)) {
		inject(INJECT_MARKED_OTHER);
		umcg_sys_kick(0, server->tid);
	}
	__atomic_fetch_sub(&pool->wakers, 1, __ATOMIC_SEQ_CST);
}

static struct umcg *last_of(uint64_t node)
{
	struct umcg *last = umcg_of(node);

	while (last->task.runnable_workers_ptr)
		last = umcg_of(last->task.runnable_workers_ptr);
	return last;
}

/* A server of the pool has gone: what is in its list is for the others. */
void umcg_bury(struct umcg *server, struct umcg_pool *pool)
{
	__u64 list;

	pool_lock(pool);
	drop_server(pool, server);
	pool_unlock(pool);
	list = umcg_take_list(&server->task.runnable_workers_ptr);
	if (!list)
		return;
	umcg_put_list(&pool->left, umcg_of(list), last_of(list));
	wake_idle_server(pool);
}

/*
 * There was no server with this tid: it has gone without a word. If it is back, it has
 * joined the pool anew, or will.
 */
static void forget_server(struct umcg_pool *pool, uint32_t tid)
{
	struct umcg *server;
	bool gone;

	pool_lock(pool);
	server = pool->servers;
	gone = server && server->tid == tid && umcg_sys_kick(0, tid) == -ESRCH;
	if (gone)
		drop_server(pool, server);
	pool_unlock(pool);
	if (gone)
		umcg_bury(server, pool);
}

int umcg_register_worker(struct umcg *me, struct umcg_pool *pool)
{
	uint32_t tid;
	int err;

	memset(me, 0, sizeof(*me));
	me->tid = gettid();
	me->pool = pool;
	do {
		/* It waits to be run, though the kernel does not know of it yet. */
		umcg_set_word(&me->task, RUNNABLE);
		tid = await_server(pool);
		umcg_set_word(&me->task, UMCG_TASK_BLOCKED);
		me->task.server_tid = tid;
		err = umcg_sys_ctl(UMCG_CTL_REGISTER | UMCG_CTL_WORKER, &me->task,
				   CLOCK_MONOTONIC);
		if (err == -ESRCH)
			forget_server(pool, tid);
	} while (err == -ESRCH);
	return err;
}

int umcg_move_on(struct umcg *me)
{
	uint32_t tid;
	int err;

	while ((tid = any_server(me->pool))) {
		__atomic_store_n(&me->server, NULL, __ATOMIC_SEQ_CST);
		me->task.server_tid = tid;
		me->task.next_tid = 0;
		if (!umcg_mark(me))
			return -EINVAL;
		err = umcg_sys_wait(UMCG_WAIT_ENQUEUE, 0);
		if (err == -ESRCH)
			forget_server(me->pool, tid);
		else if (err != -EAGAIN)
			return err;
	}
	return -ESRCH;
}

void umcg_share(struct umcg *me)
{
	if (__atomic_load_n(&me->task.runnable_workers_ptr, __ATOMIC_SEQ_CST) && me->pool &&
	    __atomic_load_n(&me->pool->idle_server, __ATOMIC_SEQ_CST))
		wake_idle_server(me->pool);
}

int umcg_unregister(struct umcg *me)
{
	bool worker = me->task.server_tid != me->tid;
	int err = umcg_sys_ctl(UMCG_CTL_UNREGISTER | (worker ? UMCG_CTL_WORKER : 0),
			       &me->task, 0);

	/* ESRCH: its server has gone, and has not been told. */
	if (worker)
		return err == -ESRCH ? 0 : err;
	if (err || !me->pool)
		return err;
	umcg_bury(me, me->pool);
	return 0;
}

int umcg_requeue(struct umcg *me, struct umcg *worker)
{
	struct umcg_pool *pool = worker->pool;

	(void)me;
	if (umcg_bits(umcg_word(&worker->task)) != RUNNABLE)
		return -EAGAIN;
	__atomic_store_n(&worker->server, NULL, __ATOMIC_SEQ_CST);
	umcg_put_list(&pool->left, worker, worker);
	wake_idle_server(pool);
	return 0;
}

int umcg_preempt(struct umcg *worker, int signal)
{
	(void)signal;
	if (!umcg_move_with(&worker->task, RUNNING, RUNNING | UMCG_TF_PREEMPT, UMCG_ASKED))
		return -EAGAIN;
	return umcg_sys_kick(0, worker->tid);
}

struct umcg *umcg_take_idle(struct umcg_pool *pool)
{
	__u64 all = umcg_take_list(&pool->left), list;

	pool_lock(pool);
	for (struct umcg *server = pool->servers; server; server = server->next) {
		list = umcg_take_list(&server->task.runnable_workers_ptr);
		if (list && all)
			last_of(list)->task.runnable_workers_ptr = all;
		all = list ?: all;
	}
	pool_unlock(pool);
	return umcg_of(all);
}

struct umcg *umcg_next_idle(struct umcg *worker)
{
	struct umcg *next = umcg_of(worker->task.runnable_workers_ptr);

	/* Its last server may be late to look, when it is about to be run again. */
	__atomic_store_n(&worker->server, NULL, __ATOMIC_SEQ_CST);
	return next;
}

bool umcg_any_idle(struct umcg_pool *pool)
{
	bool any = __atomic_load_n(&pool->left, __ATOMIC_SEQ_CST);

	if (any)
		return true;
	pool_lock(pool);
	for (struct umcg *server = pool->servers; server && !any; server = server->next)
		any = __atomic_load_n(&server->task.runnable_workers_ptr, __ATOMIC_SEQ_CST);
	pool_unlock(pool);
	return any;
}

int umcg_await_idle(struct umcg *me, struct umcg_pool *pool, uint64_t deadline)
{
	struct umcg *nobody = NULL;
	int err = 0;

	if (!__atomic_compare_exchange_n(&pool->idle_server, &nobody, me, false,
					 __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		return -EBUSY;
	if (me->runs_on)
		become_multi(me);
	me->task.next_tid = 0;
	if (umcg_mark(me)) {
		inject(INJECT_MARKED_SELF);
		/* Who came before the mark has woken nobody. */
		if (!umcg_any_idle(pool))
			err = umcg_sys_wait(0, deadline);
		else
			umcg_move(&me->task, RUNNABLE, RUNNING);
	} else {
		err = -EINVAL;
	}
	__atomic_store_n(&pool->idle_server, NULL, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&pool->wakers, __ATOMIC_SEQ_CST))
		sched_yield();
	return err == -EAGAIN ? 0 : err;
}

/* It cannot be: see umcg_lacks(). */
bool umcg_lock(struct umcg *me)
{
	(void)me;
	return false;
}

void umcg_unlock(struct umcg *me)
{
	(void)me;
}
