/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Who stands for a tid, and a worker that binds to a server that goes.
 *
 * Servers 0 to SERVERS - 1 register one after the other, under one tid: each leaves, and its
 * number passes on. A worker whose word names that tid is looked at SPURIOUS times without
 * need, runs, and is looked at when TIF_UMCG is set.
 *
 * FOREIGN	the last of them is of another mm
 * ORPHANS_RUN_ON	a worker whose server has gone runs as any thread, as in umcg-2022, which
 *		binds each time a worker begins to run, comes back and waits
 * ABI_CMPXCHG	the word is changed, with a full barrier, between umcg_init() and
 *		umcg_enter(), as v0.5 and umcg-2022 do; the core does not ask for that
 *
 * What is to hold: a worker does not run on under a server that has gone, and who is gone is
 * freed (no invalid end state), and the names of the assertions.
 */

#ifndef SERVERS
#define SERVERS		2
#endif
#ifndef SPURIOUS
#define SPURIOUS	1
#endif

#define WORKER		0		/* CPUs */
#define SERVER		1

/* Each server has a struct umcg of its own, and what follows in it. */
#define INIT(s)		(s)		/* what umcg_init() has written */
#define GONE(s)		(2 + s)
#define SERVES(s)	(4 + s)
#define BOUND		6		/* the worker's server.task: 0, or 1 + s */
#define UMCG		7		/* task_struct::umcg of the tid: 0, or 1 + s */
#define TIF		8		/* TIF_UMCG of the worker */

#define CPUS		2
#define PLACES		9
#define EACH_CPU	D(0) D(1)
#define EACH_LOAD	S(0, 2) S(0, 3) S(0, 7) S(1, 4) S(1, 5) S(1, 6)
#include "memory.h"

byte refs[SERVERS];
bool dying[SERVERS], freed[SERVERS];
bool reading;				/* the worker is in rcu_read_lock() */
bool all_gone;				/* no server comes any more */

/* Never true but in an assertion: its name is the verdict. */
bool half_registered, used_after_free, foreign_server;

#ifdef FOREIGN
#define IS_FOREIGN(s)	(s == SERVERS - 1)
#else
#define IS_FOREIGN(s)	false
#endif

#define use(s) \
	atomic { used_after_free = freed[s]; assert(!used_after_free) }

// stands for kernel/sched/umcg_core.c: umcg_put()
inline umcg_put(s)
{
	atomic {
		used_after_free = (refs[s] == 0);
		assert(!used_after_free);
		refs[s]--;
		if
		:: refs[s] == 0 -> dying[s] = true	/* call_rcu() */
		:: else
		fi
	}
}

// stands for kernel/sched/umcg_core.c: umcg_free()
// All are freed in the end, or this waits for ever. A grace period: no reader is left that began
// before it, and each CPU has had a barrier.
proctype rcu()
{
	byte s;

	do
	:: s < SERVERS ->
		dying[s];
		atomic { EMPTY(WORKER) && EMPTY(SERVER) -> see_all(WORKER); see_all(SERVER) };
		atomic { !reading -> freed[s] = true };
		s++
	:: s == SERVERS -> break
	od
}

// stands for kernel/sched/umcg_task.h: umcg_known()
inline umcg_known(known)
{
	known = false;
	load(WORKER, BOUND, task);
	if
	:: task > 0 ->
		use(task - 1);
#ifdef TRUST_TID
		known = true
#else
		load(WORKER, GONE(task - 1), gone);
		known = !gone
#endif
	:: else
	fi
}

// stands for kernel/sched/umcg_core.c: umcg_find()
// barrier kernel/sched/umcg_core.c: umcg_find(): refcount_inc_not_zero(&task->refs)
inline umcg_find()
{
	old = task;
	reading = true;				/* rcu_read_lock() */
	load(WORKER, UMCG, task);
	if
	:: task > 0 ->
		use(task - 1);
		load_dependent(WORKER, INIT(task - 1), ready);
		/* refs is one of the things that umcg_init() writes. */
		atomic { half_registered = !ready; assert(!half_registered) };
#ifndef NO_REFERENCE
		atomic {
			if
			:: refs[task - 1] > 0 -> refs[task - 1]++; EMPTY(WORKER)
			:: else -> task = 0
			fi
		}
#endif
	:: else
	fi;
	reading = false;			/* rcu_read_unlock() */
	store(WORKER, BOUND, task);
#ifndef LEAKS_THE_OLD
#ifndef NO_REFERENCE
	if
	:: old > 0 -> full_barrier(WORKER); umcg_put(old - 1)
	:: else
	fi;
#endif
#endif
	old = 0
}

