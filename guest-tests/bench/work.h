/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is measured in a worker and in a plain thread alike, for the difference
 * to say what being a worker costs.
 */
#ifndef WORK_H
#define WORK_H

#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

static inline void work_syscall(unsigned int rounds)
{
	while (rounds--)
		syscall(SYS_getppid);
}

#define WORK_PAGES 64

static char *work_area;
static size_t work_page;

static inline void work_fault_setup(void)
{
	work_page = sysconf(_SC_PAGESIZE);
	work_area = mmap(NULL, WORK_PAGES * work_page, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	/* All else is locked in memory. */
	if (work_area == MAP_FAILED || munlock(work_area, WORK_PAGES * work_page))
		bench_die("mmap");
	if (madvise(work_area, WORK_PAGES * work_page, MADV_DONTNEED))
		bench_die("madvise");
}

static inline void work_fault(unsigned int rounds)
{
	unsigned int i, pages;

	for (; rounds; rounds -= pages) {
		pages = rounds < WORK_PAGES ? rounds : WORK_PAGES;
		for (i = 0; i < pages; i++)
			*(volatile char *)(work_area + i * work_page) = 1;
		if (madvise(work_area, pages * work_page, MADV_DONTNEED))
			bench_die("madvise");
	}
}

#endif
