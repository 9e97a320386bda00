/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One worker that blocks, waits, is preempted, leaves and is killed, and its servers, which
 * may go.
 *
 * Memory is one here: what happens when a word and a task state cross is in wait.pml, so who
 * waits goes on as soon as its word says so. Each list has room for that one worker; how one
 * is kept is in list.pml.
 *
 * ACTIONS	of the worker, before it unregisters
 * SERVERS	that may run it
 * TICKS	so often somebody asks for it to be preempted
 * SIGNALS	so many other signals come for it
 * TIMED	a wait of it may have a timeout
 * ABSENT	so often a page is away when the kernel looks at a word without faults
 * KILLED	the worker is killed at some time
 * INTERRUPTED	so often a signal interrupts the wait of a server
 * NOBODY	no server runs it
 * STEALS	servers take each other's lists
 * GOES		the first server unregisters at some time
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
#define RUNNABLE	2
#define BLOCKED		3
#define STATE(w)	(w & 3)
#define COND_WAIT	4
#define PREEMPT		8
#define MARKED		(RUNNABLE | COND_WAIT)

#define RUN		1		/* UMCG_DUTY_RUN */
#define REPORT		2		/* UMCG_DUTY_REPORT */

/* User memory. */
byte word = BLOCKED;			/* of the worker */
byte server_tid = 1;			/* of the worker: 1 + s */
byte server_word[SERVERS];
bool listed[SERVERS];			/* the worker is on that list */
bool yields;				/* the worker waits in no list, for its server to see */
bool back;				/* its runnable_ts is not zero: it has been listed since */

/* What the kernel knows of the worker, and of servers. */
bool flag;				/* PF_UMCG_WORKER */
bool look = true;			/* TIF_UMCG */
bool parked, unreported;
byte duties[SERVERS];
bool left[SERVERS];			/* a server that has unregistered */
bool for_heirs;				/* the worker was on its list then */
bool pending, killed;			/* signals */
bool kernel_lock;			/* some lock that the worker has when it sleeps */
bool others_run;			/* a server has come to run other workers */

byte absent = ABSENT, interrupted = INTERRUPTED;
bool asking;				/* who preempts is between the word and the kick */

/* Never true but in an assertion: its name is the verdict. */
bool runs_unasked, runs_unserved, asleep_unseen, not_runnable, violation, killed_as_orphan;
bool preemption_lost, preempted_unasked, written_to_when_gone;

// stands for kernel/sched/umcg.c: umcg_run_server()
// stands for kernel/sched/umcg.h: umcg_lock_memory()
inline umcg_run_server(s)
{
	if
	:: atomic { absent > 0 -> absent--; duties[s] = duties[s] | RUN }
	:: atomic {
		if
#ifdef WRITES_TO_WHO_HAS_LEFT
		:: STATE(server_word[s]) == RUNNABLE ->
			written_to_when_gone = left[s];
			assert(!written_to_when_gone);
			server_word[s] = RUNNING
#else
		:: STATE(server_word[s]) == RUNNABLE && !left[s] -> server_word[s] = RUNNING
#endif
		:: else
		fi }
	fi
}

// stands for kernel/sched/umcg.h: umcg_server() umcg_last_server() umcg_bind()
#define IS_SERVER(tid)	(tid > 0 && !left[tid - 1])

inline tell(tid)
{
	if
	:: IS_SERVER(tid) -> umcg_run_server(tid - 1)
	:: else
	fi
}

inline tell_last(tid)
{
	if
	:: IS_SERVER(tid) -> umcg_run_server(tid - 1)
	:: else -> tell(bound)
	fi
}

// stands for kernel/sched/umcg_worker.c: umcg_take_back()
inline umcg_take_back(was)
{
	atomic { was = unreported; unreported = false }
}

// stands for kernel/sched/umcg_worker.c: umcg_start()
inline umcg_start()
{
	atomic {
#ifdef FIRST_SERVER
		bound = (bound > 0 -> bound : server_tid);
#else
		bound = (IS_SERVER(server_tid) -> server_tid : 0);
#endif
		served = (bound > 0);
		parked = false;
		flag = true
	}
}

