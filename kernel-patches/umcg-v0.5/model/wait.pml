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

#define RUNNING		1
#define IDLE		2

#define T_RUNNING	0
#define T_WAIT		1		/* UMCG_IDLE_STATE */

#define TIMEDOUT	1
#define ESRCH		2
#define RESTART		3		/* -ERESTARTNOINTR */

#ifndef SIGNALS
#define SIGNALS		0
#endif
#ifndef FAULTS
#define FAULTS		0
#endif
#ifndef ROUNDS
#define ROUNDS		2
#endif

byte faults = FAULTS;
bool signal[2];				/* pending */
bool expired;				/* the timer of server 0 */
byte running;				/* servers in their programs */
bool woken;				/* the word was made RUNNING */
bool partner_woken, partner_gone;
#ifdef PINNED
bool moved;				/* the page of the word of server 0 */
byte old_word;				/* what is left where it was */
#endif

/* Never true but in an assertion: its name is the verdict. */
bool two_run, woken_and_timed_out, ended_for_nothing, faulted_in_its_sleep, switch_failed;
bool woken_in_vain;

// stands for kernel/sched/umcg.h: umcg_ttwu()
inline umcg_ttwu(c, t)
{
#ifndef NO_BARRIER_IN_TTWU
	full_barrier(c);		/* (B) */
#endif
	load(c, STATE(t), state);
	if
	:: state == T_WAIT -> mem[STATE(t)] = T_RUNNING
	:: else
	fi;
	state = 0
}

inline wake(c)
{
	if
	:: wakee ->
#ifdef PAIR
		umcg_ttwu(c, 1 - c);
#else
		partner_woken = true;
#endif
		wakee = false
	:: else
	fi
}

/* Off the CPU until somebody has made the task state RUNNING. */
inline schedule(c)
{
	full_barrier(c);
	mem[STATE(c)] == T_RUNNING
}

// stands for kernel/sched/umcg.c: umcg_schedule()
inline umcg_schedule(c)
{
	if
	:: wakee ->
		if
		:: wake(c); schedule(c)
		:: store(c, STATE(c), T_RUNNING); wake(c)	/* wake_up_and_schedule() could not */
		fi
	:: else -> schedule(c)
	fi
}

/* A page fault: it sleeps, and is done in the task state RUNNING. */
inline fault(c)
{
	atomic {
		faulted_in_its_sleep = (mem[STATE(c)] != T_RUNNING);
		assert(!faulted_in_its_sleep)
	}
}

// stands for kernel/sched/umcg.c: umcg_idle() umcg_idle_until() umcg_end_wait()
// stands for kernel/sched/umcg_abi.h: umcg_peek()
// barrier kernel/sched/umcg.c: umcg_idle(): set_current_state(UMCG_IDLE_STATE); /* (A) */
// barrier kernel/sched/umcg.h: umcg_ttwu(): try_to_wake_up(task->tsk, TASK_UMCG, wake_flags); /* (B) */
inline umcg_idle(c)
{
	do
	::
#ifdef LOOK_FIRST
		load(c, WORD(c), word);
#endif
		store(c, STATE(c), T_WAIT);
#ifndef NO_BARRIER_BEFORE_LOOK
		full_barrier(c);		/* (A) */
#endif
#ifndef LOOK_FIRST
		page = 1;
#ifdef FAULT_IN_SLEEP
		if
		:: atomic { faults > 0 -> faults-- }; full_barrier(c); fault(c)
		:: true
		fi;
#else
		if
		:: atomic { faults > 0 -> faults--; page = 0 }
		:: true
		fi;
		if
		:: page == 0 ->
			store(c, STATE(c), T_RUNNING);
			wake(c);
			full_barrier(c);
			fault(c);
			if
			:: signal[c] -> ret = RESTART; break
			:: else -> goto look
			fi
		:: else
		fi;
#endif
		page = 0;
#ifdef SLEEP_UNSEEN
		word = IDLE;
#else
#ifdef PINNED
		/* The page it had when it was registered; what is there now was copied. */
		if
		:: moved -> word = old_word
		:: else -> load(c, WORD(c), word)
		fi;
#else
		load(c, WORD(c), word);
#endif
#endif
#endif
		if
		:: word == RUNNING -> ret = 0; break
		:: else
		fi;
		if
		:: signal[c] -> ret = RESTART; break
		:: else
		fi;
#ifdef TIMED
		if
		:: timer && expired ->
			store(c, STATE(c), T_RUNNING);
			wake(c);
#ifdef BLIND_TIMEOUT
			store(c, WORD(c), RUNNING);
			done = true;
#else
			cmpxchg(c, WORD(c), IDLE, RUNNING, done);
#endif
			if
			:: done -> ret = TIMEDOUT; break
			:: else -> goto look
			fi
		:: else
		fi;
#endif
		umcg_schedule(c);
look:		word = 0;
		page = 0
	od;
	word = 0;
	page = 0;
	store(c, STATE(c), T_RUNNING);
	wake(c)
}

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

inline kernel_wakes(c)
{
	if
	:: mem[STATE(c)] == T_WAIT -> mem[STATE(c)] = T_RUNNING
	:: else
	fi
}

#ifdef TIMED
// stands for no function: the clock
proctype timer_fires()
{
	atomic { expired = true; kernel_wakes(0) }
}
#endif

#if SIGNALS > 0
// stands for no function: others send signals
proctype others()
{
	byte left = SIGNALS;

	do
	:: left > 0 ->
		atomic { left--; signal[0] = true; kernel_wakes(0) }
#ifndef HANDLER_WAKES
	:: left > 0 -> left--
#endif
#ifdef PAIR
	:: left > 0 ->
		atomic { left--; signal[1] = true; kernel_wakes(1) }
#endif
	:: left == 0 -> break
	od
}
#endif

#ifdef PINNED
// stands for no function: a page is migrated
proctype migration()
{
	atomic { EMPTY(0) && EMPTY(1) -> old_word = mem[WORD(0)]; moved = true }
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
