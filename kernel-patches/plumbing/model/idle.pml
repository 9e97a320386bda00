/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Workers that come back from blocks, the list of idle workers, the idle server.
 *
 * WORKERS come back ROUNDS times each. SERVERS take the list, run who is on it one by one,
 * and when there is none, one of them publishes its tid, looks at the list again, and sleeps.
 *
 * TIMEOUTS	so often an idle server times out
 * FAILURES	so many workers have memory out of reach in the middle of WIDLE-1
 *
 * What is to hold: each worker is run as often as it comes back, by one server at a time (no
 * invalid end state, and the names of the assertions).
 */

#ifndef WORKERS
#define WORKERS		2
#endif
#ifndef SERVERS
#define SERVERS		1
#endif
#ifndef ROUNDS
#define ROUNDS		1
#endif
#ifndef TIMEOUTS
#define TIMEOUTS	0
#endif
#ifndef FAILURES
#define FAILURES	0
#endif

#ifdef POP_FREED
#define POP_ONE
#endif

/* Servers are CPUs 0 and 1, workers 2 and 3. */
#define CPU(w)		(2 + w)
#define CPUS		4
#define WORD(c)		(c)		/* umcg_task.state of whoever is on that CPU */
#define NODE(w)		(4 + w)		/* idle_workers_ptr of a worker */
#define HEAD		6		/* of the list: 0, or 1 + w */
#define TID		7		/* of the idle server: 0, or 1 + s */
#define PLACES		8

#if SERVERS == 1
#define EACH_SERVER(x)	x(0)
#else
#define EACH_SERVER(x)	x(0) x(1)
#endif
#if WORKERS == 1
#define EACH_CPU	EACH_SERVER(D) D(2)
#define LOADS(s)	S(s, 4) S(s, 6)
#else
#define EACH_CPU	EACH_SERVER(D) D(2) D(3)
#define LOADS(s)	S(s, 4) S(s, 5) S(s, 6)
#endif
#define EACH_LOAD	EACH_SERVER(LOADS)
#include "memory.h"

#define NONE		0
#define RUNNING		1
#define IDLE		2
#define BLOCKED		3

/* In a node, beside 0 and 1 + w. */
#define TO_HEAD		9		/* where the worker's list is */
#define PENDING		10		/* on the way in */

byte server_of[WORKERS];		/* next_tid */
bool listed[WORKERS];			/* it is on the list, or was and has not been run */
byte gone;				/* workers that have */
byte timeouts = TIMEOUTS, failures = FAILURES;
bool killed;				/* the process, by SIGSEGV */

/* Never true but in an assertion: its name is the verdict. */
bool not_idle, bad_link, second_worker, freed_node;

// stands for kernel/sched/umcg_worker.c: umcg_run_server()
inline umcg_run_server(c, s)
{
	cmpxchg(c, WORD(s), IDLE, RUNNING, done)
}

// stands for kernel/sched/umcg_worker.c: umcg_take_idle_server()
// stands for kernel/sched/umcg.h: umcg_xchg_u32()
inline umcg_take_idle_server(c)
{
#ifdef OWN_SERVER
	tid = 1 + server_of[w];
#else
	xchg(c, TID, 0, tid);
#endif
	if
	:: tid > 0 -> umcg_run_server(c, tid - 1)
	:: else
	fi;
	tid = 0;
	done = false
}

// stands for kernel/sched/umcg_worker.c: umcg_queue()
// stands for kernel/sched/umcg.h: umcg_xchg_u64()
// barrier kernel/sched/umcg_worker.c: umcg_queue(): return -EFAULT; ret = umcg_xchg_u64(u64_to_user_ptr(head), &link);
inline umcg_queue(c)
{
#ifndef NO_MARKER
	store(c, NODE(w), PENDING);
#endif
	atomic {
		listed[w] = true;
#ifdef RELAXED_EXCHANGE
		xchg_relaxed(c, HEAD, 1 + w, link)
#else
		xchg(c, HEAD, 1 + w, link)
#endif
	};
	if
	:: atomic { failures > 0 -> failures-- };
#ifndef QUIET_FAILURE
		killed = true;		/* umcg_violation() */
#endif
		goto out
	:: true
	fi;
	store(c, NODE(w), link);
	link = 0;
#ifndef NO_EXCHANGE
	umcg_take_idle_server(c)
#endif
}

// stands for kernel/sched/umcg_worker.c: umcg_admit() umcg_hold() __umcg_block() umcg_worker_leave()
proctype worker(byte w)
{
	byte link, tid, rounds = ROUNDS;
	bool done;

	do
	::	/* Back from a block. */
#ifdef LISTED_FIRST
		umcg_queue(CPU(w));
		cmpxchg(CPU(w), WORD(CPU(w)), BLOCKED, IDLE, done);
		done = false;
#else
		cmpxchg(CPU(w), WORD(CPU(w)), BLOCKED, IDLE, done);
		done = false;
		umcg_queue(CPU(w));
#endif
		/* umcg_idle(), of which wait.pml is. */
		if
		:: mem[WORD(CPU(w))] == RUNNING
		:: killed -> goto out
		fi;
		rounds--;
		/* It runs, and blocks or leaves. */
		if
		:: rounds == 0 ->
			cmpxchg(CPU(w), WORD(CPU(w)), RUNNING, NONE, done);
			gone++;
			umcg_run_server(CPU(w), server_of[w]);
			break
		:: else ->
			cmpxchg(CPU(w), WORD(CPU(w)), RUNNING, BLOCKED, done);
			umcg_run_server(CPU(w), server_of[w])
		fi
	od;
out:	skip
}

