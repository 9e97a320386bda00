// SPDX-License-Identifier: GPL-2.0
/*
 * Tests that go wrong in every way the harness must notice. Run by
 * harness/selftest, one at a time; the manifest does not plan them.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu_watch.h"
#include "ktap.h"

static void in_thread(void *(*body)(void *))
{
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, body, NULL));
	pthread_join(thread, NULL);
}

static void *assert_false(void *arg)
{
	ASSERT_TRUE(arg);
	return NULL;
}

static void *expect_false(void *arg)
{
	EXPECT_TRUE(arg);
	return NULL;
}

static void *exit_zero(void *arg __attribute__((unused)))
{
	exit(0);
}

TEST(passes, .clauses = "ONE-1 R2") { ASSERT_EQ(1, 1); }

TEST(assert_in_main)
{
	ASSERT_EQ(1, 2);
	TH_LOG("went on");
}

TEST(expect_in_main)
{
	EXPECT_EQ(1, 2);
	TH_LOG("went on");
}

TEST(assert_in_thread)
{
	in_thread(assert_false);
	TH_LOG("went on");
}

TEST(expect_in_thread)
{
	in_thread(expect_false);
	TH_LOG("went on");
}

TEST(assert_in_child)
{
	if (!fork())
		assert_false(NULL);
	wait(NULL);
	TH_LOG("went on");
}

TEST(crash_in_thread)
{
	in_thread((void *(*)(void *))abort);
}

TEST(exit_in_thread)
{
	in_thread(exit_zero);
}

TEST(times_out, .deadline = 1)
{
	pid_t child = fork();

	if (child)
		TH_LOG("child %d", child);
	for (;;)
		pause();
}

TEST(skips) { SKIP(return, "because %d", 42); }

TEST(fails_and_skips)
{
	EXPECT_TRUE(false);
	SKIP(return, "too late");
}

/* What no signal to the group ends looks, to the harness, like a stuck thread. */
TEST(unkillable)
{
	pid_t child = fork();

	if (!child) {
		setsid();
		for (;;)
			pause();
	}
	while (getpgid(child) != child)
		usleep(1000);
	TH_LOG("child %d", child);
}

TEST(hogs_a_cpu)
{
	ASSERT_TRUE(cpu_watch_hog(700));
}

TEST(is_busy)
{
	cpu_watch_spin(800);
}

FIXTURE(counter) { int value; };
FIXTURE_SETUP(counter) { self->value = 41; }
FIXTURE_TEARDOWN(counter) { TH_LOG("teardown %d", self->value); }
TEST_F(counter, sees_setup)
{
	ASSERT_EQ(41, self->value);
	self->value++;
}

int main(int argc, char **argv)
{
	ktap_grace = 1;
	/* What it does is to fail its own tests, not the one that runs it. */
	ktap_cpu_limit = 600;
	return ktap_main(argc, argv);
}
