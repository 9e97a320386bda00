/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Workers that come back from blocks, the lists of their servers, and servers that sleep.
 *
 * WORKERS come back ROUNDS times each, to the list of the server that ran them last. SERVERS
 * take their list, or that of another, run who is on it one by one, and when there is none
 * mark themselves, look again, and sleep.
 *
 * What is to hold: each worker is run as often as it comes back, by one server at a time, and
 * no server runs two (no invalid end state, and the names of the assertions).
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

#ifdef POP_FREED
#define POP_ONE
#endif
/* Of whoever pops, all have one list. */
#ifdef POP_ONE
#define ITS(s)		0
#else
#define ITS(s)		s
#endif

/* Servers are CPUs 0 and 1, workers 2 and 3. */
#define CPU(w)		(2 + w)
#define CPUS		4
#define WORD(c)		(c)		/* umcg_task.state of whoever is on that CPU */
#define LINK(w)		(4 + w)		/* runnable_workers_ptr of a worker */
#define LIST(s)		(6 + s)		/* that of a server: 0, or 1 + w */
#define PLACES		8

#if SERVERS == 1
#define EACH_SERVER(x)	x(0)
#define OTHER(s)	s
#define LOADS(s)	S(s, 4) S(s, 5) S(s, 6)
#else
#define EACH_SERVER(x)	x(0) x(1)
#define OTHER(s)	(1 - s)
#define LOADS(s)	S(s, 4) S(s, 5) S(s, 6) S(s, 7)
#endif
#if WORKERS == 1
#define EACH_CPU	EACH_SERVER(D) D(2)
#define EACH_LOAD	EACH_SERVER(LOADS) S(2, 6)
#else
#define EACH_CPU	EACH_SERVER(D) D(2) D(3)
#define EACH_LOAD	EACH_SERVER(LOADS) S(2, 6) S(3, 6)
#endif
#include "../../plumbing/model/memory.h"

#define NONE		0
#define RUNNING		1
#define RUNNABLE	2
#define MARKED		3		/* RUNNABLE|COND_WAIT */
#define BLOCKED		4

#define JUNK		9		/* what is in a link before it is one */

byte server_of[WORKERS];		/* server_tid */
byte runs[SERVERS];			/* next_tid: 1 + w, or 0 */
bool listed[WORKERS];			/* it is on a list, or was and has not been run */
byte gone;				/* workers that have */

/* Never true but in an assertion: its name is the verdict. */
bool not_runnable, bad_link, second_worker, freed_node;

// stands for kernel/sched/umcg.c: umcg_run_server()
inline umcg_run_server(c, s)
{
	atomic {
		EMPTY(c) ->
		if
		:: mem[WORD(s)] == RUNNABLE || mem[WORD(s)] == MARKED ->
			mem[WORD(s)] = RUNNING
		:: else
		fi;
		see_all(c)
	}
}

// stands for kernel/sched/umcg_worker.c: umcg_queue() umcg_push() umcg_push_once()
// barrier kernel/sched/umcg_worker.c: umcg_push(): if (put_user(first, link)) return -EFAULT; ret = umcg_push_once(server, head, &first, node);
inline umcg_queue(c, s)
{
	load(c, LIST(ITS(s)), first);
	do
	::
#ifndef LINK_LAST
		store(c, LINK(w), first);
#endif
		atomic {
#ifdef RELAXED_PUSH
			cmpxchg_relaxed(c, LIST(ITS(s)), first, 1 + w, done);
#else
			cmpxchg(c, LIST(ITS(s)), first, 1 + w, done);
#endif
			if
			:: done -> listed[w] = true
			:: else -> first = mem[LIST(ITS(s))]
			fi
		};
		if
		:: done -> break
		:: else
		fi
	od;
#ifdef LINK_LAST
	store(c, LINK(w), first);
#endif
	first = 0;
	done = false
}

// stands for kernel/sched/umcg_worker.c: umcg_admit() umcg_hold() __umcg_block() umcg_worker_leave()
proctype worker(byte w)
{
	byte first, rounds = ROUNDS;
	bool done;

	do
	::	/* Back from a block. */
#ifdef TELLS_FIRST
		umcg_run_server(CPU(w), server_of[w]);
#endif
#ifdef LISTED_FIRST
		umcg_queue(CPU(w), server_of[w]);
		cmpxchg(CPU(w), WORD(CPU(w)), BLOCKED, RUNNABLE, done);
		done = false;
#else
		cmpxchg(CPU(w), WORD(CPU(w)), BLOCKED, RUNNABLE, done);
		done = false;
		umcg_queue(CPU(w), server_of[w]);
#endif
#ifndef TELLS_FIRST
		umcg_run_server(CPU(w), server_of[w]);
#endif
		/* umcg_idle(), of which wait.pml is. */
		mem[WORD(CPU(w))] == RUNNING;
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
	od
}