// stands for kernel/sched/umcg.h: umcg_bind()
// stands for kernel/sched/umcg_task.h: umcg_is_server()
// barrier kernel/sched/umcg.h: umcg_bind(): /* A server that goes looks for it: umcg_orphan_workers(). */ smp_mb();
inline umcg_bind(bound)
{
	umcg_known(bound);
	if
	:: !bound ->
		umcg_find();
		if
#ifdef NO_MM_CHECK
		:: task > 0 ->
#else
		:: task > 0 && !IS_FOREIGN(task - 1) ->
#endif
			use(task - 1);
			load_dependent(WORKER, SERVES(task - 1), gone);
			if
			:: !gone -> store(WORKER, SERVES(task - 1), 1)
			:: else
			fi;
#ifndef NO_BARRIER_AT_BINDING
			full_barrier(WORKER);
#endif
			umcg_known(bound)
		:: else ->
			/* No server: umcg_put(umcg->server.task) */
#ifndef NO_REFERENCE
			if
			:: task > 0 -> full_barrier(WORKER); umcg_put(task - 1)
			:: else
			fi;
#endif
			store(WORKER, BOUND, 0);
			bound = false
		fi
	:: else
	fi;
	gone = 0;
	ready = 0
}

// stands for include/linux/umcg.h: umcg_return_to_user()
// stands for kernel/sched/umcg_worker.c: umcg_admit() __umcg_return_to_user() umcg_worker_leave()
// barrier include/linux/umcg.h: umcg_return_to_user(): clear_thread_flag(TIF_UMCG); /* The flag, then what the ABI has set it for. */ smp_mb__after_atomic();
proctype worker()
{
	byte task, old, spurious = SPURIOUS;
	bit gone, ready;
	bool bound;

	do
	::	/* To user space, by way of umcg_return_to_user(). */
		if
		:: mem[TIF] ->
			set_relaxed(WORKER, TIF, 0);
#ifndef NO_BARRIER_AFTER_CLEAR
			full_barrier(WORKER)
#endif
		:: !mem[TIF]
		fi;
		umcg_bind(bound);
		if
		:: bound ->
			atomic { foreign_server = IS_FOREIGN(task - 1); assert(!foreign_server) };
			task = 0;
			/* It runs in user space, until it is looked at. */
			if
			:: atomic { spurious > 0 -> spurious-- }
#ifdef ORPHANS_RUN_ON
			:: spurious == 0 -> break
#else
			:: mem[TIF]
#endif
			fi
		:: !bound ->
			/* Idle: a server that comes runs it; if none does, that is the end. */
			task = 0;
			if
#ifdef ORPHANS_RUN_ON
			:: atomic { spurious > 0 -> spurious-- }
			:: spurious == 0 -> break
#endif
			:: all_gone -> break
			:: mem[UMCG] > 0
			fi
		fi
	od;
	/* __umcg_leave() */
	full_barrier(WORKER);
	task = mem[BOUND];
	if
	:: task > 0 -> umcg_put(task - 1)
	:: else
	fi;
	task = 0
}

// stands for kernel/sched/umcg_core.c: umcg_orphan_workers()
// barrier kernel/sched/umcg_core.c: umcg_orphan_workers(): /* Not a server any more; see umcg_bind(). */ smp_mb();
inline umcg_orphan_workers(s)
{
#ifndef NO_ORPHANS
#ifndef NO_BARRIER_AT_LEAVING
	full_barrier(SERVER);
#endif
	load(SERVER, SERVES(s), serves);
	if
	:: serves ->
		load(SERVER, BOUND, bound);
		if
		:: bound == 1 + s -> set_relaxed(SERVER, TIF, 1)
		:: else
		fi
	:: else
	fi;
	serves = 0;
	bound = 0
#else
	skip
#endif
}

// stands for kernel/sched/umcg.c: umcg_register()
// stands for kernel/sched/umcg_core.c: umcg_init() umcg_enter() __umcg_leave()
// barrier kernel/sched/umcg_core.c: umcg_enter(): rcu_assign_pointer(current->umcg, umcg);
proctype servers()
{
	byte s, bound;
	bit serves;

	do
	:: s < SERVERS ->
		refs[s] = 1;
		store(SERVER, INIT(s), 1);
#ifdef ABI_CMPXCHG
		full_barrier(SERVER);
#endif
#ifndef UNORDERED_REGISTRATION
		fence_stores(SERVER);
#endif
		store(SERVER, UMCG, 1 + s);

		/* __umcg_leave() */
		store(SERVER, UMCG, 0);
		store(SERVER, GONE(s), 1);
#ifndef FOREIGN
		umcg_orphan_workers(s);
#else
		if
		:: !IS_FOREIGN(s) -> umcg_orphan_workers(s)
		:: else
		fi;
#endif
		full_barrier(SERVER);
		umcg_put(s);
		s++
	:: s == SERVERS -> break
	od;
	all_gone = true
}

init
{
	atomic {
		run rcu();
		run worker();
		run servers()
	}
}
