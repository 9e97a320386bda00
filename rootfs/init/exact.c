// SPDX-License-Identifier: GPL-2.0
/*
 * PID 1 of the exact guest: run the programs of /plan one after the other, and
 * put what they print on the second UART, between lines of our own:
 *
 *	@@ begin <name>
 *	...
 *	@@ end <name> <exit status, or 128 + signal>
 *	@@ done
 *
 * The first line of /plan names the UART's device; every other line is a name
 * and an argv, separated by tabs. The UART is drained before the next program
 * starts, so that no interrupt of one falls into another's measurement.
 */
#include "init.h"

#include <sys/wait.h>

#define MAX_ARGS 64

static int run(char **argv, int uart)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		fatal("fork");
	if (pid == 0) {
		dup2(uart, 1);
		execv(argv[0], argv);
		dprintf(2, MARK "exec %s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	if (waitpid(pid, &status, 0) != pid)
		fatal("wait for %s", argv[0]);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void run_line(char *line, int uart)
{
	char *argv[MAX_ARGS + 1];
	char *name = strsep(&line, "\t");
	int status, argc = 0;

	while (line && argc < MAX_ARGS)
		argv[argc++] = strsep(&line, "\t");
	argv[argc] = NULL;
	dprintf(uart, "@@ begin %s\n", name);
	status = run(argv, uart);
	dprintf(uart, "@@ end %s %d\n", name, status);
	tcdrain(uart);
}

int main(void)
{
	char *line = NULL;
	size_t size = 0;
	FILE *plan;
	int uart;

	mount_on("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mount_on("proc", "/proc", "proc", 0, NULL);
	mount_on("sysfs", "/sys", "sysfs", 0, NULL);
	plan = fopen("/plan", "re");
	if (!plan || getline(&line, &size, plan) < 0)
		fatal("read /plan");
	line[strcspn(line, "\n")] = '\0';
	uart = open_uart(line);
	while (getline(&line, &size, plan) > 0) {
		line[strcspn(line, "\n")] = '\0';
		run_line(line, uart);
	}
	dprintf(uart, "@@ done\n");
	tcdrain(uart);
	reboot(RB_POWER_OFF);
	fatal("power off");
}