/* The program of a server: it runs worker n - 1. */
inline run_it()
{
	/* Its list is where it was; then it may come back. */
	store(s, NODE(n - 1), TO_HEAD);
	store(s, WORD(s), IDLE);
	atomic { listed[n - 1] = false; server_of[n - 1] = s };
	cmpxchg(s, WORD(CPU(n - 1)), IDLE, RUNNING, done);
	atomic { not_idle = !done; assert(!not_idle) };
	done = false;
	do
	::	if
		:: mem[WORD(s)] == RUNNING
		:: killed -> goto out
		fi;
		if
		:: mem[WORD(CPU(n - 1))] != RUNNING || server_of[n - 1] != s -> break
		:: else
		fi;
		/* A worker that came late to take its tid has told it. It waits on. */
#if TIMEOUTS == 0
		second_worker = true;
		assert(!second_worker);
#endif
		cmpxchg(s, WORD(s), RUNNING, IDLE, done);
		if
		:: mem[WORD(CPU(n - 1))] != RUNNING || server_of[n - 1] != s ->
			cmpxchg(s, WORD(s), IDLE, RUNNING, done);
			break
		:: else
		fi
	od;
	done = false
}

// stands for no function: the program of a server, as WIDLE-3 asks for
proctype server(byte s)
{
	byte n, next;
	bool done;

	do
	:: gone == WORKERS || killed -> break
	:: else ->
#ifdef POP_ONE
		load(s, HEAD, n);
		if
		:: n > 0 ->
			/* Another server may have taken it and let it go meanwhile. */
#ifdef POP_FREED
			atomic { freed_node = !listed[n - 1]; assert(!freed_node) };
#endif
			mem[NODE(n - 1)] != PENDING;
			load_dependent(s, NODE(n - 1), next);
			atomic {
				cmpxchg(s, HEAD, n, next, done);
				/* The head was back, with another link. */
				bad_link = (done && next > WORKERS);
				assert(!bad_link)
			};
			if
			:: done ->
				run_it();
				n = 0;
				next = 0;
				goto again
			:: else -> n = 0; next = 0; goto again
			fi
		:: else
		fi;
#else
		xchg(s, HEAD, 0, n);
		if
		:: n > 0 ->
			do
			:: n > 0 ->
				load(s, NODE(n - 1), next);
				if
				:: next == PENDING ->
					/* It is read until it is something else. */
					if
					:: mem[NODE(n - 1)] != PENDING
					:: killed -> goto out
					fi;
					load_dependent(s, NODE(n - 1), next)
				:: else
				fi;
				atomic { bad_link = (next > WORKERS); assert(!bad_link) };
				run_it();
				n = next;
				next = 0
			:: else -> break
			od;
			goto again
		:: else
		fi;
#endif
#ifdef LOOK_THEN_PUBLISH
		load(s, HEAD, n);
#endif
		/* There is none: it is the idle server, unless another one is. */
		store(s, WORD(s), IDLE);
		cmpxchg(s, TID, 0, 1 + s, done);
		if
		:: !done -> break
		:: else
		fi;
#ifndef LOOK_THEN_PUBLISH
		load(s, HEAD, n);
#endif
		if
		:: n > 0 ->
			n = 0;
			cmpxchg(s, TID, 1 + s, 0, done);
			if
			:: done -> store(s, WORD(s), RUNNING); goto again
			:: else
			fi
		:: else
		fi;
		/* umcg_idle() */
end:		if
		:: mem[WORD(s)] == RUNNING
		:: killed -> goto out
		:: atomic { timeouts > 0 && mem[WORD(s)] == IDLE -> timeouts-- };
			cmpxchg(s, WORD(s), IDLE, RUNNING, done)
		fi;
		/* Whoever has woken it may have come by another way than the tid. */
		cmpxchg(s, TID, 1 + s, 0, done);
again:		done = false
	od;
out:	skip
}

init
{
	byte i;

	atomic {
		do
		:: i < WORKERS ->
			mem[WORD(CPU(i))] = BLOCKED;
			mem[NODE(i)] = TO_HEAD;
			i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < SERVERS -> mem[WORD(i)] = RUNNING; i++
		:: else -> break
		od;
		i = 0;
#if MM > 1
		see_all(0);
		see_all(1);
		see_all(2);
		see_all(3);
#endif
		do
		:: i < SERVERS -> run server(i); i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < WORKERS -> run worker(i); i++
		:: else -> break
		od;
		i = 0
	}
}
