// SPDX-License-Identifier: GPL-2.0
/* See episode.h. */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cpu_watch.h"
#include "episode.h"
#include "fuzz-abi.h"
#include "inject.h"
#include "watch.h"

#define HOSTILE_US	500000	/* for one that is hostile, if the villain has died */

static pthread_attr_t small;
static __thread struct actor *self;

void episodes_begin(void)
{
	arena = mmap(NULL, sizeof(*arena), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pages = mmap(NULL, PAGE * (MAX_ACTORS + MAX_POOLS), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (arena == MAP_FAILED || pages == MAP_FAILED) {
		perror("mmap");
		_exit(1);
	}
	/* The harness has one too, in its own process, which knows nothing of episodes. */
	cpu_watch_start();
}

/* The signal that preempts, and the one that only interrupts. */
static void on_usr1(int signal)
{
	struct timespec ts = { 0, 1000 };
	int saved = errno;

	(void)signal;
	if (self && has(BLOCKS) && self->role == WORKER && arena->seed & 1)
		nanosleep(&ts, NULL);
	errno = saved;
}

/* After a violation: the thread goes on as any other, and ends. */
static void on_segv(int signal)
{
	(void)signal;
	syscall(SYS_exit, 0);
}

void become(struct actor *me)
{
	self = me;
	atomic_store(&me->tid, gettid());
}

static void spawn(struct actor *a, void *(*body)(void *))
{
	atomic_store(&a->leaving, false);
	if (pthread_create(&a->thread, &small, body, a)) {
		perror("pthread_create");
		_exit(2);
	}
	a->alive = true;
}

static void spawn_worker(struct actor *w)
{
	atomic_fetch_add(&arena->live, 1);
	spawn(w, worker_body);
}

/* One that leaves may have to wait once more before it is gone. */
static bool gone(struct actor *a)
{
	if (!a->alive || !atomic_load(&a->leaving) ||
	    pthread_tryjoin_np(a->thread, NULL))
		return false;
	a->alive = false;
	return true;
}

/*
 * The heir has a structure of its own: workers still have the old one in mind.
 * The kernel looks after a worker that was running.
 */
static void replace(struct actor *dead, struct actor *heir)
{
	abi_bury(dead);
	heir->rng = rng_of(rng_next(&dead->rng), 0);
	heir->pool = dead->pool;
	spawn(heir, server_body);
}

/* Replace those that ended; until the end, when there is nobody to replace. */
static void look_after(unsigned int *heirs)
{
	for (unsigned int i = 0; i < arena->workers; i++) {
		if (!gone(worker_at(i)))
			continue;
		atomic_fetch_sub(&arena->live, 1);
		if (!atomic_load(&arena->stop))
			spawn_worker(worker_at(i));
	}
	for (unsigned int i = 0; i < arena->servers + *heirs; i++) {
		if (!gone(server_at(i)) || !atomic_load(&server_at(i)->abandoned))
			continue;
		replace(server_at(i), server_at(arena->servers + *heirs));
		(*heirs)++;
	}
}

/* No worker is left; have servers see that, wherever they wait. */
static void send_home(unsigned int heirs)
{
	struct actor *me = main_actor();
	bool some = true;

	become(me);
	LEGAL(me, umcg_register_server(me->u, NULL), 0);
	while (some) {
		some = false;
		for (unsigned int i = 0; i < arena->servers + heirs; i++) {
			if (!server_at(i)->alive || gone(server_at(i)))
				continue;
			umcg_wake(me->u, server_at(i)->u);
			some = true;
		}
		doze(&me->rng, 200);
	}
	LEGAL(me, umcg_unregister(me->u), 0);
}

static void prepare_injections(void)
{
	struct rng rng = rng_of(arena->seed, MAX_ACTORS);

	for (int point = 0; point < INJECT_POINTS; point++) {
		inject_at[point].action = below(&rng, 2) ? INJECT_NOTHING :
			below(&rng, 2) ? INJECT_SPIN : INJECT_YIELD;
		inject_at[point].amount = inject_at[point].action == INJECT_SPIN ?
			below(&rng, 300) : 1;
	}
}

static void prepare_process(void)
{
	struct sigaction sa = { .sa_handler = on_usr1,
				.sa_flags = arena->seed & 2 ? SA_RESTART : 0 };
	struct itimerval end = { .it_value.tv_usec = HOSTILE_US };
	pthread_mutexattr_t pi;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_TIMERSLACK, 1);
	sigaction(SIGUSR1, &sa, NULL);
	if (arena->hostile) {
		sa.sa_handler = on_segv;
		if (arena->seed & 4)
			sigaction(SIGSEGV, &sa, NULL);
		setitimer(ITIMER_REAL, &end, NULL);
	}
	prepare_injections();
	pthread_mutexattr_init(&pi);
	pthread_mutexattr_setprotocol(&pi, PTHREAD_PRIO_INHERIT);
	pthread_mutexattr_setrobust(&pi, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&pi_mutex, &pi);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 * 1024);
	if (pipe(echo_pipes) || pipe(echo_pipes + 2))
		_exit(2);
	ops_prepare();
}

