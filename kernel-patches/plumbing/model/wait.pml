/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Servers wait, wake and switch: what the head of kernel/sched/umcg.c tells.
 *
 * PAIR	two servers hand over to each other ROUNDS times
 * otherwise a server switches to a partner, and waits for a waker that comes once
 * SIGNALS	so many signals come, to be handled
 * FAULTS	so often the page of the word is not there
 * TIMED	the wait has a timeout
 * NOBODY	no waker comes
 * HANDLER_WAKES that server makes its word RUNNING in the handler of a signal
 *
 * What is to hold: every wait that is woken ends (no invalid end state: whoever sleeps when
 * nothing else can happen sleeps for ever), and the names of the assertions.
 */

#define CPUS		2
#define PLACES		4
#define EACH_CPU	D(0) D(1)
#define EACH_LOAD	S(0, 0) S(0, 3) S(1, 1) S(1, 2)
#include "memory.h"

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
#include "sleep.h"

#define ESRCH		2

byte running;				/* servers in their programs */
bool woken;				/* the word was made RUNNING */
bool partner_woken, partner_gone;

/* Never true but in an assertion: its name is the verdict. */
bool two_run, woken_and_timed_out, ended_for_nothing, switch_failed;
bool woken_in_vain;

// stands for kernel/sched/umcg.c: umcg_wait() umcg_note_interrupted() umcg_is_restarted()
// stands for kernel/sched/umcg_core.c: umcg_find_next()
inline umcg_wait(c)
{
	noted = false;
	timer = true;
restart:
	wakee = true;
#ifndef PAIR
	if
	:: partner_gone ->
		wakee = false;
#ifndef FORGETS_THE_SWITCH
		if
		:: !noted -> ret = ESRCH; goto out
		:: else
		fi
#else
		ret = ESRCH;
		goto out
#endif
	:: else
	fi;
#endif
	umcg_idle(c);
	if
	:: ret == RESTART ->
		noted = true;
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
		store(c, WORD(c), IDLE);
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
	:: me == 1 -> goto wait		/* it has handed over to server 0 */
	:: else
	fi;
	do
	:: atomic { running++; two_run = (running != 1); assert(!two_run) }
		running--;
		if
		:: round == ROUNDS -> break
		:: else -> round++
		fi;
		cmpxchg_relaxed(me, WORD(me), RUNNING, IDLE, done);
		cmpxchg_relaxed(me, WORD(1 - me), IDLE, RUNNING, done);
		atomic { woken_in_vain = !done; assert(!woken_in_vain) };
wait:		umcg_wait(me)
	od;
	/* The other one is still to go; nobody comes back. */
	cmpxchg_relaxed(me, WORD(me), RUNNING, IDLE, done);
	cmpxchg_relaxed(me, WORD(1 - me), IDLE, RUNNING, done);
	umcg_ttwu(me, 1 - me)
#else
	umcg_wait(me);
	atomic {
		switch_failed = (ret == ESRCH);
		assert(!switch_failed);
		/* The waker and the timer cannot both have ended it. */
		woken_and_timed_out = (woken && ret == TIMEDOUT);
		assert(!woken_and_timed_out);
		ended_for_nothing = (!woken && ret == 0);
		assert(!ended_for_nothing)
	}
#endif
}

#ifndef PAIR
#ifndef NOBODY
// stands for kernel/sched/umcg.c: umcg_wait()
proctype waker()
{
	byte state;
	bool done;

	atomic {
		EMPTY(1) ->
		if
		:: mem[WORD(0)] == IDLE -> mem[WORD(0)] = RUNNING; woken = true
		:: else
		fi
	}
	if
	:: woken -> umcg_ttwu(1, 0)
	:: else
	fi
}
#endif

// stands for kernel/sched/umcg_core.c: __umcg_leave()
proctype partner()
{
	/* It may exit right after it was woken, but not before. */
	partner_woken;
	partner_gone = true
}
#endif

init
{
	atomic {
#ifdef PAIR
		mem[WORD(0)] = RUNNING;
		mem[WORD(1)] = IDLE;
		run server(0);
		run server(1);
#else
		mem[WORD(0)] = IDLE;
		run server(0);
		run partner();
#ifndef NOBODY
		run waker();
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
