/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One CPU has another go on by some dozen instructions at a time.
 *
 * It is for an exact guest of three CPUs. There one CPU at a time does anything, an
 * instruction takes a nanosecond, and a turn of a CPU ends when a timer is due, when the
 * CPU sets one that is the next to be due, or when it says that it spins (relax()); then
 * it is the next CPU's. So the CPU that steps, the first, sets a timer, and has its next
 * turn when that is due. What it looks at between two steps does not change meanwhile.
 * Two runs of such a guest are the same.
 *
 * A timer alone does not step that finely. The turn of the next CPU begins somewhere
 * inside of the system call that sets it, and lasts for what the kernel lets a timer have
 * at least: a thousand instructions on Linux 6.12, 240 on 7.3. What is to be told apart
 * may be shorter than that. So the second CPU has a brake: a thread that gets the turn
 * ahead of the third, spends all of it but the last instructions, and leaves those to
 * it. It is the same whatever it costs to set a timer, and when in the call that is done.
 * How many these are to be is tried out with a thread that counts.
 *
 * The ticks would spoil that. Who is interrupted sets a timer as well, its next tick; if
 * that is the next to be due, the others have a turn that lasts until then. So stepping
 * begins when there has just been a tick, and has come to its end before the next; until
 * then the brake has a timer of its own, earlier than that tick. On 7.3 there may be one
 * that is earlier still: HRTICK's for the end of a slice of the scheduler, 0.7 ms, once
 * two tasks of a CPU are ready. So from await_tick() on the first CPU runs nothing else.
 *
 * So it is with QEMU 7.2; later ones share out what is left until the next timer.
 */
#ifndef STEPPING_H
#define STEPPING_H

#include <semaphore.h>
#include <sys/timerfd.h>

#include "kit.h"

/* The CPUs, in the order of their turns. */
enum { STEPPING, BRAKING, STEPPED, STEPPING_CPUS };

/* All in ns, or instructions. */
#define STEP_LEAST	1000		/* of a timer, as cev_delta2ns() has it */
#define STEP_SPARE	(MS / 5)	/* after a tick, for all that comes with it */
#define STEP_ENOUGH	MS		/* for all slices, some dozens */

static struct {
	int timer, brake_timer;
	unsigned int slice;	/* to set a timer, and for the others to go on */
	unsigned int clock;	/* to read a clock */
	unsigned int ahead;	/* of a slice, for the CPU that is stepped, more or less */
	sem_t brake;		/* to put it on */
	atomic_bool is_on;
	atomic_ullong due;	/* when a slice ends; 0: the brake is to go off */
} stepping;

static inline void relax(void)
{
#if defined(__x86_64__)
	__asm__ volatile("pause" ::: "memory");
#else
	__asm__ volatile("yield" ::: "memory");
#endif
}

/* Two instructions for each turn. */
static inline void count_down(uint64_t turns)
{
	if (!turns)
		return;
#if defined(__x86_64__)
	__asm__ volatile("1: dec %0; jnz 1b" : "+r"(turns) :: "cc");
#else
	__asm__ volatile("1: subs %0, %0, #1; b.ne 1b" : "+r"(turns) :: "cc");
#endif
}

static inline void set_timer(int timer, uint64_t until)
{
	struct itimerspec due = {
		.it_value = { until / 1000000000, until % 1000000000 },
	};

	ASSERT_EQ(0, timerfd_settime(timer, TFD_TIMER_ABSTIME, &due, NULL));
}

/* Spend each slice, until the CPU that is stepped is to go on. */
static inline void *have_the_brake(void *arg)
{
	pin(0, BRAKING);
	for (;;) {
		uint64_t seen = 0, until;

		while (sem_wait(&stepping.brake))
			;
		set_timer(stepping.brake_timer, clock_ns(CLOCK_MONOTONIC) + STEP_ENOUGH);
		atomic_store(&stepping.due, seen);
		atomic_store(&stepping.is_on, true);
		relax();
		for (;;) {
			uint64_t now, mine;

			/* Without relax(): nobody is to go on. */
			while ((until = atomic_load(&stepping.due)) == seen)
				;
			if (!until)
				break;
			seen = until;
			now = clock_ns(CLOCK_MONOTONIC) + stepping.clock;
			mine = until - stepping.ahead;
			if (now < mine)
				count_down((mine - now) / 2);
			/* Once, and not if an interrupt has taken the rest. */
			if (clock_ns(CLOCK_MONOTONIC) < until)
				relax();
		}
		atomic_store(&stepping.is_on, false);
	}
	return arg;
}

