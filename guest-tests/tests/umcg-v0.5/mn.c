// SPDX-License-Identifier: GPL-2.0
/*
 * UMCG for real: the M:N scheduler of mn/ under load, and what its parts are for,
 * each shown by tasks that cannot end without it.
 */
#include <limits.h>
#include <linux/futex.h>
#include <sys/resource.h>

#include "mn.h"
#include "peer.h"

#define SLICE	(2 * MS)

static struct mn mn;

static void futex_wait(atomic_uint *word, unsigned int value)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(atomic_uint *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
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

/* All tasks so far are asleep in the pool. */
static void until_all_wait(void)
{
	for (unsigned int i = 0; i < atomic_load(&mn.tasks); i++) {
		struct umcg *worker = &mn.task[i].umcg;

		while ((umcg_word(&worker->task) & UMCG_TASK_STATE_MASK) != IDLE)
			nap(MS);
		until_state(getpid(), worker->tid, 'S');
	}
}

/* Nothing is left anywhere. */
static void expect_all_ended(unsigned int tasks)
{
	EXPECT_EQ(tasks, atomic_load(&mn.tasks));
	EXPECT_EQ(0, atomic_load(&mn.live));
	EXPECT_EQ(0, mn.timers.count);
	EXPECT_EQ(0, mn.pool.idle_workers);
	EXPECT_EQ(0, mn.pool.idle_server_tid);
	for (unsigned int i = 0; i < mn.servers; i++)
		EXPECT_EQ(0, atomic_load(&mn.server[i].queue.count));
	for (unsigned int i = 0; i < tasks; i++)
		EXPECT_EQ(UMCG_TASK_NONE, mn.task[i].umcg.task.state);
}

/*
 * The load: pairs of tasks that compute, sleep, and tell each other what they
 * have computed, some by pipes and some by futexes.
 */
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
	uint64_t until = mn_now() + (j->number % 7) * MS;
	struct timespec ts = { until / 1000000000, until % 1000000000 };

	if (round % 2)
		mn_sleep_until(until);
	else
		while (clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &ts, NULL))
			;
	j->early += mn_now() < until;
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

TEST(ten_thousand_workers, .deadline = 240,
     .clauses = "WRUN-9 WREG-1 WREG-5 WIDLE-1 WIDLE-3 BLOCK-1 BLOCK-2 WPREEMPT-1 "
		"WPREEMPT-2 WLIFE-5 R10 R12 R38 R52")
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

/* In turns of one server: what one task does with this no other sees half done. */
static unsigned int inside, overlaps;

static void enter_alone(void *arg)
{
	(void)arg;
	for (int i = 0; i < 50; i++) {
		overlaps += __atomic_exchange_n(&inside, 1, __ATOMIC_SEQ_CST);
		/* Whoever ran beside us now would. */
		sched_yield();
		__atomic_store_n(&inside, 0, __ATOMIC_SEQ_CST);
		nap(i % 3 * 50000);
	}
}

TEST(one_server_runs_one_worker, .clauses = "WRUN-1 WRUN-4 WIDLE-1 BLOCK-7 R37")
{
	mn_init(&mn, 1, 40, 0);
	for (int i = 0; i < 40; i++)
		mn_spawn(&mn, 0, enter_alone, NULL);
	mn_run(&mn);
	EXPECT_EQ(0, overlaps);
	expect_all_ended(40);
	/* Or they could not have overlapped. */
	EXPECT_LT(40, mn.server[0].blocks);
}

/* As many tasks as servers, woken together, that go on only when all of them run. */
#define TOGETHER	4
#define MEETINGS	200

static atomic_uint call, arrived;

static void meet(void *arg)
{
	(void)arg;
	for (unsigned int n = 1; n <= MEETINGS; n++) {
		unsigned int seen;

		while ((seen = atomic_load(&call)) < n)
			futex_wait(&call, seen);
		atomic_fetch_add(&arrived, 1);
		while (atomic_load(&arrived) < n * TOGETHER)
			sched_yield();
	}
}

static void *call_all(void *arg)
{
	for (unsigned int n = 1; n <= MEETINGS; n++) {
		while (atomic_load(&arrived) < (n - 1) * TOGETHER)
			sched_yield();
		/* For some of them to be asleep. */
		nap(n % 4 * 100000);
		atomic_store(&call, n);
		futex_wake(&call);
	}
	return arg;
}

