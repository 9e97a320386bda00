// SPDX-License-Identifier: GPL-2.0
/*
 * The steal race (R28), in each of its orders: A, under S0, runs C and waits; S1 takes
 * the list of S0 and runs A, while the kernel has yet to run C, or fails to.
 *
 * It is for an exact guest (kit/stepping.h). S1 has A go on by some instructions at a
 * time, and between them looks at the words, which do not change meanwhile: they say how
 * far A is. In a script each step of S1 has a place there. S1 keeps to the script; if A
 * comes past a place in one go, it is tried again with A begun a few instructions later.
 * A script that never comes about is a failure, so each order has been seen when the test
 * passes.
 *
 * S1 takes one step at a time, in all places; of what the kernel does for S1 in one call
 * nothing is seen in between. There it is one compare-and-exchange of the word of A, and
 * a wakeup: WAIT-2, which the steps WRITE and KICK have apart.
 */
#include "away.h"
#include "staff.h"
#include "stepping.h"

/* How far A is, as others can see. */
enum place {
	RUNS_STILL,	/* it is about to wait */
	MARKED,		/* RUNNABLE|COND_WAIT */
	WAITS,		/* RUNNABLE: the kernel knows that it waits */
	C_RUNS,		/* C is RUNNING, by the kernel */
	C_IS_SAID,	/* and next_tid says so */
	LINKED,		/* A has what was in the list of S0 behind it */
	LISTED,		/* and is in it */
	S0_RUNS,	/* S0 is RUNNING, by the kernel */
	OTHERS_RUN,	/* A has left its CPU to C and S0, or been run */
	FAILED,		/* instead of C_RUNS and all that follows: A has an error */
	PLACES
};

static const char *const places[] = {
	"runs still", "marked", "waits", "C runs", "C is said", "linked", "listed",
	"S0 runs", "others run", "failed",
};

/* Why C cannot be run: from a place of the script on, or, the last two, from the start. */
enum reason { NO_REASON, IS_RUNNING, IS_BLOCKED, IS_NOBODY, IS_UNREADABLE, REASONS };

static const char *const reasons[] = {
	"can be run", "is running", "is blocked", "is nobody", "is out of reach",
};

static const int errors[] = { 0, -EAGAIN, -EAGAIN, -ESRCH, -EFAULT };

#define STEPS	4

/* What S1 does, in this order: by a call, or, as user space can as well, by hand. */
enum step { TAKE, POINT, MARK, CALL, WRITE = MARK, KICK = CALL };

struct script {
	enum reason reason;
	enum place spoilt;		/* where C becomes what it is by that reason */
	enum place looks;		/* where S1 looks for A in vain; PLACES: wherever */
	bool by_hand;
	enum place at[STEPS];		/* of its steps, if it is not a look that matters */
};

#define POISON	UINT64_C(0x5a5a5a40)
#define TRIES	500

static struct worker a;
static struct worker *c;
static struct umcg s0;
static struct peer s0_thread;
static uint32_t next_tid;
static sem_t s0_may_run;
static atomic_bool s0_may_leave, s0_is_back, go, at_the_start, a_is_back, c_has_run;
static uint32_t a_word, a_next_tid;	/* when its call has returned */
static bool taken, a_was_run, s0_was_told, c_fails;
static unsigned int delay;	/* of A, before it begins: turns of a loop */

/* All that tells, as it is at one time. */
struct view {
	uint64_t first, link;		/* in the list of S0, and behind A */
	uint32_t a, c, s0;		/* words */
	uint32_t next;			/* of A */
	bool c_has_run, s0_is_back, a_is_back;
};

static void glance(struct view *view)
{
	memset(view, 0, sizeof(*view));
	view->first = __atomic_load_n(&s0.task.runnable_workers_ptr, __ATOMIC_SEQ_CST);
	view->link = __atomic_load_n(&a.own.task.runnable_workers_ptr, __ATOMIC_SEQ_CST);
	view->a = umcg_bits(umcg_word(&a.own.task));
	/* It may be out of reach. */
	view->c = c_fails ? NONE : umcg_bits(umcg_word(&c->own.task));
	view->s0 = umcg_bits(umcg_word(&s0.task));
	view->next = __atomic_load_n(&a.own.task.next_tid, __ATOMIC_SEQ_CST);
	view->c_has_run = atomic_load(&c_has_run);
	view->s0_is_back = atomic_load(&s0_is_back);
	view->a_is_back = atomic_load(&a_is_back);
}

