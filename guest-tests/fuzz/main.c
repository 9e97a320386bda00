// SPDX-License-Identifier: GPL-2.0
/*
 * A fuzzer of a UMCG ABI: episodes of random operations by many threads, each watched
 * by a model of what may come of them. fuzz-abi.h says what the ABI has to give.
 *
 *	fuzz [--ops N] [--seed N] [--threads N] [--servers N]
 *	     [--replay SEED:EPISODE]... [-l] [-t glob]...
 *	fuzz --plan SEED:EPISODE
 *
 * What a thread does next is a matter of the seed alone; when it gets to it is
 * up to the scheduler, so that an episode is replayed a number of times. Replays
 * come first; with them and no --ops, there are no more. --plan prints what the seed
 * chooses, and needs no UMCG.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "episode.h"
#include "fuzz-abi.h"
#include "need.h"
#include "watch.h"

#define REPLAYS		64
#define TIMES		20	/* that an episode is replayed */
#define ENOUGH		5	/* episodes that failed */
#define OPS		100000
#define SLOWEST		400	/* operations a second, on the slowest of guests */

static unsigned long seed = 1, n_ops_wanted;
static struct shape shape;
static struct replay {
	unsigned long seed;
	unsigned int episode;
} replays[REPLAYS];
static unsigned int n_replays;
static unsigned int endings[FAILED + 1];

/* False once that many have failed that there is no point in going on. */
static bool one_episode(unsigned long seed, unsigned int number)
{
	enum ending ending;

	/* The lab keeps those to replay, and where it was if nobody is left to tell. */
	printf("# episode %lu:%u\n", seed, number);
	ending = episode(seed, number, &shape);
	endings[ending]++;
	if (ending != FAILED) {
		abi_watcher_check();
		return true;
	}
	TH_LOG("episode %u of seed %lu failed: %s", number, seed, arena->why);
	printf("# again: fuzz --replay %lu:%u", seed, number);
	if (shape.workers)
		printf(" --threads %u", shape.workers);
	if (shape.servers)
		printf(" --servers %u", shape.servers);
	printf("\n");
	ktap_fail();
	return endings[FAILED] < ENOUGH;
}

static unsigned long total(bool succeeded)
{
	unsigned long sum = 0;

	for (unsigned int i = 0; i < n_ops; i++)
		sum += atomic_load(succeeded ? &arena->stats[i].succeeded :
					       &arena->stats[i].done);
	return sum;
}

/* Several operations may be about one clause. */
static bool first_of_clause(unsigned int i)
{
	for (unsigned int j = 0; j < i; j++)
		if (!strcmp(ops[i].clause, ops[j].clause))
			return false;
	return true;
}

/* For each clause how many operations succeeded, of how many. */
static void print_totals(void)
{
	printf("# fuzz: seed=%lu ops=%lu succeeded=%lu episodes=%u died=%u failed=%u",
	       seed, total(false), total(true),
	       endings[ENDED] + endings[DIED] + endings[FAILED], endings[DIED],
	       endings[FAILED]);
	for (unsigned int i = 0; i < n_ops; i++) {
		unsigned long done = 0, succeeded = 0;

		if (!first_of_clause(i))
			continue;
		for (unsigned int j = i; j < n_ops; j++) {
			if (strcmp(ops[i].clause, ops[j].clause))
				continue;
			done += arena->stats[j].done;
			succeeded += arena->stats[j].succeeded;
		}
		printf(" %s=%lu/%lu", ops[i].clause, succeeded, done);
	}
	printf("\n");
}

static void episodes(void)
{
	unsigned long replayed;
	bool more = true;

	setvbuf(stdout, NULL, _IOLBF, 0);
	episodes_begin();
	abi_watcher_begin();
	for (unsigned int i = 0; more && i < n_replays; i++)
		for (int times = 0; more && times < TIMES; times++)
			more = one_episode(replays[i].seed, replays[i].episode);
	/* What was replayed is not what was asked for. */
	replayed = total(false);
	for (unsigned int i = 0; more && total(false) - replayed < n_ops_wanted; i++)
		more = one_episode(seed, i);
	print_totals();
	EXPECT_LE(total(false), 2 * total(true));
}

