// SPDX-License-Identifier: GPL-2.0
/* The list of idle workers: what the kernel does to it; idle-crowd.c has many at once. */
#include "crew.h"

static uint64_t node_of(struct worker *w)
{
	return (uintptr_t)&w->umcg->task.idle_workers_ptr;
}

TEST(list_is_a_stack, .clauses = "WIDLE-1 WIDLE-3 WIDLE-4")
{
	static struct worker w[4];
	struct umcg_task before;

	become_server();
	for (int i = 0; i < 4; i++) {
		if (i)
			before = w[i - 1].umcg->task;
		worker_start(&w[i]);
		until_word(&w[i], IDLE);
		EXPECT_EQ(node_of(&w[i]), pool.idle_workers);
		EXPECT_EQ(i ? node_of(&w[i - 1]) : 0, w[i].umcg->task.idle_workers_ptr);
		/* Only its own node has been written. */
		if (i)
			EXPECT_EQ(0, memcmp(&before, &w[i - 1].umcg->task, sizeof(before)));
	}
	ASSERT_EQ(w[3].umcg, umcg_take_idle(&pool));
	expect_none_queued(&pool);
	for (int i = 3; i >= 0; i--) {
		ASSERT_EQ(i ? w[i - 1].umcg : NULL, umcg_next_idle(w[i].umcg));
		finish(&w[i]);
	}
}

/* Whatever the head holds becomes the link, and is not followed. */
TEST(old_head_is_not_followed, .clauses = "WIDLE-1 WIDLE-4")
{
	static struct worker w[6];
	uint64_t heads[] = {
		UINT64_C(0xdeadbeefdeadbeef), UINT64_MAX, 1, 12, (uintptr_t)&w[4],
		(uintptr_t)&w[5].own.task.idle_workers_ptr,	/* a cycle */
	};

	become_server();
	for (int i = 0; i < 6; i++) {
		pool.idle_workers = heads[i];
		worker_start(&w[i]);
		until_word(&w[i], IDLE);
		EXPECT_EQ(node_of(&w[i]), pool.idle_workers);
		EXPECT_EQ(heads[i], w[i].umcg->task.idle_workers_ptr);
		finish(&w[i]);
	}
}

/* A server in a wait, and where the kernel is to find it. */
static void sleeping_server(struct peer *p)
{
	p->word = IDLE | SOME_BITS;
	peer_start(p);
	until_asleep(p);
}

TEST(idle_server_is_woken, .clauses = "WIDLE-1 WIDLE-2 TASK-2 R38")
{
	static struct peer named, bystander;
	static struct worker w[2];

	become_server();
	sleeping_server(&named);
	sleeping_server(&bystander);
	pool.idle_server_tid = named.tid;
	worker_start(&w[0]);
	EXPECT_EQ(0, peer_join(&named));
	EXPECT_EQ(RUNNING | SOME_BITS, umcg_word(&named.umcg.task));
	EXPECT_EQ(0, pool.idle_server_tid);
	until_back(&w[0]);
	/* Zero wakes nobody. */
	hire(&w[1]);
	EXPECT_EQ(0, pool.idle_server_tid);
	expect_asleep(&bystander);
	EXPECT_EQ(IDLE | SOME_BITS, umcg_word(&bystander.umcg.task));
	finish(&w[0]);
	finish(&w[1]);
}

static struct gate door;

static void come_and_go(struct worker *w)
{
	while (gate_pass(&door))
		atomic_fetch_add(&w->steps, 1);
}

/* Have the worker come back from a block, with `tid` for the idle server. */
static void come_back_with(struct worker *w, uint32_t tid)
{
	EXPECT_EQ(BLOCKED, run(w));
	pool.idle_server_tid = tid;
	gate_open(&door);
	until_back(w);
	EXPECT_EQ(0, pool.idle_server_tid);
}

static void hire_one_that_comes_and_goes(struct worker *w)
{
	gate_make(&door);
	w->body = come_and_go;
	hire(w);
}

static void let_it_finish(struct worker *w)
{
	ASSERT_EQ(0, close(door.fd[1]));
	finish(w);
}

/* A server that sleeps, but in no wait. */
static struct umcg sleeper;

static void *sleep_as_a_server(void *arg)
{
	ASSERT_EQ(0, umcg_register_server(&sleeper, NULL));
	return pause_for_ever(arg);
}

