// SPDX-License-Identifier: GPL-2.0
/* A hand-over whose caller is about to sleep, and does not: it has a signal. */
#include "peer.h"

enum { CALLER = 20, OTHER = 10, ROUNDS = 5000, STEPS = 10 };

static struct umcg other;
static atomic_bool other_ran;

static void *hand_back(void *arg)
{
	schedule_as(SCHED_FIFO, OTHER);
	ASSERT_EQ(0, umcg_register_server(&other, NULL));
	while (umcg_switch(&other, &me, 0) == -EAGAIN)
		sched_yield();
	for (;;) {
		atomic_store(&other_ran, true);
		ASSERT_EQ(0, umcg_switch(&other, &me, 0));
	}
	return arg;
}

/* The state letter of a thread of this process, and the CPU it runs or waits on. */
static char state_and_cpu(pid_t tid, int *cpu)
{
	enum { STATE = 3, CPU = 39 };
	char path[64], text[1024], *at;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	fd = open(path, O_RDONLY);
	ASSERT_NE(-1, fd);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	ASSERT_LT(0, n);
	text[n] = '\0';
	at = strrchr(text, ')') + 2;
	n = at - text;
	for (int field = STATE; field < CPU; field++)
		at = strchr(at, ' ') + 1;
	*cpu = atoi(at);
	return text[n];
}

/* Where the signal found the hand-over. */
enum found { NOWHERE, TOO_EARLY, TOO_LATE, LEFT_BEHIND };
static volatile enum found found;

/* Has CPU 1 whenever nobody of a real-time class wants it. */
static atomic_ulong steps;

static void *step(void *arg)
{
	pin(0, 1);
	schedule_as(SCHED_OTHER, 0);
	for (;;)
		atomic_fetch_add(&steps, 1);
	return arg;
}

/*
 * We run on CPU 0, above the other one. That sleeps, or has run, or has been sent to
 * another CPU; or it stays in the queue of this one, while an ordinary task runs on
 * CPU 1. It would not stay for ever, for a real-time task that leaves CPU 1 has it
 * fetched.
 */
static void look(int signal)
{
	unsigned long before = atomic_load(&steps), now;
	int cpu, seen = 0;
	char state;

	(void)signal;
	while (seen < STEPS) {
		state = state_and_cpu(other.tid, &cpu);
		if (atomic_load(&other_ran) || (state != 'S' && cpu)) {
			found = TOO_LATE;
			return;
		}
		if (state == 'S') {
			found = TOO_EARLY;
			return;
		}
		now = atomic_load(&steps);
		seen += now != before;
		before = now;
	}
	found = LEFT_BEHIND;
}

static void set_timer(timer_t timer, uint64_t ns)
{
	struct itimerspec at = { .it_value.tv_nsec = ns };

	ASSERT_EQ(0, timer_settime(timer, 0, &at, NULL));
}

/*
 * The time until the signal follows the moment of the hand-over: longer if it came too
 * early, shorter if it came too late. So it comes now and then just in between.
 */
TEST(other_one_is_pushed, .deadline = 60)
{
	struct sigevent to_me = {
		.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1,
	};
	/* A timer is late, by some tens of microseconds; so there is time to spend. */
	uint64_t delay = MS / 4, stride = 500, start;
	int early = 0, late = 0;
	pthread_t thread[2];
	cpu_set_t everywhere;
	timer_t timer;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return;
	ASSERT_EQ(0, sched_getaffinity(0, sizeof(everywhere), &everywhere));
	pin(0, 0);
	schedule_as(SCHED_FIFO, CALLER);
	become_server();
	to_me._sigev_un._tid = me.tid;
	ASSERT_EQ(0, timer_create(CLOCK_MONOTONIC, &to_me, &timer));
	on_signal(SIGUSR1, look, SA_RESTART);
	ASSERT_EQ(0, pthread_create(&thread[0], NULL, hand_back, NULL));
	ASSERT_EQ(0, pthread_create(&thread[1], NULL, step, NULL));
	ASSERT_EQ(0, umcg_wait(&me, 0));

	for (int i = 0; i < ROUNDS; i++) {
		/* It goes to sleep on CPU 0, and may then be woken anywhere. */
		pin(other.tid, 0);
		ASSERT_EQ(0, umcg_switch(&me, &other, 0));
		ASSERT_EQ(0, sched_setaffinity(other.tid, sizeof(everywhere), &everywhere));
		atomic_store(&other_ran, false);
		found = NOWHERE;
		start = clock_ns(CLOCK_MONOTONIC);
		set_timer(timer, delay);
		while (clock_ns(CLOCK_MONOTONIC) < start + MS / 4)
			;
		ASSERT_EQ(0, umcg_switch(&me, &other, 0));
		while (found == NOWHERE)
			;
		ASSERT_NE(LEFT_BEHIND, found);
		early += found == TOO_EARLY;
		late += found == TOO_LATE;
		if (found == TOO_EARLY)
			delay += stride;
		else if (delay > stride)
			delay -= stride;
	}
	TH_LOG("%d signals before the hand-over, %d after it", early, late);
	/* Neither alone says that any came in between. */
	EXPECT_LT(ROUNDS / 10, early);
	EXPECT_LT(ROUNDS / 10, late);
}

UMCG_TEST_MAIN
