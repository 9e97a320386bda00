// SPDX-License-Identifier: GPL-2.0
/* See watch.h. */
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cpu_watch.h"
#include "fuzz-abi.h"
#include "kit.h"
#include "watch.h"

#define LOOK	0.1	/* seconds, from one look at CPUs to the next */

unsigned int patience = 30, cpu_patience = 1000;

static double seconds(void)
{
	return clock_ns(CLOCK_MONOTONIC) / 1e9;
}

static void tell_thread(pid_t pid, struct actor *a)
{
	uint32_t tid = atomic_load(&a->tid);
	char ops_done[32 * RING] = "", seen[128];
	int n = 0;

	for (unsigned int i = a->turn > RING ? a->turn - RING : 0; i < a->turn; i++) {
		const struct done *done = &a->ring[i % RING];

		n += snprintf(ops_done + n, sizeof(ops_done) - n, " %s=%d",
			      done->op->name, done->result);
		if (n >= (int)sizeof(ops_done))
			break;
	}
	abi_describe(&a->seen, seen, sizeof(seen));
	printf("#   %s %d: tid %u %c %s%s%s, in %s; did%s\n",
	       a->role == WORKER ? "worker" : a->role == SERVER ? "server" : "other",
	       (int)(a - arena->actors), tid, thread_state(pid, tid),
	       seen, atomic_load(&a->parked) ? " parked" : "",
	       atomic_load(&a->abandoned) ? " gone" : "",
	       a->doing ? a->doing->name : "nothing", ops_done);
}

static void tell_all(pid_t pid)
{
	char seen[128];

	printf("#   %u workers, %u servers, %u pools, features %#x%s, %s\n",
	       arena->workers, arena->servers, arena->pools, arena->features,
	       arena->hostile ? ", hostile" : "",
	       atomic_load(&arena->stop) ? "draining" : "under way");
	for (unsigned int i = 0; i < arena->pools; i++) {
		abi_describe_pool(pool_at(i), seen, sizeof(seen));
		printf("#   pool %u: %s\n", i, seen);
	}
	for (int i = 0; i < MAX_ACTORS; i++)
		if (atomic_load(&arena->actors[i].tid))
			tell_thread(pid, &arena->actors[i]);
}

static enum ending failed(pid_t pid, const char *why)
{
	if (!atomic_exchange(&arena->failed, true)) {
		snprintf(arena->why, sizeof(arena->why), "%s", why);
		snapshot();
	}
	printf("# %s\n", arena->why);
	tell_all(pid);
	fflush(stdout);
	return FAILED;
}

static enum ending judge(pid_t pid, int status)
{
	char why[64];

	if (atomic_load(&arena->failed))
		return failed(pid, arena->why);
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return ENDED;
	if (arena->hostile && WIFSIGNALED(status) &&
	    (WTERMSIG(status) == SIGALRM || WTERMSIG(status) == SIGSEGV ||
	     WTERMSIG(status) == umcg_kills_with()))
		return DIED;
	snprintf(why, sizeof(why), "the process ended with status %#x", status);
	return failed(pid, why);
}

/*
 * Whether a CPU has not scheduled for longer than it may, since the episode began. The
 * kernel can loop on what user space does to its memory.
 */
static bool hogged(pid_t pid)
{
	char why[64];
	int cpu;
	unsigned int ms = cpu_watch_so_far(&cpu);

	if (ms < ktap_slow * cpu_patience)
		return false;
	snprintf(why, sizeof(why), "CPU %d did not schedule for %u ms", cpu, ms);
	failed(pid, why);
	return true;
}

static bool reaped(pid_t pid, int *status)
{
	return waitpid(pid, status, WNOHANG) == pid;
}

/* Nothing that a process does may make it last longer than SIGKILL. */
static enum ending end(pid_t pid, enum ending ending)
{
	double start = seconds();
	int status;

	kill(pid, SIGKILL);
	while (!reaped(pid, &status)) {
		if (seconds() > start + ktap_slow * patience)
			return failed(pid, "the process is alive after SIGKILL");
		nap(MS);
	}
	return ending;
}

void watch_begin(void)
{
	int cpu;

	cpu_watch_longest(&cpu);
}

enum ending watch(pid_t pid)
{
	double since = seconds(), looked = since, last = since;
	bool draining = false;
	long left = 0;
	int status;

	while (!reaped(pid, &status)) {
		long now = atomic_load(&arena->left);
		double at = seconds();

		/* When we had no CPU, they may have had none either. */
		if (at > last + 1)
			since += at - last;
		last = at;
		if (seconds() > looked + LOOK) {
			if (hogged(pid))
				return end(pid, FAILED);
			looked = seconds();
		}
		/* With what is lost, some go on and on: draining has to end. */
		if (!draining && (now != left || atomic_load(&arena->stop))) {
			draining = atomic_load(&arena->stop);
			since = at;
			left = now;
		}
		if (seconds() > since + ktap_slow * patience) {
			failed(pid, draining ? "the episode does not come to its end" :
					       "nothing moves any more");
			return end(pid, FAILED);
		}
		nap(MS / 2);
	}
	return hogged(pid) ? FAILED : judge(pid, status);
}
