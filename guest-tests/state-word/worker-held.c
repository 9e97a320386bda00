// SPDX-License-Identifier: GPL-2.0
/*
 * Workers that come to be held with something else to be done on their way back
 * to user space: whatever it is, they can be stopped, traced, frozen and killed.
 */
#include <linux/io_uring.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/rseq.h>

#include "held.h"
#include "seccomp.h"

static struct gate gate;
static atomic_int handled;

static void count(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
}

static void expect_handled_once(void)
{
	EXPECT_EQ(1, atomic_load(&handled));
	EXPECT_EQ(0, w.result);
}

static void expect_result(void)
{
	EXPECT_EQ(0, w.result);
}

static void yield_once(struct worker *worker)
{
	worker->result = umcg_yield(&worker->own, 0);
}

static void bring_by_yield(void)
{
	ASSERT_EQ(IDLE, run(&w));
	until_word(&w, IDLE);
}

TEST(held_in_a_wait)
{
	static const struct way way = { yield_once, bring_by_yield, expect_result };

	is_held_like_any_other(&way);
}

/* Signals with a handler that wait for it to run. */
static void bring_with_signals(void)
{
	on_signal(SIGUSR1, count, 0);
	bring_by_yield();
	ASSERT_EQ(0, tgkill(getpid(), w.tid, SIGUSR1));
}

TEST(held_with_a_handler_to_run)
{
	static const struct way way = { yield_once, bring_with_signals,
					expect_handled_once };

	is_held_like_any_other(&way);
}

/*
 * Task work: the last reference to a file is that of the system call that the
 * worker sleeps in. It is let go of while the worker is held.
 */
static void pass(struct worker *worker)
{
	worker->result = gate_pass(&gate) ? 0 : -errno;
}

static void bring_with_task_work(void)
{
	struct pollfd nobody_reads = { .events = POLLERR };

	gate_make(&gate);
	ASSERT_EQ(BLOCKED, run(&w));
	until_word(&w, BLOCKED);
	close(gate.fd[0]);
	gate_open(&gate);
	until_back(&w);
	nobody_reads.fd = gate.fd[1];
	EXPECT_EQ(1, poll(&nobody_reads, 1, -1));
}

TEST(held_with_task_work)
{
	static const struct way way = { pass, bring_with_task_work, expect_result };

	is_held_like_any_other(&way);
}

/* A signal of its own making, which it has to take before anything else. */
static void trap_preempted(struct worker *worker, long call)
{
	ASSERT_TRUE(umcg_move(&worker->own.task, RUNNING, RUNNING | PREEMPTED));
	syscall(call);
	worker->result = 0;
}

static void bring_preempted(void)
{
	on_signal(SIGSYS, count, 0);
	ASSERT_EQ(IDLE | PREEMPTED, run(&w));
	until_word(&w, IDLE | PREEMPTED);
	EXPECT_EQ(0, atomic_load(&handled));
}

static void be_trapped_by_seccomp(struct worker *worker)
{
	trap_preempted(worker, SYS_getppid);
}

TEST(held_with_a_trap_of_seccomp)
{
	static const struct way way = { be_trapped_by_seccomp, bring_preempted,
					expect_handled_once };

	/* Inherited by the worker, which would perhaps have to sleep for it. */
	ASSERT_EQ(0, filter_getppid(SECCOMP_RET_TRAP, 0));
	is_held_like_any_other(&way);
}

/* Syscall user dispatch, which arm64 does not have: a signal by kill() there. */
static char selector = SYSCALL_DISPATCH_FILTER_ALLOW;

static void allow_and_count(int signal)
{
	selector = SYSCALL_DISPATCH_FILTER_ALLOW;
	count(signal);
}

static void be_dispatched(struct worker *worker)
{
#ifdef __x86_64__
	ASSERT_EQ(0, prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0,
			   &selector));
	selector = SYSCALL_DISPATCH_FILTER_BLOCK;
	trap_preempted(worker, SYS_getppid);
