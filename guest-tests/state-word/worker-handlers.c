// SPDX-License-Identifier: GPL-2.0
/*
 * Calls that return once every thread of the process has run a signal handler, made
 * beside parked workers. A worker runs its handler when a server runs it: so the
 * caller is no server, and has the servers run every worker once. A worker's wait
 * ends by that, so it waits in a loop.
 */
#include <semaphore.h>

#include "crew.h"

#define WORKERS	8

static struct worker workers[WORKERS];
static atomic_bool parked, over, visits;
static pthread_t server_thread;

/* Parked in a wait, but for when a server runs it. */
static void wait_for_the_end(struct worker *w)
{
	while (!atomic_load(&over)) {
		ASSERT_EQ(0, umcg_give_way(w->umcg));
		atomic_fetch_add(&w->steps, 1);
	}
}

/*
 * Whether it has blocked, though it is back in the pool before its server looks: its
 * word is that of a worker which has yielded then, but for the mark of the port.
 */
static bool blocks(struct umcg *server, struct umcg *worker)
{
	int event = umcg_run(server, worker, 0);

	ASSERT_LT(0, event);
	return event == UMCG_BLOCKED;
}

/* Those that blocked, in the handler say, are back in the pool; run them on. */
static void run_those_back(struct umcg *server, int away)
{
	while (away) {
		struct umcg *worker = umcg_take_idle(&pool), *next;

		for (; worker; worker = next) {
			next = umcg_next_idle(worker);
			away -= !blocks(server, worker);
		}
		nap(MS);
	}
}

static void run_all_once(struct umcg *server)
{
	int away = 0;

	/* Some may have come to their end the last time. */
	for (int i = 0; i < WORKERS; i++)
		if (bare_word(workers[i].umcg) != NONE)
			away += blocks(server, workers[i].umcg);
	run_those_back(server, away);
}

/* Run all workers for as long as told to, and at the end. */
static void *server_body(void *arg)
{
	struct umcg server;

	ASSERT_EQ(0, umcg_register_server(&server, NULL));
	run_all_once(&server);
	atomic_store(&parked, true);
	while (!atomic_load(&over)) {
		if (atomic_load(&visits))
			run_all_once(&server);
		nap(MS);
	}
	run_all_once(&server);
	ASSERT_EQ(0, umcg_unregister(&server));
	return arg;
}

static void park_workers(void)
{
	for (int i = 0; i < WORKERS; i++) {
		workers[i].body = workers[i].body ?: wait_for_the_end;
		hire(&workers[i]);
	}
	ASSERT_EQ(0, pthread_create(&server_thread, NULL, server_body, NULL));
	while (!atomic_load(&parked))
		nap(MS);
}

static void end_workers(void)
{
	atomic_store(&over, true);
	ASSERT_EQ(0, pthread_join(server_thread, NULL));
	for (int i = 0; i < WORKERS; i++) {
		worker_join(&workers[i]);
		EXPECT_LT(0, workers[i].steps);
	}
}

TEST(setuid_beside_parked_workers)
{
	park_workers();
	atomic_store(&visits, true);
	EXPECT_EQ(0, setuid(getuid()));
	end_workers();
}

/* A collector stops the world: all are in its handler until it is done. */
static atomic_int stopped;
static sem_t go_on;

static void stop_here(int signal)
{
	(void)signal;
	atomic_fetch_add(&stopped, 1);
	while (sem_wait(&go_on))
		;
}

TEST(world_stopped_beside_parked_workers)
{
	int none;

	ASSERT_EQ(0, sem_init(&go_on, 0, 0));
	on_signal(SIGUSR1, stop_here, SA_RESTART);
	park_workers();
	for (int i = 0; i < WORKERS; i++)
		ASSERT_EQ(0, tgkill(getpid(), workers[i].tid, SIGUSR1));
	nap(SOON);
	none = atomic_load(&stopped);
	EXPECT_EQ(0, none);
	atomic_store(&visits, true);
	while (atomic_load(&stopped) < WORKERS)
		nap(MS);
	for (int i = 0; i < WORKERS; i++)
		sem_post(&go_on);
	end_workers();
}

static void wait_to_be_cancelled(struct worker *w)
{
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	wait_for_the_end(w);
}

TEST(parked_worker_cancelled)
{
	static struct worker w = { .body = wait_to_be_cancelled };
	void *result;

	become_server();
	hire(&w);
	ASSERT_EQ(IDLE, run(&w));
	ASSERT_EQ(0, pthread_cancel(w.thread));
	expect_word(&w, IDLE);
	/* It leaves by way of locks of the C library, at which it may sleep. */
	while (run(&w) != NONE)
		until_back(&w);
	ASSERT_EQ(0, pthread_join(w.thread, &result));
	EXPECT_EQ(PTHREAD_CANCELED, result);
	EXPECT_EQ(0, w.steps);
}

UMCG_TEST_MAIN
