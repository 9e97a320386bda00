/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The steal race: worker A, under server 0, runs worker C and waits in a list; server 1 takes
 * the list of server 0, and runs A, while the kernel has yet to run C, or fails to.
 *
 * C_RUNS, C_IS_BLOCKED, C_IS_NOBODY, C_FAULTS	why C cannot be run; otherwise it can
 * RIVAL	somebody else may run C first
 *
 * What is to hold: A runs in one place at a time, A and C are lost by nobody, and a server
 * that sleeps has a worker that runs (no invalid end state, and the names of the assertions).
 */

#define NONE		0
#define RUNNING		1
#define RUNNABLE	2
#define MARKED		3		/* RUNNABLE|COND_WAIT */
#define BLOCKED		4

#define AGAIN		1		/* -EAGAIN and other errors */
#define SRCH		2
#define FAULT		3

byte a_word = RUNNING, c_word = RUNNABLE;
byte a_server, c_server = 0;		/* server_tid: 0 or 1 */
byte server_word[2];
bool listed;				/* A is on the list of server 0 */
bool c_fails;
byte c_runs;				/* so often C was run */
byte a_runs = 1;			/* so many have A run, at this moment */
bool a_done, rival_has;

/* Never true but in an assertion: its name is the verdict. */
bool runs_twice, not_runnable, listed_with_an_error, c_was_run_twice;

// stands for kernel/sched/umcg.c: umcg_run_next()
inline umcg_run_next()
{
#ifdef C_IS_NOBODY
	ret = SRCH;
#else
#ifdef C_FAULTS
	ret = FAULT;
#else
	atomic {
		if
		:: c_word == RUNNABLE -> c_word = RUNNING; c_runs++; ret = 0
		:: else -> ret = AGAIN
		fi
	}
#endif
#endif
}

// stands for kernel/sched/umcg_worker.c: umcg_worker_begin_wait() umcg_queue()
inline umcg_worker_begin_wait()
{
	listed = true
}

inline run_server()
{
	atomic {
		if
		:: server_word[a_server] == RUNNABLE -> server_word[a_server] = RUNNING
		:: else
		fi
	}
}

// stands for kernel/sched/umcg.c: umcg_wait() umcg_begin_wait() umcg_idle() umcg_run_server()
proctype worker_a()
{
	byte ret;

	/* It has c_server point to its own server, and that one's next_tid to C. */
	a_word = MARKED;
	a_runs--;
	/* umcg_change_state(): nobody may run it who has not found it in a list. */
	a_word = RUNNABLE;
#ifdef QUEUED_FIRST
	umcg_worker_begin_wait();
#endif
	umcg_run_next();
	if
	:: ret != 0 ->
		/* It is RUNNING, in no list, and has the error. */
		atomic {
			if
			:: a_word == RUNNABLE -> a_word = RUNNING
			:: else
			fi
		};
		atomic {
			a_runs++;
			runs_twice = (a_runs > 1);
			assert(!runs_twice);
			listed_with_an_error = listed;
			assert(!listed_with_an_error)
		}
	:: else ->
#ifndef QUEUED_FIRST
		umcg_worker_begin_wait();
#endif
		run_server();
		a_word == RUNNING
	fi;
	/* It leaves, and its server hears of that. */
	atomic { a_word = NONE; a_runs-- };
	run_server();
	a_done = true
}

// stands for no function: C, once it runs, which it does to its end
proctype worker_c()
{
	c_word == RUNNING || c_fails || rival_has;
	if
	:: c_word == RUNNING && !rival_has ->
		c_was_run_twice = (c_runs > 1);
		assert(!c_was_run_twice);
		c_word = NONE;
		atomic {
			if
			:: server_word[c_server] == RUNNABLE -> server_word[c_server] = RUNNING
			:: else
			fi
		}
	:: else
	fi
}

#ifdef RIVAL
// stands for kernel/sched/umcg.c: umcg_run_next()
proctype rival()
{
	atomic {
		if
		:: c_word == RUNNABLE -> c_word = RUNNING; c_runs++; rival_has = true
		:: else
		fi
	}
}
#endif

// stands for no function: server 0, woken, sees what runs under it
proctype server_0()
{
	do
	::	server_word[0] == RUNNING;
		if
		:: (a_word == NONE || a_server == 1 || listed) && c_word != RUNNING -> break
		:: else ->
			/* It marks itself, and looks again. */
			server_word[0] = MARKED;
			if
			:: c_word == RUNNING && !rival_has || a_word == RUNNING && a_server == 0 ->
				atomic {
					if
					:: server_word[0] == MARKED -> server_word[0] = RUNNABLE
					:: else
					fi
				};
				if
				:: !(c_word == RUNNING && !rival_has || a_word == RUNNING && a_server == 0) ->
					server_word[0] = RUNNING
				:: else
				fi
			:: else -> server_word[0] = RUNNING
			fi
		fi
	od
}

// stands for kernel/sched/umcg.c: umcg_wait() umcg_run_next()
proctype server_1()
{
	/* It steals the list of server 0, as soon as there is something in it. */
	do
	:: atomic { listed -> listed = false };
		a_server = 1;
		server_word[1] = RUNNABLE;
		atomic {
			not_runnable = (a_word != RUNNABLE);
			assert(!not_runnable);
			a_word = RUNNING;
			a_runs++;
			runs_twice = (a_runs > 1);
			assert(!runs_twice)
		};
		server_word[1] == RUNNING;
		break
	:: a_done -> break
	od
}

init
{
	atomic {
		server_word[0] = RUNNABLE;
		server_word[1] = RUNNING;
#ifdef C_RUNS
		c_word = RUNNING; c_fails = true; rival_has = true;
#endif
#ifdef C_IS_BLOCKED
		c_word = BLOCKED; c_fails = true;
#endif
#ifdef C_IS_NOBODY
		c_word = NONE; c_fails = true;
#endif
#ifdef C_FAULTS
		c_fails = true;
#endif
		run worker_a();
		run worker_c();
#ifdef RIVAL
		run rival();
#endif
		run server_0();
		run server_1()
	}
}
