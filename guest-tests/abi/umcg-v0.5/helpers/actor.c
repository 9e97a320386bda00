// SPDX-License-Identifier: GPL-2.0
/*
 * A server at the end of a pipe, for the Python tests. Its umcg_task is in a
 * file, so that who commands it sees and changes its word.
 *
 *	actor file slot		take commands from standard input
 *
 * Every command is a line and answers with one: 0 or a negative errno.
 *
 *	register | unregister
 *	word N			set the state word
 *	wait FLAGS TID MS	umcg_wait() with next_tid TID and, unless it is 0,
 *				a timeout MS from now
 *	exec PROGRAM [ARG]...	answers only if it fails
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "abi.h"

#define SLOTS	64

static uint64_t from_now(unsigned long ms)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (ts.tv_sec * UINT64_C(1000) + ms) * 1000000 + ts.tv_nsec;
}

static int run(char *line, struct umcg_task *task)
{
	char *save, *argv[8], *verb = strtok_r(line, " \n", &save);
	unsigned long arg[3] = { 0 };
	int n = 0;

	if (!verb)
		return -EINVAL;
	while (n < 7 && (argv[n] = strtok_r(NULL, " \n", &save)))
		n++;
	argv[n] = NULL;
	if (!strcmp(verb, "exec")) {
		execv(argv[0], argv);
		return -errno;
	}
	for (int i = 0; i < n && i < 3; i++)
		arg[i] = strtoul(argv[i], NULL, 0);
	if (!strcmp(verb, "register")) {
		memset(task, 0, sizeof(*task));
		task->state = UMCG_TASK_RUNNING;
		return umcg_sys_ctl(UMCG_CTL_REGISTER, task);
	}
	if (!strcmp(verb, "unregister"))
		return umcg_sys_ctl(UMCG_CTL_UNREGISTER, NULL);
	if (!strcmp(verb, "word")) {
		umcg_set_word(task, arg[0]);
		return 0;
	}
	if (!strcmp(verb, "wait")) {
		task->next_tid = arg[1];
		return umcg_sys_wait(arg[0], arg[2] ? from_now(arg[2]) : 0);
	}
	return -EINVAL;
}

int main(int argc, char **argv)
{
	struct umcg_task *tasks;
	unsigned long slot;
	char line[256];
	int fd;

	if (argc != 3 || (slot = strtoul(argv[2], NULL, 10)) >= SLOTS) {
		fprintf(stderr, "usage: %s file slot\n", argv[0]);
		return 2;
	}
	fd = open(argv[1], O_RDWR);
	tasks = mmap(NULL, SLOTS * sizeof(*tasks), PROT_READ | PROT_WRITE,
		     MAP_SHARED, fd, 0);
	if (fd < 0 || tasks == MAP_FAILED) {
		perror(argv[1]);
		return 1;
	}
	/* No line of the next life may be in the buffer when this one execs. */
	setvbuf(stdin, NULL, _IONBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		printf("%d\n", run(line, &tasks[slot]));
		fflush(stdout);
	}
	return 0;
}
