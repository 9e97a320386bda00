// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "bench.h"

#define SKIP	4
#define WARMUP	4	/* batches */

#ifdef __x86_64__
/*
 * The TSC counts instructions under -icount (1 GHz at shift=0), where
 * CLOCK_MONOTONIC would be those scaled by what calibration made of it.
 */
#define CLOCK "tsc"
static inline uint64_t now(void)
{
	uint32_t low, high;

	asm volatile("lfence; rdtsc" : "=a" (low), "=d" (high) :: "memory");
	return (uint64_t)high << 32 | low;
}
#else
#define CLOCK "monotonic"
static inline uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}
#endif

unsigned int bench_size = 1;

/*
 * Labels that `umcglab anatomy` counts between. They are no instructions, and
 * as far before each reading of the clock as before the other: what is executed
 * between them is what the clock counts.
 */
#define MARK(name) asm volatile(".globl " #name "\n" #name ":")

void bench_die(const char *what)
{
	perror(what);
	exit(1);
}

void bench_thread(void *(*body)(void *))
{
	pthread_t thread;

	errno = pthread_create(&thread, NULL, body, NULL);
	if (errno)
		bench_die("pthread_create");
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* What reading the clock twice with nothing between costs: the median. */
static uint64_t clock_overhead(void)
{
	uint64_t samples[31];

	for (int i = 0; i < 31; i++) {
		uint64_t start = now();

		samples[i] = now() - start;
	}
	qsort(samples, 31, sizeof(samples[0]), compare);
	return samples[15];
}

static void print_histogram(const uint64_t *sorted, unsigned int n)
{
	unsigned int i, run = 0;

	printf("\"hist\":[");
	for (i = 0; i < n; i++) {
		run++;
		if (i + 1 < n && sorted[i + 1] == sorted[i])
			continue;
		printf("[%" PRIu64 ",%u]%s", sorted[i], run, i + 1 < n ? "," : "");
		run = 0;
	}
	printf("]");
}

/* A label must be there once. */
static __attribute__((noinline, noclone)) void
measure(const struct bench *bench, const char *name, const char *sched,
	unsigned int batches, unsigned int rounds)
{
	uint64_t *total = calloc(batches, sizeof(*total));
	uint64_t sum = 0;
	unsigned int i;

	for (i = 0; i < WARMUP; i++)
		bench->rounds(rounds);
	for (i = 0; i < batches; i++) {
		uint64_t start;

		MARK(bench_mark_begin);
		start = now();
		bench->rounds(rounds);
		MARK(bench_mark_end);
		total[i] = now() - start;
		sum += total[i];
	}
	qsort(total, batches, sizeof(*total), compare);
	printf("{\"schema\":1,\"bench\":\"%s\",\"version\":%u,\"sched\":\"%s\","
	       "\"unit\":\"ns\",\"clock\":\"" CLOCK "\",\"clock_overhead\":%"
	       PRIu64 ",\"warmup\":%u,\"batches\":%u,\"ops_per_batch\":%u,"
	       "\"min\":%" PRIu64 ",\"max\":%" PRIu64 ",\"sum\":%" PRIu64 ",",
	       name, bench->version, sched, clock_overhead(), WARMUP,
	       batches, rounds * bench->ops_per_round, total[0],
	       total[batches - 1], sum);
	print_histogram(total, batches);
	printf(",\"op\":\"%s\"}\n", bench->op);
}

static unsigned int number(const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || !value || value > 1000000) {
		fprintf(stderr, "not a number from 1 to 1000000: %s\n", text);
		exit(2);
	}
	return value;
}

int bench_main(int argc, char **argv, const struct bench *bench)
{
	static const struct option options[] = {
		{ "sched", required_argument, NULL, 's' },
		{ "size", required_argument, NULL, 'n' },
		{ "batches", required_argument, NULL, 'b' },
		{ "rounds", required_argument, NULL, 'r' },
		{ }
	};
	unsigned int batches = 100, rounds = 20;
	const char *sched = NULL, *why;
	struct sched_param fifo = { .sched_priority = 10 };
	cpu_set_t cpu0;
	char name[64];
	int opt;

	snprintf(name, sizeof(name), "%s", bench->name);
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 's')
			sched = optarg;
		else if (opt == 'n') {
			bench_size = number(optarg);
			snprintf(name, sizeof(name), "%s-%u", bench->name, bench_size);
		} else if (opt == 'b')
			batches = number(optarg);
		else if (opt == 'r')
			rounds = number(optarg);
		else
			return 2;
	}
	if (optind != argc || !sched ||
	    (strcmp(sched, "fair") && strcmp(sched, "fifo"))) {
		fprintf(stderr, "usage: %s --sched fair|fifo [--size N] "
			"[--batches N] [--rounds N]\n", argv[0]);
		return 2;
	}

	CPU_ZERO(&cpu0);
	CPU_SET(0, &cpu0);
	if (sched_setaffinity(0, sizeof(cpu0), &cpu0))
		bench_die("sched_setaffinity");
	if (!strcmp(sched, "fifo") && sched_setscheduler(0, SCHED_FIFO, &fifo))
		bench_die("sched_setscheduler");
	/* No page fault in the middle of a batch. */
	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		bench_die("mlockall");

	why = bench->setup ? bench->setup() : NULL;
	if (why) {
		printf("{\"schema\":1,\"bench\":\"%s\",\"sched\":\"%s\","
		       "\"skip\":\"%s\"}\n", name, sched, why);
		return SKIP;
	}
	measure(bench, name, sched, batches, rounds);
	return 0;
}
