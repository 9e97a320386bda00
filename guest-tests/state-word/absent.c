// SPDX-License-Identifier: GPL-2.0
/* Workers that block while the memory the kernel needs for that is away. */
#include "away.h"
#include "crew.h"
#include "fault.h"

/* Each in a page of its own, and nothing else is. */
static struct umcg *server;
static struct worker w;
static struct gate gate;
/* The round that the worker may go on with, and the one in which it did. */
static atomic_int go, went;
static int rounds;

enum { WORKER = 1, SERVER = 2, BOTH = 3 };

static struct kept kept[2];

static void begin(void (*body)(struct worker *))
{
	server = server ?: own_page();
	w.umcg = w.umcg ?: own_page();
	w.body = body;
	gate_make(&gate);
	ASSERT_EQ(0, umcg_register_server(server, NULL));
	hire(&w);
}

/* Between `steps` and the block it touches no memory but this test's own. */
static void await_go_and_pass(struct worker *worker)
{
	for (int round = 1; round <= rounds && !worker->result; round++) {
		atomic_store(&worker->steps, round);
		while (atomic_load(&go) < round)
			;
		atomic_store(&went, round);
		if (!gate_pass(&gate))
			worker->result = -1;
	}
}

/* What takes the pages away and brings them back, and whose. */
struct absence {
	void (*take)(void *page, int whose);
	void (*give)(int whose);
	int whose;
	int round, rounds;
	/* Take them again and again until the worker sleeps. */
	bool restless;
};

static void take(const struct absence *absence)
{
	if (absence->whose & WORKER)
		absence->take(w.umcg, WORKER);
	if (absence->whose & SERVER)
		absence->take(server, SERVER);
}

/* The server sleeps, the worker runs: take memory away, let the worker block. */
static void *take_away(void *arg)
{
	const struct absence *absence = arg;

	while (atomic_load(&w.steps) < absence->round)
		sched_yield();
	until_state(getpid(), getpid(), 'S');
	take(absence);
	atomic_store(&go, absence->round);
	while (absence->restless && thread_state(getpid(), w.tid) != 'S')
		take(absence);
	if (absence->give) {
		until_state(getpid(), w.tid, 'S');
		for (int whose = WORKER; whose <= SERVER; whose++)
			if (absence->whose & whose)
				absence->give(whose);
	}
	return arg;
}

static void block_while_away(struct absence *absence)
{
	pthread_t thread;

	rounds = absence->rounds;
	begin(await_go_and_pass);
	for (absence->round = 1; absence->round <= absence->rounds; absence->round++) {
		ASSERT_EQ(0, pthread_create(&thread, NULL, take_away, absence));
		EXPECT_EQ(0, umcg_resume(server, w.umcg, 0));
		/* It sleeps for its other pages, too, while they move or are copied. */
		while (atomic_load(&went) < absence->round) {
			until_back(&w);
			EXPECT_EQ(0, umcg_resume(server, w.umcg, 0));
		}
		EXPECT_EQ(RUNNING, umcg_word(&server->task));
		EXPECT_EQ(BLOCKED, umcg_word(&w.umcg->task));
		pthread_join(thread, NULL);
		gate_open(&gate);
		until_back(&w);
	}
	EXPECT_EQ(NONE, run_under(server, w.umcg));
	worker_join(&w);
	EXPECT_EQ(0, w.result);
}

static void swap_out(void *page, int whose)
{
	(void)whose;
	page_out(page);
}

static void while_swapped_out(int whose)
{
	struct absence absence = { .take = swap_out, .whose = whose, .rounds = 5 };

	swap_on();
	block_while_away(&absence);
	swap_off();
}

TEST(worker_swapped_out) { while_swapped_out(WORKER); }
TEST(server_swapped_out) { while_swapped_out(SERVER); }
TEST(both_swapped_out) { while_swapped_out(BOTH); }

static void keep_back(void *page, int whose)
{
	page_keep(&kept[whose - 1], page);
}

/* Somebody who is awake wants it, and sleeps for as long as it takes. */
static void give_back(int whose)
{
	until_wanted(&kept[whose - 1]);
	nap(SOON);
	page_give(&kept[whose - 1]);
}

static void while_kept_back(int whose)
{
	struct absence absence = {
		.take = keep_back, .give = give_back, .whose = whose, .rounds = 5,
	};

	block_while_away(&absence);
}

