/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What an ABI gives to the fuzzer beside its port, in abi/<abi>/fuzz/: a table of
 * operations, and what only it can tell of a structure.
 */
#ifndef FUZZ_ABI_H
#define FUZZ_ABI_H

#include <stddef.h>

#include "ops.h"

/*
 * Those of enum in ops.h stand in their places. What an episode does follows from the
 * seed and from this table: a change to it makes other episodes of old seeds.
 */
extern const struct op ops[];
extern const unsigned int n_ops;	/* MAX_OPS at most */

/* What a call may answer where memory is scribbled upon. */
extern const int abi_results[];
extern const unsigned int n_abi_results;

/* What the report of an operation says to which WRONG_ERROR is done. */
extern const char abi_wrong_error[];

/* Judge what a running worker, or one that holds umcg_lock(), sees of itself. */
void abi_check_running(struct actor *worker);
void abi_check_locked(struct actor *worker);

/* Judge the caller's calls after it has unregistered. */
void abi_check_nobody(struct actor *me);

/*
 * Judge a worker from outside; and return whether it stands still until somebody
 * runs it, which means that its token is taken or its `runs` counted first.
 */
bool abi_stands_still(struct actor *me, struct actor *worker);

/* A running worker gives way to its server, with its token out. */
enum outcome abi_give_way(struct actor *worker);

/* A server has gone: leave a token for the worker that would wait for it. */
void abi_bury(struct actor *dead);

/* Fields of a structure, for a report. */
void abi_describe(const struct umcg *seen, char *text, size_t size);
void abi_describe_pool(const struct umcg_pool *pool, char *text, size_t size);

/*
 * The process that watches an episode is a party of its own, and is to have no part
 * in it: begin to be one; and see, with EXPECT_*, that nothing has happened to it.
 */
void abi_watcher_begin(void);
void abi_watcher_check(void);

#endif
