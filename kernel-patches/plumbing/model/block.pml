/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One worker that blocks, yields, is preempted, leaves and is killed, and its servers: as v0.5
 * and v0.9.1 have them.
 *
 * Memory is one here: what happens when a word and a task state cross is in wait.pml, so
 * who waits goes on as soon as its word says so. The list has room for that one worker; how it
 * is kept is in idle.pml.
 *
 * ACTIONS	of the worker, before it unregisters
 * SERVERS	that may run it
 * TICKS	so often somebody asks for it to be preempted
 * SIGNALS	so many other signals come for it
 * ABSENT	so often a page is away when the kernel looks at a word without faults
 * KILLED	the worker is killed at some time
 * INTERRUPTED	so often a signal interrupts the wait of a server
 * NOBODY	no server is there
 * V091	as v0.9.1 has it where that differs: who may be found IDLE, and who may wait
 * V091	as v0.9.1 has it where that differs: who may be IDLE, and who may wait
 *
 * What is to hold: nobody waits for ever (no invalid end state): so a worker is not lost, a
 * server hears of each block, and who is killed dies. And the names of the assertions.
 */

#ifndef ACTIONS
#define ACTIONS		2
#endif
#ifndef SERVERS
#define SERVERS		1
#endif
#ifndef TICKS
#define TICKS		0
#endif
#ifndef SIGNALS
#define SIGNALS		0
#endif
#ifndef ABSENT
#define ABSENT		0
#endif
#ifndef INTERRUPTED
#define INTERRUPTED	0
#endif

#define NONE		0
#define RUNNING		1
#define IDLE		2
#define BLOCKED		3
#define STATE(w)	(w & 3)
#define LOCKED		4
#define PREEMPTED	8

#define RUN		1		/* UMCG_DUTY_RUN */
#define REPORT		2		/* UMCG_DUTY_REPORT */

/* User memory. */
byte word = BLOCKED;			/* of the worker */
byte next_tid;				/* of the worker: 1 + s */
byte server_word[SERVERS];
bool listed;				/* the worker is on the idle list */
byte tid;				/* of the idle server: 1 + s */
bool yielded;				/* what the worker tells its server */

/* What the kernel knows of the worker, and of servers. */
bool flag;				/* PF_UMCG_WORKER */
bool look = true;			/* TIF_UMCG */
bool unreported;
byte duties[SERVERS];
bool pending, killed;			/* signals */
bool kernel_lock;			/* some lock that the worker has when it sleeps */

byte absent = ABSENT, interrupted = INTERRUPTED;

/* Never true but in an assertion: its name is the verdict. */
bool runs_unserved, asleep_unseen, not_idle, violation, preemption_lost;

// stands for kernel/sched/umcg_worker.c: umcg_run_server()
inline umcg_run_server(s)
{
	if
	:: atomic { absent > 0 -> absent--; duties[s] = duties[s] | RUN }
	:: atomic {
		server_word[s] == IDLE -> server_word[s] = RUNNING }
	:: server_word[s] != IDLE
	fi
}

// stands for kernel/sched/umcg_worker.c: umcg_tell_server()
// stands for kernel/sched/umcg.h: umcg_last_server() umcg_server()
inline umcg_tell_server(n)
{
	if
	:: n > 0 -> umcg_run_server(n - 1)
	:: else -> if
		:: bound > 0 -> umcg_run_server(bound - 1)
		:: else
		fi
	fi
}

// stands for kernel/sched/umcg_worker.c: umcg_take_back()
inline umcg_take_back(was)
{
	atomic { was = unreported; unreported = false }
}

// stands for kernel/sched/umcg_worker.c: umcg_start()
#define umcg_start	parked = false; unqueued = false; served = true; flag = true

// stands for kernel/sched/umcg_worker.c: umcg_park()
#define umcg_park	parked = true; unqueued = false; served = false

