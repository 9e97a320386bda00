// SPDX-License-Identifier: GPL-2.0
/* No operations, and so nothing that is ever called: the fuzzer skips for want of workers. */
#include "abi.h"
#include "fuzz-abi.h"

const struct op ops[] = { };
const unsigned int n_ops = 0;
const int abi_results[] = { 0 };
const unsigned int n_abi_results = 1;
const char abi_wrong_error[] = "";

void abi_check_running(struct actor *worker)
{
	(void)worker;
}

void abi_check_locked(struct actor *worker)
{
	(void)worker;
}

void abi_check_nobody(struct actor *me)
{
	(void)me;
}

bool abi_stands_still(struct actor *me, struct actor *worker)
{
	(void)me;
	(void)worker;
	return false;
}

enum outcome abi_give_way(struct actor *worker)
{
	(void)worker;
	return NOTHING;
}

void abi_bury(struct actor *dead)
{
	(void)dead;
}

void abi_describe(const struct umcg *seen, char *text, size_t size)
{
	(void)seen;
	(void)size;
	*text = '\0';
}

void abi_describe_pool(const struct umcg_pool *pool, char *text, size_t size)
{
	(void)pool;
	(void)size;
	*text = '\0';
}

void abi_watcher_begin(void)
{
}

void abi_watcher_check(void)
{
}