static void live_through(void)
{
	unsigned int heirs = 0;
	pthread_t echo;

	prepare_process();
	pthread_create(&echo, &small, echo_body, NULL);
	for (unsigned int i = 0; i < arena->servers; i++)
		spawn(server_at(i), server_body);
	for (unsigned int i = 0; i < arena->workers; i++)
		spawn_worker(worker_at(i));
	spawn(other_actor(), other_body);
	while (atomic_load(&arena->live)) {
		look_after(&heirs);
		doze(&main_actor()->rng, 300);
	}
	pthread_join(other_actor()->thread, NULL);
	send_home(heirs);
	close(echo_pipes[1]);
	pthread_join(echo, NULL);
}

/* What the ABI has not, no episode has. */
static unsigned int possible(void)
{
	static const struct {
		enum feature feature;
		enum umcg_capability needs;
	} table[] = {
		{ TIMED, UMCG_DEADLINES },
		{ PREEMPTS, UMCG_PREEMPTS },
		{ SWITCHES, UMCG_SWITCHES | UMCG_YIELDS_TO },
		{ WAKES, UMCG_REQUEUES },
	};
	unsigned int features = ALL;

	for (unsigned int i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (umcg_lacks(table[i].needs))
			features &= ~table[i].feature;
	return features;
}

static void set_up(uint64_t seed, unsigned int number, const struct shape *shape)
{
	struct rng rng = rng_of(seed, number);

	memset(arena, 0, offsetof(struct arena, stats));
	memset(pages, 0, PAGE * (MAX_ACTORS + MAX_POOLS));
	arena->seed = rng_next(&rng);
	arena->watcher = gettid();
	arena->features = (rng_next(&rng) | rng_next(&rng)) & ALL & possible();
	arena->workers = shape->workers ?: 2 + below(&rng, 11);
	arena->servers = shape->servers ?: 1 + below(&rng, 4);
	arena->pools = 1 + below(&rng, arena->servers < MAX_POOLS ? arena->servers : MAX_POOLS);
	arena->hostile = one_in(&rng, 8);
	arena->left = OPS_ORDERLY;
	arena->sabotage = shape->sabotage;
	if (arena->sabotage) {
		arena->hostile = false;
		arena->features = BLOCKS | INVALID;
	}
	for (int i = 0; i < MAX_ACTORS; i++) {
		struct actor *a = &arena->actors[i];

		a->u = page_of(a);
		a->rng = rng_of(arena->seed, i);
		a->role = i < MAX_WORKERS ? WORKER : i < MAX_ACTORS - 2 ? SERVER : OTHER;
		/* Each pool has a server that waits at it. */
		a->pool = pool_at(a->role == SERVER ? (i - MAX_WORKERS) % arena->pools :
				  below(&a->rng, arena->pools));
	}
	if (arena->hostile)
		other_actor()->role = VILLAIN;
}

enum ending episode(uint64_t seed, unsigned int number, const struct shape *shape)
{
	pid_t pid;

	set_up(seed, number, shape);
	watch_begin();
	pid = fork();
	if (pid < 0) {
		perror("fork");
		return FAILED;
	}
	if (!pid) {
		live_through();
		_exit(0);
	}
	return watch(pid);
}

#define FORESEEN	40

static void print_choices(struct actor *a)
{
	printf("%d, pool %d:", (int)(a - arena->actors),
	       (int)(((char *)a->pool - (char *)pool_at(0)) / PAGE));
	for (int i = 0; i < FORESEEN; i++)
		printf(" %s", choose(a)->name);
	printf("\n");
}

void print_plan(uint64_t seed, unsigned int number, const struct shape *shape)
{
	set_up(seed, number, shape);
	prepare_injections();
	ops_prepare();
	printf("episode %lu:%u: %u workers, %u servers, %u pools, features %#x%s, inject",
	       (unsigned long)seed, number, arena->workers, arena->servers, arena->pools,
	       arena->features, arena->hostile ? ", hostile" : "");
	for (int point = 0; point < INJECT_POINTS; point++)
		printf(" %d:%u", inject_at[point].action, inject_at[point].amount);
	printf("\n");
	for (unsigned int i = 0; i < arena->workers; i++)
		print_choices(worker_at(i));
	for (unsigned int i = 0; i < arena->servers; i++)
		print_choices(server_at(i));
	print_choices(other_actor());
}
