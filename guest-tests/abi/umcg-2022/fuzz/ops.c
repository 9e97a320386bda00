// SPDX-License-Identifier: GPL-2.0
/* All operations: those of the engine, and those of January 2022. */
#include "2022.h"

#define EVERYONE (WORKER | SERVER | OTHER)

const struct op ops[] = {
	[OP_REGISTER] = { "register", "CTL-1", 0, 0, 0, op_register },
	[OP_ENLIST] = { "enlist", "WREG-1", 0, 0, 0, op_enlist },
	[OP_RUN] = { "run", "WRUN-1", 0, 0, 0, op_run },
	[OP_AGAIN] = { "again", "NEXT-3", 0, 0, 0, op_again },
	[OP_ABANDON] = { "abandon", "WLIFE-2", 0, 0, 0, op_abandon },
	[OP_IDLE] = { "idle", "BACK-4", SERVER, 0, 2, op_idle },
	[OP_GIVE_BACK] = { "give_back", "KICK-1", 0, 0, 0, op_give_back },
	[OP_SWITCH] = { "switch", "NEXT-1", SERVER, SWITCHES, 6, op_switch },

	{ "yield", "WRUN-3", WORKER, 0, 12, op_yield },
	{ "yield_far", "WTIME-2", WORKER, TIMED, 4, op_yield_far },
	{ "yield_timed", "WTIME-1", WORKER, TIMED, 4, op_yield_timed },
	{ "yield_listed", "WRUN-2", WORKER, 0, 8, op_yield_listed },
	{ "yield_to", "WRUN-4", WORKER, SWITCHES, 12, op_yield_to },
	{ "wait_while_running", "ARG-4", WORKER, INVALID, 2, op_wait_while_running },
	{ "user_bits", "TASK-3", WORKER, 0, 6, op_user_bits },
	{ "preempt_self", "PRE-1", WORKER, PREEMPTS, 4, op_preempt_self },
	{ "leave", "WREG-4", WORKER, LIVES, 3, op_leave },
	{ "exit", "WLIFE-1", WORKER, LIVES, 1, op_exit },
	{ "fork", "WLIFE-3", WORKER, LIVES, 1, op_fork },

	{ "sleep", "BLOCK-1", WORKER, BLOCKS, 5, op_sleep },
	{ "futex", "BLOCK-2", WORKER, BLOCKS, 4, op_futex },
	{ "echo", "BLOCK-2", WORKER, BLOCKS, 6, op_echo },
	{ "mutex", "BLOCK-2", WORKER, BLOCKS, 6, op_mutex },
	{ "fault", "BLOCK-2", WORKER, 0, 4, op_fault },
	{ "sched_yield", "BLOCK-7", WORKER, 0, 3, op_sched_yield },
	{ "compute", "BLOCK-7", WORKER, 0, 6, op_compute },
	{ "signal_self", "PRE-3", WORKER, SIGNALS, 3, op_signal_self },

	{ "serve", "WRUN-1", SERVER, 0, 60, op_serve },
	{ "requeue", "WRUN-5", SERVER, WAKES, 8, op_requeue },
	{ "wake_server", "KICK-1", SERVER, WAKES, 4, op_wake_server },
	{ "kick", "KICK-2", EVERYONE, WAKES, 3, op_kick },
	{ "wait_timed", "TIME-2", SERVER, TIMED, 3, op_wait_timed },
	{ "reregister", "CTL-12", SERVER, LIVES, 2, op_reregister },
	{ "run_missing", "NEXT-4", SERVER, INVALID, 2, op_run_missing },
	{ "not_runnable", "ARG-4", SERVER, INVALID, 2, op_not_runnable },
	{ "kick_watcher", "MM-1", SERVER, INVALID, 1, op_kick_watcher },

	{ "bad_flags", "ARG-2", EVERYONE, INVALID, 2, op_bad_flags },
	{ "bad_ctl", "CTL-9", WORKER | SERVER, INVALID, 2, op_bad_ctl },
	{ "preempt", "PRE-1", OTHER, PREEMPTS, 8, op_preempt },
	{ "signal", "WSIG-1", OTHER, SIGNALS, 8, op_signal },
	{ "sample", "BLOCK-1", OTHER, 0, 10, op_sample },
	{ "drop", "BLOCK-6", OTHER, DROPS, 6, op_drop },
	{ "stranger", "ARG-1", OTHER, INVALID, 2, op_stranger },
	{ "bad_register", "CTL-10", OTHER, INVALID, 4, op_bad_register },
	{ "visit", "CTL-1", OTHER, LIVES, 2, op_visit },

	{ "protect", "VIOL-1", VILLAIN, 0, 3, op_protect },
	{ "unmap", "VIOL-1", VILLAIN, 0, 3, op_unmap },
	{ "scribble", "VIOL-2", VILLAIN, 0, 6, op_scribble },
	{ "cycle", "BACK-1", VILLAIN, 0, 2, op_cycle },
	{ "merge", "VIOL-3", VILLAIN, 0, 2, op_merge },
	{ "share", "VIOL-2", VILLAIN, 0, 2, op_share },
};

const unsigned int n_ops = sizeof(ops) / sizeof(ops[0]);

_Static_assert(sizeof(ops) / sizeof(ops[0]) <= MAX_OPS, "MAX_OPS is too small");