TEST(worker_kept_back) { while_kept_back(WORKER); }
TEST(server_kept_back) { while_kept_back(SERVER); }

static void handled(int signal)
{
	(void)signal;
}

/* A signal comes for the server that sleeps for its page, with work left to it. */
static void signal_and_give_back(int whose)
{
	until_wanted(&kept[whose - 1]);
	ASSERT_EQ(0, tgkill(getpid(), getpid(), SIGUSR1));
	nap(SOON);
	page_give(&kept[whose - 1]);
}

TEST(server_kept_back_and_signalled)
{
	struct absence absence = {
		.take = keep_back, .give = signal_and_give_back, .whose = SERVER,
		.rounds = 5,
	};

	on_signal(SIGUSR1, handled, 0);
	block_while_away(&absence);
}

/* A signal finds the server on the way into its wait, then it can do a report. */
static void *signal_on_its_way(void *arg)
{
	until_wanted(&kept[SERVER - 1]);
	ASSERT_EQ(0, tgkill(getpid(), getpid(), SIGUSR1));
	page_give(&kept[SERVER - 1]);
	until_wanted(&kept[WORKER - 1]);
	page_give(&kept[WORKER - 1]);
	return arg;
}

/* The server is awake when its worker blocks, whose page is away: a report is left to it. */
static void leave_a_report(void (*body)(struct worker *))
{
	long before;

	begin(body);
	EXPECT_EQ(-ETIMEDOUT, umcg_resume(server, w.umcg, from_now(SOON)));
	/* On its way there it would sleep for its page, and report with nothing away. */
	while (!atomic_load(&w.steps))
		nap(MS);
	page_keep(&kept[WORKER - 1], w.umcg);
	before = sleeps(getpid(), w.tid);
	atomic_store(&go, 1);
	/* In state S it may be about to report, and find the server IDLE or away. */
	until_slept(getpid(), w.tid, before + 1);
}

/* It does that in a wait that is restarted, which has nothing else to end for. */
TEST(server_signalled_as_it_reports)
{
	pthread_t thread;

	on_signal(SIGUSR1, handled, 0);
	rounds = 1;
	leave_a_report(await_go_and_pass);
	umcg_set_word(&server->task, IDLE);
	server->task.next_tid = 0;
	page_keep(&kept[SERVER - 1], server);
	ASSERT_EQ(0, pthread_create(&thread, NULL, signal_on_its_way, NULL));
	EXPECT_EQ(0, umcg_sys_wait(0, from_now(10000 * MS)));
	pthread_join(thread, NULL);
	EXPECT_EQ(RUNNING, umcg_word(&server->task));
	EXPECT_EQ(BLOCKED, umcg_word(&w.umcg->task));
	gate_open(&gate);
	until_back(&w);
	EXPECT_EQ(NONE, run_under(server, w.umcg));
	worker_join(&w);
	EXPECT_EQ(0, w.result);
}

static void pass_and_run_on(struct worker *worker)
{
	atomic_store(&worker->steps, 1);
	while (!atomic_load(&go))
		;
	worker->result = gate_pass(&gate) ? 0 : -1;
	while (atomic_load(&go) < 2)
		;
}

/* It comes to do that when the worker is back and runs again: not to be made BLOCKED. */
TEST(back_before_it_is_reported)
{
	leave_a_report(pass_and_run_on);
	page_give(&kept[WORKER - 1]);
	EXPECT_EQ(RUNNING, umcg_word(&w.umcg->task));
	gate_open(&gate);
	until_back(&w);
	/* It has that to do, and does not sleep. */
	EXPECT_EQ(0, umcg_resume(server, w.umcg, 0));
	EXPECT_EQ(RUNNING, umcg_word(&w.umcg->task));
	atomic_store(&go, 2);
	worker_join(&w);
	EXPECT_EQ(0, w.result);
}

/*
 * Compaction moves pages from low memory to high: take the lowest of many, when
 * there is room at the bottom, and give back the rest.
 */
static void *low_page(void)
{
	enum { SIZE = 256 << 20 };
	char *all, *lowest;

	compact_memory();
	all = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS |
		   MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)all);
	lowest = all;
	for (char *page = all; page < all + SIZE; page += 16 * PAGE)
		if (page_frame(page) < page_frame(lowest))
			lowest = page;
	munmap(all, lowest - all);
	munmap(lowest + PAGE, all + SIZE - lowest - PAGE);
	return lowest;
}

