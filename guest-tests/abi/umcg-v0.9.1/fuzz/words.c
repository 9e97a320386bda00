// SPDX-License-Identifier: GPL-2.0
/* What has to hold of words and tids: see fuzz-abi.h. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "kit.h"
#include "v0.9.1.h"

const int abi_results[] = { 0, -EINVAL, -EFAULT, -ESRCH, -ETIMEDOUT, -EAGAIN,
			    -EBUSY };
const unsigned int n_abi_results = sizeof(abi_results) / sizeof(abi_results[0]);
const char abi_wrong_error[] = "bad_flags: result -22";

void abi_check_running(struct actor *w)
{
	unsigned int runs = atomic_load(&w->runs);
	uint64_t word = umcg_stamped_word(&w->u->task);
	uint32_t tid, theirs;
	struct umcg *server = w->u->server;

	if ((word & UMCG_TASK_USER_MASK) != w->bits)
		broken(w, "word %#llx, its bits were %#x", (unsigned long long)word, w->bits);
	word = umcg_bits(word);
	if (word != RUNNING && word != (RUNNING | PREEMPTED))
		broken(w, "word %#x of a worker that runs", (unsigned int)word);
	tid = __atomic_load_n(&w->u->task.next_tid, __ATOMIC_SEQ_CST);
	theirs = __atomic_load_n(&server->task.next_tid, __ATOMIC_SEQ_CST);
	/* Preempted and run again in between, it has compared old with new. */
	if (runs != atomic_load(&w->runs) || atomic_load(&actor_of(server)->abandoned))
		return;
	if (tid != server->tid)
		broken(w, "runs under %u, was run by %u", tid, server->tid);
	if (theirs != w->u->tid)
		broken(w, "runs under %u, which runs %u", tid, theirs);
}

void abi_check_locked(struct actor *w)
{
	if (bare_word(w) != (RUNNING | LOCKED))
		broken(w, "word %#x of a worker that is locked", (unsigned int)bare_word(w));
}

void abi_check_nobody(struct actor *me)
{
	LEGAL(me, umcg_sys_wait(0, 0), -EINVAL);
	LEGAL(me, umcg_sys_ctl(UMCG_CTL_UNREGISTER, NULL), -EINVAL);
}

bool abi_stands_still(struct actor *me, struct actor *w)
{
	bool parked = atomic_load(&w->parked);
	uint64_t word = bare_word(w), state = word & UMCG_TASK_STATE_MASK;

	if (word & ~(UMCG_TASK_STATE_MASK | LOCKED | PREEMPTED) ||
	    state > BLOCKED ||
	    (word & LOCKED && (word & PREEMPTED || state == BLOCKED)) ||
	    (word & (LOCKED | PREEMPTED) && state == NONE))
		broken(me, "worker %u has word %#x", w->tid, (unsigned int)word);
	return !(word & LOCKED) && (state == BLOCKED || (state == IDLE && parked));
}

/*
 * Preempted, it waits for its server to find it, which is gone. If it was gone by
 * then the kernel is about to queue the worker after all; so look when it sleeps.
 */
static bool left_behind(struct actor *w, struct actor *dead)
{
	bool asleep;

	do {
		asleep = thread_state(getpid(), w->tid) == 'S';
		if (bare_word(w) != (IDLE | PREEMPTED) ||
		    w->u->task.next_tid != dead->tid)
			return false;
	} while (!asleep);
	return true;
}

/* The kernel looks after a worker that was running. */
void abi_bury(struct actor *dead)
{
	struct actor *w = worker_of_tid(dead->u->task.next_tid);

	if (w && left_behind(w, dead))
		park(w);
}

void abi_describe(const struct umcg *seen, char *text, size_t size)
{
	snprintf(text, size, "word %#llx next_tid %u link %#llx",
		 (unsigned long long)seen->task.state_ts,
		 seen->task.next_tid, (unsigned long long)seen->task.idle_workers_ptr);
}

void abi_describe_pool(const struct umcg_pool *pool, char *text, size_t size)
{
	snprintf(text, size, "head %#llx, server %u", (unsigned long long)pool->idle_workers,
		 pool->idle_server_tid);
}

static struct umcg watcher;

void abi_watcher_begin(void)
{
	ASSERT_EQ(0, umcg_register_server(&watcher, NULL));
}

void abi_watcher_check(void)
{
	watcher.task.next_tid = watcher.tid;
	EXPECT_EQ(RUNNING, umcg_bits(umcg_word(&watcher.task)));
	EXPECT_EQ(0, umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, 0));
}

int move_and_preempt(struct actor *worker)
{
	if (!umcg_move(&worker->u->task, RUNNING, RUNNING | PREEMPTED))
		return -1;
	return send_signal(worker);
}