/* Until there has just been one, with all that comes with it; the next is not near. */
static inline void await_tick(void)
{
	struct timespec tick, due;
	uint64_t after;

	/*
	 * This clock goes by ticks, which are at multiples of their period:
	 * e9523a0d8189 ("tick/common: Align tick period with the HZ tick."), v6.4.
	 */
	ASSERT_EQ(0, clock_getres(CLOCK_MONOTONIC_COARSE, &tick));
	ASSERT_LT(STEP_SPARE + 2 * STEP_ENOUGH, tick.tv_nsec);
	after = (clock_ns(CLOCK_MONOTONIC) / tick.tv_nsec + 1) * tick.tv_nsec + STEP_SPARE;
	due = (struct timespec){ after / 1000000000, after % 1000000000 };
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
}

static inline void brake_off(void)
{
	atomic_store(&stepping.due, 0);
}

/* Have the CPU that is stepped do some instructions, or none. */
static inline void go_on(void)
{
	uint64_t until = clock_ns(CLOCK_MONOTONIC) + stepping.slice;

	atomic_store(&stepping.due, until);
	set_timer(stepping.timer, until);
	while (clock_ns(CLOCK_MONOTONIC) < until)
		relax();
}

/*
 * From here on the CPU that is stepped goes on by go_on() alone. There is somebody who
 * relaxes there, until he is told to begin.
 */
static inline void brake_on(void)
{
	/* Since the last time. */
	while (atomic_load(&stepping.is_on))
		relax();
	ASSERT_EQ(0, sem_post(&stepping.brake));
	while (!atomic_load(&stepping.is_on))
		relax();
	/* The brake may be about to relax, on the way to its loop. */
	go_on();
}

/* Soon after a boot timers go by the tick, until the kernel trusts a clock. */
static inline void until_timers_are_fine(void)
{
	uint64_t start;

	do {
		nap(100 * MS);
		start = clock_ns(CLOCK_MONOTONIC);
		nap(MS / 10);
	} while (clock_ns(CLOCK_MONOTONIC) > start + MS);
}

/* What a step stands on. The second time: the first finds nothing in place. */
static inline void measure_steps(void)
{
	uint64_t start;

	for (int i = 0; i < 2; i++) {
		start = clock_ns(CLOCK_MONOTONIC);
		for (int j = 0; j < 16; j++)
			clock_ns(CLOCK_MONOTONIC);
		stepping.clock = (clock_ns(CLOCK_MONOTONIC) - start) / 17;
		start = clock_ns(CLOCK_MONOTONIC);
		set_timer(stepping.timer, start + 1000 * MS);
		stepping.slice = clock_ns(CLOCK_MONOTONIC) - start + STEP_LEAST +
				 4 * stepping.clock;
	}
}

static atomic_bool is_there, counts;
static volatile uint64_t turns;

static inline void *count_turns(void *arg)
{
	atomic_store(&is_there, true);
	while (!atomic_load(&counts))
		relax();
	while (atomic_load(&counts))
		turns++;
	return arg;
}

/* Whether in each of some dozen steps a CPU does some instructions, and not many. */
static inline bool steps_are_fine(void)
{
	bool fine = true;
	pthread_t thread;

	atomic_store(&is_there, false);
	pin(0, STEPPED);
	ASSERT_EQ(0, pthread_create(&thread, NULL, count_turns, NULL));
	pin(0, STEPPING);
	await_tick();
	while (!atomic_load(&is_there))
		relax();
	brake_on();
	atomic_store(&counts, true);
	for (int i = 0; i < 64 && fine; i++) {
		uint64_t before = turns;

		/* At another time of the clock's grain. */
		count_down(i);
		go_on();
		/* A turn has about six. */
		fine = turns >= before + 2 && turns < before + 50;
	}
	atomic_store(&counts, false);
	brake_off();
	ASSERT_EQ(0, pthread_join(thread, NULL));
	return fine;
}

/* Once, of who will step. */
static inline void begin_stepping(void)
{
	pthread_t thread;

	ASSERT_LE(STEPPING_CPUS, sysconf(_SC_NPROCESSORS_ONLN));
	pin(0, STEPPING);
	stepping.timer = timerfd_create(CLOCK_MONOTONIC, 0);
	ASSERT_LE(0, stepping.timer);
	stepping.brake_timer = timerfd_create(CLOCK_MONOTONIC, 0);
	ASSERT_LE(0, stepping.brake_timer);
	until_timers_are_fine();
	measure_steps();
	ASSERT_EQ(0, sem_init(&stepping.brake, 0, 0));
	ASSERT_EQ(0, pthread_create(&thread, NULL, have_the_brake, NULL));
	/*
	 * As few as it can be: a clock has its grain, 16 ns on arm64, and a timer may be
	 * early by that. If it is due before the brake has passed the turn on, QEMU gives
	 * the turn to the CPU that is stepped, and until the next timer.
	 */
	for (stepping.ahead = 30; !steps_are_fine(); stepping.ahead += 10)
		ASSERT_LT(stepping.ahead, 200);
}

#endif