static void compact_away(void *page, int whose)
{
	uint64_t frame = page_frame(page);

	(void)whose;
	do
		compact_memory();
	while (page_frame(page) == frame);
}

static void move_away(void *page, int whose)
{
	(void)whose;
	page_to_other_node(page);
}

/* Where there is one node there is no move_pages(), and pages move by compaction. */
static void while_migrating(int whose)
{
	struct absence moved = {
		.take = move_away, .whose = whose, .rounds = 20, .restless = true,
	};
	struct absence compacted = {
		.take = compact_away, .whose = whose, .rounds = 1,
	};

	if (two_nodes()) {
		block_while_away(&moved);
		return;
	}
	server = whose == SERVER ? low_page() : NULL;
	w.umcg = whose == WORKER ? low_page() : NULL;
	block_while_away(&compacted);
}

TEST(worker_migrated) { while_migrating(WORKER); }
TEST(server_migrated) { while_migrating(SERVER); }

/* A fork leaves the pages there, but not to be written before they are copied. */
static void share_with_child(void *page, int whose)
{
	pid_t pid = fork();

	(void)page;
	(void)whose;
	ASSERT_NE(-1, pid);
	if (!pid) {
		for (;;)
			pause();
	}
}

TEST(both_copied_on_write)
{
	struct absence absence = {
		.take = share_with_child, .whose = WORKER, .rounds = 5,
	};

	block_while_away(&absence);
}

static volatile char *touched;

static void await_go_and_touch(struct worker *worker)
{
	atomic_fetch_add(&worker->steps, 1);
	while (!atomic_load(&go))
		;
	(void)*touched;
	atomic_fetch_add(&worker->steps, 1);
}

/* The page fault that sleeps is for the very page the report of it needs. */
static void block_for(volatile void *page, int whose)
{
	struct absence absence = {
		.take = keep_back, .give = give_back, .whose = whose, .round = 1,
	};
	pthread_t thread;

	touched = page;
	ASSERT_EQ(0, pthread_create(&thread, NULL, take_away, &absence));
	EXPECT_EQ(0, umcg_resume(server, w.umcg, 0));
	EXPECT_EQ(1, atomic_load(&w.steps));
	EXPECT_EQ(RUNNING, umcg_word(&server->task));
	pthread_join(thread, NULL);
	until_back(&w);
	EXPECT_EQ(NONE, run_under(server, w.umcg));
	worker_join(&w);
	EXPECT_EQ(2, atomic_load(&w.steps));
}

TEST(fault_on_its_own_structure)
{
	begin(await_go_and_touch);
	block_for(w.umcg, WORKER);
}

TEST(fault_on_its_servers_structure)
{
	begin(await_go_and_touch);
	block_for(server, SERVER);
}

/* Its page goes after it has marked itself, and before the kernel looks. */
static void lock_and_wait(struct worker *worker)
{
	ASSERT_TRUE(umcg_move(&worker->umcg->task, RUNNING, IDLE | LOCKED));
	ASSERT_TRUE(umcg_move(&server->task, IDLE, RUNNING));
	atomic_fetch_add(&worker->steps, 1);
	while (!atomic_load(&go))
		;
	worker->result = umcg_sys_wait(0, 0);
	atomic_fetch_add(&worker->steps, 1);
}

/* It has slept, but LOCKED. Once it is run again it is not sent back for that. */
TEST(fault_in_its_own_wait)
{
	struct absence absence = {
		.take = keep_back, .give = give_back, .whose = WORKER, .round = 1,
	};
	pthread_t thread;

	begin(lock_and_wait);
	ASSERT_EQ(0, pthread_create(&thread, NULL, take_away, &absence));
	EXPECT_EQ(0, umcg_resume(server, w.umcg, 0));
	pthread_join(thread, NULL);
	until_word(&w, IDLE);
	expect_none_queued(&pool);
	EXPECT_EQ(NONE, run_under(server, w.umcg));
	worker_join(&w);
	EXPECT_EQ(2, atomic_load(&w.steps));
	EXPECT_EQ(0, w.result);
}

