// SPDX-License-Identifier: GPL-2.0
/* See ktap.h. */
#include <errno.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cpu_watch.h"
#include "ktap.h"

#define SLOW	"UMCGLAB_SLOW"

/* What a test's processes tell the harness; a mapping they share. */
struct verdict {
	atomic_bool failed;
	atomic_bool skipped;
	atomic_bool returned;	/* the body came to its end */
	char reason[128];
};

static struct ktap_test *tests, **tail = &tests;
static struct verdict *verdict;

void (*ktap_before_each)(void);
unsigned int ktap_grace = 10;
unsigned int ktap_cpu_limit = 1000;
unsigned int ktap_slow = 1;

void ktap_register(struct ktap_test *test)
{
	*tail = test;
	tail = &test->next;
}

/* One write per line, so that lines of different threads do not mix. */
static void say(const char *fmt, ...)
{
	char line[1024];
	va_list args;
	ssize_t done;
	int len;

	va_start(args, fmt);
	len = vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	if (len >= (int)sizeof(line)) {
		len = sizeof(line) - 1;
		line[len - 1] = '\n';
	}
	/* Signals are what many tests are about. */
	while ((done = write(STDOUT_FILENO, line, len)) < 0 && errno == EINTR)
		;
	if (done != len)
		_exit(KTAP_FAIL);
}

void ktap_log(const char *file, int line, const char *fmt, ...)
{
	char text[384];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	say("# %s:%d: %s\n", file, line, text);
}

void ktap_fail(void)
{
	atomic_store(&verdict->failed, true);
}

void ktap_fail_and_exit(void)
{
	ktap_fail();
	_exit(KTAP_FAIL);
}

void ktap_skip(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(verdict->reason, sizeof(verdict->reason), fmt, args);
	va_end(args);
	atomic_store(&verdict->skipped, true);
}

static void child(const struct ktap_test *test)
{
	sigset_t none;

	setpgid(0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (ktap_before_each)
		ktap_before_each();
	if (!verdict->skipped)
		test->body();
	fflush(stdout);
	atomic_store(&verdict->returned, true);
	_exit(KTAP_PASS);
}

/*
 * Reap children until `want` (-1: every one) is gone or `seconds` are over.
 * waitpid() reports a process only when its last thread is dead.
 */
static bool reap(pid_t want, unsigned int seconds, int *status)
{
	struct timespec now, end, left;
	sigset_t chld;
	int st;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += seconds;
	for (;;) {
		pid_t pid = waitpid(-1, &st, WNOHANG);

		if (pid > 0 && pid == want) {
			*status = st;
			return true;
		}
		if (pid > 0)
			continue;
		if (pid < 0 && errno == ECHILD)
			return want == -1;
		clock_gettime(CLOCK_MONOTONIC, &now);
		left.tv_sec = end.tv_sec - now.tv_sec;
		left.tv_nsec = end.tv_nsec - now.tv_nsec;
		if (left.tv_nsec < 0) {
			left.tv_sec--;
			left.tv_nsec += 1000000000;
		}
		if (left.tv_sec < 0)
			return false;
		sigtimedwait(&chld, NULL, &left);
	}
}

/* Return what is wrong with how the test's first process ended, or NULL. */
static const char *bad_end(int status, char *buf, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(buf, size, "killed by signal %d (%s)",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status))
		snprintf(buf, size, "exit status %d", WEXITSTATUS(status));
	else if (!verdict->returned)
		snprintf(buf, size, "exited before the test came to its end");
	else
		return NULL;
	return buf;
}

/* Return what is wrong with how CPUs scheduled during the test, or NULL. */
static const char *bad_cpu(char *buf, size_t size)
{
	unsigned int ms;
	int cpu;

	ms = cpu_watch_longest(&cpu);
	if (ms < ktap_slow * ktap_cpu_limit)
		return NULL;
	snprintf(buf, size, "CPU %d did not schedule for %u ms", cpu, ms);
	return buf;
}