// stands for kernel/sched/umcg_worker.c: __umcg_block() umcg_leave_report() umcg_make_blocked()
// stands for kernel/sched/umcg_word.h: umcg_may_block() umcg_restate()
// stands for include/linux/umcg.h: umcg_block()
inline umcg_block()
{
	if
	:: flag ->
		flag = false;
		look = true;
		if
		:: atomic { absent > 0 -> absent-- };
			/* Its word is out of reach. */
			atomic { waiting = (STATE(word) == RUNNABLE); unreported = true };
			served = false;
			if
			:: bound > 0 && !left[bound - 1] ->
				duties[bound - 1] = duties[bound - 1] | REPORT;
				umcg_run_server(bound - 1)
			:: else
			fi
		:: true ->
			do
			::	atomic { w = word; tid = server_tid };
				violation = (STATE(w) != RUNNING && STATE(w) != RUNNABLE);
				assert(!violation);
#ifdef MARK_IS_NO_BLOCK
				if
				:: STATE(w) == RUNNABLE -> break
				:: else
				fi;
#endif
				atomic {
					done = (word == w);
					if
#ifdef PREEMPT_STAYS
					:: done -> word = BLOCKED | (w & PREEMPT)
#else
					:: done -> word = BLOCKED
#endif
					:: else
					fi
				};
				if
				:: done ->
					waiting = (STATE(w) == RUNNABLE);
					served = false;
#ifndef NO_WAKE_AT_BLOCK
#ifdef FIRST_SERVER
					tell(bound);
#else
					tell(tid);
#endif
#endif
					break
				:: else
				fi
			od
		fi;
		w = 0;
		tid = 0;
		done = false
	:: else
	fi
}

#ifdef GOES
#define orphaned	(left[0])
#else
#define orphaned	false
#endif

/* A system call that sleeps with a lock of the kernel, and then returns. */
inline sleep()
{
	!kernel_lock -> atomic { kernel_lock = true; others_run = false };
	umcg_block();
	atomic {
		asleep_unseen = (STATE(word) == RUNNING && !unreported);
		assert(!asleep_unseen)
	};
	/*
	 * What it sleeps for is for another worker to do, or a signal comes. But behind its
	 * mark it is its own page, where that is away: a server that sees the mark looks on.
	 */
	(others_run || pending || killed || orphaned ||
	 (unreported && (word & COND_WAIT) != 0));
#ifdef HELD_IN_SCHEDULER
	if
	:: STATE(word) == BLOCKED ->
		word = RUNNABLE;
		listed[server_tid - 1] = true;
		umcg_run_server(server_tid - 1);
		STATE(word) == RUNNING || killed
	:: else
	fi;
#endif
	kernel_lock = false
}

/* Nobody joins the list of a server that has left. */
// stands for kernel/sched/umcg_worker.c: umcg_queue() umcg_push() umcg_push_once()
inline umcg_queue(s, joined)
{
	atomic {
#ifdef JOINS_WHO_HAS_LEFT
		joined = true;
#else
		joined = !left[s];
#endif
		if
		:: joined -> listed[s] = true
		:: else
		fi
	}
}

// stands for kernel/sched/umcg_worker.c: umcg_admit()
inline umcg_admit()
{
	verdict = 2;
	umcg_take_back(blocked);
	waiting = false;
	do
	::	atomic { w = word; tid = server_tid };
		if
		:: killed -> verdict = 3; break
		:: STATE(w) == RUNNING && !blocked && (w & PREEMPT) == 0 ->
			if
			:: ran -> flag = true
			:: else -> umcg_start()
			fi;
			verdict = 1;
			break
		:: STATE(w) == RUNNABLE && parked -> verdict = 0; break
		:: STATE(w) == RUNNABLE && !parked && !blocked && ran && (w & COND_WAIT) != 0 ->
			/* It is on its way to umcg_wait(). */
#ifdef HELD_BY_ITS_MARK
			parked = true;
			verdict = 0;
#else
			flag = true;
			verdict = 1;
#endif
			break
		:: STATE(w) == RUNNABLE && !parked && !blocked && ran && (w & COND_WAIT) == 0 ->
			parked = true;
			verdict = 0;
			break
		:: (STATE(w) == RUNNING && (blocked || (w & PREEMPT) != 0)) ||
		   (STATE(w) == RUNNABLE && !parked && (blocked || !ran)) ||
		   STATE(w) == BLOCKED ->
#ifdef ORPHANS_DIE
			killed_as_orphan = !IS_SERVER(tid);
			assert(!killed_as_orphan);
#endif
			atomic {
				bound = (IS_SERVER(tid) -> tid : 0);
				done = (word == w);
				if
				:: done && bound > 0 ->
					word = RUNNABLE;
#ifdef PREEMPT_STAYS
					word = RUNNABLE | (w & PREEMPT);
#endif
					back = true
				:: done && bound == 0 ->
#ifndef ORPHANS_WAIT
					word = RUNNING
#else
					word = RUNNABLE
#endif
				:: else
				fi
			};
			if
			:: done && bound > 0 ->
				parked = false;
#ifndef PREEMPT_NOT_LISTED
				umcg_queue(bound - 1, done);
#else
				if
				:: (w & PREEMPT) == 0 -> umcg_queue(bound - 1, done)
				:: else
				fi;
#endif
				if
				:: done ->
					parked = true;
					served = false;
#ifndef COMES_BACK_UNTOLD
					umcg_run_server(bound - 1);
#endif
					verdict = 0;
					break
				:: else ->
					/* It has left just now: look again. */
					blocked = false;
					ran = false
				fi
			:: done && bound == 0 ->
				served = false;
#ifdef ORPHANS_WAIT
				parked = true;
				verdict = 0;
#else
				parked = false;
				flag = true;
				verdict = 1;
#endif
				break
			:: else
			fi
		fi
	od;
	blocked = false;
	w = 0;
	tid = 0;
	done = false
}

