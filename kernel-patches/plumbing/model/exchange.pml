/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Who sleeps leaves its CPU to whom it wakes: ttwu_here(). Who is current, who is queued and
 * who is on a CPU changes in one visit to the runqueue. Meanwhile others wake the two, or
 * change where they may run, and the tick asks for another task.
 *
 * Tasks 0 and 1 begin on CPU 0. CPU 1 has nobody until one of them is sent there. All of this
 * is done under locks, so there is one memory: what is read ahead of a lock is read in the
 * order that try_to_wake_up() tells, which is Linux's own.
 *
 * In the queue means p->on_rq, and a task that sleeps there is delayed. A class picks any task
 * of its queue. Whether the class can hand over is left open: any hand-over may be refused.
 *
 * ROUNDS	so often each task switches to the other, or blocks
 * WAKES	so many wakeups come from elsewhere, of whomever
 * CHANGES	so often a task is told where it may run
 * TICKS	so often a CPU is to pick another task
 * DELAYED	who sleeps may stay in the queue
 * BLOCKS	task 0 is a worker that blocks, and task 1 its server
 */

#define TASKS		2
#define CPUS		2
#define IDLE(c)		(TASKS + c)
#define STOP(c)		(TASKS + CPUS + c)
#define PROCESSES	(TASKS + 2 * CPUS)
#define NOBODY		PROCESSES
#define PICK		(NOBODY + 1)		/* -EAGAIN of ttwu_here() */
#define BUSY		(NOBODY + 2)		/* -EBUSY */

#define RUNNING		0
#define SLEEPS		1			/* TASK_UMCG */
#define BLOCKED		2			/* for a reason of its own */
#define WAKING		3
#define DEAD		4

#define OFF		0
#define QUEUED		1
#define MIGRATING	2

#ifndef WAKES
#define WAKES		0
#endif
#ifndef CHANGES
#define CHANGES		0
#endif
#ifndef TICKS
#define TICKS		0
#endif

/* Of tasks. */
byte state[TASKS];
byte on_rq[TASKS];
bool delayed[TASKS];
bool on_cpu[TASKS];
byte cpu[TASKS];
byte allowed[TASKS] = 3;		/* a bit for each CPU */
bool pi_lock[TASKS];
bool word[TASKS];			/* that it is to run */
bool has_exited[TASKS];
bool event, told;			/* what the worker sleeps for, and that it is on the way */

/* Of CPUs. */
byte curr[CPUS];
byte left[CPUS] = NOBODY;		/* who was current before, until the switch is done */
bool rq_lock[CPUS];
bool need_resched[CPUS];
byte to_move[CPUS] = NOBODY;		/* by the stopper */

bool resumed[PROCESSES];

/* Never true but in an assertion: its name is the verdict. */
bool on_two_cpus, of_another_cpu, not_allowed, queued_twice, woken_for_nothing;

#define lock(l)		atomic { !l -> l = true }
#define unlock(l)	l = false

#define MAY_RUN(t, c)	(allowed[t] & (1 << (c)))
#define IS_HERE(t, c)	(on_rq[t] == QUEUED && cpu[t] == c)

inline enqueue(t)
{
	queued_twice = (on_rq[t] != OFF);
	assert(!queued_twice);
	on_rq[t] = QUEUED
}

/* With the lock of the task's runqueue, which is that of CPU k then. */
inline task_rq_lock(t)
{
	do
	:: k = cpu[t];
	   lock(rq_lock[k]);
	   if
	   :: cpu[t] == k && on_rq[t] != MIGRATING -> break
	   :: else -> unlock(rq_lock[k])
	   fi
	od
}

/* From the queue of CPU k to that of the other one, which is CPU k then. */
inline move_queued(t)
{
	atomic { on_rq[t] = MIGRATING; unlock(rq_lock[k]) };
	k = 1 - k;
	cpu[t] = k;
	lock(rq_lock[k]);
	atomic { on_rq[t] = QUEUED; need_resched[k] = true }
}

