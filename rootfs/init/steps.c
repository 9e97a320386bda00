// SPDX-License-Identifier: GPL-2.0
/*
 * PID 1 of a guest that runs tests one by one: each step of /plan is a program with
 * its arguments, and what it prints goes to the second UART, between lines of ours:
 *
 *	@@ begin <name>
 *	...
 *	@@ end <name> <exit status; 128 + signal; 124 if it was not done in time>
 *	@@ done
 *
 * The first line of /plan names the UART's device and says `stop` if a step that
 * fails is to be the last, or `go`. Every other line is a name, a time limit in
 * seconds of the guest, and an argv, separated by tabs.
 *
 * Ahead of each step, and after the last, the domain name is set, to what it was: no
 * program of the suite calls setdomainname(), so that a TCG plugin can tell by the
 * kernel's entry to it where one step ends and another begins.
 */
#include "init.h"

#include <signal.h>
#include <sys/wait.h>

#define MAX_ARGS 64
#define IN_TIME_NOT 124

static volatile sig_atomic_t late;

static void on_alarm(int signal)
{
	(void)signal;
	late = 1;
}

static void mark(void)
{
	if (setdomainname("(none)", 6))
		fatal("mark a step");
}

static int run(char **argv, unsigned int limit, int uart)
{
	int status;
	pid_t pid, gone;

	pid = fork();
	if (pid < 0)
		fatal("fork");
	if (pid == 0) {
		setsid();
		dup2(uart, 1);
		execv(argv[0], argv);
		dprintf(2, MARK "exec %s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	late = 0;
	alarm(limit);
	/* What programs have left behind is ours, too. */
	while ((gone = wait(&status)) != pid) {
		if (gone < 0 && errno != EINTR)
			fatal("wait for %s", argv[0]);
		if (late)
			kill(-1, SIGKILL);
	}
	alarm(0);
	if (late)
		return IN_TIME_NOT;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run_line(char *line, int uart)
{
	char *argv[MAX_ARGS + 1];
	char *name = strsep(&line, "\t");
	char *limit = strsep(&line, "\t");
	int status, argc = 0;

	while (line && argc < MAX_ARGS)
		argv[argc++] = strsep(&line, "\t");
	argv[argc] = NULL;
	dprintf(uart, "@@ begin %s\n", name);
	tcdrain(uart);
	mark();
	status = run(argv, limit ? atoi(limit) : 0, uart);
	dprintf(uart, "@@ end %s %d\n", name, status);
	tcdrain(uart);
	return status;
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_alarm };
	char *line = NULL, *rest;
	size_t size = 0;
	int uart, stop, status = 0;
	FILE *plan;

	mount_on("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mount_on("proc", "/proc", "proc", 0, NULL);
	mount_on("sysfs", "/sys", "sysfs", 0, NULL);
	mount_on("tmpfs", "/run", "tmpfs", 0, NULL);
	mount_on("tmpfs", "/tmp", "tmpfs", 0, NULL);
	mount_on("tmpfs", "/dev/shm", "tmpfs", 0, NULL);
	sigaction(SIGALRM, &action, NULL);
	setenv("UMCGLAB_SLOW", "1", 1);
	setenv("PATH", "/usr/bin:/bin", 1);
	if (chdir("/bundle"))
		fatal("enter /bundle");

	plan = fopen("/plan", "re");
	if (!plan || getline(&line, &size, plan) < 0)
		fatal("read /plan");
	line[strcspn(line, "\n")] = '\0';
	rest = line;
	uart = open_uart(strsep(&rest, "\t"));
	stop = rest && !strcmp(rest, "stop");
	while (getline(&line, &size, plan) > 0) {
		line[strcspn(line, "\n")] = '\0';
		status = run_line(line, uart);
		if (stop && status)
			break;
	}
	mark();
	dprintf(uart, "@@ done\n");
	tcdrain(uart);
	reboot(RB_POWER_OFF);
	fatal("power off");
}
