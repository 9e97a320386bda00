// SPDX-License-Identifier: GPL-2.0
/*
 * A fault of Linux itself, which tests that set the clock meet: in 7.3 an absolute
 * sleep of CLOCK_REALTIME ends at once, hours too early, when the clock was set
 * forward and back shortly before. It needs no UMCG and is there on the control.
 *
 * It needs a kernel that does not use high-resolution timers, be it for good
 * (`highres=off nohz=off`) or because it has just booted: clock_was_set() does nothing
 * there, so until the next tick a new timer is compared with the clock as it was set
 * before, and hrtimer_start_range_ns_user(), which 7.3 has and 6.12 has not, reports
 * it as over.
 *
 * Kernels that are known to have it pass with it and fail without it, so that one
 * in which it is mended is noticed; all others must not have it.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "ktap.h"

#define HOUR	3600

static void on_alarm(int sig)
{
	(void)sig;
}

static void add_to_clock(time_t seconds)
{
	struct timespec ts;

	ASSERT_EQ(0, clock_gettime(CLOCK_REALTIME, &ts));
	ts.tv_sec += seconds;
	ASSERT_EQ(0, clock_settime(CLOCK_REALTIME, &ts));
}

/* Whether a sleep that has an hour to go ends before the alarm. */
static bool ends_at_once(void)
{
	/* Again and again, lest the first one comes before the sleep has begun. */
	struct itimerval alarm = { { .tv_usec = 50000 }, { .tv_usec = 50000 } };
	struct itimerval none = { 0 };
	struct timespec nap = { .tv_nsec = 2000000 }, until;
	int ret;

	add_to_clock(2 * HOUR);
	nanosleep(&nap, NULL);
	add_to_clock(-2 * HOUR);

	ASSERT_EQ(0, setitimer(ITIMER_REAL, &alarm, NULL));
	ASSERT_EQ(0, clock_gettime(CLOCK_REALTIME, &until));
	until.tv_sec += HOUR;
	ret = clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL);
	ASSERT_TRUE(ret == 0 || ret == EINTR);
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &none, NULL));
	return !ret;
}

static bool low_resolution(void)
{
	struct timespec resolution;

	ASSERT_EQ(0, clock_getres(CLOCK_MONOTONIC, &resolution));
	return resolution.tv_nsec > 1;
}

TEST(absolute_sleep_after_the_clock_was_set)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct utsname name;
	int major, minor, at_once = 0;

	ASSERT_EQ(0, uname(&name));
	ASSERT_EQ(2, sscanf(name.release, "%d.%d", &major, &minor));
	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));

	/* A tick may come in between, which makes the sleep one like any other. */
	for (int i = 0; i < 20; i++)
		at_once += ends_at_once();

	if (major == 7 && minor == 3 && low_resolution()) {
		TH_LOG("KNOWN: Linux 7.3 ended %d of 20 sleeps at once; mended, it is to be taken out here",
		       at_once);
		EXPECT_LT(0, at_once);
	} else {
		EXPECT_EQ(0, at_once);
	}
}

TEST_HARNESS_MAIN
