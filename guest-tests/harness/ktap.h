/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A test harness with kselftest's macro names, for tests that fail in worker
 * threads.
 *
 *	TEST(wake_before_wait, .clauses = "WAIT-3 R1") { ASSERT_EQ(0, f()); }
 *	TEST_HARNESS_MAIN
 *
 * Every test runs in a process group of its own, with a deadline. ASSERT_* and
 * EXPECT_* work from any thread and from any process the test forked: both
 * record the failure in memory shared with the harness; a failing ASSERT_* then
 * ends the process it happened in (all its threads; nothing is unwound, so
 * FIXTURE_TEARDOWN does not run), a failing EXPECT_* goes on. The arguments are
 * (expected, seen).
 *
 * A test during which a CPU did not schedule for a second of guest time fails: see
 * cpu_watch.h. Who may not have threads of real-time priority goes without.
 *
 * All times are of a fast kernel; UMCGLAB_SLOW in the environment is the factor
 * that the one under test gets.
 *
 * Output is KTAP. Usage: prog [-l] [-t glob]...
 * Exit status: 0 passed, 1 failed, 2 bad usage or nothing selected, 4 all
 * skipped.
 */
#ifndef KTAP_H
#define KTAP_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define KTAP_PASS	0
#define KTAP_FAIL	1
#define KTAP_USAGE	2
#define KTAP_SKIP	4

#define KTAP_DEADLINE	30	/* seconds; a test may ask for another */

struct ktap_options {
	const char *clauses;	/* of ABI.md, and R-numbers; space separated */
	unsigned int deadline;	/* seconds */
};

struct ktap_test {
	const char *name;
	void (*body)(void);
	struct ktap_options options;
	struct ktap_test *next;
};

int ktap_main(int argc, char **argv);
void ktap_register(struct ktap_test *test);
void ktap_log(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void ktap_fail(void);
void ktap_fail_and_exit(void) __attribute__((noreturn));
void ktap_skip(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Run in the test's process before its body (and its fixture's setup). */
extern void (*ktap_before_each)(void);

/* Time limits are multiplied by this: UMCGLAB_SLOW of the environment. */
extern unsigned int ktap_slow;

/* Seconds that a killed test has to be gone. */
extern unsigned int ktap_grace;

/* Milliseconds for which a CPU may go without scheduling. */
extern unsigned int ktap_cpu_limit;

#define TEST_HARNESS_MAIN						\
	int main(int argc, char **argv) { return ktap_main(argc, argv); }

#define TEST(_name, ...) KTAP_TEST(_name, #_name, ##__VA_ARGS__)

#define KTAP_TEST(_id, _string, ...)					\
	static void _id(void);						\
	__attribute__((constructor)) static void _id##_register(void)	\
	{								\
		static struct ktap_test test = {			\
			.name = _string, .body = _id,			\
			.options = { __VA_ARGS__ },			\
		};							\
		ktap_register(&test);					\
	}								\
	static void _id(void)

/* FIXTURE(f) { members }; FIXTURE_SETUP(f) and TEST_F(f, t) see `self`. */
#define FIXTURE(_f) struct _f##_fixture
#define FIXTURE_SETUP(_f) static void _f##_setup(FIXTURE(_f) *self)
#define FIXTURE_TEARDOWN(_f) static void _f##_teardown(FIXTURE(_f) *self)
#define TEST_F(_f, _name, ...)						\
	static void _f##_##_name##_body(FIXTURE(_f) *self);		\
	KTAP_TEST(_f##_##_name, #_f "." #_name, ##__VA_ARGS__)		\
	{								\
		static FIXTURE(_f) self;				\
		_f##_setup(&self);					\
		_f##_##_name##_body(&self);				\
		_f##_teardown(&self);					\
	}								\
	static void _f##_##_name##_body(					\
		__attribute__((unused)) FIXTURE(_f) *self)

#define TH_LOG(fmt, ...) ktap_log(__FILE__, __LINE__, fmt, ##__VA_ARGS__)

/* SKIP(return, "why"): the rest of the test is left out. */
#define SKIP(_statement, fmt, ...) do {					\
	ktap_skip(fmt, ##__VA_ARGS__);					\
	_statement;							\
} while (0)

#define KTAP_COMPARE(_expected, _op, _seen, _on_failure) do {		\
	__typeof__(_expected) _e = (_expected);				\
	__typeof__(_seen) _s = (_seen);					\
	if (!(_e _op _s)) {						\
		TH_LOG("Expected %s (%lld) %s %s (%lld)", #_expected,	\
		       (long long)(intptr_t)_e, #_op, #_seen,		\
		       (long long)(intptr_t)_s);			\
		_on_failure();						\
	}								\
} while (0)

#define KTAP_TRUTH(_want, _seen, _on_failure) do {			\
	if (((_seen) ? true : false) != (_want)) {			\
		TH_LOG("Expected %s to be %s", #_seen,			\
		       (_want) ? "true" : "false");			\
		_on_failure();						\
	}								\
} while (0)

#define KTAP_STREQ(_expected, _seen, _on_failure) do {			\
	const char *_e = (_expected), *_s = (_seen);			\
	if (strcmp(_e, _s)) {						\
		TH_LOG("Expected '%s' == '%s'", _e, _s);		\
		_on_failure();						\
	}								\
} while (0)

#define ASSERT_EQ(e, s) KTAP_COMPARE(e, ==, s, ktap_fail_and_exit)
#define ASSERT_NE(e, s) KTAP_COMPARE(e, !=, s, ktap_fail_and_exit)
#define ASSERT_LT(e, s) KTAP_COMPARE(e, <, s, ktap_fail_and_exit)
#define ASSERT_LE(e, s) KTAP_COMPARE(e, <=, s, ktap_fail_and_exit)
#define ASSERT_GT(e, s) KTAP_COMPARE(e, >, s, ktap_fail_and_exit)
#define ASSERT_GE(e, s) KTAP_COMPARE(e, >=, s, ktap_fail_and_exit)
#define ASSERT_TRUE(s) KTAP_TRUTH(true, s, ktap_fail_and_exit)
#define ASSERT_FALSE(s) KTAP_TRUTH(false, s, ktap_fail_and_exit)

#define EXPECT_EQ(e, s) KTAP_COMPARE(e, ==, s, ktap_fail)
#define EXPECT_LT(e, s) KTAP_COMPARE(e, <, s, ktap_fail)
#define EXPECT_LE(e, s) KTAP_COMPARE(e, <=, s, ktap_fail)
#define EXPECT_GT(e, s) KTAP_COMPARE(e, >, s, ktap_fail)
#define EXPECT_TRUE(s) KTAP_TRUTH(true, s, ktap_fail)
#define EXPECT_FALSE(s) KTAP_TRUTH(false, s, ktap_fail)
#define EXPECT_STREQ(e, s) KTAP_STREQ(e, s, ktap_fail)

#endif
