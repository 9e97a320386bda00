// SPDX-License-Identifier: GPL-2.0
/* The many ways to sleep in the kernel, each of which is reported. */
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/socket.h>

#include "sleeper.h"

static struct gate gate;

static void make_gate(void)
{
	gate_make(&gate);
}

static void open_gate(void)
{
	gate_open(&gate);
}

SLEEPS(pipe_read, make_gate, open_gate)
{
	return gate_pass(&gate) ? 0 : -1;
}

static void fill_pipe(void)
{
	static char bulk[65536];

	gate_make(&gate);
	ASSERT_EQ(sizeof(bulk), write(gate.fd[1], bulk, sizeof(bulk)));
}

static void empty_pipe(void)
{
	static char bulk[65536];

	ASSERT_EQ(sizeof(bulk), read(gate.fd[0], bulk, sizeof(bulk)));
}

SLEEPS(pipe_write, fill_pipe, empty_pipe)
{
	return write(gate.fd[1], "", 1) == 1 ? 0 : -1;
}

SLEEPS(poll_wait, make_gate, open_gate)
{
	struct pollfd poll_fd = { .fd = gate.fd[0], .events = POLLIN };

	return poll(&poll_fd, 1, -1) == 1 ? 0 : -1;
}

SLEEPS(select_wait, make_gate, open_gate)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(gate.fd[0], &set);
	return select(gate.fd[0] + 1, &set, NULL, NULL, NULL) == 1 ? 0 : -1;
}

static int epoll_fd;

static void make_epoll(void)
{
	struct epoll_event event = { .events = EPOLLIN };

	gate_make(&gate);
	epoll_fd = epoll_create1(0);
	ASSERT_EQ(0, epoll_ctl(epoll_fd, EPOLL_CTL_ADD, gate.fd[0], &event));
}

SLEEPS(epoll, make_epoll, open_gate)
{
	struct epoll_event event;

	return epoll_wait(epoll_fd, &event, 1, -1) == 1 ? 0 : -1;
}

static int event_fd;

static void make_event(void)
{
	event_fd = eventfd(0, 0);
	ASSERT_NE(-1, event_fd);
}

static void raise_event(void)
{
	ASSERT_EQ(0, eventfd_write(event_fd, 1));
}

SLEEPS(event, make_event, raise_event)
{
	eventfd_t value;

	return eventfd_read(event_fd, &value);
}

static int sockets[2];

static void make_sockets(void)
{
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
}

static void send_byte(void)
{
	ASSERT_EQ(1, send(sockets[1], "", 1, 0));
}

SLEEPS(socket_receive, make_sockets, send_byte)
{
	char byte;

	return recv(sockets[0], &byte, 1, 0) == 1 ? 0 : -1;
}

static void nothing(int signal)
{
	(void)signal;
}

static void handle_signals(void)
{
	on_signal(SIGUSR1, nothing, 0);
}

static void send_signal(void)
{
	ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR1));
}

SLEEPS(sleep_long, handle_signals, send_signal)
{
	struct timespec day = { .tv_sec = 86400 };

	return nanosleep(&day, NULL) == -1 && errno == EINTR ? 0 : -1;
}

SLEEPS(wait_for_signal, handle_signals, send_signal)
{
	return pause() == -1 && errno == EINTR ? 0 : -1;
}

SLEEPS(take_signal, handle_signals, send_signal)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return sigwaitinfo(&set, NULL) == SIGUSR1 ? 0 : -1;
}

static pid_t child;

/* A child that ends when the gate is opened. */
static void make_child(void)
{
	gate_make(&gate);
	child = fork();
	ASSERT_NE(-1, child);
	if (!child) {
		gate_pass(&gate);
		_exit(0);
	}
}

SLEEPS(child_to_wait_for, make_child, open_gate)
{
	return waitpid(child, NULL, 0) == child ? 0 : -1;
}

/* The child that runs in its memory is nobody. */
SLEEPS(vfork_child, make_gate, open_gate)
{
	pid_t pid = vfork();

	if (!pid) {
		char byte;

		read(gate.fd[0], &byte, 1);
		_exit(umcg_is_nobody() ? 0 : 1);
	}
	return reap_child(pid);
}

static int file, same_file;

static void lock_file(void)
{
	char path[32];

	file = memfd_create("lock", 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	same_file = open(path, O_RDWR);
	ASSERT_EQ(0, flock(file, LOCK_EX));
}

static void unlock_file(void)
{
	ASSERT_EQ(0, flock(file, LOCK_UN));
}

SLEEPS(file_lock, lock_file, unlock_file)
{
	return flock(same_file, LOCK_EX);
}

static uint32_t futex, pi_futex;

static long futex_call(uint32_t *word, int op, uint32_t val, unsigned long val2,
		       uint32_t *word2)
{
	return syscall(SYS_futex, word, op, val, val2, word2, 0);
}

static void wake_futex(void)
{
	ASSERT_EQ(1, futex_call(&futex, FUTEX_WAKE, 1, 0, NULL));
}

SLEEPS(futex_wait, NULL, wake_futex)
{
	return futex_call(&futex, FUTEX_WAIT, 0, 0, NULL);
}

static void lock_pi(void)
{
	ASSERT_EQ(0, futex_call(&pi_futex, FUTEX_LOCK_PI, 0, 0, NULL));
}

static void unlock_pi(void)
{
	ASSERT_EQ(0, futex_call(&pi_futex, FUTEX_UNLOCK_PI, 0, 0, NULL));
}

SLEEPS(futex_lock_pi, lock_pi, unlock_pi)
{
	if (futex_call(&pi_futex, FUTEX_LOCK_PI, 0, 0, NULL))
		return -1;
	return futex_call(&pi_futex, FUTEX_UNLOCK_PI, 0, 0, NULL);
}

/* From the one futex to the other, which is held, and only then awake. */
static void requeue_pi(void)
{
	ASSERT_EQ(1, futex_call(&futex, FUTEX_CMP_REQUEUE_PI, 1, 1, &pi_futex));
	expect_asleep_in(&w, UMCG_IS_BLOCKED);
	unlock_pi();
}

SLEEPS(futex_requeue_pi, lock_pi, requeue_pi)
{
	return futex_call(&futex, FUTEX_WAIT_REQUEUE_PI, 0, 0, &pi_futex);
}

UMCG_TEST_MAIN