TEST(wrong_idle_server, .clauses = "WIDLE-2 WRUN-6 R38 R57")
{
	struct peer *foreign = shared_memory(sizeof(*foreign));
	static struct worker w, other;
	static atomic_int asleep;
	pthread_t thread;

	peer_fork(foreign);
	until_asleep(foreign);
	become_server();
	ASSERT_EQ(0, pthread_create(&thread, NULL, sleep_as_a_server, &asleep));
	while (!atomic_load(&asleep))
		sched_yield();
	hire_one_that_comes_and_goes(&w);
	hire(&other);
	until_state(getpid(), asleep, 'S');

	uint32_t wrong[] = {
		0, 0x3fffffff, 0x80000000, 0xffffffff, plain_thread(), asleep,
		gone_server(), foreign->tid, w.tid, other.tid, me.tid,
	};
	for (int i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		come_back_with(&w, wrong[i]);

	/* Nobody took it for a reason to do anything. */
	expect_word(&other, IDLE);
	EXPECT_EQ(IDLE, umcg_word(&foreign->umcg.task));
	expect_asleep(foreign);
	EXPECT_EQ(RUNNING, umcg_word(&sleeper.task));
	EXPECT_EQ('S', thread_state(getpid(), asleep));
	EXPECT_EQ(RUNNING, umcg_word(&me.task));
	finish(&other);
	let_it_finish(&w);
}

/* Lines in the kernel log, from now on, that have `word`. */
static int log_from_here(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);

	ASSERT_LE(0, fd);
	ASSERT_LE(0, lseek(fd, 0, SEEK_END));
	return fd;
}

static int lines_with(int fd, const char *word)
{
	char line[1024];
	int lines = 0;
	ssize_t n;

	while ((n = read(fd, line, sizeof(line) - 1)) > 0) {
		line[n] = '\0';
		lines += !!strstr(line, word);
	}
	return lines;
}

/* Anybody can do that, and some of it is legal: WIDLE-2. */
TEST(wrong_idle_server_is_not_logged, .clauses = "WIDLE-2 R25 R38")
{
	static struct worker w;
	int log;

	become_server();
	hire_one_that_comes_and_goes(&w);
	log = log_from_here();
	for (int i = 0; i < 20; i++)
		come_back_with(&w, 0x3fffffff);
	EXPECT_EQ(0, lines_with(log, "umcg:"));
	let_it_finish(&w);
}

/* It has given up waiting, and not yet taken back its tid, when a worker comes. */
TEST(idle_server_that_timed_out_is_not_logged, .clauses = "WIDLE-2 TIME-2 R38")
{
	static struct worker w;
	int log;

	become_server();
	hire_one_that_comes_and_goes(&w);
	log = log_from_here();
	for (int i = 0; i < 20; i++) {
		EXPECT_EQ(-ETIMEDOUT, umcg_wait(&me, 1));
		EXPECT_EQ(RUNNING, umcg_word(&me.task));
		come_back_with(&w, me.tid);
	}
	EXPECT_EQ(0, lines_with(log, "umcg:"));
	let_it_finish(&w);
}

/*
 * Two workers come back one after the other, and each finds a server, though
 * there is room for the tid of one server only: the first one woken leaves that
 * of the next.
 */
static struct umcg second;
static struct worker both[2];
static struct gate gates[2];
static atomic_int second_done;

static void come_back_first(struct worker *w)
{
	ASSERT_TRUE(gate_pass(&gates[0]));
	/* It stops only when the other one has run. */
	while (!atomic_load(&both[1].steps))
		sched_yield();
	atomic_fetch_add(&w->steps, 1);
}

static void come_back_second(struct worker *w)
{
	ASSERT_TRUE(gate_pass(&gates[1]));
	atomic_fetch_add(&w->steps, 1);
}

static void *be_second(void *arg)
{
	struct umcg *worker;

	ASSERT_EQ(0, umcg_register_server(&second, NULL));
	ASSERT_EQ(0, umcg_wait(&second, 0));
	worker = umcg_take_idle(&pool);
	ASSERT_EQ(both[1].umcg, worker);
	ASSERT_EQ(NULL, umcg_next_idle(worker));
	EXPECT_EQ(NONE, run_under(&second, worker));
	ASSERT_EQ(0, umcg_unregister(&second));
	atomic_store(&second_done, 1);
	return arg;
}