/* What A's call has come to, and that it has come to that in order. */
static enum place look(void)
{
	struct view view, again;
	bool listed, c_runs;

	glance(&again);
	do {
		/* An interrupt may have had A go on. */
		memcpy(&view, &again, sizeof(view));
		glance(&again);
	} while (memcmp(&view, &again, sizeof(view)));
	s0_was_told |= view.s0 == RUNNING;
	if (view.a_is_back && !a_was_run)
		return FAILED;
	listed = taken || umcg_of(view.first) == &a.own;
	c_runs = view.c == RUNNING || view.c_has_run;
	if (view.c_has_run || view.s0_is_back || view.a_is_back) {
		ASSERT_TRUE(listed && (s0_was_told || view.s0_is_back));
		return OTHERS_RUN;
	}
	/* Each is there only if those before it are. */
	if (s0_was_told)
		ASSERT_TRUE(listed);
	if (listed)
		ASSERT_NE(POISON, view.link);
	if (view.link != POISON)
		ASSERT_EQ(next_tid | RUNS, view.next);
	if (view.next & RUNS)
		ASSERT_TRUE(c_runs);
	if (s0_was_told)
		return S0_RUNS;
	if (listed)
		return LISTED;
	if (view.link != POISON)
		return LINKED;
	if (view.next & RUNS)
		return C_IS_SAID;
	if (c_runs)
		return C_RUNS;
	if (view.a == RUNNABLE)
		return WAITS;
	return view.a == (RUNNABLE | COND_WAIT) ? MARKED : RUNS_STILL;
}

static void run_c(struct worker *worker)
{
	worker->own.task.runnable_workers_ptr = POISON;
	atomic_store(&at_the_start, true);
	while (!atomic_load(&go))
		relax();
	count_down(delay);
	worker->result = wait_with(&worker->own, next_tid, 0, 0);
	a_word = umcg_word(&worker->own.task);
	a_next_tid = worker->own.task.next_tid;
	atomic_fetch_add(&worker->steps, 1);
	atomic_store(&a_is_back, true);
	stop(worker);
}

static void be_run(struct worker *worker)
{
	atomic_fetch_add(&worker->steps, 1);
	atomic_store(&c_has_run, true);
	worker->result = stop(worker);
}

/* S0: run A. What it does when it is back is no part of the race. */
static void *serve(void *arg)
{
	pin(0, STEPPED);
	ASSERT_EQ(0, enrol(&s0, 0));
	atomic_store(&s0_thread.tid, gettid());
	while (sem_wait(&s0_may_run))
		;
	a.own.task.server_tid = s0.tid;
	EXPECT_EQ(0, wait_with(&s0, a.tid, 0, 0));
	atomic_store(&s0_is_back, true);
	while (!atomic_load(&s0_may_leave))
		nap(MS);
	ASSERT_EQ(0, leave(&s0, 0));
	return arg;
}

/* Both stopped, in no list; C in a page of its own. */
static void set_up(void)
{
	memset(&a, 0, sizeof(a));
	memset(c, 0, sizeof(*c));
	memset(&s0_thread, 0, sizeof(s0_thread));
	atomic_store(&go, false);
	atomic_store(&at_the_start, false);
	atomic_store(&a_is_back, false);
	atomic_store(&c_has_run, false);
	atomic_store(&s0_is_back, false);
	atomic_store(&s0_may_leave, false);
	taken = a_was_run = s0_was_told = c_fails = false;
	pin(0, STEPPED);
	ASSERT_EQ(0, pthread_create(&s0_thread.thread, NULL, serve, NULL));
	while (!atomic_load(&s0_thread.tid))
		nap(MS);
	a.body = run_c;
	c->body = be_run;
	a.under = c->under = &s0;
	hire(&a);
	hire(c);
	next_tid = c->tid;
	c->own.task.server_tid = s0.tid;
	pin(0, STEPPING);
}

/* Have A be where it is about to wait. */
static void get_ready(void)
{
	await_tick();
	ASSERT_EQ(0, sem_post(&s0_may_run));
	while (!atomic_load(&at_the_start))
		relax();
	brake_on();
}