// stands for kernel/sched/umcg.h: umcg_bind()
#ifdef FIRST_SERVER
#define umcg_bind	bound = (bound > 0 -> bound : next)
#else
#define umcg_bind	bound = next
#endif

// stands for kernel/sched/umcg_worker.c: __umcg_block() umcg_leave_report()
// stands for include/linux/umcg.h: umcg_block()
inline umcg_block()
{
	if
	:: flag ->
		do
		:: atomic { absent > 0 -> absent-- };
			/* Its word is out of reach. */
			flag = false;
			look = true;
			unreported = true;
			served = false;
			if
			:: bound > 0 ->
				duties[bound - 1] = duties[bound - 1] | REPORT;
				umcg_run_server(bound - 1)
			:: else
			fi;
			break
		:: true ->
			atomic { w = word; next = next_tid };
			if
#ifndef LOCKED_REPORTED
			:: (w & LOCKED) != 0 -> break
			:: (w & LOCKED) == 0 && STATE(w) != RUNNING -> look = true; break
			:: w == RUNNING || w == (RUNNING | PREEMPTED) ->
#else
			:: STATE(w) != RUNNING && (w & LOCKED) == 0 -> look = true; break
			:: STATE(w) == RUNNING || (w & LOCKED) != 0 ->
#endif
				atomic {
					done = (word == w);
					if
					:: done -> word = BLOCKED | (w & PREEMPTED)
					:: else
					fi
				};
				if
				:: done ->
					flag = false;
					look = true;
					served = false;
#ifndef NO_WAKE_AT_BLOCK
#ifdef FIRST_SERVER
					umcg_run_server(bound - 1);
#else
					umcg_run_server(next - 1);
#endif
#endif
					break
				:: else
				fi
			fi
		od;
		w = 0;
		next = 0;
		done = false
	:: else
	fi
}

/* A system call that sleeps with a lock of the kernel, and then returns. */
inline sleep()
{
	!kernel_lock -> kernel_lock = true;
	umcg_block();
	atomic {
		asleep_unseen = (STATE(word) == RUNNING && (word & LOCKED) == 0 && !unreported);
		assert(!asleep_unseen)
	};
	/* What it sleeps for comes, or a signal does. */
#ifdef HELD_IN_SCHEDULER
	if
	:: word == BLOCKED ->
		word = IDLE;
		listed = true;
		if
		:: tid > 0 -> atomic { next = tid; tid = 0 }; umcg_run_server(next - 1); next = 0
		:: else
		fi;
		word == RUNNING || killed
	:: else
	fi;
#endif
	kernel_lock = false
}