// stands for kernel/sched/umcg_worker.c: umcg_hold() __umcg_return_to_user()
// stands for kernel/sched/umcg.h: umcg_hold_begin()
// stands for include/linux/umcg.h: umcg_return_to_user() umcg_before_signals() umcg_sigreturn()
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
			/* umcg_idle(): it is held. */
			ran = false;
			if
			:: STATE(word) == RUNNING
			/* A handler runs, and it is held again when that returns. */
			:: pending ->
				pending = false;
#ifdef FREE_AFTER_A_HANDLER
				break
#endif
#ifndef UNKILLABLE
			:: killed -> goto leave
#endif
			fi
		od;
		ran = false;
		verdict = 0;
		/* Its handlers run; it is looked at when they return. */
		if
		:: pending -> pending = false; look = true
		:: else -> break
		fi
	:: else -> break
	od
}

/* In a wait: until it is run. The wait goes on after a handler. */
inline idle_worker()
{
	do
	:: STATE(word) == RUNNING -> umcg_start(); break
	:: pending -> pending = false
#ifdef TIMED
	:: timed && STATE(word) == RUNNABLE ->
		/* umcg_end_wait() */
		atomic {
			done = (STATE(word) == RUNNABLE);
			if
#ifdef TIMEOUT_RUNS
			:: done -> word = RUNNING
#else
			:: done -> word = BLOCKED
#endif
			:: else
			fi
		};
		if
		:: done ->
			parked = false;
#ifdef TIMEOUT_RUNS
			flag = true;
#endif
			look = true;
			break
		:: else
		fi
#endif
	:: killed -> break
	od;
	done = false
}

// stands for kernel/sched/umcg.c: umcg_wait() umcg_begin_wait() umcg_end_wait()
// stands for kernel/sched/umcg_worker.c: umcg_worker_begin_wait() umcg_worker_end_wait() umcg_came_blocked()
inline umcg_worker_wait(enqueue, gone)
{
	ran = flag;
	flag = false;
	w = word;
	if
	:: !ran ->
		umcg_take_back(done);
		done = false
	:: else
	fi;
	if
	:: !ran && STATE(w) == BLOCKED && waiting -> skip	/* it joins a list as it returns */
	:: !ran && !(STATE(w) == BLOCKED && waiting) && STATE(w) != RUNNABLE -> skip
	:: ran && STATE(w) != RUNNABLE ->
		/* EAGAIN */
#ifndef ERROR_LEAVES_IT_OFF
		flag = true
#endif
	:: STATE(w) == RUNNABLE ->
		atomic {
			done = (word == w);
			if
			:: done -> word = RUNNABLE
			:: else
			fi
		};
		if
		:: !done -> flag = ran
		:: else ->
			atomic { tid = server_tid; bound = (IS_SERVER(tid) -> tid : 0) };
			if
			:: bound == 0 ->
				/* ESRCH, and the mark is undone. */
				atomic {
					if
					:: word == RUNNABLE -> word = RUNNING
					:: else
					fi
				};
				flag = ran;
				gone = true
			:: else ->
				if
				:: enqueue -> back = true; umcg_queue(bound - 1, done)
				:: else
				fi;
				served = false;
				if
				:: done ->
					umcg_run_server(bound - 1);
					parked = true;
					idle_worker()
				:: else ->
					/* It has left just now: the worker is looked at, and runs. */
					look = true
				fi
			fi
		fi
	fi;
	done = false;
	ran = false;
	w = 0;
	tid = 0
}

