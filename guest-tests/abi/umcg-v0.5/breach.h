/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Workers that break the contract, and what comes of it: SIGSEGV, which is
 * handled here. Each is brought to a place where it is found out, for the test
 * to break what it likes.
 */
#ifndef BREACH_H
#define BREACH_H

#include "crew.h"

#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))

static atomic_int segvs, handled;
static int code, wait_in_handler;

static inline void note(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	code = info->si_code;
	wait_in_handler = umcg_sys_wait(0, 1);
	atomic_fetch_add(&segvs, 1);
}

static inline void count(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
}

static inline void handle_violations(void)
{
	struct sigaction sa = { .sa_sigaction = note, .sa_flags = SA_SIGINFO };

	ASSERT_EQ(0, sigaction(SIGSEGV, &sa, NULL));
	on_signal(SIGUSR1, count, 0);
	become_server();
}

/* It has been through one violation, and is a plain thread. */
static inline void expect_violation(struct worker *w, int result)
{
	worker_join(w);
	EXPECT_EQ(1, atomic_load(&segvs));
	EXPECT_EQ(SI_KERNEL, code);
	EXPECT_EQ(-EINVAL, wait_in_handler);
	EXPECT_EQ(result, w->result);
	EXPECT_EQ(-ESRCH, wake_tid(w->tid, 0));
	atomic_store(&segvs, 0);
	atomic_store(&handled, 0);
	pool.idle_workers = 0;
}

static inline void be_plain(struct worker *w)
{
	EXPECT_EQ(-EINVAL, umcg_sys_ctl(UMCG_CTL_UNREGISTER, NULL));
	EXPECT_EQ(-EINVAL, umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, 0));
	atomic_fetch_add(&w->steps, 1);
}

/* A worker in a wait, found out when it is woken. */
static inline void wait_body(struct worker *w)
{
	ASSERT_TRUE(umcg_move(&w->umcg->task, RUNNING, IDLE | LOCKED));
	ASSERT_TRUE(umcg_move(&me.task, IDLE, RUNNING));
	/* Our structure may be gone after that. */
	w->result = umcg_sys_wait(0, 0);
	be_plain(w);
}

static inline void have_it_wait(struct worker *w)
{
	w->body = wait_body;
	w->stays = true;
	hire(w);
	EXPECT_EQ(0, umcg_resume(&me, w->umcg, 0));
	until_word(w, IDLE);
}

/* A worker that has been reported blocked, found out when it comes back. */
static struct gate gate;

static inline void sleep_body(struct worker *w)
{
	char byte;

	w->result = read(gate.fd[0], &byte, 1) < 0 ? -errno : 0;
	be_plain(w);
}

static inline void have_it_sleep(struct worker *w)
{
	w->body = sleep_body;
	w->stays = true;
	hire(w);
	EXPECT_EQ(0, umcg_resume(&me, w->umcg, 0));
	until_word(w, BLOCKED);
}

/* A worker that runs, found out at a signal. */
static inline void spin_body(struct worker *w)
{
	atomic_fetch_add(&w->steps, 1);
	while (!atomic_load(&segvs) || !atomic_load(&handled))
		sched_yield();
	be_plain(w);
}

static inline void have_it_run(struct worker *w)
{
	w->body = spin_body;
	w->stays = true;
	hire(w);
	EXPECT_EQ(-ETIMEDOUT, umcg_resume(&me, w->umcg, from_now(MS)));
	while (!atomic_load(&w->steps))
		sched_yield();
}

/* 0: may not be touched, 1: not be written, 2: is not there. */
static inline void take_page(void *page, int how)
{
	if (how == 2)
		ASSERT_EQ(0, munmap(page, 4096));
	else
		ASSERT_EQ(0, mprotect(page, 4096, how ? PROT_READ : PROT_NONE));
}

#endif
