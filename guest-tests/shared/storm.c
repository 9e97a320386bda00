// SPDX-License-Identifier: GPL-2.0
/*
 * Many workers, several servers, and everything at once. With --crowd: run
 * workers until standard input ends, and answer each line with how many turns
 * they have taken together.
 */
#include "away.h"
#include "storm.h"

extern char **environ;

enum { TURNS = 150 };

static void expect_all_done(void)
{
	for (int i = 0; i < CROWD; i++)
		EXPECT_EQ(TURNS, atomic_load(&crowd[i].steps));
}

TEST(a_bit_of_everything, .deadline = 60)
{
	start_crowd(do_a_bit_of_everything, TURNS);
	serve_crowd();
	expect_all_done();
}

TEST(everything_on_one_cpu, .deadline = 60)
{
	pin(0, 0);
	start_crowd(do_a_bit_of_everything, TURNS);
	serve_crowd();
	expect_all_done();
}

/* Plain threads that do `act` over and over while there are workers. */
static pthread_t *start_bothering(void *(*act)(void *), int threads)
{
	pthread_t *thread = calloc(threads, sizeof(*thread));

	for (int i = 0; i < threads; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, act,
					    (void *)(uintptr_t)i));
	return thread;
}

/* Return how often a worker of them was preempted. */
static long bothered_by(void *(*act)(void *))
{
	pthread_t *thread;
	long preempted;

	start_crowd(do_a_bit_of_everything, TURNS);
	thread = start_bothering(act, 1);
	preempted = serve_crowd();
	expect_all_done();
	atomic_store(&enough, true);
	pthread_join(*thread, NULL);
	return preempted;
}

static atomic_int handled;

static void count(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
}

static void *preempt_all(void *arg)
{
	struct sched_param first = { .sched_priority = 1 };
	unsigned int seed = 1;
	int sent = 0;

	/* So that it comes while a worker runs, be there one CPU. */
	ASSERT_EQ(0, pthread_setschedparam(pthread_self(), SCHED_FIFO, &first));
	while (!atomic_load(&enough)) {
		int err = umcg_preempt(&crowd[rand_r(&seed) % CROWD].own, SIGUSR1);

		ASSERT_TRUE(err == 0 || err == -EAGAIN || err == -ESRCH);
		sent += !err;
		nap(MS / 20);
	}
	EXPECT_LE(atomic_load(&handled), sent);
	return arg;
}

TEST(crowd_preempted, .deadline = 60)
{
	need_capabilities(UMCG_PREEMPTS);
	on_signal(SIGUSR1, count, SA_RESTART);
	EXPECT_LT(0, bothered_by(preempt_all));
}

/* Copies of the process, in whatever state its threads are. */
static void *fork_often(void *arg)
{
	while (!atomic_load(&enough)) {
		pid_t pid = fork();

		ASSERT_NE(-1, pid);
		if (!pid)
			_exit(!umcg_is_nobody());
		EXPECT_EQ(0, reap_child(pid));
	}
	return arg;
}

TEST(crowd_forked, .deadline = 60)
{
	bothered_by(fork_often);
}

/* The pages of the crowd go all the time, and their mapping is changed. */
static void *take_pages(void *arg)
{
	char *page = (char *)((uintptr_t)crowd & ~(uintptr_t)(PAGE - 1));
	void *own = own_page();

	while (!atomic_load(&enough)) {
		for (char *p = page; p < (char *)&crowd[CROWD]; p += PAGE)
			madvise(p, PAGE, MADV_PAGEOUT);
		/* For the lock that those who fault here take. */
		munmap(own, PAGE);
		own = own_page();
		nap(MS);
	}
	return arg;
}

TEST(crowd_swapped_out, .deadline = 60)
{
	swap_on();
	bothered_by(take_pages);
	swap_off();
}

/* Queued one by one: none may get lost, whatever the worker is doing. */
static atomic_int sent[CROWD], got[CROWD];

