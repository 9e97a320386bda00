// SPDX-License-Identifier: GPL-2.0
/* See cpu_watch.h. */
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cpu_watch.h"

#define PERIOD	200	/* ms */

/* When each CPU was last seen to schedule, and how busy it had been; in ms. */
static struct beat {
	bool watched;
	uint64_t at, busy;
} beats[CPU_SETSIZE];

static unsigned int longest;	/* ms */
static int longest_cpu;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;	/* of all these */

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}

uint64_t cpu_watch_busy(int cpu)
{
	unsigned long long user, nice, system, irq, softirq;
	FILE *stat = fopen("/proc/stat", "re");
	char line[256], format[64];
	uint64_t ticks = 0;

	if (!stat)
		return 0;
	snprintf(format, sizeof(format), "cpu%d %%llu %%llu %%llu %%*u %%*u %%llu %%llu",
		 cpu);
	while (fgets(line, sizeof(line), stat)) {
		if (sscanf(line, format, &user, &nice, &system, &irq, &softirq) != 5)
			continue;
		ticks = user + nice + system + irq + softirq;
		break;
	}
	fclose(stat);
	return ticks * 1000 / sysconf(_SC_CLK_TCK);
}

void cpu_watch_spin(unsigned int ms)
{
	int cpu = sched_getcpu();
	uint64_t start, ran;
	cpu_set_t here;

	CPU_ZERO(&here);
	CPU_SET(cpu, &here);
	sched_setaffinity(0, sizeof(here), &here);
	start = cpu_watch_busy(cpu);
	/* Few looks at that: there the watch may have a lock, which is a sleep. */
	for (ran = 0; ran < ms; ran = cpu_watch_busy(cpu) - start) {
		uint64_t until = now() + ms - ran;

		while (now() < until)
			;
	}
}

/*
 * Of real-time tasks none ends another's turn. When the kernel gives ordinary tasks
 * theirs, after 950 ms, those of the watch wait as well; but then one that is queued
 * ahead of us comes first, which it is if it wakes before we may run nowhere else.
 */
bool cpu_watch_hog(unsigned int ms)
{
	struct sched_param param = {
		.sched_priority = sched_get_priority_max(SCHED_FIFO),
	};

	cpu_watch_spin(0);
	if (sched_setscheduler(0, SCHED_FIFO, &param))
		return false;
	cpu_watch_spin(ms);
	param.sched_priority = 0;
	return !sched_setscheduler(0, SCHED_OTHER, &param);
}

/* Note it if the CPU has been late since its last beat; that beat stays the last. */
static void note(int cpu, uint64_t at, uint64_t ran)
{
	const struct beat *beat = &beats[cpu];
	unsigned int late = at - beat->at;

	/* Read ahead of the lock, and so perhaps of that beat. */
	if (at <= beat->at || ran < beat->busy)
		return;
	if (ran - beat->busy < late)
		late = ran - beat->busy;
	if (late > 2 * PERIOD && late > longest) {
		longest = late;
		longest_cpu = cpu;
	}
}

/*
 * The time is read ahead of the lock: who holds that may have lost its CPU to the host,
 * and ours is not late for it.
 */
static void look(int cpu)
{
	uint64_t at = now(), ran = cpu_watch_busy(cpu);

	pthread_mutex_lock(&lock);
	note(cpu, at, ran);
	if (at > beats[cpu].at) {
		beats[cpu].at = at;
		beats[cpu].busy = ran;
	}
	pthread_mutex_unlock(&lock);
}

static void *watch(void *cpu)
{
	struct timespec period = { .tv_nsec = PERIOD * 1000000 };

	for (;;) {
		nanosleep(&period, NULL);
		look((intptr_t)cpu);
	}
	return NULL;
}

/* A child must not find the lock held by a thread that only its parent has. */
static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&lock);
}

static void look_after_forks(void)
{
	pthread_atfork(before_fork, after_fork, after_fork);
}

bool cpu_watch_start(void)
{
	struct sched_param first = {
		.sched_priority = sched_get_priority_max(SCHED_FIFO),
	};
	pthread_attr_t attr;
	pthread_t thread;
	cpu_set_t all, one;
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int cpu, err = 0;

	/* A child that starts a watch of its own has been told already. */
	pthread_once(&once, look_after_forks);
	sched_getaffinity(0, sizeof(all), &all);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
	pthread_attr_setschedpolicy(&attr, SCHED_FIFO);
	pthread_attr_setschedparam(&attr, &first);
	for (cpu = 0; cpu < CPU_SETSIZE && !err; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		pthread_attr_setaffinity_np(&attr, sizeof(one), &one);
		beats[cpu] = (struct beat){ true, now(), cpu_watch_busy(cpu) };
		err = pthread_create(&thread, &attr, watch, (void *)(intptr_t)cpu);
	}
	pthread_attr_destroy(&attr);
	return !err;
}

unsigned int cpu_watch_so_far(int *cpu)
{
	unsigned int ms;
	int i;

	for (i = 0; i < CPU_SETSIZE; i++) {
		uint64_t at = now();

		if (beats[i].watched) {
			uint64_t ran = cpu_watch_busy(i);

			pthread_mutex_lock(&lock);
			note(i, at, ran);
			pthread_mutex_unlock(&lock);
		}
	}
	pthread_mutex_lock(&lock);
	ms = longest;
	*cpu = longest_cpu;
	pthread_mutex_unlock(&lock);
	return ms;
}

/*
 * The caller may run before the watch does: Linux gives a little time to ordinary
 * tasks first, once a real-time task has kept the CPU from them.
 */
unsigned int cpu_watch_longest(int *cpu)
{
	unsigned int ms;
	int i;

	for (i = 0; i < CPU_SETSIZE; i++)
		if (beats[i].watched)
			look(i);
	pthread_mutex_lock(&lock);
	ms = longest;
	*cpu = longest_cpu;
	longest = 0;
	pthread_mutex_unlock(&lock);
	return ms;
}
