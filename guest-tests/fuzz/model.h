/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is true of every UMCG program that keeps the contract, whatever its ABI, and
 * the state that tells.
 *
 * A worker that runs is one that a server, or a worker in the server's name, has run
 * since it was last idle or blocked: `runs` counts the former and `progress` what the
 * worker has done in user space. A worker that is idle and in no pool belongs to
 * whoever takes its token, `parked`; between the two its progress must be `stamp`.
 *
 * A server that is free looks for tokens before it goes to sleep. Whoever leaves
 * a token leaves a server awake, or running another worker whose end will wake
 * it; so nothing is lost if no wakeup is, and an episode always comes to its end.
 */
#ifndef FUZZ_MODEL_H
#define FUZZ_MODEL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "port.h"
#include "rng.h"

#define MAX_WORKERS	32
#define MAX_SERVERS	8
#define MAX_HEIRS	16	/* servers that replace those that died at work */
#define MAX_POOLS	4
#define MAX_ACTORS	(MAX_WORKERS + MAX_SERVERS + MAX_HEIRS + 2)
#define MAX_OPS		64
#define RING		12	/* operations remembered for each thread */
#define PAGE		4096	/* apart, so that each structure can lose its page */

enum role { WORKER = 1, SERVER = 2, OTHER = 4, VILLAIN = 8 };

/* What an episode has; each has some of it, so that little hides the rest. */
enum feature {
	TIMED = 1, SIGNALS = 2, PREEMPTS = 4, BLOCKS = 8, DEATHS = 16, LIVES = 32,
	SWITCHES = 64, INVALID = 128, WAKES = 256, DROPS = 512, ALL = 1023,
};

/* Bugs that the test of the fuzzer itself has it find. */
enum sabotage {
	FAITHFUL, LOSE_WORKER, LOSE_WAKEUP, RUN_ASTRAY, WRONG_ERROR, HOG_CPU, SABOTAGES
};

struct op;

struct done {
	const struct op *op;
	int result;
};

/* A thread. */
struct actor {
	enum role role;
	atomic_uint tid;
	struct rng rng;
	struct umcg *u;		/* in a page of its own */
	struct umcg seen;	/* what was there when something went wrong */
	pthread_t thread;
	bool alive;		/* has a thread; the episode's main thread knows */
	atomic_bool leaving;	/* it is about to end */
	int result;		/* of the last system call judged */
	const struct op *doing;
	struct done ring[RING];
	unsigned int turn;
	uint32_t bits;		/* for the ABI; 0 when the worker registers */
	struct umcg_pool *pool;	/* of a worker; a server's own to wait at */
	/* workers */
	atomic_uint progress, runs, stamp;
	atomic_bool parked;
	unsigned int server_life;	/* its server's, when it last stopped */
	/* servers */
	atomic_uint life;		/* a new one each time it registers anew */
	struct actor *_Atomic back;	/* asleep until we wake it */
	atomic_bool abandoned;		/* gone, with a worker running */
};

struct tally {
	atomic_ulong done, succeeded;
};

/* Shared by the episode's process and the one that watches it. */
struct arena {
	/* The episode. */
	uint64_t seed;
	unsigned int workers, servers, pools;
	enum feature features;
	enum sabotage sabotage;
	bool hostile;
	pid_t watcher;
	/* How it goes. */
	atomic_long left;	/* operations */
	atomic_bool stop;
	atomic_int live;	/* workers */
	atomic_uint heirs;
	atomic_bool failed;
	char why[256];
	struct actor actors[MAX_ACTORS];
	/* What all episodes so far have done. */
	struct tally stats[MAX_OPS];
};

extern struct arena *arena;
extern char *pages;		/* one for each actor, one for each pool */

static inline struct actor *worker_at(unsigned int i)
{
	return &arena->actors[i];
}

static inline struct actor *server_at(unsigned int i)
{
	return &arena->actors[MAX_WORKERS + i];
}

/* The one that makes trouble, and the one that spawns and ends. */
static inline struct actor *other_actor(void)
{
	return &arena->actors[MAX_ACTORS - 2];
}

static inline struct actor *main_actor(void)
{
	return &arena->actors[MAX_ACTORS - 1];
}

static inline struct umcg *page_of(const struct actor *a)
{
	return (struct umcg *)(pages + PAGE * (a - arena->actors));
}

static inline struct actor *actor_of(const struct umcg *u)
{
	return &arena->actors[((const char *)u - pages) / PAGE];
}

/* What a list says is a worker, or NULL if it is none. */
static inline struct actor *worker_of(const struct umcg *u)
{
	uintptr_t offset = (uintptr_t)u - (uintptr_t)pages;

	return offset % PAGE || offset / PAGE >= arena->workers ? NULL :
								  worker_at(offset / PAGE);
}

static inline struct umcg_pool *pool_at(unsigned int i)
{
	return (struct umcg_pool *)(pages + PAGE * (MAX_ACTORS + i));
}

static inline bool has(enum feature feature)
{
	return arena->features & feature;
}

/* A deadline, some microseconds from now. */
uint64_t soon(struct rng *rng, unsigned int microseconds);

/* The worker whose tid this is, or NULL. */
struct actor *worker_of_tid(uint32_t tid);

/* The contract is broken: end the process, and have the watcher tell why. */
void broken(struct actor *a, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Keep what is in all structures. */
void snapshot(void);

/* Judge the result of a system call by what may come of it; true if that is 0. */
#define LEGAL(_a, _result, ...)						\
	legal(_a, _result, (const int[]){ __VA_ARGS__ },		\
	      sizeof((const int[]){ __VA_ARGS__ }) / sizeof(int))
bool legal(struct actor *a, int result, const int *allowed, unsigned int n);

/* Judge what a running worker sees of itself, and count its progress. */
void check_running(struct actor *worker);

/* Judge a worker from outside. */
void check_sample(struct actor *me, struct actor *worker);

/* Tokens of workers that are IDLE, or about to be, and on no list. */
void park(struct actor *worker);
bool take_token(struct actor *worker);
struct actor *take_any(struct rng *rng);
bool any_parked(void);

/* Before a worker is made RUNNING by who holds its token. */
void check_frozen(struct actor *me, struct actor *worker);

#endif
