/* SPDX-License-Identifier: GPL-2.0 */
/* January 2022 for the fuzzer: its words, and the operations that are about them. */
#ifndef FUZZ_2022_H
#define FUZZ_2022_H

#include "abi.h"
#include "fuzz-abi.h"

#define NONE		UMCG_TASK_NONE
#define RUNNING		UMCG_TASK_RUNNING
#define RUNNABLE	UMCG_TASK_RUNNABLE
#define BLOCKED		UMCG_TASK_BLOCKED
#define COND_WAIT	UMCG_TF_COND_WAIT
#define PREEMPT		UMCG_TF_PREEMPT

/* Bits of user space that are not the port's. */
#define OUR_BITS	0xfff00000U

static inline uint32_t word_of(const struct actor *a)
{
	return umcg_bits(umcg_word(&a->u->task));
}

static inline uint32_t state_of(const struct actor *a)
{
	return umcg_word(&a->u->task) & UMCG_TASK_MASK;
}

/* worker.c */
OPERATION(op_yield); OPERATION(op_yield_far); OPERATION(op_yield_timed);
OPERATION(op_yield_listed); OPERATION(op_yield_to); OPERATION(op_wait_while_running);
OPERATION(op_user_bits); OPERATION(op_preempt_self);
/* server.c */
OPERATION(op_run); OPERATION(op_again); OPERATION(op_kick); OPERATION(op_run_missing);
OPERATION(op_not_runnable); OPERATION(op_kick_watcher);
/* other.c */
OPERATION(op_bad_flags); OPERATION(op_bad_ctl); OPERATION(op_preempt);
OPERATION(op_stranger); OPERATION(op_bad_register); OPERATION(op_visit);
/* hostile.c */
OPERATION(op_scribble); OPERATION(op_cycle); OPERATION(op_share);

#endif
