// SPDX-License-Identifier: GPL-2.0
/* What has to hold of words and tids: see fuzz-abi.h. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "kit.h"
#include "2022.h"

const int abi_results[] = { 0, -EINVAL, -EFAULT, -ESRCH, -ETIMEDOUT, -EAGAIN,
			    -EBUSY };
const unsigned int n_abi_results = sizeof(abi_results) / sizeof(abi_results[0]);
const char abi_wrong_error[] = "bad_flags: result -22";

void abi_check_running(struct actor *w)
{
	unsigned int runs = atomic_load(&w->runs);
	uint32_t word = umcg_word(&w->u->task), tid, theirs;
	struct umcg *server = __atomic_load_n(&w->u->server, __ATOMIC_SEQ_CST);

	if ((word & OUR_BITS) != w->bits)
		broken(w, "word %#x, its bits were %#x", word, w->bits);
	if ((word & UMCG_TASK_MASK) != RUNNING || word & COND_WAIT)
		broken(w, "word %#x of a worker that runs", word);
	/* One whose server has gone, if only to come back, runs on. */
	if (has(DEATHS) || has(LIVES) || !server)
		return;
	tid = __atomic_load_n(&w->u->task.server_tid, __ATOMIC_SEQ_CST);
	theirs = __atomic_load_n(&server->task.next_tid, __ATOMIC_SEQ_CST) & UMCG_TID_MASK;
	/* Preempted and run again in between, it has compared old with new. */
	if (runs != atomic_load(&w->runs))
		return;
	if (tid != server->tid)
		broken(w, "runs under %u, was run by %u", tid, server->tid);
	if (theirs != w->u->tid)
		broken(w, "runs under %u, which runs %u", tid, theirs);
}

/* Nobody can be. */
void abi_check_locked(struct actor *w)
{
	broken(w, "is locked");
}

void abi_check_nobody(struct actor *me)
{
	LEGAL(me, umcg_sys_wait(0, 0), -EINVAL);
	LEGAL(me, umcg_sys_ctl(UMCG_CTL_UNREGISTER, &me->u->task, 0), -EINVAL);
}

bool abi_stands_still(struct actor *me, struct actor *w)
{
	bool parked = atomic_load(&w->parked);
	uint32_t word = word_of(w), state = word & UMCG_TASK_MASK;

	if (state > BLOCKED || word & ~(UMCG_TASK_MASK | PREEMPT | COND_WAIT) ||
	    (word & PREEMPT && state != RUNNING) ||
	    (word & COND_WAIT && state != RUNNABLE))
		broken(me, "worker %u has word %#x", w->tid, word);
	if (state == BLOCKED)
		/* It runs on if its server goes. */
		return !has(DEATHS) && !has(LIVES);
	return word == RUNNABLE && parked;
}

/*
 * It waits in no list, for its server to see that, which has gone since. If that had
 * gone before, the kernel is about to refuse the wait; so look when it sleeps.
 */
static bool left_behind(struct actor *w, struct actor *dead)
{
	uint32_t word;
	bool asleep;

	do {
		asleep = thread_state(getpid(), w->tid) == 'S';
		word = umcg_word(&w->u->task);
		if (umcg_bits(word) != RUNNABLE || !(word & UMCG_YIELDS) ||
		    __atomic_load_n(&w->u->task.runnable_ts, __ATOMIC_SEQ_CST) ||
		    __atomic_load_n(&w->u->server, __ATOMIC_SEQ_CST) != dead->u)
			return false;
	} while (!asleep);
	return true;
}

/* What is in its list is for others now. */
void abi_bury(struct actor *dead)
{
	struct actor *w = worker_of_tid(dead->u->task.next_tid & UMCG_TID_MASK);

	umcg_bury(dead->u, dead->pool);
	if (w && left_behind(w, dead))
		park(w);
}

void abi_describe(const struct umcg *seen, char *text, size_t size)
{
	snprintf(text, size, "word %#x next_tid %#x server_tid %u list %#llx",
		 seen->task.state, seen->task.next_tid, seen->task.server_tid,
		 (unsigned long long)seen->task.runnable_workers_ptr);
}

void abi_describe_pool(const struct umcg_pool *pool, char *text, size_t size)
{
	snprintf(text, size, "left %#llx, idle server %p, waiting %u",
		 (unsigned long long)pool->left, (void *)pool->idle_server, pool->waiting);
}

static struct umcg watcher;

void abi_watcher_begin(void)
{
	ASSERT_EQ(0, umcg_register_server(&watcher, NULL));
}

void abi_watcher_check(void)
{
	EXPECT_EQ(RUNNING, umcg_word(&watcher.task));
	watcher.task.next_tid = 0;
	EXPECT_EQ(-EAGAIN, umcg_sys_wait(0, 0));
	EXPECT_EQ(0, umcg_sys_kick(0, watcher.tid));
}