#else
	ASSERT_EQ(-1, prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0,
			    &selector));
	ASSERT_EQ(EINVAL, errno);
	ASSERT_TRUE(umcg_move(&worker->own.task, RUNNING, RUNNING | PREEMPTED));
	ASSERT_EQ(0, tgkill(getpid(), worker->tid, SIGSYS));
	worker->result = 0;
#endif
}

static void bring_dispatched(void)
{
	on_signal(SIGSYS, allow_and_count, 0);
	ASSERT_EQ(IDLE | PREEMPTED, run(&w));
	until_word(&w, IDLE | PREEMPTED);
	EXPECT_EQ(0, atomic_load(&handled));
}

TEST(held_with_a_dispatched_call)
{
	static const struct way way = { be_dispatched, bring_dispatched,
					expect_handled_once };

	is_held_like_any_other(&way);
}

/* A call that a supervisor has answered. */
static int listener;

static void be_supervised(struct worker *worker)
{
	worker->result = syscall(SYS_getppid) == 4711 ? 0 : -1;
}

static void bring_supervised(void)
{
	struct seccomp_notif asked = { 0 };
	struct seccomp_notif_resp answer = { .val = 4711 };

	ASSERT_EQ(BLOCKED, run(&w));
	ASSERT_EQ(0, ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked));
	answer.id = asked.id;
	ASSERT_EQ(0, ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer));
	until_back(&w);
}

TEST(held_with_an_answer_of_seccomp)
{
	static const struct way way = { be_supervised, bring_supervised,
					expect_result };

	listener = filter_getppid(SECCOMP_RET_USER_NOTIF,
				  SECCOMP_FILTER_FLAG_NEW_LISTENER);
	is_held_like_any_other(&way);
}

/* The signature that the C library registers stands before an abort handler. */
asm("	.text\n"
#ifdef __x86_64__
    "	.byte 0x0f, 0xb9, 0x3d\n"
    "	.long 0x53053053\n"
#else
    "	.inst 0xd428bc00\n"
#endif
    "	.globl rseq_abort\n"
    "rseq_abort:\n"
    "	ret\n");

extern const char rseq_abort[];

/*
 * rseq: a descriptor of a section that the worker is not in is dropped. Linux 7.3 looks
 * for one only when an interrupt has made the thread leave its CPU, such as that of the
 * harness's watch; before, every way back to user space did.
 */
static void yield_with_rseq(struct worker *worker)
{
	static struct rseq_cs cs __attribute__((aligned(32)));
	struct rseq *area = (void *)((char *)__builtin_thread_pointer() +
				     __rseq_offset);

	ASSERT_LT(0, __rseq_size);
	cs = (struct rseq_cs){
		.start_ip = (uintptr_t)rseq_abort + 64,
		.post_commit_offset = 1,
		.abort_ip = (uintptr_t)rseq_abort,
	};
	__atomic_store_n(&area->rseq_cs, (uintptr_t)&cs, __ATOMIC_SEQ_CST);
	worker->result = umcg_yield(&worker->own, 0);
	while (__atomic_load_n(&area->rseq_cs, __ATOMIC_SEQ_CST))
		;
}

TEST(held_with_rseq_to_look_at)
{
	static const struct way way = { yield_with_rseq, bring_by_yield,
					expect_result };

	is_held_like_any_other(&way);
}

/*
 * A notify signal: io_uring has a completion to bring to the thread that asked, who
 * is held by then.
 */
static struct gate ring_gate;
static int ring;
static struct io_uring_sqe *sqes;
static unsigned int *ring_tail, *ring_array, *ring_done;

