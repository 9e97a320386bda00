// SPDX-License-Identifier: GPL-2.0
/* Where workers sleep without asking UMCG, and where they might. */
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "fuzz-abi.h"

int echo_pipes[4];
pthread_mutex_t pi_mutex;

enum outcome op_sleep(struct actor *w)
{
	doze(&w->rng, 40);
	check_running(w);
	return DONE;
}

enum outcome op_futex(struct actor *w)
{
	static uint32_t word;
	struct timespec ts = { 0, 1 + below(&w->rng, 40000) };

	if (one_in(&w->rng, 4))
		syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 2);
	else
		syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &ts);
	check_running(w);
	return DONE;
}

void *echo_body(void *unused)
{
	char bytes[64];
	ssize_t n;

	while ((n = read(echo_pipes[0], bytes, sizeof(bytes))) > 0)
		if (write(echo_pipes[3], bytes, n) != n)
			break;
	return unused;
}

/* There are never more readers than bytes under way. */
enum outcome op_echo(struct actor *w)
{
	char byte = 0;

	while (write(echo_pipes[1], &byte, 1) < 0 && errno == EINTR)
		;
	while (read(echo_pipes[2], &byte, 1) < 0 && errno == EINTR)
		;
	check_running(w);
	return DONE;
}

/* The holder gives way now and then, so that others have to wait for it. */
enum outcome op_mutex(struct actor *w)
{
	int err = pthread_mutex_lock(&pi_mutex);

	if (err == EOWNERDEAD && arena->hostile)
		pthread_mutex_consistent(&pi_mutex);
	else if (err)
		broken(w, "pthread_mutex_lock: %d", err);
	if (one_in(&w->rng, 2))
		abi_give_way(w);
	pthread_mutex_unlock(&pi_mutex);
	check_running(w);
	return DONE;
}

enum outcome op_fault(struct actor *w)
{
	static __thread char *mine;

	if (!mine)
		mine = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mine == MAP_FAILED) {
		mine = NULL;
		return REFUSED;
	}
	*(volatile char *)mine = 1;
	if (one_in(&w->rng, 4)) {
		munmap(mine, PAGE);
		mine = NULL;
	} else {
		madvise(mine, PAGE, MADV_DONTNEED);
	}
	check_running(w);
	return DONE;
}

enum outcome op_sched_yield(struct actor *w)
{
	sched_yield();
	check_running(w);
	return DONE;
}

enum outcome op_compute(struct actor *w)
{
	for (unsigned int turns = below(&w->rng, 5000); turns; turns--)
		__asm__ volatile("");
	check_running(w);
	return DONE;
}

enum outcome op_signal_self(struct actor *w)
{
	send_signal(w);
	check_running(w);
	return DONE;
}
