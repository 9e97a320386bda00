// SPDX-License-Identifier: GPL-2.0
/* The harness, seen to notice what goes wrong in helpers/victim.c. */
#include <errno.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu_watch.h"
#include "ktap.h"

static char output[8192];	/* of the last victim */
static const char *slow = "1";	/* how slow a kernel it is told to be on */

/* Run victim with at most three arguments; leave what it wrote in `output`. */
static int run(const char *const argv[])
{
	int fd = memfd_create("output", 0), status;
	ssize_t n;
	pid_t pid;

	ASSERT_NE(-1, fd);
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
		setenv("UMCGLAB_SLOW", slow, 1);
		execvp(argv[0], (char **)argv);
		_exit(127);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	n = pread(fd, output, sizeof(output) - 1, 0);
	ASSERT_GE(n, 0);
	output[n] = '\0';
	close(fd);
	ASSERT_TRUE(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* A file of the bundle, as seen from bin/harness. */
static const char *in_bundle(const char *name)
{
	static char path[256];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) / 2);

	ASSERT_GT(n, 0);
	path[n] = '\0';
	dirname(path);
	strcat(path, name);
	return path;
}

static int victim(const char *a, const char *b, const char *c)
{
	const char *const argv[] = { in_bundle("/../helpers/victim"), a, b, c, NULL };

	return run(argv);
}

/* One test of victim that fails, saying `says` and not `silent`. */
static void fails(const char *test, const char *says, const char *silent)
{
	char result[128];

	EXPECT_EQ(KTAP_FAIL, victim("-t", test, NULL));
	snprintf(result, sizeof(result), "\nnot ok 1 %s\n", test);
	EXPECT_TRUE(strstr(output, result));
	EXPECT_TRUE(strstr(output, says));
	if (silent)
		EXPECT_FALSE(strstr(output, silent));
}

/* The process whose id victim told us. */
static pid_t told_child(void)
{
	char *p = strstr(output, "child ");

	ASSERT_TRUE(p);
	return atoi(p + 6);
}

TEST(pass_is_reported)
{
	EXPECT_EQ(KTAP_PASS, victim("-t", "passes", NULL));
	EXPECT_STREQ("KTAP version 1\n1..1\n# RUN passes\n"
		     "# clause: ONE-1 R2\nok 1 passes\n"
		     "# Totals: pass:1 fail:0 skip:0\n", output);
}

TEST(assert_stops_the_test) { fails("assert_in_main", "1 (1) == 2 (2)", "went on"); }
TEST(expect_goes_on) { fails("expect_in_main", "went on", NULL); }
TEST(assert_in_thread_fails) { fails("assert_in_thread", "arg to be true", "went on"); }
TEST(expect_in_thread_fails) { fails("expect_in_thread", "went on", NULL); }
TEST(assert_in_child_fails) { fails("assert_in_child", "went on", NULL); }
TEST(crash_fails) { fails("crash_in_thread", "killed by signal 6", NULL); }
TEST(early_exit_fails) { fails("exit_in_thread", "exited before", NULL); }
TEST(failure_outranks_skip) { fails("fails_and_skips", "0 to be true", "SKIP"); }

TEST(timeout_kills_the_group)
{
	fails("times_out", "timed out after 1 s", NULL);
	EXPECT_EQ(-1, kill(told_child(), 0));
	EXPECT_EQ(ESRCH, errno);
}

TEST(slow_kernels_get_more_time)
{
	slow = "2";
	fails("times_out", "timed out after 2 s", NULL);
}

TEST(survivor_bails_out)
{
	EXPECT_EQ(KTAP_FAIL, victim("-t", "unkillable", "-tcounter.*"));
	EXPECT_TRUE(strstr(output, "1..2\n"));
	EXPECT_TRUE(strstr(output, "\nBail out! unkillable"));
	EXPECT_FALSE(strstr(output, "RUN counter"));
	EXPECT_EQ(0, kill(told_child(), SIGKILL));
}

TEST(cpu_that_does_not_schedule_fails)
{
	fails("hogs_a_cpu", "did not schedule for", NULL);
	EXPECT_EQ(KTAP_PASS, victim("-t", "is_busy", NULL));
}

TEST(cpu_that_does_not_schedule_fails_in_python, .deadline = 60)
{
	const char *const argv[] = { "python3", in_bundle("/../../py/run.py"), "victims.py",
				     "--cpu-limit", "600", NULL };

	EXPECT_EQ(KTAP_FAIL, run(argv));
	EXPECT_TRUE(strstr(output, "# hogs_a_cpu: CPU "));
	EXPECT_TRUE(strstr(output, " did not schedule for "));
	EXPECT_TRUE(strstr(output, "\nnot ok 1 hogs_a_cpu\n# RUN is_busy\nok 2 is_busy\n"));
	EXPECT_FALSE(strstr(output, "# is_busy: CPU"));
}

/* It holds a lock for a part of its time, for which no child must wait for ever. */
TEST(children_look_at_the_watch, .deadline = 60)
{
	int cpu, status;

	/* The harness has one, which this process knows only as it was at its fork. */
	ASSERT_TRUE(cpu_watch_start());
	for (int i = 0; i < 300; i++) {
		pid_t pid = fork();

		ASSERT_NE(-1, pid);
		if (!pid) {
			cpu_watch_so_far(&cpu);
			_exit(0);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, status);
	}
}

TEST(nothing_selected_is_an_error)
{
	EXPECT_EQ(KTAP_USAGE, victim("-t", "no_such_test", NULL));
	EXPECT_TRUE(strstr(output, "no test selected"));
	EXPECT_EQ(KTAP_USAGE, victim("-x", NULL, NULL));
	EXPECT_EQ(KTAP_USAGE, victim("word", NULL, NULL));
}

TEST(list_names_tests_and_clauses)
{
	EXPECT_EQ(KTAP_PASS, victim("-l", NULL, NULL));
	EXPECT_TRUE(strstr(output, "passes\tONE-1 R2\nassert_in_main\t\n"));
	EXPECT_FALSE(strstr(output, "RUN"));
}

TEST(skip_has_a_reason_and_a_status)
{
	EXPECT_EQ(KTAP_SKIP, victim("-t", "skips", NULL));
	EXPECT_TRUE(strstr(output, "\nok 1 skips # SKIP because 42\n"));
	EXPECT_EQ(KTAP_PASS, victim("-t", "[ps]*s", NULL));
	EXPECT_TRUE(strstr(output, "\n1..2\n"));
}

TEST(fixture_is_set_up_and_torn_down)
{
	EXPECT_EQ(KTAP_PASS, victim("-t", "counter.*", NULL));
	EXPECT_TRUE(strstr(output, "teardown 42"));
	EXPECT_TRUE(strstr(output, "\nok 1 counter.sees_setup\n"));
}

TEST_HARNESS_MAIN