static void *open_both(void *arg)
{
	until_state(getpid(), me.tid, 'S');
	gate_open(&gates[0]);
	while (pool.idle_server_tid != second.tid)
		sched_yield();
	gate_open(&gates[1]);
	return arg;
}

TEST(two_come_back_in_a_row, .clauses = "WIDLE-1 WIDLE-3 R38")
{
	pthread_t thread, opener;

	both[0].body = come_back_first;
	both[1].body = come_back_second;
	become_server();
	for (int i = 0; i < 2; i++) {
		gate_make(&gates[i]);
		hire(&both[i]);
		EXPECT_EQ(BLOCKED, run(&both[i]));
	}
	ASSERT_EQ(0, pthread_create(&thread, NULL, be_second, NULL));
	while (bare_word(&second) != IDLE)
		sched_yield();
	until_state(getpid(), second.tid, 'S');
	ASSERT_EQ(0, pthread_create(&opener, NULL, open_both, NULL));
	ASSERT_EQ(0, umcg_await_idle(&me, &pool, 0));
	ASSERT_EQ(both[0].umcg, umcg_take_idle(&pool));
	ASSERT_EQ(NULL, umcg_next_idle(both[0].umcg));
	__atomic_store_n(&pool.idle_server_tid, second.tid, __ATOMIC_SEQ_CST);
	finish(&both[0]);
	pthread_join(thread, NULL);
	pthread_join(opener, NULL);
	EXPECT_EQ(1, second_done);
	EXPECT_EQ(0, pool.idle_server_tid);
}

static atomic_int handled, go;
static struct gate gate;

static void count(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
}

static void sleep_at_the_gate(struct worker *w)
{
	w->result = gate_pass(&gate);
	atomic_fetch_add(&w->steps, 1);
}

TEST(queued_ahead_of_its_signals, .clauses = "WIDLE-1 WSIG-4")
{
	static struct worker w = { .body = sleep_at_the_gate, .result = -1 };

	on_signal(SIGUSR1, count, 0);
	become_server();
	gate_make(&gate);
	hire(&w);
	EXPECT_EQ(BLOCKED, run(&w));
	until_state(getpid(), w.tid, 'S');
	ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR1));
	until_back(&w);
	expect_word(&w, IDLE);
	EXPECT_EQ(0, atomic_load(&handled));
	finish(&w);
	EXPECT_EQ(1, atomic_load(&handled));
	EXPECT_EQ(0, w.result);
}

/*
 * A server woken for a block may look when its worker has come back, and another
 * server has taken it and is about to run it.
 */
TEST(once_taken_runs_under_nobody, .clauses = "WRUN-1 WIDLE-3 R38")
{
	static struct worker w = { .body = sleep_at_the_gate };

	become_server();
	gate_make(&gate);
	hire(&w);
	EXPECT_EQ(BLOCKED, run(&w));
	gate_open(&gate);
	until_back(&w);
	ASSERT_TRUE(umcg_move(&w.own.task, IDLE, RUNNING | LOCKED));
	EXPECT_FALSE(umcg_runs(&me, &w.own));
	EXPECT_FALSE(runs_under(&me, &w.own));
	ASSERT_TRUE(umcg_move(&w.own.task, RUNNING | LOCKED, IDLE));
	finish(&w);
}

static void go_to_the_gate(struct worker *w)
{
	while (!atomic_load(&go))
		sched_yield();
	sleep_at_the_gate(w);
}

/*
 * The server is not asleep when its worker blocks, and looks only after it has
 * come back: it finds it in the list alone.
 */
TEST(blocked_and_back_before_the_server_looks, .clauses = "WIDLE-1 BLOCK-4 R11 R48")
{
	static struct worker w = { .body = go_to_the_gate };

	become_server();
	gate_make(&gate);
	hire(&w);
	EXPECT_EQ(-ETIMEDOUT, umcg_resume(&me, w.umcg, from_now(MS)));
	atomic_store(&go, 1);
	until_word(&w, BLOCKED);
	EXPECT_EQ(RUNNING, umcg_word(&me.task));
	gate_open(&gate);
	EXPECT_EQ(0, umcg_await_idle(&me, &pool, 0));
	EXPECT_EQ(IDLE, bare_word(w.umcg));
	expect_queued(&w);
	EXPECT_EQ(0, atomic_load(&w.steps));
	finish(&w);
	EXPECT_EQ(1, w.result);
}

UMCG_TEST_MAIN
