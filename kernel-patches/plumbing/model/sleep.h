/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A task sleeps for as long as its word says so: umcg_idle(), which each ABI has in its
 * umcg.c, and which they have alike. For the model of its waits, that #includes it.
 *
 * Before the #include a model has memory.h, with WORD(i) and STATE(i) for places, and
 * wake_partner(c): how the task on that CPU wakes whom it hands over to. A process that
 * calls umcg_idle() has the bytes state, word, ret and page, and the bits wakee, done,
 * noted and timer.
 *
 * SIGNALS	so many signals come, to be handled
 * FAULTS	so often the page of the word is not there
 * TIMED	the wait has a timeout
 */

#define RUNNING		1
#define IDLE		2		/* whatever the ABI calls it */

#define T_RUNNING	0
#define T_WAIT		1		/* UMCG_IDLE_STATE */

#define TIMEDOUT	1
#define RESTART		3		/* -ERESTARTNOINTR */

#ifndef SIGNALS
#define SIGNALS		0
#endif
#ifndef FAULTS
#define FAULTS		0
#endif

byte faults = FAULTS;
bool signal[2];				/* pending */
bool expired;				/* the timer of server 0 */
#ifdef PINNED
bool moved;				/* the page of the word of server 0 */
byte old_word;				/* what is left where it was */
#endif

/* Never true but in an assertion: its name is the verdict. */
bool faulted_in_its_sleep;

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
		wake_partner(c);
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
