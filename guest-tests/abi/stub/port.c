// SPDX-License-Identifier: GPL-2.0
/* There is nothing to call: every call answers ENOSYS, and every capability lacks. */
#include <errno.h>
#include <stddef.h>

#include "abi.h"

/* It is the ABI that is missing, not the kernel that fails to have it. */
enum umcg_kernel umcg_kernel(void)
{
	return UMCG_HERE;
}

const char *umcg_lacks(unsigned int capabilities)
{
	return capabilities ? "the stub has no system calls" : NULL;
}

clockid_t umcg_clock(void)
{
	return CLOCK_MONOTONIC;
}

uint64_t umcg_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

int umcg_register_server(struct umcg *me, struct umcg_pool *pool)
{
	(void)me;
	(void)pool;
	return -ENOSYS;
}

int umcg_unregister(struct umcg *me)
{
	(void)me;
	return -ENOSYS;
}

int umcg_register_worker(struct umcg *me, struct umcg_pool *pool)
{
	(void)me;
	(void)pool;
	return -ENOSYS;
}

int umcg_wait(struct umcg *me, uint64_t deadline)
{
	(void)me;
	(void)deadline;
	return -ENOSYS;
}

int umcg_wake(struct umcg *me, struct umcg *other)
{
	(void)me;
	(void)other;
	return -ENOSYS;
}

int umcg_switch(struct umcg *me, struct umcg *other, uint64_t deadline)
{
	(void)me;
	(void)other;
	(void)deadline;
	return -ENOSYS;
}

int umcg_run(struct umcg *me, struct umcg *worker, uint64_t deadline)
{
	(void)me;
	(void)worker;
	(void)deadline;
	return -ENOSYS;
}

int umcg_run_on(struct umcg *me, struct umcg *worker, uint64_t deadline)
{
	(void)me;
	(void)worker;
	(void)deadline;
	return -ENOSYS;
}

int umcg_resume(struct umcg *me, struct umcg *worker, uint64_t deadline)
{
	(void)me;
	(void)worker;
	(void)deadline;
	return -ENOSYS;
}

int umcg_requeue(struct umcg *me, struct umcg *worker)
{
	(void)me;
	(void)worker;
	return -ENOSYS;
}

int umcg_preempt(struct umcg *worker, int signal)
{
	(void)worker;
	(void)signal;
	return -ENOSYS;
}

int umcg_await_idle(struct umcg *me, struct umcg_pool *pool, uint64_t deadline)
{
	(void)me;
	(void)pool;
	(void)deadline;
	return -ENOSYS;
}

int umcg_yield(struct umcg *me, uint64_t deadline)
{
	(void)me;
	(void)deadline;
	return -ENOSYS;
}

int umcg_yield_to(struct umcg *me, struct umcg *other, uint64_t deadline)
{
	(void)me;
	(void)other;
	(void)deadline;
	return -ENOSYS;
}

int umcg_give_way(struct umcg *me)
{
	(void)me;
	return -ENOSYS;
}

bool umcg_is_nobody(void)
{
	return true;
}

struct umcg *umcg_take_idle(struct umcg_pool *pool)
{
	(void)pool;
	return NULL;
}

struct umcg *umcg_next_idle(struct umcg *worker)
{
	(void)worker;
	return NULL;
}

bool umcg_any_idle(struct umcg_pool *pool)
{
	(void)pool;
	return false;
}

bool umcg_pool_unused(struct umcg_pool *pool)
{
	(void)pool;
	return true;
}

bool umcg_lock(struct umcg *me)
{
	(void)me;
	return false;
}

void umcg_unlock(struct umcg *me)
{
	(void)me;
}

struct umcg *umcg_server(struct umcg *me)
{
	(void)me;
	return NULL;
}

int umcg_kills_with(void)
{
	return 0;
}

enum umcg_state umcg_state(struct umcg *umcg)
{
	(void)umcg;
	return UMCG_IS_NOBODY;
}
