// SPDX-License-Identifier: GPL-2.0
/* What workers do with any UMCG. blocks.c has where they sleep elsewhere. */
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz-abi.h"

enum outcome op_enlist(struct actor *w)
{
	int err;

	w->bits = 0;
	atomic_fetch_add(&w->progress, 1);
	err = umcg_register_worker(w->u, w->pool);
	LEGAL(w, err, 0);
	check_running(w);
	return DONE;
}

static enum outcome locked(struct actor *w, bool asleep)
{
	if (!umcg_lock(w->u))
		return REFUSED;
	if (asleep)
		doze(&w->rng, 30);
	else if (has(SIGNALS))
		send_signal(w);
	abi_check_locked(w);
	umcg_unlock(w->u);
	return DONE;
}

enum outcome op_lock(struct actor *w)
{
	return locked(w, false);
}

enum outcome op_lock_and_sleep(struct actor *w)
{
	return locked(w, true);
}

enum outcome op_leave(struct actor *w)
{
	LEGAL(w, umcg_unregister(w->u), 0);
	abi_check_nobody(w);
	if (one_in(&w->rng, 3))
		doze(&w->rng, 30);
	perform(w, &ops[OP_ENLIST]);
	w->result = 0;
	return DONE;
}

enum outcome op_exit(struct actor *w)
{
	if (one_in(&w->rng, 2))
		LEGAL(w, umcg_unregister(w->u), 0);
	atomic_store(&w->leaving, true);
	return DONE;
}

/* The child is not registered; of the memory it shares it touches nothing. */
enum outcome op_fork(struct actor *w)
{
	int status;
	pid_t pid;

	if (!one_in(&w->rng, 8))
		return NOTHING;
	/* Not fork(), whose locks we would sleep with when no server is left. */
	pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (!pid)
		_exit(!umcg_is_nobody());
	if (pid < 0)
		return REFUSED;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status)
		broken(w, "a child of a worker is registered (status %#x)", status);
	check_running(w);
	return DONE;
}

void *worker_body(void *actor)
{
	struct actor *w = actor;

	become(w);
	perform(w, &ops[OP_ENLIST]);
	while (!atomic_load(&arena->stop) && !atomic_load(&w->leaving)) {
		step(w);
		if (!atomic_load(&w->leaving))
			check_running(w);
	}
	if (!atomic_load(&w->leaving))
		op_exit(w);
	return NULL;
}