/* Linux's try_to_wake_up(). */
inline wake_up(t, why)
{
	lock(pi_lock[t]);
	found = (state[t] == why);
	if
	:: found && on_rq[t] != OFF ->
		task_rq_lock(t);
		if
		:: on_rq[t] == QUEUED ->
			atomic { delayed[t] = false; state[t] = RUNNING };
			found = false
		:: else
		fi;
		unlock(rq_lock[k])
	:: else
	fi;
	if
	:: found ->
		state[t] = WAKING;
		!on_cpu[t];
		if
		:: MAY_RUN(t, 0) -> k = 0
		:: MAY_RUN(t, 1) -> k = 1
		fi;
		cpu[t] = k;
		lock(rq_lock[k]);
		atomic { enqueue(t); state[t] = RUNNING; need_resched[k] = true };
		unlock(rq_lock[k]);
		found = false
	:: else
	fi;
	k = 0;
	unlock(pi_lock[t])
}

/* pick_next_task(): one of those in the queue; who sleeps there leaves it. */
inline pick(c)
{
	atomic {
		need_resched[c] = false;
		if
		:: to_move[c] != NOBODY -> next = STOP(c)
		:: else ->
			do
			:: IS_HERE(0, c) && delayed[0] -> delayed[0] = false; on_rq[0] = OFF
			:: IS_HERE(1, c) && delayed[1] -> delayed[1] = false; on_rq[1] = OFF
			:: IS_HERE(0, c) && !delayed[0] -> next = 0; break
			:: IS_HERE(1, c) && !delayed[1] -> next = 1; break
			:: !IS_HERE(0, c) && !IS_HERE(1, c) -> next = IDLE(c); break
			od
		fi
	}
}

/* The first half of context_switch(): the lock of the runqueue goes with the CPU. */
inline switch_away(me, c)
{
	atomic {
		if
		:: next < TASKS ->
			on_two_cpus = on_cpu[next];
			assert(!on_two_cpus);
			of_another_cpu = (cpu[next] != c);
			assert(!of_another_cpu);
			not_allowed = (!MAY_RUN(next, c) && to_move[c] != next);
			assert(!not_allowed);
			on_cpu[next] = true
		:: else
		fi;
		curr[c] = next;
		left[c] = me;
		resumed[next] = true;
		next = 0;
	}
}

/* The second, of who comes to run: finish_task_switch(). */
inline switch_in(me, c)
{
	atomic { resumed[me] -> resumed[me] = false };
	if
	:: left[c] < TASKS -> on_cpu[left[c]] = false
	:: else
	fi;
	left[c] = NOBODY;
	unlock(rq_lock[c])
}

inline context_switch(me, c)
{
	if
	:: next == me -> next = 0; unlock(rq_lock[c])
	:: else ->
		switch_away(me, c);
		switch_in(me, cpu[me])
	fi
}

/* try_to_block_task() */
inline block(me)
{
	if
	:: on_rq[me] = OFF
#ifdef DELAYED
	:: delayed[me] = true
#endif
	fi
}

/* __schedule() as everybody has it. */
inline schedule(me, preempted)
{
	c = cpu[me];
	lock(rq_lock[c]);
	if
	:: !preempted && state[me] != RUNNING -> block(me)
	:: else
	fi;
	pick(c);
	context_switch(me, c)
}

inline preempt_point(me)
{
	if
	:: need_resched[cpu[me]] -> schedule(me, true)
	:: else
	fi
}

// stands for kernel/sched/core.c: hand_over_task()
// What a class says: no, or yes, or that @prev is to be rescheduled and the class picks.
inline hand_over_task(me, p, c)
{
	if
	:: enqueue(p)
	:: !need_resched[c] -> enqueue(p); on_rq[me] = OFF; next = p
	:: need_resched[c] -> enqueue(p); on_rq[me] = OFF; next = PICK
	fi
}

// stands for kernel/sched/core.c: exchange_task()
inline exchange_task(me, p, c)
{
	if
	:: true					/* enqueue_task(): it keeps its own place */
	:: !need_resched[c] -> delayed[me] = true; next = p
	fi;
	delayed[p] = false
}