/* Somebody else runs C, or so it looks; false if A has been first. */
static bool spoil(enum reason reason)
{
	if (!umcg_move(&c->own.task, RUNNABLE, reason == IS_RUNNING ? RUNNING : BLOCKED))
		return false;
	if (!atomic_load(&c_has_run))
		return true;
	/* An interrupt has let A run it, and it has stopped. */
	umcg_set_word(&c->own.task, RUNNABLE);
	return false;
}

static void spoil_from_the_start(enum reason reason)
{
	c_fails = reason >= IS_NOBODY;
	if (reason == IS_NOBODY)
		next_tid = gone_thread();
	if (reason == IS_UNREADABLE)
		ASSERT_EQ(0, mprotect(c, PAGE, PROT_NONE));
}

static void mend(enum reason reason)
{
	if (reason == IS_UNREADABLE)
		ASSERT_EQ(0, mprotect(c, PAGE, PROT_READ | PROT_WRITE));
	else if (reason != IS_NOBODY)
		umcg_set_word(&c->own.task, RUNNABLE);
}

static void do_step(const struct script *script, enum step step)
{
	switch (step) {
	case TAKE:
		ASSERT_EQ(&a.own, take(&s0));
		taken = true;
		break;
	case POINT:
		a.own.task.server_tid = me.tid;
		break;
	case MARK:
		a_was_run = script->by_hand;
		if (script->by_hand) {
			ASSERT_TRUE(umcg_move(&a.own.task, RUNNABLE, RUNNING));
		} else {
			me.task.next_tid = a.tid;
			ASSERT_TRUE(umcg_mark(&me));
		}
		break;
	default:
		a_was_run = true;
		/* A goes on by itself. */
		brake_off();
		if (script->by_hand)
			ASSERT_EQ(0, umcg_sys_kick(0, a.tid));
		else
			ASSERT_EQ(0, umcg_sys_wait(0, 0));
	}
}

/*
 * Go through a script. Return whether it has come about: if not, S1 has done what was
 * left of it as soon as it could.
 */
static bool follow(const struct script *script)
{
	bool as_written = true, spoilt = !script->reason || c_fails;
	bool steps_matter = script->looks == PLACES, looked = steps_matter;
	int step = 0;

	for (;;) {
		enum place at = look();

		if (!spoilt && at >= script->spoilt) {
			spoilt = true;
			c_fails = at < C_RUNS && spoil(script->reason);
			as_written &= c_fails && at == script->spoilt && look() == at;
			continue;
		}
		if (at < LISTED || at == FAILED) {
			/* Not yet, or never; unless an interrupt has had A go on since. */
			taken = take(&s0);
			if (taken) {
				ASSERT_TRUE(!c_fails && look() >= LISTED);
				as_written &= !steps_matter;
				step = TAKE + 1;
				continue;
			}
			looked |= at == script->looks;
		}
		if (at == FAILED)
			break;
		while (step < STEPS && at >= LISTED && at >= script->at[step]) {
			as_written &= !steps_matter || at == script->at[step];
			do_step(script, step++);
			at = look();
		}
		if (step == STEPS)
			break;
		go_on();
	}
	brake_off();
	return as_written && looked;
}

/* A has the error, and is RUNNING under S0; nobody could take it, and C was not run. */
static void judge_failure(enum reason reason)
{
	EXPECT_EQ(errors[reason], a.result);
	EXPECT_EQ(RUNNING, a_word);
	EXPECT_EQ(next_tid, a_next_tid);
	EXPECT_EQ(POISON, a.own.task.runnable_workers_ptr);
	until_state_is(&a, RUNNABLE);
	EXPECT_EQ(1, atomic_load(&a.steps));
	EXPECT_EQ(s0.tid, a.own.task.server_tid);
	EXPECT_EQ(0, atomic_load(&c->steps));
	EXPECT_FALSE(atomic_load(&c_has_run));
}

/* A was run under S1, and C under S0, each of them once. */
static void judge_success(void)
{
	while (!atomic_load(&a_is_back))
		nap(MS);
	EXPECT_EQ(0, a.result);
	EXPECT_EQ(RUNNING, a_word);
	EXPECT_EQ(next_tid | RUNS, a_next_tid);
	until_state_is(&a, RUNNABLE);
	until_state_is(c, RUNNABLE);
	EXPECT_EQ(1, atomic_load(&a.steps));
	EXPECT_EQ(1, atomic_load(&c->steps));
	EXPECT_EQ(me.tid, a.own.task.server_tid);
	EXPECT_EQ(s0.tid, c->own.task.server_tid);
}

