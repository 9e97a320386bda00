// SPDX-License-Identifier: GPL-2.0
/*
 * One operation: io_uring polls an eventfd, which is written, and completes. The
 * completion is a task work with a notify signal (TWA_SIGNAL), and goes where UMCG
 * looks at its workers: to those who have none it must cost nothing.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

static int ring, event;
static atomic_uint *submitted, *completed, *seen;	/* tails, and a head */
static unsigned int submit_mask;
static unsigned int *to_submit;
static struct io_uring_sqe *sqes;

static const char *setup(void)
{
	struct io_uring_params params = { 0 };
	size_t size;
	char *rings;

	ring = syscall(SYS_io_uring_setup, 4, &params);
	if (ring < 0 && errno == ENOSYS)
		return "no io_uring in this kernel";
	if (ring < 0 || !(params.features & IORING_FEAT_SINGLE_MMAP))
		bench_die("io_uring_setup");
	event = eventfd(0, 0);
	size = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
	if (size < params.sq_off.array + params.sq_entries * sizeof(*to_submit))
		size = params.sq_off.array + params.sq_entries * sizeof(*to_submit);
	rings = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		     ring, IORING_OFF_SQ_RING);
	sqes = mmap(NULL, params.sq_entries * sizeof(*sqes), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
	if (event < 0 || rings == MAP_FAILED || sqes == MAP_FAILED)
		bench_die("io_uring");
	submitted = (void *)(rings + params.sq_off.tail);
	submit_mask = *(unsigned int *)(rings + params.sq_off.ring_mask);
	to_submit = (void *)(rings + params.sq_off.array);
	completed = (void *)(rings + params.cq_off.tail);
	seen = (void *)(rings + params.cq_off.head);
	return NULL;
}

static void poll_event(void)
{
	unsigned int tail = atomic_load_explicit(submitted, memory_order_relaxed);
	unsigned int i = tail & submit_mask;

	sqes[i] = (struct io_uring_sqe){
		.opcode = IORING_OP_POLL_ADD, .fd = event, .poll32_events = POLLIN,
	};
	to_submit[i] = i;
	atomic_store_explicit(submitted, tail + 1, memory_order_release);
	if (syscall(SYS_io_uring_enter, ring, 1, 0, 0, NULL, 0) != 1)
		bench_die("io_uring_enter");
}

static void rounds(unsigned int rounds)
{
	uint64_t count = 1;

	while (rounds--) {
		poll_event();
		if (syscall(SYS_write, event, &count, sizeof(count)) != sizeof(count))
			bench_die("write");
		if (atomic_load_explicit(completed, memory_order_acquire) ==
		    atomic_load_explicit(seen, memory_order_relaxed))
			bench_die("completion");
		atomic_fetch_add_explicit(seen, 1, memory_order_release);
		if (syscall(SYS_read, event, &count, sizeof(count)) != sizeof(count))
			bench_die("read");
	}
}

static const struct bench bench = {
	.name = "yard/io_uring", .version = 1, .op = "one poll that completes",
	.ops_per_round = 1, .setup = setup, .rounds = rounds,
};

int main(int argc, char **argv) { return bench_main(argc, argv, &bench); }