static void note(int signal)
{
	pid_t tid = gettid();

	(void)signal;
	for (int i = 0; i < CROWD; i++)
		if (atomic_load(&crowd[i].tid) == tid)
			atomic_fetch_add(&got[i], 1);
}

static void *signal_all(void *arg)
{
	for (int turn = 0; turn < 20; turn++)
		for (int i = 0; i < CROWD; i++) {
			ASSERT_EQ(0, tgkill(getpid(), crowd[i].tid, SIGRTMIN));
			atomic_fetch_add(&sent[i], 1);
			sched_yield();
		}
	atomic_store(&enough, true);
	return arg;
}

static void run_until_signalled(struct worker *w)
{
	int n = w - crowd;

	do_a_bit_of_everything(w);
	while (atomic_load(&got[n]) < atomic_load(&sent[n]))
		sched_yield();
}

TEST(crowd_signalled, .deadline = 60)
{
	pthread_t *thread;

	on_signal(SIGRTMIN, note, SA_RESTART);
	start_crowd(run_until_signalled, 0);
	thread = start_bothering(signal_all, 1);
	serve_crowd();
	pthread_join(*thread, NULL);
	for (int i = 0; i < CROWD; i++)
		EXPECT_EQ(20, atomic_load(&got[i]));
}

/* Be a worker for a little while, and leave in one of two ways. */
static void *come_and_go(void *arg)
{
	unsigned int seed = (uintptr_t)arg;
	struct umcg *own = aligned_alloc(64, sizeof(*own));

	/* Once at least, however late it begins. */
	do {
		ASSERT_EQ(0, umcg_register_worker(own, &pool));
		for (int n = rand_r(&seed) % 4; n; n--) {
			nap(MS / 20);
			spin_a_little(&seed);
		}
		if (rand_r(&seed) % 8 == 0)
			return arg;
		ASSERT_EQ(0, umcg_unregister(own));
	} while (!atomic_load(&enough));
	return arg;
}

/* Be a server for a little while, and leave with the worker running or not. */
static void *serve_a_little(void *arg)
{
	unsigned int seed = (uintptr_t)arg;
	struct umcg server;

	while (!atomic_load(&enough)) {
		struct umcg *worker, *next;

		ASSERT_EQ(0, umcg_register_server(&server, &pool));
		umcg_await_idle(&server, &pool, from_now(MS));
		for (worker = umcg_take_idle(&pool); worker; worker = next) {
			next = umcg_next_idle(worker);
			umcg_resume(&server, worker, from_now(rand_r(&seed) % MS));
		}
		ASSERT_EQ(0, umcg_unregister(&server));
	}
	return arg;
}

TEST(all_come_and_go, .deadline = 60)
{
	pthread_t *servers, *workers;

	servers = start_bothering(serve_a_little, 3);
	workers = start_bothering(come_and_go, CROWD);
	nap(100 * SOON);
	atomic_store(&enough, true);
	for (int i = 0; i < 3; i++)
		pthread_join(servers[i], NULL);
	/* Those who wait still are let go of by one that stays. */
	become_server();
	for (int i = 0; i < CROWD; i++) {
		while (pthread_tryjoin_np(workers[i], NULL)) {
			struct umcg *worker, *next;

			for (worker = umcg_take_idle(&pool); worker; worker = next) {
				next = umcg_next_idle(worker);
				ASSERT_LT(0, umcg_run(&me, worker, 0));
			}
			sched_yield();
		}
	}
	expect_none_queued();
}

static void be_a_crowd(void *arg)
{
	(void)arg;
	start_crowd(do_a_bit_of_everything, 0);
	serve_crowd();
}

TEST(crowd_killed, .deadline = 60)
{
	for (int i = 0; i < 10; i++) {
		pid_t pid = fork();

		ASSERT_NE(-1, pid);
		if (!pid)
			be_a_crowd(NULL);
		nap((i + 1) * 3 * MS);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		EXPECT_EQ(SIGKILL, WTERMSIG(reap_child(pid)));
	}
}

static void exec_away(void)
{
	char *const argv[] = { "storm", "--after-exec", NULL };

	execve("/proc/self/exe", argv, environ);
}

