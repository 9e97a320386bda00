/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tasks wait and run each other: what the head of kernel/sched/umcg.c tells.
 *
 * PAIR	two servers hand over to each other ROUNDS times, by next_tid
 * otherwise server 0 runs a partner, and waits for a waker that comes once
 * SIGNALS	so many signals come, to be handled
 * FAULTS	so often the page of the word is not there
 * TIMED	the wait has a timeout
 * NOBODY	no waker comes
 * STOLEN	somebody else runs the partner, too
 * HANDLER_WAKES that server makes its word RUNNING in the handler of a signal
 *
 * What is to hold: every wait that is woken ends (no invalid end state: whoever sleeps when
 * nothing else can happen sleeps for ever), and the names of the assertions.
 */

#define CPUS		2
#define PLACES		4
#define EACH_CPU	D(0) D(1)
#define EACH_LOAD	S(0, 0) S(0, 3) S(1, 1) S(1, 2)
#include "../../plumbing/model/memory.h"

#define WORD(i)		(i)		/* umcg_task.state of server i */
#define STATE(i)	(2 + i)		/* its task_struct::__state */

#ifndef ROUNDS
#define ROUNDS		2
#endif

#ifdef PAIR
#define wake_partner(c)	umcg_ttwu(c, 1 - c)
#else
#define wake_partner(c)	partner_woken = true
#endif
#include "../../plumbing/model/sleep.h"

#define RUNNABLE	IDLE
#define MARKED		3		/* RUNNABLE|COND_WAIT */
#define BLOCKED		4

#define AGAIN		4		/* -EAGAIN */

byte running;				/* servers in their programs */
bool woken;				/* the word was made RUNNING */
byte partner_word = RUNNABLE;
bool partner_woken, has_run_it, thief_has, tid_running;

/* Never true but in an assertion: its name is the verdict. */
bool two_run, woken_and_timed_out, ended_for_nothing, run_in_vain;
bool run_by_two, not_run, not_woken, not_marked, left_runnable;

// stands for kernel/sched/umcg.c: umcg_run_next()
// stands for kernel/sched/umcg_abi.h: umcg_wakee() umcg_change_state()
inline umcg_run_next(c)
{
#ifdef PAIR
	cmpxchg(c, WORD(1 - c), RUNNABLE, RUNNING, done);
#else
	if
	:: tid_running -> atomic { done = (partner_word == RUNNING); goto run_already }
	:: else
	fi;
	atomic {
		EMPTY(c);
#ifdef BLIND_RUN
		done = true;
#else
		done = (partner_word == RUNNABLE);
#endif
		if
		:: done -> partner_word = RUNNING; has_run_it = true
		:: else
		fi
	};
#endif
	if
	:: done ->
		wakee = true;
#ifndef NOT_MARKED
		tid_running = true
#endif
	:: else
	fi;
run_already: skip
}

// stands for kernel/sched/umcg.c: umcg_wait() umcg_begin_wait() umcg_is_restarted()
inline umcg_wait(c)
{
	timer = true;
restart:
	wakee = false;
	if
	:: noted -> skip		/* umcg_is_restarted(): it sleeps on */
	:: else ->
		load(c, WORD(c), word);
		if
		:: word == MARKED || word == RUNNABLE ->
			cmpxchg(c, WORD(c), word, RUNNABLE, done)
		:: else -> done = false
		fi;
		word = 0;
		if
		:: !done -> ret = AGAIN; goto out
		:: else
		fi;
		umcg_run_next(c);
		if
		:: !done ->
			ret = AGAIN;
#ifndef NO_UNDO
			cmpxchg(c, WORD(c), RUNNABLE, RUNNING, done);
#endif
			goto out
		:: else
		fi
	fi;
	umcg_idle(c);
	if
	:: ret == RESTART ->
#ifndef BEGINS_ANEW
		noted = true;
#endif
		/* The handler runs, and the call is restarted. */
		signal[c] = false;
#ifdef HANDLER_HELD
		/* The handler makes a system call, and its return is held for the word. */
		full_barrier(c);
		mem[WORD(c)] == RUNNING;
#endif
#ifdef HANDLER_WAKES
		woken = true;
		store(c, WORD(c), RUNNING);
#endif
#ifdef SIGNAL_EATS_WAKE
		/* It ends with EINTR instead, and the program begins the wait anew. */
		store(c, WORD(c), RUNNABLE);
		noted = true;
#endif
#ifdef SIGNAL_EATS_TIMEOUT
		timer = false;
#endif
		goto restart
	:: else
	fi;
out:
	noted = false;
	timer = false
}

