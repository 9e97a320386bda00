/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Numbered places in the library where a test may widen a race. Off unless the
 * test says otherwise.
 */
#ifndef INJECT_H
#define INJECT_H

enum inject_point {
	INJECT_MARKED_SELF,	/* we are IDLE, the system call is next */
	INJECT_MARKED_OTHER,	/* the other is RUNNING, the system call is next */
	INJECT_POINTS
};

enum inject_action {
	INJECT_NOTHING,
	INJECT_SPIN,		/* `amount` turns of a loop */
	INJECT_YIELD,		/* `amount` sched_yield()s */
	INJECT_SIGNAL,		/* signal `amount` to the thread itself */
};

struct injection {
	enum inject_action action;
	unsigned int amount;
};

extern struct injection inject_at[INJECT_POINTS];

void inject_run(const struct injection *injection);

static inline void inject(enum inject_point point)
{
	if (__builtin_expect(inject_at[point].action, INJECT_NOTHING))
		inject_run(&inject_at[point]);
}

#endif