// stands for kernel/sched/umcg.c: umcg_wait() umcg_begin_wait() umcg_run_next()
// stands for kernel/sched/umcg_abi.h: umcg_change_state()
inline run_it()
{
	do
	::	runs[s] = 1 + w;
		atomic { EMPTY(s) -> server_of[w] = s };
		cmpxchg_relaxed(s, WORD(s), RUNNING, MARKED, done);
		cmpxchg(s, WORD(s), MARKED, RUNNABLE, done);
		if
		:: done ->
			atomic {
				cmpxchg(s, WORD(CPU(w)), RUNNABLE, RUNNING, done);
				not_runnable = !done;
				assert(!not_runnable);
				listed[w] = false
			};
			break
		/* Another one is back: EAGAIN, and it is tried again. */
		:: else
		fi
	od;
	do
	::	mem[WORD(s)] == RUNNING;
#ifdef RUNS_A_SECOND
		/* Woken, it takes that for the end of what it has run. */
		break;
#endif
		if
		:: mem[WORD(CPU(w))] != RUNNING || server_of[w] != s -> break
		:: else
		fi;
		/* next_tid has UMCG_TID_RUNNING: it sleeps on if that still runs. */
		cmpxchg_relaxed(s, WORD(s), RUNNING, MARKED, done);
#if SERVERS > 1
		/* That it is its own, too, is for the program to see: block.pml has the race. */
		if
		:: atomic { mem[WORD(CPU(w))] != RUNNING || server_of[w] != s };
			atomic { EMPTY(s) -> mem[WORD(s)] = RUNNING };
			break
		:: else
		fi;
#endif
		cmpxchg(s, WORD(s), MARKED, RUNNABLE, done);
#ifndef SLEEPS_ON
		if
		:: done && mem[WORD(CPU(w))] != RUNNING ->
			cmpxchg(s, WORD(s), RUNNABLE, RUNNING, done)
		:: else
		fi
#endif
	od;
	atomic {
		/* It may be that of another server by now. */
		second_worker = (mem[WORD(CPU(w))] == RUNNING && server_of[w] == s);
		assert(!second_worker)
	};
	runs[s] = 0;
	done = false
}

// stands for no function: the program of a server
proctype server(byte s)
{
	byte n, w, next;
	bool done;

	do
	:: gone == WORKERS -> break
	:: else ->
#ifdef POP_ONE
		load(s, LIST(0), n);
		if
		:: n > 0 ->
#ifdef POP_FREED
			atomic { freed_node = !listed[n - 1]; assert(!freed_node) };
#endif
			load_dependent(s, LINK(n - 1), next);
			atomic {
				cmpxchg(s, LIST(0), n, next, done);
				/* The head was back, with another link. */
				bad_link = (done && next > 0 && !listed[next - 1]);
				assert(!bad_link)
			};
			w = n - 1;
			n = 0;
			next = 0;
			if
			:: done -> run_it()
			:: else
			fi;
			goto again
		:: else
		fi;
#else
		xchg(s, LIST(s), 0, n);
#if SERVERS > 1
		if
		:: n == 0 -> xchg(s, LIST(OTHER(s)), 0, n)
		:: else
		fi;
#endif
		if
		:: n > 0 ->
			do
			:: n > 0 ->
				load_dependent(s, LINK(n - 1), next);
				atomic { bad_link = (next > WORKERS); assert(!bad_link) };
				w = n - 1;
				n = next;
				next = 0;
				run_it()
			:: else -> break
			od;
			goto again
		:: else
		fi;
#endif
#ifdef LOOKS_THEN_MARKS
		load(s, LIST(ITS(s)), n);
#endif
		/* There is none: it marks itself, and looks again. */
		cmpxchg(s, WORD(s), RUNNING, MARKED, done);
#ifndef LOOKS_THEN_MARKS
		load(s, LIST(ITS(s)), n);
#endif
		if
		:: n > 0 || gone == WORKERS ->
			n = 0;
			atomic { EMPTY(s) -> mem[WORD(s)] = RUNNING };
			goto again
		:: else
		fi;
		cmpxchg(s, WORD(s), MARKED, RUNNABLE, done);
end:		mem[WORD(s)] == RUNNING;
again:		done = false;
		w = 0
	od
}

init
{
	byte i;

	atomic {
		do
		:: i < WORKERS ->
			mem[WORD(CPU(i))] = BLOCKED;
			mem[LINK(i)] = JUNK;
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
