// SPDX-License-Identifier: GPL-2.0
/*
 * UMCG for real: 10,000 workers on four servers, by the scheduler of mn/. They work
 * in pairs: each computes, sleeps, and tells the other what it has computed, some
 * by pipes and some by futexes. A plain computation says what has to come of it.
 */
#include <sys/resource.h>

#include "mn-test.h"

#define JOBS	10000
#define ROUNDS	3

struct job {
	unsigned int number;
	int pipe[2];			/* to this job */
	uint64_t said[2];		/* by this job, in even and odd rounds */
	atomic_uint rounds_said;
	unsigned int early;		/* sleeps that ended before their time */
	uint64_t result;
};

static struct job *job;

static struct job *partner(struct job *j)
{
	return &job[j->number ^ 1];
}

static bool talks_by_pipe(struct job *j)
{
	return j->number & 2;
}

static uint64_t compute(struct job *j, uint64_t value)
{
	/* Some go on for longer than a slice. */
	unsigned int steps = j->number % 100 ? 1000 : 1000000;

	while (steps--)
		value = value * UINT64_C(6364136223846793005) + 1442695040888963407;
	return value;
}

static uint64_t combine(uint64_t mine, uint64_t other)
{
	return mine ^ (other >> 7) ^ (other << 3);
}

static uint64_t talk(struct job *j, unsigned int round, uint64_t value)
{
	struct job *p = partner(j);
	unsigned int said;

	if (talks_by_pipe(j)) {
		ASSERT_EQ(sizeof(value), write(p->pipe[1], &value, sizeof(value)));
		ASSERT_EQ(sizeof(value), read(j->pipe[0], &value, sizeof(value)));
		return value;
	}
	j->said[round % 2] = value;
	atomic_store(&j->rounds_said, round + 1);
	futex_wake(&j->rounds_said);
	while ((said = atomic_load(&p->rounds_said)) <= round)
		futex_wait(&p->rounds_said, said);
	return p->said[round % 2];
}

/* Among the sleepers of the scheduler, or in the kernel. */
static void sleep_a_little(struct job *j, unsigned int round)
{
	uint64_t until = umcg_now() + (j->number % 7) * MS;
	struct timespec ts = { until / 1000000000, until % 1000000000 };

	if (round % 2)
		mn_sleep_until(until);
	else
		while (clock_nanosleep(umcg_clock(), TIMER_ABSTIME, &ts, NULL))
			;
	j->early += umcg_now() < until;
}

static void do_job(void *arg)
{
	struct job *j = arg;
	uint64_t value = j->number;

	/* A tenth of them is started by others. */
	if (j->number % 10 == 0)
		mn_spawn(&mn, 1, do_job, &job[j->number + 9]);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		value = compute(j, value);
		sleep_a_little(j, round);
		value = combine(value, talk(j, round, value));
		mn_yield();
	}
	j->result = value;
}

/* What do_job() has to come to, of both of a pair. */
static void work_out(struct job *j, uint64_t result[2])
{
	uint64_t value[2] = { j->number, partner(j)->number };

	for (unsigned int round = 0; round < ROUNDS; round++) {
		value[0] = compute(j, value[0]);
		value[1] = compute(partner(j), value[1]);
		result[0] = combine(value[0], value[1]);
		result[1] = combine(value[1], value[0]);
		memcpy(value, result, sizeof(value));
	}
}

/* Raise a limit of the kernel if it is lower. */
static void sysctl_at_least(const char *name, unsigned long value)
{
	unsigned long now;
	FILE *f = fopen(name, "r+");

	ASSERT_NE(NULL, f);
	ASSERT_EQ(1, fscanf(f, "%lu", &now));
	if (now < value) {
		rewind(f);
		ASSERT_LT(0, fprintf(f, "%lu", value));
	}
	ASSERT_EQ(0, fclose(f));
}

TEST(ten_thousand_workers, .deadline = 240)
{
	struct rlimit files = { 2 * JOBS, 2 * JOBS };
	unsigned int turns = 0, wrong = 0, early = 0;
	uint64_t result[2];

	sysctl_at_least("/proc/sys/kernel/threads-max", 2 * JOBS);
	sysctl_at_least("/proc/sys/kernel/pid_max", 4 * JOBS);
	sysctl_at_least("/proc/sys/vm/max_map_count", 4 * JOBS);
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	job = calloc(JOBS, sizeof(*job));
	ASSERT_NE(NULL, job);
	mn_init(&mn, 4, JOBS, SLICE);
	for (unsigned int i = 0; i < JOBS; i++) {
		job[i].number = i;
		if (talks_by_pipe(&job[i]))
			ASSERT_EQ(0, pipe(job[i].pipe));
	}
	for (unsigned int i = 0; i < JOBS; i++)
		if (i % 10 != 9)
			mn_spawn(&mn, i % MN_PRIORITIES, do_job, &job[i]);
	mn_run(&mn);

	for (unsigned int i = 0; i < JOBS; i += 2) {
		work_out(&job[i], result);
		wrong += job[i].result != result[0];
		wrong += job[i + 1].result != result[1];
		early += job[i].early + job[i + 1].early;
	}
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, early);
	expect_all_ended(JOBS);
	for (unsigned int i = 0; i < mn.servers; i++) {
		TH_LOG("server %u: %u turns, %u blocks, %u preemptions, %u steals", i,
		       mn.server[i].turn, mn.server[i].blocks,
		       mn.server[i].preemptions, mn.server[i].steals);
		turns += mn.server[i].turn;
	}
	/* Each yields three times and sleeps once, and has a first turn. */
	EXPECT_LE(5 * JOBS, turns);
	mn_free(&mn);
}

MN_TEST_MAIN(UMCG_PREEMPTS)
