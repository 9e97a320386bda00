/* SPDX-License-Identifier: GPL-2.0 */
/* v0.9.1 for the fuzzer: its words, and the operations that are about them. */
#ifndef FUZZ_V0_9_1_H
#define FUZZ_V0_9_1_H

#include "abi.h"
#include "fuzz-abi.h"

#define NONE		UMCG_TASK_NONE
#define RUNNING		UMCG_TASK_RUNNING
#define IDLE		UMCG_TASK_IDLE
#define BLOCKED		UMCG_TASK_BLOCKED
#define LOCKED		UMCG_TF_LOCKED
#define PREEMPTED	UMCG_TF_PREEMPTED

/* The state and flags of a word. */
static inline uint64_t bare_word(const struct actor *a)
{
	return umcg_bits(umcg_word(&a->u->task));
}

/* Mark a worker that runs PREEMPTED, and signal it; -1 if it does not run. */
int move_and_preempt(struct actor *worker);

/* worker.c */
OPERATION(op_yield); OPERATION(op_yield_far); OPERATION(op_yield_timed);
OPERATION(op_yield_to); OPERATION(op_park); OPERATION(op_worker_wakes);
OPERATION(op_wait_while_running); OPERATION(op_user_bits);
OPERATION(op_preempt_self);
/* server.c */
OPERATION(op_run); OPERATION(op_again); OPERATION(op_wake_worker);
OPERATION(op_wake_nobody); OPERATION(op_wake_missing); OPERATION(op_bad_word);
OPERATION(op_wake_watcher);
/* other.c */
OPERATION(op_bad_flags); OPERATION(op_bad_ctl); OPERATION(op_preempt);
OPERATION(op_stranger); OPERATION(op_bad_register); OPERATION(op_visit);
/* hostile.c */
OPERATION(op_scribble); OPERATION(op_cycle); OPERATION(op_wrong_tid);
OPERATION(op_overlap); OPERATION(op_share); OPERATION(op_mirror);

#endif
