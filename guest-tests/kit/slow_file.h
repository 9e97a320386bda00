/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A file whose reads take as long as the test likes, by a FUSE of one file. A child of
 * the test serves it: killed, it lets go of those who sleep in a read. Or the test sees
 * to that by itself, with slow_file_mount() and slow_serve().
 * The mount is of a namespace of the test's own and goes with it.
 */
#ifndef SLOW_FILE_H
#define SLOW_FILE_H

#include <linux/fuse.h>
#include <sys/mount.h>
#include <sys/uio.h>

#include "kit.h"

#define SLOW_SIZE	4096

struct slow_file {
	int fuse;		/* the server's end */
	int fd;			/* the file */
	struct gate gate;	/* opened once for each read */
};

static struct slow_file slow;

static inline void slow_reply(const struct fuse_in_header *in, int error,
			      const void *data, size_t size)
{
	struct fuse_out_header out = {
		.len = sizeof(out) + size, .error = error, .unique = in->unique,
	};
	struct iovec parts[2] = { { &out, sizeof(out) }, { (void *)data, size } };

	/* -1: the reader has been killed meanwhile. */
	if (writev(slow.fuse, parts, 2) < 0)
		ASSERT_EQ(ENOENT, errno);
}

static inline void slow_answer(const struct fuse_in_header *in)
{
	static const char zeros[SLOW_SIZE];
	struct fuse_init_out init = {
		.major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = SLOW_SIZE,
	};
	struct fuse_open_out opened = { .fh = 1 };
	struct fuse_attr_out attr = {
		.attr = {
			.ino = 1, .size = SLOW_SIZE, .mode = S_IFREG | 0644,
			.nlink = 1, .blksize = SLOW_SIZE,
		},
	};

	switch (in->opcode) {
	case FUSE_INIT:
		return slow_reply(in, 0, &init, sizeof(init));
	case FUSE_GETATTR:
		return slow_reply(in, 0, &attr, sizeof(attr));
	case FUSE_OPEN:
		return slow_reply(in, 0, &opened, sizeof(opened));
	case FUSE_READ:
		ASSERT_TRUE(gate_pass(&slow.gate));
		return slow_reply(in, 0, zeros, sizeof(zeros));
	case FUSE_FORGET:
	case FUSE_INTERRUPT:
		return;
	default:
		return slow_reply(in, -ENOSYS, NULL, 0);
	}
}

static inline void slow_serve(void)
{
	static char request[FUSE_MIN_READ_BUFFER + SLOW_SIZE];

	while (read(slow.fuse, request, sizeof(request)) > 0)
		slow_answer((struct fuse_in_header *)request);
}

static const char slow_path[] = "/run/umcg-slow-file";

/* To be called before there are other threads. */
static inline void slow_file_mount(void)
{
	char options[64];

	ASSERT_EQ(0, unshare(CLONE_NEWNS));
	ASSERT_EQ(0, mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	gate_make(&slow.gate);
	slow.fuse = open("/dev/fuse", O_RDWR);
	ASSERT_NE(-1, slow.fuse);
	close(open(slow_path, O_CREAT | O_WRONLY, 0600));
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=100000,user_id=0,group_id=0", slow.fuse);
	ASSERT_EQ(0, mount("umcg", slow_path, "fuse", 0, options));
}

/* To be called before there are other threads. */
static inline void slow_file_make(void)
{
	pid_t pid;

	slow_file_mount();
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		slow_serve();
		_exit(0);
	}
	close(slow.fuse);
	slow.fd = open(slow_path, O_RDONLY);
	ASSERT_NE(-1, slow.fd);
	/* Have its size known. */
	ASSERT_EQ(SLOW_SIZE, lseek(slow.fd, 0, SEEK_END));
	ASSERT_EQ(0, lseek(slow.fd, 0, SEEK_SET));
}

static inline void slow_file_release(void)
{
	gate_open(&slow.gate);
}

#endif