// stands for kernel/sched/core.c: ttwu_here()
// Where @prev cannot be let go: next is BUSY, or it is RUNNING.
inline ttwu_here(me, p, c, kept)
{
#ifndef NO_PI_LOCK
	lock(pi_lock[p]);
#endif
	lock(rq_lock[c]);
	next = NOBODY;
	done = false;
	found = false;				/* that @p has to be left to try_to_wake_up() */
	if
#ifndef PREV_IS_NOT_LOOKED_AT
	:: state[me] == RUNNING -> found = true
	:: state[me] != RUNNING && state[p] != SLEEPS -> done = true
#else
	:: state[p] != SLEEPS -> done = true
#endif
	:: else ->
		if
		:: on_rq[p] != OFF ->
			if
#ifndef ANY_QUEUE
			:: cpu[p] != c -> found = true
#endif
			:: on_rq[p] != QUEUED -> found = true
			:: else
			fi;
			if
			:: !found && delayed[p] -> atomic { exchange_task(me, p, c) }
			:: else
			fi
		:: on_rq[p] == OFF ->
			if
#ifndef ANY_CPU
			:: on_cpu[p] || cpu[p] != c -> found = true
#endif
#ifndef ANYWHERE
			:: !MAY_RUN(p, c) -> found = true
#endif
			:: else
			fi;
			if
			:: !found -> atomic { hand_over_task(me, p, c) }
			:: else
			fi
		fi;
		if
		:: !found -> state[p] = RUNNING; done = true
		:: else
		fi
	fi;
	if
#ifdef STATE_IS_LOST
	:: found && kept -> next = BUSY; state[me] = RUNNING
#else
	:: found && kept -> next = BUSY
#endif
#ifndef SLEEPS_FIRST
	:: found && !kept -> state[me] = RUNNING
#endif
	:: else
	fi;
	found = false;
#ifndef NO_PI_LOCK
	unlock(pi_lock[p])
#endif
}

// stands for kernel/sched/core.c: wake_up_and_schedule() wake_up_and_block()
inline schedule_and_wake(me, p, kept)
{
	c = cpu[me];
	ttwu_here(me, p, c, kept);
	if
	:: next == BUSY -> next = me
	:: next == PICK -> pick(c)
	:: next == NOBODY ->
		if
		:: state[me] != RUNNING -> block(me)
		:: else
		fi;
		pick(c)
	:: else
	fi;
	context_switch(me, c)
}

#define BEGIN(me)	\
	if				\
	:: me == 1 -> switch_in(me, cpu[me])	/* in the middle of its sleep */ \
	:: else				\
	fi

/* do_task_dead() */
inline exit_task(me)
{
	lock(pi_lock[me]);			/* set_special_state() */
	state[me] = DEAD;
	unlock(pi_lock[me]);
	c = cpu[me];
	lock(rq_lock[c]);
	on_rq[me] = OFF;
	pick(c);
	switch_away(me, c)
}

#ifndef BLOCKS
// stands for no function: a program, and the sleep that umcg_idle() makes of its switches
proctype task(byte me)
{
	byte rounds = ROUNDS, next, k, c;
	bool found, done, wakee;

	BEGIN(me);
	do
	:: atomic { !word[me] && !has_exited[1 - me] || wakee } ->
		/* Asleep, and woken: perhaps for nothing. */
		state[me] = SLEEPS;
		preempt_point(me);
		if
		:: word[me] -> state[me] = RUNNING
		:: !word[me] && wakee ->
			schedule_and_wake(me, (1 - me), false);
			if
			:: !done -> wake_up((1 - me), SLEEPS)
			:: else
			fi;
			wakee = false;
			done = false
		:: else -> schedule(me, false)
		fi;
		if
		:: word[me] && wakee -> wake_up((1 - me), SLEEPS); wakee = false
		:: else
		fi
	:: atomic { (word[me] || has_exited[1 - me]) && !wakee } ->
		preempt_point(me);
		if
		:: atomic { rounds > 0 && !has_exited[1 - me] -> rounds--; word[me] = false };
		   word[1 - me] = true;
		   wakee = true
		:: atomic { rounds == 0 || has_exited[1 - me] } -> break
		fi
	od;
	atomic { has_exited[me] = true; word[1 - me] = true };
	wake_up((1 - me), SLEEPS);
	exit_task(me)
}
#else
// stands for no function: what a worker does, and a server that has nothing else to do
proctype task(byte me)
{
	byte rounds = ROUNDS, next, k, c;
	bool found, done;

	BEGIN(me);
	do
	:: me == 0 && rounds > 0 ->
		rounds--;
		/* schedule(), of which sched_submit_work() tells the server first. */
		state[0] = BLOCKED;
		preempt_point(0);
		if
		:: !event ->
			word[1] = true;
			schedule_and_wake(0, 1, true);
			if
			:: !done ->
				wake_up(1, SLEEPS);
				schedule(0, false)
			:: else
			fi;
			done = false;
			woken_for_nothing = (!event && !told);
			assert(!woken_for_nothing)
		:: else
		fi;
		state[0] = RUNNING;
		/* Who told it is done: what is late would end its next sleep. */
		atomic { !told -> event = false }
	:: me == 0 && rounds == 0 -> break
	:: me == 1 ->
		state[1] = SLEEPS;
		preempt_point(1);
		if
		:: word[1] -> state[1] = RUNNING; word[1] = false
		:: has_exited[0] -> state[1] = RUNNING; break
		:: else -> schedule(1, false)
		fi
	od;
	has_exited[me] = true;
	if
	:: me == 0 -> wake_up(1, SLEEPS)
	:: else
	fi;
	exit_task(me)
}