// stands for kernel/sched/umcg_worker.c: umcg_admit() umcg_queue() umcg_take_idle_server()
inline umcg_admit()
{
	verdict = 2;
	umcg_take_back(blocked);
	do
	::	atomic { w = word; next = next_tid };
		new = IDLE;
		if
		:: killed -> verdict = 3; break
#ifdef V091
		:: w == (RUNNING | LOCKED) && parked -> verdict = 0; break
		:: w == (IDLE | LOCKED) || w == (RUNNING | LOCKED) && !parked ->
#else
		:: (w & LOCKED) != 0 && parked -> verdict = 0; break
		:: (w & LOCKED) != 0 && !parked ->
			atomic { violation = (!ran && !blocked); assert(!violation) };
#endif
			umcg_start;
			verdict = 1;
			break
		:: w == RUNNING ->
			if
			:: !blocked && next > 0 -> umcg_bind; umcg_start; verdict = 1; break
			:: else
			fi
		:: w == (RUNNING | PREEMPTED) ->
			if
			:: !blocked && next > 0 -> umcg_bind; new = IDLE | PREEMPTED
			:: else
			fi
		:: (w == IDLE || w == (IDLE | PREEMPTED)) && parked -> verdict = 0; break
		:: (w == IDLE || w == (IDLE | PREEMPTED)) && !parked ->
#ifdef V091
			violation = !unqueued;
			assert(!violation);
#endif
			new = BLOCKED
#ifdef PREEMPTED_STAYS
		:: w == (BLOCKED | PREEMPTED) && !parked -> new = IDLE | PREEMPTED
		:: w == BLOCKED && !parked -> skip
#else
		:: STATE(w) == BLOCKED && !parked -> skip
#endif
#ifdef V091
		:: STATE(w) == BLOCKED && parked -> skip	/* requeued by user space */
#else
		:: STATE(w) == BLOCKED && parked -> violation = true; assert(!violation)
#endif
		fi;
		atomic {
			done = (word == w);
			if
			:: done -> word = new
			:: else
			fi
		};
		if
		:: done && new != BLOCKED -> break
		:: else
		fi
	od;
	if
	:: verdict == 2 && new == IDLE ->
		umcg_park;
		listed = true;
		atomic { new = tid; tid = 0 };
		if
		:: new > 0 -> umcg_run_server(new - 1)
		:: else
		fi;
		if
		:: blocked -> umcg_tell_server(next)
		:: else
		fi
	:: verdict == 2 && new == (IDLE | PREEMPTED) ->
		umcg_park;
#ifdef PREEMPTED_QUEUED
		listed = true;
#endif
		if
		:: bound > 0 -> umcg_run_server(bound - 1)
		:: else
		fi
	:: else
	fi;
	w = 0;
	next = 0;
	new = 0;
	done = false
}

// stands for kernel/sched/umcg_worker.c: umcg_hold() umcg_idle_on() __umcg_return_to_user()
// stands for kernel/sched/umcg.h: umcg_hold_begin() umcg_hold_signals()
// stands for include/linux/umcg.h: umcg_return_to_user() umcg_before_signals()
inline umcg_return_to_user()
{
	do
	:: killed -> goto leave
	:: look || pending ->
		look = false;
		ran = flag;
		flag = false;
		do
		::	umcg_admit();
			if
			:: verdict == 1 -> break
			:: verdict == 3 -> goto leave
			:: else
			fi;
			/* umcg_idle(): it is held, behind its signals. */
#ifdef UNKILLABLE
			word == RUNNING || word == (RUNNING | PREEMPTED)
#else
			word == RUNNING || word == (RUNNING | PREEMPTED) || killed
#endif
		od;
		ran = false;
		blocked = false;
		verdict = 0;
		/* Its handlers run. */
		if
		:: pending ->
#ifndef NO_SECOND_LOOK
			look = true;
#endif
			pending = false
		:: else -> break
		fi
	:: else -> break
	od
}

// stands for kernel/sched/umcg_worker.c: umcg_worker_wait()
inline umcg_worker_wait()
{
	flag = false;
	if
	:: word == (IDLE | LOCKED) ->
#ifndef BLOCK_OUTLIVES_WAIT
		umcg_take_back(blocked);
		blocked = false;
#endif
		word = IDLE;
		umcg_park;
		if
		:: atomic { word == RUNNING -> next = next_tid };
			umcg_bind;
			umcg_start;
			next = 0
		:: word == (RUNNING | PREEMPTED) || pending || killed -> look = true
		fi
	:: else ->
#ifdef V091
		/* It may ask whatever its word says, and here that says that it runs. */
		umcg_take_back(blocked);
		blocked = false;
		umcg_park;
		if
		:: atomic { word == RUNNING -> next = next_tid };
			umcg_bind;
			umcg_start;
			next = 0
		:: else -> look = true
		fi
#else
		/* It is not as it must be: an error. */
#ifndef ERROR_LEAVES_IT_OFF
		flag = true;
		look = true
#endif
#endif
	fi
}

