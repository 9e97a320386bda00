/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A thread of the highest priority on each CPU, which wakes every so often. When
 * it comes late, and its CPU was busy meanwhile, that CPU did not schedule.
 *
 * Time is that of the guest: a CPU which the host did not run has handled no tick,
 * and was not busy.
 */
#ifndef CPU_WATCH_H
#define CPU_WATCH_H

#include <stdbool.h>
#include <stdint.h>

/* Return false if the caller may not have threads of that priority. */
bool cpu_watch_start(void);

/*
 * Return for how long `cpu` has been busy since boot, in ms; 0 if it is off. These are
 * ticks, of which there are fewer while the host does not run the CPU.
 */
uint64_t cpu_watch_busy(int cpu);

/*
 * For tests of the watch: keep the CPU that the caller is on busy for so long, by the
 * clock of the watch; cpu_watch_hog() lets no other thread have it meanwhile, and
 * returns false if it may not do that. The caller stays on that CPU from then on.
 */
void cpu_watch_spin(unsigned int ms);
bool cpu_watch_hog(unsigned int ms);

/*
 * Return for how long a CPU has not scheduled, as far as that is known by now, in ms,
 * and which CPU: the longest such time since cpu_watch_longest() was called. Other than
 * that one it may be called often.
 */
unsigned int cpu_watch_so_far(int *cpu);

/*
 * Return the longest time for which a CPU did not schedule since the last call, in
 * ms, and which CPU that was. 0 if the watch has not been started.
 */
unsigned int cpu_watch_longest(int *cpu);

#endif
