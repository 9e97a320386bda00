/* SPDX-License-Identifier: GPL-2.0 */
/* What threads do, one operation at a time. */
#ifndef FUZZ_OPS_H
#define FUZZ_OPS_H

#include "model.h"

enum outcome {
	REFUSED,	/* an error, and a legal one */
	DONE,
	NOTHING,	/* there was nothing to do it with: this does not count */
};

struct op {
	const char *name;
	const char *clause;	/* of the ABI, the one it is mostly about */
	enum role roles;
	enum feature needs;	/* 0: every episode has it */
	unsigned int weight;
	enum outcome (*run)(struct actor *me);
};

/* Those that the code speaks of; the rest are known by their place in ops[]. */
enum {
	OP_REGISTER, OP_ENLIST, OP_RUN, OP_AGAIN, OP_ABANDON, OP_IDLE, OP_GIVE_BACK,
	OP_SWITCH,
};

/* Do one operation: count it, remember it. */
enum outcome perform(struct actor *me, const struct op *op);

/* Choose one that the thread's role and the episode's features allow; do one. */
const struct op *choose(struct actor *me);
void step(struct actor *me);

/* Work out what those are. */
void ops_prepare(void);

/* Threads. */
void *worker_body(void *actor);
void *server_body(void *actor);
void *other_body(void *actor);
void *echo_body(void *unused);
void become(struct actor *me);

void doze(struct rng *rng, unsigned int microseconds);
int send_signal(struct actor *to);

/* Leave tokens for all idle workers of a pool; true if there were some. */
bool collect(struct actor *server, struct umcg_pool *pool);

/* Any worker or server, and its page or that of a pool. */
struct actor *any_worker(struct actor *me);
struct actor *any_party(struct actor *me);
void *any_page(struct actor *me);

/* Start a thread that nobody joins. */
bool spawn_extra(void *(*body)(void *), void *arg);

extern int echo_pipes[4];	/* to the echo and back */
extern pthread_mutex_t pi_mutex;

#define OPERATION(_name) enum outcome _name(struct actor *me)
/* Operations for the table of any ABI: they stand on port.h. */
/* worker.c */
OPERATION(op_enlist); OPERATION(op_lock); OPERATION(op_lock_and_sleep);
OPERATION(op_leave); OPERATION(op_exit); OPERATION(op_fork);
/* blocks.c */
OPERATION(op_sleep); OPERATION(op_futex); OPERATION(op_echo);
OPERATION(op_mutex); OPERATION(op_fault); OPERATION(op_sched_yield);
OPERATION(op_compute); OPERATION(op_signal_self);
/* server.c */
OPERATION(op_register); OPERATION(op_serve); OPERATION(op_abandon);
OPERATION(op_idle); OPERATION(op_give_back); OPERATION(op_requeue);
OPERATION(op_wake_server); OPERATION(op_switch); OPERATION(op_wait_timed);
OPERATION(op_reregister);
/* other.c */
OPERATION(op_signal); OPERATION(op_sample); OPERATION(op_drop);
/* hostile.c */
OPERATION(op_protect); OPERATION(op_unmap); OPERATION(op_merge);

#endif
