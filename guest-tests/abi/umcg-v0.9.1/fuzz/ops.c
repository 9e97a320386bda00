// SPDX-License-Identifier: GPL-2.0
/* All operations: those of the engine, and v0.9.1's own. */
#include "v0.9.1.h"

#define EVERYONE (WORKER | SERVER | OTHER)

const struct op ops[] = {
	[OP_REGISTER] = { "register", "CTL-1", 0, 0, 0, op_register },
	[OP_ENLIST] = { "enlist", "WREG-1", 0, 0, 0, op_enlist },
	[OP_RUN] = { "run", "WRUN-1", 0, 0, 0, op_run },
	[OP_AGAIN] = { "again", "BLOCK-4", 0, 0, 0, op_again },
	[OP_ABANDON] = { "abandon", "WLIFE-2", 0, 0, 0, op_abandon },
	[OP_IDLE] = { "idle", "WIDLE-1", SERVER, 0, 2, op_idle },
	[OP_GIVE_BACK] = { "give_back", "SWITCH-5", 0, 0, 0, op_give_back },
	[OP_SWITCH] = { "switch", "SWITCH-1", SERVER, SWITCHES, 6, op_switch },

	{ "yield", "WRUN-2", WORKER, 0, 12, op_yield },
	{ "yield_far", "WTIME-2", WORKER, TIMED, 4, op_yield_far },
	{ "yield_timed", "WTIME-1", WORKER, TIMED, 4, op_yield_timed },
	{ "yield_to", "WRUN-3", WORKER, SWITCHES, 12, op_yield_to },
	{ "park", "WRUN-8", WORKER, WAKES, 6, op_park },
	{ "worker_wakes", "WWAKE-3", WORKER, WAKES, 4, op_worker_wakes },
	{ "wait_while_running", "WRUN-5", WORKER, INVALID, 2, op_wait_while_running },
	{ "lock", "WPREEMPT-3", WORKER, 0, 6, op_lock },
	{ "lock_and_sleep", "BLOCK-3", WORKER, BLOCKS, 2, op_lock_and_sleep },
	{ "user_bits", "TASK-2", WORKER, 0, 6, op_user_bits },
	{ "preempt_self", "WPREEMPT-1", WORKER, PREEMPTS, 4, op_preempt_self },
	{ "leave", "WREG-5", WORKER, LIVES, 3, op_leave },
	{ "exit", "WLIFE-1", WORKER, LIVES, 1, op_exit },
	{ "fork", "WLIFE-3", WORKER, LIVES, 1, op_fork },

	{ "sleep", "BLOCK-1", WORKER, BLOCKS, 5, op_sleep },
	{ "futex", "BLOCK-2", WORKER, BLOCKS, 4, op_futex },
	{ "echo", "BLOCK-2", WORKER, BLOCKS, 6, op_echo },
	{ "mutex", "BLOCK-2", WORKER, BLOCKS, 6, op_mutex },
	{ "fault", "WRUN-4", WORKER, 0, 4, op_fault },
	{ "sched_yield", "BLOCK-7", WORKER, 0, 3, op_sched_yield },
	{ "compute", "WRUN-4", WORKER, 0, 6, op_compute },
	{ "signal_self", "WPREEMPT-4", WORKER, SIGNALS, 3, op_signal_self },

	{ "serve", "WRUN-1", SERVER, 0, 60, op_serve },
	{ "requeue", "WWAKE-1", SERVER, WAKES, 8, op_requeue },
	{ "wake_server", "WAKE-1", SERVER, WAKES, 4, op_wake_server },
	{ "wake_worker", "WWAKE-2", SERVER, WAKES, 4, op_wake_worker },
	{ "wait_timed", "TIME-2", SERVER, TIMED, 3, op_wait_timed },
	{ "reregister", "CTL-7", SERVER, LIVES, 2, op_reregister },
	{ "wake_nobody", "WAKE-4", SERVER, INVALID, 2, op_wake_nobody },
	{ "wake_missing", "WAKE-6", SERVER, INVALID, 2, op_wake_missing },
	{ "bad_word", "ARG-5", SERVER, INVALID, 2, op_bad_word },
	{ "wake_watcher", "MM-1", SERVER, INVALID, 1, op_wake_watcher },

	{ "bad_flags", "ARG-2", EVERYONE, INVALID, 2, op_bad_flags },
	{ "bad_ctl", "CTL-10", WORKER | SERVER, INVALID, 2, op_bad_ctl },
	{ "preempt", "WPREEMPT-1", OTHER, PREEMPTS, 8, op_preempt },
	{ "signal", "WSIG-1", OTHER, SIGNALS, 8, op_signal },
	{ "sample", "WRUN-4", OTHER, 0, 10, op_sample },
	{ "drop", "BLOCK-6", OTHER, DROPS, 6, op_drop },
	{ "stranger", "ARG-1", OTHER, INVALID, 2, op_stranger },
	{ "bad_register", "CTL-12", OTHER, INVALID, 4, op_bad_register },
	{ "visit", "CTL-1", OTHER, LIVES, 2, op_visit },

	{ "protect", "WVIOL-2", VILLAIN, 0, 3, op_protect },
	{ "unmap", "WVIOL-1", VILLAIN, 0, 3, op_unmap },
	{ "scribble", "WVIOL-1", VILLAIN, 0, 6, op_scribble },
	{ "cycle", "WIDLE-3", VILLAIN, 0, 2, op_cycle },
	{ "wrong_tid", "WIDLE-2", VILLAIN, 0, 2, op_wrong_tid },
	{ "merge", "WVIOL-2", VILLAIN, 0, 2, op_merge },
	{ "overlap", "WVIOL-1", VILLAIN, 0, 3, op_overlap },
	{ "share", "CTL-13", VILLAIN, 0, 2, op_share },
	{ "mirror", "VIOL-4", VILLAIN, 0, 1, op_mirror },
};

const unsigned int n_ops = sizeof(ops) / sizeof(ops[0]);

_Static_assert(sizeof(ops) / sizeof(ops[0]) <= MAX_OPS, "MAX_OPS is too small");
