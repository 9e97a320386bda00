// SPDX-License-Identifier: GPL-2.0
/*
 * A fault of Linux itself, which tests that set the clock meet: in 7.3 an absolute
 * sleep of CLOCK_REALTIME ends at once, hours too early, when the clock was set
 * forward and back shortly before. It needs no UMCG and is there on the control.
 *
 * Kernels that are known to have it pass with it and fail without it, so that one
 * in which it is mended is noticed; all others must not have it.
 */
#include <errno.h>
#include <signal.h>
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

TEST(absolute_sleep_after_the_clock_was_set)
{
	struct itimerval alarm = { .it_value.tv_usec = 300000 };
	struct sigaction action = { .sa_handler = on_alarm };
	struct timespec nap = { .tv_nsec = 2000000 }, until;
	struct utsname name;
	int major, minor, ret;
	bool known;

	ASSERT_EQ(0, uname(&name));
	ASSERT_EQ(2, sscanf(name.release, "%d.%d", &major, &minor));
	known = major == 7 && minor == 3;

	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	add_to_clock(2 * HOUR);
	nanosleep(&nap, NULL);
	add_to_clock(-2 * HOUR);

	ASSERT_EQ(0, setitimer(ITIMER_REAL, &alarm, NULL));
	ASSERT_EQ(0, clock_gettime(CLOCK_REALTIME, &until));
	until.tv_sec += HOUR;
	ret = clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL);

	if (known) {
		TH_LOG("KNOWN: Linux %d.%d ends the sleep at once; mended, it is to be taken out here",
		       major, minor);
		EXPECT_EQ(0, ret);
	} else {
		EXPECT_EQ(EINTR, ret);
	}
}

TEST_HARNESS_MAIN
