/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory as CPUs see it, for the models that depend on it.
 *
 * MM	0  one memory, and each access is a step of its own (sequential consistency)
 *	1  TSO, as x86-64 has it: stores wait in a queue of their CPU
 *	2  weaker, as arm64 may be: that queue is left in any order that has the stores to
 *	   one place in theirs, and a load may find what was there at any time since the
 *	   CPU's last barrier. A store waits for the loads ahead of it, which arm64 need
 *	   not: no protocol here rests on that.
 *
 * Before the #include a model defines CPUS and PLACES, EACH_CPU as D(0) D(1) and so on, and
 * EACH_LOAD as S(c, p) for each CPU c and each place p that it loads from.
 */

#define FENCE	255		/* in a queue: what is behind it stays behind */
#define DEPTH	3

byte mem[PLACES];

#if MM > 0
typedef cpu_t {
	byte n;			/* in the queue */
	byte place[DEPTH];
	byte val[DEPTH];
#if MM > 1
	byte seen[PLACES];	/* what loads may find */
#endif
};

cpu_t cpu[CPUS];

#define EMPTY(c)	(cpu[c].n == 0)
#define HOLDS(c, i, p)	(cpu[c].n > i && (cpu[c].place[i] == p || cpu[c].place[i] == FENCE))
#define FREE(c, p)	(!HOLDS(c, 0, p) && !HOLDS(c, 1, p) && !HOLDS(c, 2, p))
#else
#define EMPTY(c)	(true)
#define FREE(c, p)	(true)
#endif

#if MM > 1
#define SEE(c, p)	cpu[c].seen[p] = mem[p]
inline see_all(c)
{
	see = 0;
	do
	:: see < PLACES -> SEE(c, see); see++
	:: else -> see = 0; break
	od
}
hidden byte see;
#else
#define SEE(c, p)	skip
#define see_all(c)	skip
#endif

/* WRITE_ONCE(), and any plain store. */
inline store(c, p, v)
{
#if MM > 0
	atomic {
		cpu[c].n < DEPTH ->
		cpu[c].place[cpu[c].n] = p;
		cpu[c].val[cpu[c].n] = v;
		cpu[c].n++
	}
#else
	mem[p] = v
#endif
}

/* smp_wmb(), and the first half of smp_store_release(). */
inline fence_stores(c)
{
#if MM > 1
	atomic {
		cpu[c].n < DEPTH ->
		if
		:: cpu[c].n > 0 -> cpu[c].place[cpu[c].n] = FENCE; cpu[c].n++
		:: else
		fi
	}
#else
	skip
#endif
}

/* READ_ONCE(), and any plain load. */
inline load(c, p, x)
{
#if MM > 0
	atomic {
		if
		:: cpu[c].n > 2 && cpu[c].place[2] == p -> x = cpu[c].val[2]
		:: else -> if
			:: cpu[c].n > 1 && cpu[c].place[1] == p -> x = cpu[c].val[1]
			:: else -> if
				:: cpu[c].n > 0 && cpu[c].place[0] == p -> x = cpu[c].val[0]
#if MM > 1
				:: else -> x = cpu[c].seen[p]
#else
				:: else -> x = mem[p]
#endif
				fi
			fi
		fi
	}
#else
	x = mem[p]
#endif
}

/* What was read tells where to look: no CPU looks there before it knows. */
inline load_dependent(c, p, x)
{
	atomic { SEE(c, p); load(c, p, x) }
}

/* smp_mb() */
inline full_barrier(c)
{
	atomic { EMPTY(c) -> see_all(c) }
}

/* smp_rmb() */
inline read_barrier(c)
{
	atomic { see_all(c) }
}

/*
 * cmpxchg() and user_cmpxchg_u32(): a full barrier on both architectures, on arm64 if it
 * does what it is to do.
 */
inline cmpxchg(c, p, old, new, done)
{
	atomic {
		EMPTY(c) ->
		if
		:: mem[p] == old -> mem[p] = new; see_all(c); done = true
		:: else -> SEE(c, p); done = false
		fi
	}
}

/*
 * The same as a program does it that asks for as little order as will do, or set_bit(): a
 * full barrier on x86 all the same.
 */
inline cmpxchg_relaxed(c, p, old, new, done)
{
	atomic {
#if MM > 1
		FREE(c, p) ->
#else
		EMPTY(c) ->
#endif
		if
		:: mem[p] == old -> mem[p] = new; done = true
		:: else -> done = false
		fi;
		SEE(c, p)
	}
}

inline set_relaxed(c, p, v)
{
	atomic {
#if MM > 1
		FREE(c, p) ->
#else
		EMPTY(c) ->
#endif
		mem[p] = v;
		SEE(c, p)
	}
}

inline xchg_relaxed(c, p, v, x)
{
	atomic {
#if MM > 1
		FREE(c, p) ->
#else
		EMPTY(c) ->
#endif
		x = mem[p];
		mem[p] = v;
		SEE(c, p)
	}
}

inline xchg(c, p, v, x)
{
	atomic { EMPTY(c) -> x = mem[p]; mem[p] = v; see_all(c) }
}

#if MM > 0
inline leave_queue(c, i)
{
	if
	:: cpu[c].place[i] != FENCE ->
		mem[cpu[c].place[i]] = cpu[c].val[i];
		SEE(c, cpu[c].place[i])
	:: else
	fi;
	if
	:: i < 1 -> cpu[c].place[0] = cpu[c].place[1]; cpu[c].val[0] = cpu[c].val[1]
	:: else
	fi;
	if
	:: i < 2 -> cpu[c].place[1] = cpu[c].place[2]; cpu[c].val[1] = cpu[c].val[2]
	:: else
	fi;
	cpu[c].place[2] = 0;
	cpu[c].val[2] = 0;
	cpu[c].n--
}

#define MAY_PASS(c, i, j) \
	(cpu[c].place[i] != FENCE && cpu[c].place[j] != FENCE && cpu[c].place[i] != cpu[c].place[j])

// stands for no function: the memory of the machine
active proctype memory()
{
end:	do
#if MM > 1
#define D(c) \
	:: atomic { cpu[c].n > 0 -> leave_queue(c, 0) } \
	:: atomic { cpu[c].n > 1 && MAY_PASS(c, 0, 1) -> leave_queue(c, 1) } \
	:: atomic { cpu[c].n > 2 && MAY_PASS(c, 0, 2) && MAY_PASS(c, 1, 2) -> leave_queue(c, 2) }
#define S(c, p) \
	:: atomic { cpu[c].seen[p] != mem[p] -> SEE(c, p) }
	EACH_LOAD
#else
#define D(c) \
	:: atomic { cpu[c].n > 0 -> leave_queue(c, 0) }
#endif
	EACH_CPU
	od
}
#endif