// stands for no function: what the worker sleeps for
proctype events()
{
	byte k;
	bool found;

end:	do
	:: atomic { state[0] == BLOCKED && !event && !has_exited[0] -> event = true; told = true };
	   wake_up(0, BLOCKED);
	   told = false
	od
}
#endif

// stands for no function: the idle task of a CPU
proctype idle(byte c)
{
	byte next;

	if
	:: c == 0 -> switch_in(IDLE(c), c)
	:: else
	fi;
end:	do
	:: atomic { (IS_HERE(0, c) && !delayed[0] || IS_HERE(1, c) && !delayed[1] ||
		     to_move[c] != NOBODY) && !rq_lock[c] -> rq_lock[c] = true };
	   pick(c);
	   if
	   :: next == IDLE(c) -> next = 0; unlock(rq_lock[c])
	   :: else -> switch_away(IDLE(c), c); switch_in(IDLE(c), c)
	   fi
	od
}

#if CHANGES > 0
// stands for no function: a CPU's stopper, which moves who may not be there: migration_cpu_stop()
proctype stopper(byte c)
{
	byte next, k, t;

end:	do
	:: switch_in(STOP(c), c);
	   t = to_move[c];
	   lock(pi_lock[t]);
	   lock(rq_lock[c]);
	   k = c;
	   if
	   :: IS_HERE(t, c) && !MAY_RUN(t, c) -> move_queued(t)
	   :: else
	   fi;
	   unlock(rq_lock[k]);
	   unlock(pi_lock[t]);
	   t = 0;
	   k = 0;
	   lock(rq_lock[c]);
	   to_move[c] = NOBODY;
	   pick(c);
	   if
	   :: next == STOP(c) -> next = IDLE(c)
	   :: else
	   fi;
	   switch_away(STOP(c), c)
	od
}

// stands for no function: __set_cpus_allowed_ptr(), of any task
proctype changes()
{
	byte k, t, n = CHANGES, mask;

	do
	:: n > 0 ->
		n--;
		select (t : 0 .. 1);
		select (mask : 1 .. 3);
		/* One at a time. */
		to_move[0] == NOBODY && to_move[1] == NOBODY;
		lock(pi_lock[t]);
		task_rq_lock(t);
		allowed[t] = mask;
		if
		:: MAY_RUN(t, k) || on_rq[t] == OFF && state[t] != WAKING
		:: !MAY_RUN(t, k) && (on_rq[t] != OFF || state[t] == WAKING) ->
			if
			:: curr[k] == t -> to_move[k] = t; need_resched[k] = true
			:: else -> move_queued(t)
			fi
		fi;
		unlock(rq_lock[k]);
		unlock(pi_lock[t])
	:: n == 0 -> break
	od
}
#endif

#if WAKES > 0
// stands for no function: signals, timeouts and whoever else wakes, often for nothing
proctype others()
{
	byte k, t, n = WAKES;
	bool found;

	do
	:: n > 0 ->
		n--;
		select (t : 0 .. 1);
		if
		:: word[t] = true
		:: true
		fi;
		wake_up(t, SLEEPS)
	:: n == 0 -> break
	od
}
#endif

#if TICKS > 0
// stands for no function: the tick
proctype ticks()
{
	byte n = TICKS;

	do
	:: n > 0 -> n--; need_resched[0] = true
	:: n > 0 -> n--
	:: n == 0 -> break
	od
}
#endif

init
{
	atomic {
		word[0] = true;
		on_rq[0] = QUEUED;
		on_cpu[0] = true;
		state[1] = SLEEPS;
		curr[0] = 0;
		curr[1] = IDLE(1);
		run task(0);
		run task(1);
		run idle(0);
		run idle(1);
#ifdef BLOCKS
		run events();
#endif
#if CHANGES > 0
		run stopper(0);
		run stopper(1);
		run changes();
#endif
#if WAKES > 0
		run others();
#endif
#if TICKS > 0
		run ticks()
#endif
	}
}
