/* SPDX-License-Identifier: GPL-2.0 */
/*
 * User memory that is not there when somebody wants it: swapped out, or kept
 * back by userfaultfd for as long as the test likes.
 */
#ifndef AWAY_H
#define AWAY_H

#include <linux/loop.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/swap.h>

#include "kit.h"

#define PAGE	4096

/* A page that nothing else is in, and that is there. */
static inline void *own_page(void)
{
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	ASSERT_NE(MAP_FAILED, page);
	return page;
}

static inline void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	ASSERT_NE(-1, fd);
	ASSERT_EQ(strlen(text), write(fd, text, strlen(text)));
	close(fd);
}

/* What /proc/self/pagemap says: bit 63 present, bits 0-54 the page frame. */
static inline uint64_t page_entry(const void *page)
{
	uint64_t entry;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	ASSERT_EQ(sizeof(entry), pread(fd, &entry, sizeof(entry),
				       (uintptr_t)page / PAGE * sizeof(entry)));
	close(fd);
	return entry;
}

static inline bool page_present(const void *page)
{
	return page_entry(page) >> 63;
}

static inline uint64_t page_frame(const void *page)
{
	return page_entry(page) & ((UINT64_C(1) << 55) - 1);
}

static inline void compact_memory(void)
{
	write_file("/proc/sys/vm/compact_memory", "1");
}

static inline bool two_nodes(void)
{
	return !access("/sys/devices/system/node/node1", F_OK);
}

/* To the other one of two nodes. A page that is in use just then stays. */
static inline void page_to_other_node(void *page)
{
	int at, to;

	ASSERT_EQ(0, syscall(SYS_move_pages, 0, 1, &page, NULL, &at, 0));
	to = !at;
	do
		ASSERT_NE(-1, syscall(SYS_move_pages, 0, 1, &page, &to, &at,
				      MPOL_MF_MOVE));
	while (at != to);
}

static char swap_device[32];

static inline void swap_off(void)
{
	ASSERT_EQ(0, swapoff(swap_device));
}

/*
 * Have a swap device: a loop device over memory, which is locked lest it be
 * swapped out to itself.
 */
static inline void swap_on(void)
{
	enum { SIZE = 64 << 20 };
	/* The header that mkswap writes: version, last page, signature. */
	uint32_t header[PAGE / 4] = { [256] = 1, [257] = SIZE / PAGE - 1 };
	struct loop_config config = {
		.fd = memfd_create("swap", 0),
		.info.lo_flags = LO_FLAGS_AUTOCLEAR,
	};
	int control = open("/dev/loop-control", O_RDWR), loop;

	memcpy((char *)header + PAGE - 10, "SWAPSPACE2", 10);
	ASSERT_EQ(0, ftruncate(config.fd, SIZE));
	ASSERT_EQ(PAGE, write(config.fd, header, PAGE));
	ASSERT_NE(MAP_FAILED, mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_LOCKED, config.fd, 0));
	snprintf(swap_device, sizeof(swap_device), "/dev/loop%d",
		 ioctl(control, LOOP_CTL_GET_FREE));
	loop = open(swap_device, O_RDWR);
	ASSERT_NE(-1, loop);
	ASSERT_EQ(0, ioctl(loop, LOOP_CONFIGURE, &config));
	ASSERT_EQ(0, swapon(swap_device, 0));
	close(loop);
	close(control);
	close(config.fd);
}

static inline void page_out(void *page)
{
	while (page_present(page)) {
		ASSERT_EQ(0, madvise(page, PAGE, MADV_PAGEOUT));
		/* It may be on another CPU's list of new pages: drain those. */
		if (page_present(page))
			compact_memory();
	}
}

/* A page kept back: who touches it sleeps until it is given. */
struct kept {
	int fd;
	void *page;
	char contents[PAGE];
};

/* Nobody may touch the page meanwhile. */
static inline void page_keep(struct kept *kept, void *page)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { (uintptr_t)page, PAGE },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	kept->fd = syscall(SYS_userfaultfd, O_NONBLOCK);
	ASSERT_NE(-1, kept->fd);
	kept->page = page;
	memcpy(kept->contents, page, PAGE);
	ASSERT_EQ(0, ioctl(kept->fd, UFFDIO_API, &api));
	ASSERT_EQ(0, ioctl(kept->fd, UFFDIO_REGISTER, &reg));
	ASSERT_EQ(0, madvise(page, PAGE, MADV_DONTNEED));
}

/* Wait until somebody sleeps for the page. */
static inline void until_wanted(const struct kept *kept)
{
	struct pollfd poll_fd = { .fd = kept->fd, .events = POLLIN };

	ASSERT_EQ(1, poll(&poll_fd, 1, -1));
}

static inline void page_give(struct kept *kept)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)kept->page,
		.src = (uintptr_t)kept->contents,
		.len = PAGE,
	};

	ASSERT_EQ(0, ioctl(kept->fd, UFFDIO_COPY, &copy));
	close(kept->fd);
}

#endif