static bool attempt(const struct script *script)
{
	bool done;

	set_up();
	spoil_from_the_start(script->reason);
	get_ready();
	atomic_store(&go, true);
	done = follow(script);
	if (c_fails) {
		mend(script->reason);
		judge_failure(script->reason);
	} else {
		judge_success();
	}
	/* Nobody is left anywhere, and S0 has heard of what it ran. */
	while (!atomic_load(&s0_is_back))
		nap(MS);
	expect_none_listed(&s0);
	expect_none_listed(&me);
	finish_in_time(&a);
	/* It stops on the way, if it was not run before. */
	while (run(c) != NONE)
		;
	worker_join(c);
	take(&me);
	atomic_store(&s0_may_leave, true);
	pthread_join(s0_thread.thread, NULL);
	return done;
}

static void tell(const struct script *script, const char *what, int tries)
{
	if (script->reason || script->looks < PLACES)
		TH_LOG("C %s, from where A '%s'; S1 looks where A '%s': %s %d",
		       reasons[script->reason], places[script->spoilt],
		       script->looks < PLACES ? places[script->looks] : "is", what, tries);
	else
		TH_LOG("A is run by %s, steps where it '%s' '%s' '%s' '%s': %s %d",
		       script->by_hand ? "hand" : "a call", places[script->at[TAKE]],
		       places[script->at[POINT]], places[script->at[MARK]],
		       places[script->at[CALL]], what, tries);
}

/*
 * Have it come about. From try to try A is some instructions later, so that it is at each
 * of its instructions in turn when a slice of it ends.
 */
static void have(const struct script *script)
{
	for (int tries = 0; tries < TRIES; tries++) {
		delay = tries;
		if (attempt(script)) {
			tell(script, "came about in try", tries + 1);
			return;
		}
	}
	tell(script, "never, tries", TRIES);
	ktap_fail();
}

static void begin(void)
{
	begin_stepping();
	c = own_page();
	_Static_assert(sizeof(*c) <= PAGE, "C has one page");
	ASSERT_EQ(0, sem_init(&s0_may_run, 0, 0));
	become_server();
}

TEST(every_order, .clauses = "WRUN-2 WRUN-5 WRUN-6 WAIT-2 R28", .deadline = 600)
{
	struct script script = { .looks = PLACES };
	enum place *at = script.at;

	begin();
	for (int by_hand = 0; by_hand < 2; by_hand++) {
		script.by_hand = by_hand;
		for (at[TAKE] = LISTED; at[TAKE] <= OTHERS_RUN; at[TAKE]++)
			for (at[POINT] = at[TAKE]; at[POINT] <= OTHERS_RUN; at[POINT]++)
				for (at[MARK] = at[POINT]; at[MARK] <= OTHERS_RUN; at[MARK]++)
					for (at[CALL] = at[MARK]; at[CALL] <= OTHERS_RUN; at[CALL]++)
						have(&script);
	}
}

TEST(too_early, .clauses = "WRUN-6 NEXT-1 BACK-1 R28", .deadline = 600)
{
	struct script script = { .at = { LISTED, LISTED, LISTED, LISTED } };

	begin();
	for (script.looks = RUNS_STILL; script.looks < LISTED; script.looks++)
		have(&script);
}

TEST(every_reason, .clauses = "WRUN-6 NEXT-2 NEXT-4 ARG-5 R28 R36", .deadline = 600)
{
	static const enum place looks[] = { RUNS_STILL, MARKED, WAITS, FAILED };
	struct script script = { .at = { LISTED, LISTED, LISTED, LISTED } };

	begin();
	for (script.reason = IS_RUNNING; script.reason < REASONS; script.reason++) {
		enum place last = script.reason < IS_NOBODY ? WAITS : RUNS_STILL;

		for (script.spoilt = RUNS_STILL; script.spoilt <= last; script.spoilt++)
			for (int i = 0; i < 4; i++) {
				script.looks = looks[i];
				have(&script);
			}
	}
}

UMCG_TEST_MAIN