static void make_ring(void)
{
	struct io_uring_params params = { 0 };
	size_t size = 4096;
	char *rings;

	ring = syscall(SYS_io_uring_setup, 1, &params);
	ASSERT_LE(0, ring);
	rings = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		     ring, IORING_OFF_SQ_RING);
	sqes = mmap(NULL, sizeof(*sqes), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
	ASSERT_NE(MAP_FAILED, rings);
	ASSERT_NE(MAP_FAILED, sqes);
	ring_tail = (void *)(rings + params.sq_off.tail);
	ring_array = (void *)(rings + params.sq_off.array);
	ring_done = (void *)(rings + params.cq_off.tail);
}

static void yield_with_a_poll(struct worker *worker)
{
	sqes[0] = (struct io_uring_sqe){
		.opcode = IORING_OP_POLL_ADD, .fd = ring_gate.fd[0],
		.poll32_events = POLLIN,
	};
	ring_array[0] = 0;
	__atomic_store_n(ring_tail, 1, __ATOMIC_RELEASE);
	/* The first call may sleep for memory, which is not what is asked here. */
	ASSERT_TRUE(umcg_lock(&worker->own));
	ASSERT_EQ(1, syscall(SYS_io_uring_enter, ring, 1, 0, 0, NULL, 0));
	umcg_unlock(&worker->own);
	worker->result = umcg_yield(&worker->own, 0);
}

static void bring_with_a_completion(void)
{
	gate_make(&ring_gate);
	make_ring();
	ASSERT_EQ(IDLE, run(&w));
	until_word(&w, IDLE);
	EXPECT_EQ(0, __atomic_load_n(ring_done, __ATOMIC_ACQUIRE));
	gate_open(&ring_gate);
}

static void expect_completion(void)
{
	EXPECT_EQ(1, __atomic_load_n(ring_done, __ATOMIC_ACQUIRE));
	EXPECT_EQ(0, w.result);
}

TEST(held_with_a_notify_signal)
{
	static const struct way way = { yield_with_a_poll, bring_with_a_completion,
					expect_completion };

	is_held_like_any_other(&way);
}

/* It comes from a stop of a tracer that has let it go since. */
static atomic_bool over;
static struct tracing {
	atomic_bool spins, let_go;
} *tracing;

static void spin(struct worker *worker)
{
	atomic_store(&tracing->spins, true);
	while (!atomic_load(&over))
		;
	worker->result = 0;
}

/* When the tracer ends it goes on. */
static void stop_it_for_a_while(void)
{
	int status;

	while (!atomic_load(&tracing->spins))
		nap(MS);
	ASSERT_EQ(0, ptrace(PTRACE_SEIZE, w.tid, NULL, NULL));
	ASSERT_EQ(0, ptrace(PTRACE_INTERRUPT, w.tid, NULL, NULL));
	ASSERT_EQ(w.tid, waitpid(w.tid, &status, __WALL));
	while (!atomic_load(&tracing->let_go))
		nap(MS);
	_exit(0);
}

static void bring_from_tracer(void)
{
	pid_t tracer;

	tracing = shared_memory(sizeof(*tracing));
	tracer = fork();
	ASSERT_NE(-1, tracer);
	if (!tracer)
		stop_it_for_a_while();
	/*
	 * The fork has made its stack read-only: it may sleep for that, and be back
	 * before its server looks, which umcg_run() tells from a yield.
	 */
	ASSERT_EQ(UMCG_BLOCKED, umcg_run(&me, w.umcg, 0));
	while (!atomic_load(&tracing->spins)) {
		until_back(&w);
		ASSERT_EQ(UMCG_BLOCKED, umcg_run(&me, w.umcg, 0));
	}
	atomic_store(&tracing->let_go, true);
	until_back(&w);
	EXPECT_EQ(0, reap_child(tracer));
	atomic_store(&over, true);
}

TEST(held_after_a_ptrace_stop)
{
	static const struct way way = { spin, bring_from_tracer, expect_result };

	is_held_like_any_other(&way);
}

UMCG_TEST_MAIN