// stands for kernel/sched/umcg_worker.c: umcg_worker_leave()
inline umcg_worker_leave()
{
	ran = flag;
	flag = false;
	look = false;
	umcg_take_back(blocked);
	do
	::	atomic { w = word; tid = server_tid };
		atomic {
			if
			:: word == w -> word = NONE; break
			:: else
			fi
		}
	od;
#ifdef TELLS_NOBODY
	skip
#else
#ifdef GOES_BY_THE_FLAG
	if
	:: ran -> tell_last(tid)
	:: else
	fi
#else
	if
	:: blocked || served || STATE(w) == RUNNING -> tell_last(tid)
	:: else
	fi
#endif
#endif
}

#define check_that_it_may_run \
	atomic { \
		runs_unasked = (STATE(word) != RUNNING && word != MARKED); \
		assert(!runs_unasked); \
		runs_unserved = (STATE(word) == RUNNING && bound > 0 && !served && !look && !killed); \
		assert(!runs_unserved); \
		/* What was asked for is yet to be seen, or it is gone. */ \
		preemption_lost = (word == (RUNNING | PREEMPT) && \
				   !pending && !look && !killed && !asking); \
		assert(!preemption_lost) \
	}

// stands for kernel/sched/umcg.c: umcg_wait() umcg_ctl() umcg_unregister()
proctype worker()
{
	byte w, tid, bound = 1, verdict, actions = ACTIONS;
	bool served, blocked, ran, done, waiting, timed, gone;

	do
	::	umcg_return_to_user();
		check_that_it_may_run;
		if
		:: actions == 0 -> break
		:: actions > 0 && ACTIONS > 0 -> actions--; sleep()
		:: actions > 0 ->
			/* It waits, in a list (WRUN-2) or in none (WRUN-3). */
			actions--;
			do
			::	gone = false;
				if
				:: back = false; yields = true
				:: true
				:: true ->
#ifdef TIMED
					timed = true
#endif
				fi;
again:				atomic {
					if
					:: STATE(word) == RUNNING -> word = MARKED; done = true
					:: else -> done = false
					fi
				};
				if
				:: !done -> break
				:: else
				fi;
				done = false;
				/* It may be looked at, or fault, which is a sleep. */
				if
				:: true -> sleep()
				:: true -> sleep(); umcg_return_to_user()
				:: pending || look -> umcg_return_to_user()
				:: true
				fi;
				umcg_worker_wait(!yields && !timed, gone);
				yields = false;
				timed = false;
				umcg_return_to_user();
				if
				:: gone && SERVERS > 1 ->
					/* To another server. */
					gone = false;
					server_tid = SERVERS;
					goto again
				:: else
				fi;
				break
			od
		:: actions > 0 ->
			/* A call that is an error, for the word says that it runs. */
			actions--;
			if
			:: STATE(word) == RUNNING -> umcg_worker_wait(true, gone)
			:: else
			fi
		:: pending || killed || look -> skip
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
		:: atomic { STATE(server_word[s]) == RUNNABLE -> server_word[s] = RUNNING }
		:: atomic { server_word[s] == RUNNING }
		fi;
		done = true;
		break
	:: atomic { interrupted > 0 && STATE(server_word[s]) == RUNNABLE -> interrupted-- };
		done = false;
		break
	od;
	/* umcg_do_duties(): what there is, is taken at once. */
	atomic {
		duty = duties[s];
#ifdef DUTY_LOST
		duties[s] = 0
#else
		duties[s] = (done -> 0 : duty & RUN)
#endif
	};
	if
	:: (duty & REPORT) != 0 ->
		atomic {
			if
			:: unreported && (STATE(word) == RUNNING || STATE(word) == RUNNABLE) ->
				word = BLOCKED;
				unreported = false
			:: else
			fi
		};
#ifndef REPORT_IS_NO_NEWS
		if
		:: !done -> duties[s] = duties[s] | RUN
		:: else
		fi
#endif
	:: else
	fi;
	duty = 0
}

/* What waits in a list, or was left in none by a server that has gone. */
inline take(s)
{
	atomic {
		mine = listed[s];
		listed[s] = false;
#if SERVERS > 1
		if
#ifdef STEALS
		:: !mine && !left[1 - s] -> mine = listed[1 - s]; listed[1 - s] = false
#endif
		:: !mine && for_heirs -> mine = true; for_heirs = false
		:: else
		fi;
		if
		:: !mine && left[1 - s] && server_tid == 2 - s && word == RUNNABLE &&
		   yields && !back && parked -> mine = true
		:: else
		fi
#endif
	}
}