// stands for kernel/sched/umcg_worker.c: umcg_worker_leave()
// stands for kernel/sched/umcg_word.h: umcg_is_waiting()
inline umcg_worker_leave()
{
	ran = flag;
	flag = false;
	look = false;
#ifndef NEXT_TID_FIRST
	do
	::	w = word;
		next = next_tid;
		atomic {
			if
			:: word == w -> word = NONE; break
			:: else
			fi
		}
	od;
#else
	next = next_tid;
	atomic { w = word; word = NONE };
#endif
	umcg_take_back(blocked);
#ifdef TELLS_NOBODY
	skip
#else
#ifdef GOES_BY_THE_FLAG
	if
	:: ran -> umcg_tell_server(next)
	:: else
	fi
#else
	if
	:: blocked || served -> umcg_tell_server(next)
#ifndef LEAVES_WITHOUT_LOOK
	:: !blocked && !served && STATE(w) == RUNNING && next > 0 -> umcg_run_server(next - 1)
#endif
	:: else
	fi
#endif
#endif
}

#define check_that_it_may_run \
	atomic { \
		runs_unserved = (STATE(word) != RUNNING && (word & LOCKED) == 0); \
		assert(!runs_unserved); \
		/* What was asked for is yet to be seen, or it is gone. */ \
		preemption_lost = (word == (RUNNING | PREEMPTED) && \
				   !pending && !look && !killed && !asking); \
		assert(!preemption_lost) \
	}

bool asking;				/* who preempts is between the word and the signal */

// stands for kernel/sched/umcg.c: umcg_wait() umcg_ctl()
proctype worker()
{
	byte w, next, new, bound, verdict, actions = ACTIONS;
	bool parked, unqueued, served, blocked, ran, done;

	do
	::	umcg_return_to_user();
		check_that_it_may_run;
		if
		:: actions == 0 -> break
		:: actions > 0 && ACTIONS > 0 -> actions--; sleep()
		:: actions > 0 ->
			/* It yields; a tick may have come. */
			actions--;
			yielded = true;
			atomic {
				if
				:: word == RUNNING -> word = IDLE | LOCKED; done = true
				:: else -> done = false
				fi
			};
			if
			:: done ->
				done = false;
				new = next_tid - 1;
				/* It may fault here, which is a sleep. */
				if
				:: umcg_block()
				:: true
				fi;
				if
				:: server_word[new] == IDLE -> server_word[new] = RUNNING
				:: else
				fi;
				new = 0;
				umcg_worker_wait()
			:: else -> yielded = false
			fi
		:: actions > 0 ->
			/* A call that is an error, for the word says that it runs. */
			actions--;
			if
			:: word == RUNNING || word == (RUNNING | PREEMPTED) -> umcg_worker_wait()
			:: else
			fi
		:: pending || killed -> skip
		fi
	od;
leave:	umcg_worker_leave()
}

// stands for kernel/sched/umcg.c: umcg_idle() umcg_end_wait() umcg_wait()
// stands for kernel/sched/umcg_worker.c: umcg_do_duties() umcg_do_report() umcg_report()
inline umcg_wait(s)
{
	do
	::	server_word[s] == RUNNING || duties[s] != 0;
		if
		:: atomic { server_word[s] == IDLE -> server_word[s] = RUNNING }
		:: atomic { server_word[s] == RUNNING }
		fi;
		done = true;
		break
	:: atomic { interrupted > 0 && server_word[s] == IDLE -> interrupted-- };
		done = false;
		break
	od;
	/* umcg_do_duties() */
	if
	:: (duties[s] & REPORT) != 0 ->
#ifndef REPORT_IS_NO_NEWS
		duties[s] = RUN;
#else
		duties[s] = duties[s] & RUN;
#endif
		atomic {
			if
			:: unreported && (word == RUNNING || word == (RUNNING | PREEMPTED)) ->
				word = BLOCKED | (word & PREEMPTED);
				unreported = false
			:: else
			fi
		}
	:: else
	fi;
#ifdef DUTY_LOST
	duties[s] = 0
#else
	if
	:: done -> duties[s] = 0
	:: else
	fi
#endif
}