/* One worker out of the crowd, after some turns. */
static void turn_and_exec(struct worker *w)
{
	do_a_bit_of_everything(w);
	exec_away();
}

static void crowd_with_execs(void *turns)
{
	start_crowd(turn_and_exec, (uintptr_t)turns);
	serve_crowd();
	_exit(1);
}

TEST(crowd_execs, .deadline = 60)
{
	for (uintptr_t turns = 1; turns <= 10; turns++)
		EXPECT_EQ(0, status_of_child(crowd_with_execs, (void *)(turns * 3)));
}

/* Memory that the kernel needs is made useless; that kills, and no more. */
static void *ruin_memory(void *arg)
{
	char *page = (char *)((uintptr_t)crowd & ~(uintptr_t)(PAGE - 1));
	int what = (uintptr_t)arg;

	nap(20 * MS);
	if (what == 0)
		munmap(page, PAGE);
	else if (what == 1)
		mprotect(page, PAGE, PROT_READ);
	else
		mprotect(page, PAGE, PROT_NONE);
	return NULL;
}

static void ruined_crowd(void *what)
{
	pthread_t thread;

	start_crowd(do_a_bit_of_everything, 0);
	pthread_create(&thread, NULL, ruin_memory, what);
	serve_crowd();
}

/* A server that waits meanwhile, and that nothing is to happen to. */
struct bystander {
	struct umcg umcg;
	atomic_int tid;
	atomic_bool returned;
	int result;
	pthread_t thread;
};

static void *stand_by(void *arg)
{
	struct bystander *b = arg;

	ASSERT_EQ(0, umcg_register_server(&b->umcg, NULL));
	atomic_store(&b->tid, gettid());
	b->result = umcg_wait(&b->umcg, 0);
	atomic_store(&b->returned, true);
	return NULL;
}

static void expect_standing_by(struct bystander *b)
{
	while (!atomic_load(&b->tid) || umcg_state(&b->umcg) != UMCG_IS_IDLE)
		nap(MS);
	until_state(getpid(), b->tid, 'S');
	nap(SOON);
	EXPECT_EQ('S', thread_state(getpid(), b->tid));
	EXPECT_FALSE(atomic_load(&b->returned));
}

TEST(crowd_in_ruins, .deadline = 60)
{
	static struct bystander bystander;

	become_server();
	ASSERT_EQ(0, pthread_create(&bystander.thread, NULL, stand_by, &bystander));
	expect_standing_by(&bystander);
	for (uintptr_t what = 0; what < 3; what++) {
		int status = status_of_child(ruined_crowd, (void *)what);

		EXPECT_TRUE(WIFSIGNALED(status));
		/* Or it touches what is in ruins itself. */
		EXPECT_TRUE(WTERMSIG(status) == umcg_kills_with() ||
			    WTERMSIG(status) == SIGSEGV);
	}
	expect_standing_by(&bystander);
	ASSERT_EQ(0, umcg_wake(&me, &bystander.umcg));
	ASSERT_EQ(0, pthread_join(bystander.thread, NULL));
	EXPECT_EQ(0, bystander.result);
}

static void *answer_lines(void *arg)
{
	char line[16];

	while (fgets(line, sizeof(line), stdin)) {
		printf("%ld\n", turns_taken());
		fflush(stdout);
	}
	atomic_store(&enough, true);
	return arg;
}

static int serve_standard_input(void)
{
	start_crowd(do_a_bit_of_everything, 0);
	start_bothering(answer_lines, 1);
	serve_crowd();
	return 0;
}

static void need_storm(void)
{
	need_umcg();
	need_capabilities(UMCG_WORKERS | UMCG_POOLS | UMCG_DEADLINES | UMCG_REQUEUES);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--after-exec"))
		return !umcg_is_nobody();
	if (argc == 2 && !strcmp(argv[1], "--crowd"))
		return serve_standard_input();
	ktap_before_each = need_storm;
	return ktap_main(argc, argv);
}