// stands for no function: the program of a server
proctype server(byte s)
{
	byte duty;
	bool done, mine;

	do
	:: word == NONE -> break
#ifdef GOES
	:: s == 0 && word != NONE -> break
#endif
	:: word != NONE ->
		others_run = true;
		/* It needs something that the kernel has a lock for. */
		!kernel_lock;
		take(s);
		if
		:: !mine ->
			/* It marks itself, and looks again. */
			server_word[s] = MARKED;
			take(s);
			if
			:: mine || word == NONE -> server_word[s] = RUNNING
			:: else ->
				/* Those of the others are for them, but for one that goes. */
end:				do
				:: umcg_wait(s);
					if
					:: done -> break
					:: else
					fi
#ifdef GOES
				/* Who buries the other one has it look. */
				:: s == 1 && left[0] && (for_heirs ||
				   (server_tid == 1 && word == RUNNABLE && yields && !back && parked)) ->
					server_word[s] = RUNNING;
					break
				:: word == NONE -> server_word[s] = RUNNING; break
#endif
				od
			fi;
			done = false;
			if
			:: !mine -> goto again
			:: else
			fi
		:: else
		fi;
run_it:		server_tid = 1 + s;
		server_word[s] = MARKED;
		/* umcg_run_next() */
		atomic {
			if
			/* It is EAGAIN if it has been run already, and tries again. */
			:: server_word[s] == RUNNING -> goto run_it
			:: else -> server_word[s] = RUNNABLE
			fi;
			not_runnable = (STATE(word) != RUNNABLE && word != NONE);
			assert(!not_runnable);
			if
			:: word == NONE -> server_word[s] = RUNNING; break
#ifdef PREEMPT_STAYS
			:: else -> word = RUNNING | (word & PREEMPT)
#else
			:: else -> word = RUNNING
#endif
			fi;
			preempted_unasked = (word == (RUNNING | PREEMPT));
			assert(!preempted_unasked)
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
told:		atomic {
			if
			:: word == NONE || server_tid != 1 + s || STATE(word) == BLOCKED -> goto again
			:: else -> if
				:: STATE(word) == RUNNABLE && (word & COND_WAIT) != 0 -> mine = true
				:: STATE(word) == RUNNABLE && (word & COND_WAIT) == 0 ->
					if
					:: yields && !back -> goto run_it
					:: else -> goto again
					fi
				:: STATE(word) == RUNNING
				fi
			fi
		};
		if
		:: mine ->
			/* It is on its way to a wait. */
			mine = false;
			(word & COND_WAIT) == 0;
			goto told
		:: else
		fi;
#ifdef GOES
		if
		:: s == 0 -> goto out		/* it goes, with a worker running */
		:: true
		fi;
#endif
		/* It still runs: next_tid has UMCG_TID_RUNNING. */
		server_word[s] = MARKED;
#ifndef LOOKS_BEFORE_ITS_MARK
		/* And that is so yet: another one may have taken it, and have it run, since. */
		if
		:: atomic { STATE(word) != RUNNING || server_tid != 1 + s };
			server_word[s] = RUNNING;
			goto told
		:: else
		fi;
#endif
		atomic {
			if
			:: server_word[s] == MARKED -> server_word[s] = RUNNABLE
			:: else
			fi
		};
		if
		:: STATE(word) != RUNNING -> server_word[s] = RUNNING; goto told
		:: STATE(word) == RUNNING -> goto wait
		fi;
again:		mine = false
	od;
out:
	/* umcg_unregister(), or the end of the program. Its memory may be anything then. */
	atomic { left[s] = true; server_word[s] = RUNNABLE };
	/* Who buries it empties its list, once. */
	atomic { for_heirs = listed[s]; listed[s] = false }
}

#if TICKS > 0
// stands for kernel/sched/umcg.c: umcg_kick()
proctype ticks()
{
	byte left_over = TICKS;

	do
	:: left_over > 0 ->
		left_over--;
#ifdef BLIND_PREEMPT
		word == RUNNING;
		asking = true;
		word = RUNNING | PREEMPT;
#else
		if
		:: atomic { word == RUNNING -> word = RUNNING | PREEMPT; asking = true }
		:: true -> break
		fi;
#endif
#ifndef KICK_ONLY_WAKES
		atomic { look = true; asking = false }
#else
		asking = false
#endif
	:: else -> break
	od
}
#endif

#if SIGNALS > 0
// stands for no function: others send signals
proctype others()
{
	byte left_over = SIGNALS;

	do
	:: left_over > 0 -> left_over--; pending = true
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