static int run(const struct ktap_test *test, int number)
{
	unsigned int deadline = ktap_slow * (test->options.deadline ?: KTAP_DEADLINE);
	const char *why = NULL;
	char buf[128];
	int status;
	pid_t pid;

	memset(verdict, 0, sizeof(*verdict));
	cpu_watch_longest(&status);
	say("# RUN %s\n", test->name);
	pid = fork();
	if (pid < 0) {
		say("Bail out! fork: %s\n", strerror(errno));
		exit(KTAP_FAIL);
	}
	if (!pid)
		child(test);
	setpgid(pid, pid);

	if (reap(pid, deadline, &status)) {
		why = bad_end(status, buf, sizeof(buf));
	} else {
		snprintf(buf, sizeof(buf), "timed out after %u s", deadline);
		why = buf;
	}
	kill(-pid, SIGKILL);
	if (!why)
		why = bad_cpu(buf, sizeof(buf));
	if (why)
		say("# %s: %s\n", test->name, why);
	if (test->options.clauses)
		say("# clause: %s\n", test->options.clauses);

	if (!why && !verdict->failed && verdict->skipped) {
		say("ok %d %s # SKIP %s\n", number, test->name, verdict->reason);
		status = KTAP_SKIP;
	} else if (!why && !verdict->failed) {
		say("ok %d %s\n", number, test->name);
		status = KTAP_PASS;
	} else {
		say("not ok %d %s\n", number, test->name);
		status = KTAP_FAIL;
	}
	/*
	 * Children of a dead process come to us (subreaper). What SIGKILL does
	 * not end may hold locks or a CPU: no later result would mean anything.
	 */
	if (!reap(-1, ktap_slow * ktap_grace, NULL)) {
		say("Bail out! %s: a process is alive %u s after SIGKILL\n",
		    test->name, ktap_slow * ktap_grace);
		exit(KTAP_FAIL);
	}
	return status;
}

static bool selected(const struct ktap_test *test, char **globs)
{
	if (!*globs)
		return true;
	for (; *globs; globs++)
		if (!fnmatch(*globs, test->name, 0))
			return true;
	return false;
}

int ktap_main(int argc, char **argv)
{
	int opt, planned = 0, number = 0, counts[KTAP_SKIP + 1] = { 0 };
	char **globs = calloc(argc + 1, sizeof(*globs));
	bool list = false;
	const struct ktap_test *t;
	size_t n = 0;
	sigset_t chld;

	while ((opt = getopt(argc, argv, "lt:")) != -1) {
		if (opt == 'l') {
			list = true;
		} else if (opt == 't') {
			globs[n++] = optarg;
		} else {
			optind = argc + 1;
			break;
		}
	}
	if (optind != argc) {
		fprintf(stderr, "usage: %s [-l] [-t glob]...\n", argv[0]);
		return KTAP_USAGE;
	}
	for (t = tests; t; t = t->next) {
		if (!selected(t, globs))
			continue;
		planned++;
		if (list)
			printf("%s\t%s\n", t->name, t->options.clauses ?: "");
	}
	if (!planned) {
		fprintf(stderr, "%s: no test selected\n", argv[0]);
		return KTAP_USAGE;
	}
	if (list)
		return KTAP_PASS;

	if (getenv(SLOW) && atoi(getenv(SLOW)) > 0)
		ktap_slow = atoi(getenv(SLOW));
	verdict = mmap(NULL, sizeof(*verdict), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (verdict == MAP_FAILED) {
		perror("mmap");
		return KTAP_FAIL;
	}
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	cpu_watch_start();

	say("KTAP version 1\n1..%d\n", planned);
	for (t = tests; t; t = t->next)
		if (selected(t, globs))
			counts[run(t, ++number)]++;
	say("# Totals: pass:%d fail:%d skip:%d\n", counts[KTAP_PASS],
	    counts[KTAP_FAIL], counts[KTAP_SKIP]);
	if (counts[KTAP_FAIL])
		return KTAP_FAIL;
	return counts[KTAP_PASS] ? KTAP_PASS : KTAP_SKIP;
}