TEST(no_task_waits_beside_an_idle_server, .deadline = 60,
     .clauses = "WIDLE-1 WIDLE-2 WIDLE-3 BLOCK-1 R38")
{
	pthread_t caller;

	/* No tick: it would have servers look that should have been woken. */
	mn_init(&mn, TOGETHER, TOGETHER, 0);
	for (int i = 0; i < TOGETHER; i++)
		mn_spawn(&mn, 0, meet, NULL);
	ASSERT_EQ(0, pthread_create(&caller, NULL, call_all, NULL));
	mn_run(&mn);
	ASSERT_EQ(0, pthread_join(caller, NULL));
	EXPECT_EQ(MEETINGS * TOGETHER, atomic_load(&arrived));
	expect_all_ended(TOGETHER);
}

static void wait_for_the_other(void *arg)
{
	(void)arg;
	atomic_fetch_add(&arrived, 1);
	while (atomic_load(&arrived) < 2)
		;
}

TEST(idle_servers_steal, .clauses = "WRUN-1 WIDLE-3")
{
	mn_init(&mn, 2, 2, 0);
	mn_spawn(&mn, 0, wait_for_the_other, NULL);
	mn_spawn(&mn, 0, wait_for_the_other, NULL);
	/* Who looks first takes both. */
	until_all_wait();
	mn_run(&mn);
	EXPECT_LE(1, mn.server[0].steals + mn.server[1].steals);
	expect_all_ended(2);
}

TEST(tick_preempts, .clauses = "WPREEMPT-1 R14")
{
	mn_init(&mn, 1, 2, SLICE);
	mn_spawn(&mn, 0, wait_for_the_other, NULL);
	mn_spawn(&mn, 0, wait_for_the_other, NULL);
	mn_run(&mn);
	EXPECT_LE(1, mn.server[0].preemptions);
	expect_all_ended(2);
}

/* Ticks follow so closely on each other that they meet signals under way. */
static void run_until_preempted(void *arg)
{
	unsigned int *until = arg;

	while (atomic_load(&mn.server[0].turn) + atomic_load(&mn.server[1].turn) < *until)
		;
}

TEST(ticks_come_at_any_time, .deadline = 60, .clauses = "WPREEMPT-1 WPREEMPT-5 R14 R55")
{
	unsigned int until = 3000;

	mn_init(&mn, 2, 6, MS / 50);
	for (int i = 0; i < 6; i++)
		mn_spawn(&mn, 0, run_until_preempted, &until);
	mn_run(&mn);
	EXPECT_LE(until - 100, mn.server[0].preemptions + mn.server[1].preemptions);
	expect_all_ended(6);
}

static unsigned int order[32], orders;

static void note_priority(void *arg)
{
	order[orders++] = (uintptr_t)arg;
}

static void expect_in_order(unsigned int tasks, unsigned int of_each)
{
	ASSERT_EQ(tasks, orders);
	for (unsigned int i = 0; i < tasks; i++)
		EXPECT_EQ(i / of_each, order[i]);
	expect_all_ended(tasks);
}

TEST(priorities_decide, .clauses = "WRUN-1 WIDLE-3 WIDLE-4")
{
	mn_init(&mn, 1, 32, 0);
	for (uintptr_t i = 0; i < 32; i++)
		mn_spawn(&mn, i * 7 % MN_PRIORITIES, note_priority,
			 (void *)(i * 7 % MN_PRIORITIES));
	until_all_wait();
	mn_run(&mn);
	expect_in_order(32, 32 / MN_PRIORITIES);
}

static int bell[2];
static atomic_bool answered;

/* Of high priority, but asleep until the one in the middle rings. */
static void answer(void *arg)
{
	char byte;

	ASSERT_EQ(1, read(bell[0], &byte, 1));
	note_priority(arg);
	atomic_store(&answered, true);
}

static void ring(void *arg)
{
	ASSERT_EQ(1, write(bell[1], "", 1));
	while (!atomic_load(&answered))
		;
	note_priority(arg);
}

TEST(higher_priority_takes_over, .clauses = "WPREEMPT-1 WIDLE-1 BLOCK-1 R14")
{
	ASSERT_EQ(0, pipe(bell));
	mn_init(&mn, 1, 3, SLICE);
	mn_spawn(&mn, 0, answer, (void *)0);
	mn_spawn(&mn, 1, ring, (void *)1);
	mn_spawn(&mn, 2, note_priority, (void *)2);
	until_all_wait();
	mn_run(&mn);
	expect_in_order(3, 1);
	EXPECT_LE(1, mn.server[0].preemptions);
	EXPECT_LE(1, mn.server[0].blocks);
}

UMCG_TEST_MAIN
