/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A task is kicked to look at its word, on its way to user space.
 *
 * One kicker has made the word of the target what has it held, and kicks it; with
 * TWO_KICKERS another one does at any time, for no reason. The target looks when it is sent
 * by, and may come by for other reasons.
 *
 * WORKER	it is a worker, which looks whatever `kicked` says
 *
 * What is to hold: the target does not run on with a word that says otherwise.
 */

#define TARGET		0		/* CPUs */
#define KICKER		1
#define OTHER		2

#define WORD		0		/* umcg_task.state of the target: true if it is to be held */
#define KICKED		1		/* umcg_2022::kicked */
#define TIF		2		/* TIF_UMCG */

#define CPUS		3
#define PLACES		3
#define EACH_CPU	D(0) D(1) D(2)
#define EACH_LOAD	S(0, 0) S(0, 1)
#include "../../plumbing/model/memory.h"

byte kicking;				/* kickers that have not done */

/* Never true but in an assertion: its name is the verdict. */
bool kick_lost;

// stands for kernel/sched/umcg.c: umcg_kick()
// barrier kernel/sched/umcg.c: umcg_kick(): smp_store_release(&u22(task)->kicked, true);
// barrier kernel/sched/umcg.c: umcg_kick(): smp_mb__before_atomic(); /* See umcg_return_to_user(). */ set_tsk_thread_flag(tsk, TIF_UMCG);
inline umcg_kick(c)
{
#ifndef NO_RELEASE_AT_KICK
	fence_stores(c);		/* smp_store_release() */
#endif
	store(c, KICKED, 1);
#ifndef NO_BARRIER_AT_KICK
	full_barrier(c);
#endif
	set_relaxed(c, TIF, 1);
	kicking--
}

// stands for no function: user space, which asks for no order when it changes the word
proctype kicker()
{
	store(KICKER, WORD, 1);
	umcg_kick(KICKER)
}

#ifdef TWO_KICKERS
// stands for no function: another thread, which kicks for no reason
proctype other()
{
	umcg_kick(OTHER)
}
#endif

// stands for include/linux/umcg.h: umcg_return_to_user()
// stands for kernel/sched/umcg_worker.c: __umcg_return_to_user() umcg_admit_server() umcg_admit()
// barrier kernel/sched/umcg_worker.c: __umcg_return_to_user(): smp_store_mb(u22(umcg)->kicked, false);
// barrier include/linux/umcg.h: umcg_return_to_user(): clear_thread_flag(TIF_UMCG); /* The flag, then what the ABI has set it for. */ smp_mb__after_atomic();
proctype target()
{
	bit kicked, word;
	bool spurious = true;

	do
	::	if
		:: mem[TIF] ->
			set_relaxed(TARGET, TIF, 0);
#ifndef NO_BARRIER_AFTER_CLEAR
			full_barrier(TARGET)
#endif
		/* It comes by for a signal. */
		:: !mem[TIF] && spurious -> spurious = false
		/* Nobody sends it any more. */
		:: kicking == 0 && !mem[TIF] -> break
		fi;
#ifndef WORKER
		load(TARGET, KICKED, kicked);
		if
		:: kicked ->
#ifdef STORES_KICKED
			store(TARGET, KICKED, 0)
#else
			xchg(TARGET, KICKED, 0, kicked)
#endif
		:: else -> goto on
		fi;
#endif
		load(TARGET, WORD, word);
		if
		:: word -> goto held
		:: else
		fi;
on:		skip
	od;
	atomic {
		EMPTY(TARGET) && EMPTY(KICKER) && EMPTY(OTHER) ->
		kick_lost = mem[WORD];
		assert(!kick_lost)
	};
held:	skip
}

init
{
	atomic {
		kicking = 1;
#ifdef TWO_KICKERS
		kicking = 2;
		run other();
#endif
		run kicker();
		run target()
	}
}