// stands for no function: the program of a server
proctype server(byte s)
{
	bool done, mine;

	do
	:: word == NONE -> break
	:: else ->
		/* It needs something that the kernel has a lock for. */
		!kernel_lock;
		atomic { mine = listed; listed = false };
		if
		:: !mine ->
			/* It is idle, and says so before it looks again. */
			server_word[s] = IDLE;
			atomic {
				if
				:: tid == 0 -> tid = 1 + s
				:: else -> break
				fi
			};
			if
			:: listed || word == NONE -> server_word[s] = RUNNING
			:: else ->
end:				do
				:: umcg_wait(s);
					if
					:: done -> break
					:: else
					fi
				od
			fi;
			atomic { tid = (tid == 1 + s -> 0 : tid); done = false };
			goto again
		:: else
		fi;
run_it:		yielded = false;
		server_word[s] = IDLE;
		atomic {
			not_idle = (word != IDLE && word != (IDLE | PREEMPTED) && word != NONE);
			assert(!not_idle);
			if
			:: word == NONE -> break
			:: else -> word = RUNNING | LOCKED
			fi
		};
		next_tid = 1 + s;
		atomic {
			if
			:: word == (RUNNING | LOCKED) -> word = RUNNING
			:: else -> break		/* NONE: it was killed */
			fi
		};
		mine = false;
wait:		do
		:: umcg_wait(s);
			if
			:: done -> break
			:: else
			fi
		od;
		done = false;
		/* Whoever has ended the wait, the words tell what has become of the worker. */
told:		atomic {
			if
			:: word == NONE || next_tid != 1 + s -> goto again
			:: else -> if
				:: STATE(word) == BLOCKED -> goto again
				:: word == (IDLE | PREEMPTED) -> goto run_it
				:: word == IDLE && yielded -> goto run_it
				:: word == IDLE && !yielded -> goto again
				:: (word & LOCKED) != 0 -> mine = true
				:: word == RUNNING || word == (RUNNING | PREEMPTED) ->
					server_word[s] = IDLE
				fi
			fi
		};
		if
		:: mine ->
			/* It is on its way to a wait, or another server is about to run it. */
			mine = false;
			(word & LOCKED) == 0;
			goto told
		:: else
		fi;
		/* It still runs. Or has it changed since? */
		if
		:: (word == RUNNING || word == (RUNNING | PREEMPTED)) && next_tid == 1 + s -> goto wait
		:: else -> server_word[s] = RUNNING; goto told
		fi;
again:		mine = false
	od
}

#if TICKS > 0
// stands for no function: who preempts, by the rule of WPREEMPT-1
proctype ticks()
{
	byte left = TICKS;

	do
	:: left > 0 ->
		left--;
#ifdef BLIND_PREEMPT
		word == RUNNING;
		asking = true;
		word = RUNNING | PREEMPTED;
#else
		if
		:: atomic { word == RUNNING -> word = RUNNING | PREEMPTED; asking = true }
		:: true -> break
		fi;
#endif
		atomic { pending = true; asking = false }
	:: else -> break
	od
}
#endif

#if SIGNALS > 0
// stands for no function: others send signals
proctype others()
{
	byte left = SIGNALS;

	do
	:: left > 0 -> left--; pending = true
	:: break
	od
}
#endif

#ifdef KILLED
// stands for no function: somebody kills
proctype killer()
{
	killed = true
}
#endif

init
{
	byte i;

	atomic {
		do
		:: i < SERVERS ->
			server_word[i] = RUNNING;
#ifndef NOBODY
			run server(i);
#endif
			i++
		:: else -> break
		od;
		i = 0;
		run worker();
#if TICKS > 0
		run ticks();
#endif
#if SIGNALS > 0
		run others();
#endif
#ifdef KILLED
		run killer();
#endif
		skip
	}
}