// stands for no function: the program of a server, and the calls it makes
proctype server(byte me)
{
	byte state, word, ret, round, page;
	bool wakee, done, noted, timer;
#ifdef PAIR
	if
	:: me == 1 -> noted = true; goto wait	/* it has run server 0, and sleeps */
	:: else
	fi;
	do
	:: atomic { running++; two_run = (running != 1); assert(!two_run) }
		running--;
		if
		:: round == ROUNDS -> break
		:: else -> round++
		fi;
		cmpxchg_relaxed(me, WORD(me), RUNNING, MARKED, done);
wait:		umcg_wait(me);
		atomic { run_in_vain = (ret == AGAIN); assert(!run_in_vain) }
	od;
	/* The other one is still to go; nobody comes back. */
	cmpxchg_relaxed(me, WORD(me), RUNNING, MARKED, done);
	umcg_run_next(me);
	wake(me)
#else
	umcg_wait(me);
	atomic {
		EMPTY(me) ->
		/* The waker and the timer cannot both have ended it. */
		woken_and_timed_out = (woken && ret == TIMEDOUT);
		assert(!woken_and_timed_out);
		ended_for_nothing = (!woken && (ret == 0 || (ret == AGAIN && has_run_it)));
		assert(!ended_for_nothing);
		run_by_two = (has_run_it && thief_has);
		assert(!run_by_two);
		not_run = (ret != AGAIN && !has_run_it);
		assert(!not_run);
		not_woken = (has_run_it && !partner_woken);
		assert(!not_woken);
		not_marked = (has_run_it && !tid_running);
		assert(!not_marked);
		left_runnable = (mem[WORD(me)] != RUNNING);
		assert(!left_runnable)
	}
#endif
}

#ifndef PAIR
#ifndef NOBODY
// stands for kernel/sched/umcg.c: umcg_wait() umcg_run_next() umcg_kick()
proctype waker()
{
	byte state;

	/* Another task of which it is the next, or user space, which kicks it then. */
	atomic {
		EMPTY(1) ->
		if
		:: mem[WORD(0)] == RUNNABLE || mem[WORD(0)] == MARKED ->
			mem[WORD(0)] = RUNNING;
			woken = true
		:: else
		fi
	}
	if
	:: woken -> umcg_ttwu(1, 0)
	:: else
	fi
}
#endif

// stands for no function: the partner runs, and blocks
proctype partner()
{
end:	partner_woken;
	atomic { EMPTY(1) -> partner_word = BLOCKED }
}

#ifdef STOLEN
// stands for kernel/sched/umcg.c: umcg_run_next()
proctype thief()
{
	atomic {
		if
		:: partner_word == RUNNABLE -> partner_word = RUNNING; thief_has = true
		:: else
		fi
	}
}
#endif
#endif

init
{
	atomic {
#ifdef PAIR
		mem[WORD(0)] = RUNNING;
		mem[WORD(1)] = RUNNABLE;
		run server(0);
		run server(1);
#else
		mem[WORD(0)] = MARKED;
		run server(0);
		run partner();
#ifndef NOBODY
		run waker();
#endif
#ifdef STOLEN
		run thief();
#endif
#ifdef PINNED
		run migration();
#endif
#ifdef TIMED
		run timer_fires();
#endif
#endif
#if MM > 1
		see_all(0);
		see_all(1);
#endif
#if SIGNALS > 0
		run others();
#endif
		skip
	}
}
