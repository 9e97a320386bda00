/* SPDX-License-Identifier: GPL-2.0 */
/* Two threads that hand over to each other: for a bench that has these two. */
static void wait_turn(int me);
static void hand_over(int whom);

static void *other(void *arg)
{
	for (;;) {
		wait_turn(1);
		hand_over(0);
	}
	return arg;
}

static void rounds(unsigned int rounds)
{
	while (rounds--) {
		hand_over(1);
		wait_turn(0);
	}
}