static void count_up(struct worker *worker)
{
	atomic_fetch_add(&worker->steps, 1);
	while (!atomic_load(&go))
		;
}

/* The signal has the kernel look at a word that is away: the server must hear. */
static void *signal_it_without_its_page(void *arg)
{
	while (!atomic_load(&w.steps))
		sched_yield();
	until_state(getpid(), getpid(), 'S');
	keep_back(w.umcg, WORKER);
	ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR1));
	until_wanted(&kept[WORKER - 1]);
	/* A server that does not hear of it times out. */
	while (umcg_word(&server->task) != RUNNING)
		nap(MS);
	give_back(WORKER);
	return arg;
}

static void do_nothing(int signal)
{
	(void)signal;
}

TEST(fault_at_a_signal)
{
	pthread_t thread;

	on_signal(SIGUSR1, do_nothing, 0);
	begin(count_up);
	ASSERT_EQ(0, pthread_create(&thread, NULL, signal_it_without_its_page, NULL));
	EXPECT_EQ(0, umcg_resume(server, w.umcg, from_now(5000 * MS * ktap_slow)));
	pthread_join(thread, NULL);
	atomic_store(&go, 1);
	until_back(&w);
	EXPECT_EQ(NONE, run_under(server, w.umcg));
	worker_join(&w);
}

/* What a worker needs to come back: its word, the list head, the tid word. */
static void come_back_to(void (*take)(void *, int), void (*give)(int))
{
	struct umcg_pool *far = own_page();

	w.pool = far;
	begin(await_go_and_pass);
	rounds = 1;
	atomic_store(&go, 1);
	ASSERT_EQ(BLOCKED, run_under(server, w.umcg));
	take(far, SERVER);
	take(w.umcg, WORKER);
	gate_open(&gate);
	if (give) {
		give(WORKER);
		give(SERVER);
	}
	until_back(&w);
	EXPECT_EQ(NONE, run_under(server, w.umcg));
	worker_join(&w);
}

TEST(back_to_swapped_memory)
{
	swap_on();
	come_back_to(swap_out, NULL);
	swap_off();
}

TEST(back_to_kept_memory)
{
	come_back_to(keep_back, give_back);
}

/* Who finds it on the list may run it at once: it has to be IDLE by then. */
TEST(idle_before_it_is_listed)
{
	w.pool = own_page();
	begin(await_go_and_pass);
	rounds = 1;
	atomic_store(&go, 1);
	ASSERT_EQ(BLOCKED, run_under(server, w.umcg));
	keep_back(w.pool, SERVER);
	gate_open(&gate);
	until_wanted(&kept[SERVER - 1]);
	EXPECT_EQ(IDLE, umcg_word(&w.umcg->task));
	EXPECT_EQ(1, w.umcg->task.idle_workers_ptr);
	give_back(SERVER);
	until_back(&w);
	EXPECT_EQ(NONE, run_under(server, w.umcg));
	worker_join(&w);
}

/* Its structure is gone for good. */
static void unmap(void *page, int whose)
{
	(void)whose;
	ASSERT_EQ(0, munmap(page, PAGE));
}

static void forbid_writing(void *page, int whose)
{
	(void)whose;
	ASSERT_EQ(0, mprotect(page, PAGE, PROT_READ));
}

static void await_go_and_block(struct worker *worker)
{
	atomic_fetch_add(&worker->steps, 1);
	while (!atomic_load(&go))
		;
	worker->result = gate_pass(&gate) ? 0 : -errno;
}

static void block_without(void *take)
{
	struct absence absence = {
		.take = (void (*)(void *, int))take, .whose = WORKER, .round = 1,
	};
	pthread_t thread;

	w.stays = true;
	begin(await_go_and_block);
	ASSERT_EQ(0, pthread_create(&thread, NULL, take_away, &absence));
	/* Its server is woken all the same. */
	EXPECT_EQ(0, umcg_resume(server, w.umcg, 0));
	EXPECT_EQ(RUNNING, umcg_word(&server->task));
	pthread_join(thread, NULL);
	gate_open(&gate);
	worker_join(&w);
}

TEST(worker_unmapped)
{
	expect_own_fault(block_without, unmap, &w);
}

TEST(worker_write_protected)
{
	expect_own_fault(block_without, forbid_writing, &w);
}

UMCG_TEST_MAIN