/* A fuzzer that finds nothing must be one that could have. */
static void finds_sabotage(void)
{
	const char *const found[SABOTAGES] = {
		[LOSE_WORKER] = "does not come to its end",
		[LOSE_WAKEUP] = "does not come to its end",
		[RUN_ASTRAY] = "ran while it was parked",
		[WRONG_ERROR] = abi_wrong_error,
		[HOG_CPU] = "did not schedule for",
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	episodes_begin();
	abi_watcher_begin();
	patience = 3;
	/* Less than the harness allows, which would fail this test itself. */
	cpu_patience = 600;
	for (enum sabotage s = FAITHFUL + 1; s < SABOTAGES; s++) {
		struct shape bad = { .workers = 6, .servers = 2, .sabotage = s };

		printf("# sabotage %d; a failure has to follow\n", s);
		EXPECT_EQ(FAILED, episode(seed, s, &bad));
		EXPECT_TRUE(strstr(arena->why, found[s]));
	}
}

static struct ktap_test tests[] = {
	{ .name = "episodes", .body = episodes },
	{ .name = "finds_sabotage", .body = finds_sabotage },
};

/* What the operations are about, each once. */
static const char *clauses(void)
{
	static char text[1024];

	for (unsigned int i = 0; i < n_ops; i++)
		if (first_of_clause(i))
			strcat(strcat(text, i ? " " : ""), ops[i].clause);
	return text;
}

static unsigned long number(const char *text, unsigned long least, unsigned long most)
{
	char *end;
	unsigned long value = strtoul(text ?: "", &end, 0);

	if (!text || !*text || *end || value < least || value > most) {
		fprintf(stderr, "fuzz: %s: not a number from %lu to %lu\n",
			text ?: "nothing", least, most);
		exit(KTAP_USAGE);
	}
	return value;
}

static struct replay one_of_seed(const char *text)
{
	struct replay replay;

	if (sscanf(text ?: "", "%lu:%u", &replay.seed, &replay.episode) != 2) {
		fprintf(stderr, "fuzz: %s: not SEED:EPISODE\n", text ?: "nothing");
		exit(KTAP_USAGE);
	}
	return replay;
}

static void add_replay(const char *text)
{
	if (n_replays == REPLAYS) {
		fprintf(stderr, "fuzz: more than %d episodes to replay\n", REPLAYS);
		exit(KTAP_USAGE);
	}
	replays[n_replays++] = one_of_seed(text);
}

static void need_fuzz(void)
{
	need_umcg();
	/* Any server may run any worker. */
	need_capabilities(UMCG_WORKERS | UMCG_POOLS);
}

int main(int argc, char **argv)
{
	const char *plan = NULL;
	int n = 1;

	/* Take out what is ours; the harness has the rest. */
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--ops"))
			n_ops_wanted = number(argv[++i], 1, 1000000000);
		else if (!strcmp(argv[i], "--seed"))
			seed = number(argv[++i], 0, UINT64_MAX);
		else if (!strcmp(argv[i], "--threads"))
			shape.workers = number(argv[++i], 1, MAX_WORKERS);
		else if (!strcmp(argv[i], "--servers"))
			shape.servers = number(argv[++i], 1, MAX_SERVERS);
		else if (!strcmp(argv[i], "--replay"))
			add_replay(argv[++i]);
		else if (!strcmp(argv[i], "--plan"))
			plan = argv[++i] ?: "";
		else
			argv[n++] = argv[i];
	}
	argv[n] = NULL;
	if (plan) {
		struct replay chosen = one_of_seed(plan);

		if (!n_ops) {
			fprintf(stderr, "fuzz: this ABI has no operations\n");
			return KTAP_SKIP;
		}
		episodes_begin();
		print_plan(chosen.seed, chosen.episode, &shape);
		return KTAP_PASS;
	}
	if (!n_ops_wanted && !n_replays)
		n_ops_wanted = OPS;
	tests[0].options.clauses = n_ops ? clauses() : NULL;
	tests[0].options.deadline =
		100 + (n_ops_wanted + n_replays * TIMES * OPS_ORDERLY) / SLOWEST;
	tests[1].options.deadline = 100;
	for (unsigned int i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		ktap_register(&tests[i]);
	ktap_before_each = need_fuzz;
	return ktap_main(n, argv);
}
