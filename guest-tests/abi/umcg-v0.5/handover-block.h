/* SPDX-License-Identifier: GPL-2.0 */
/* A worker that blocks, and what the kernel counts from just before that on. */
#ifndef HANDOVER_BLOCK_H
#define HANDOVER_BLOCK_H

#include "crew.h"
#include "handover.h"

static int counts_fd;

/* As counts_now(), for workers: it opens nothing and prints nothing. */
static inline struct counts peek(const char *why)
{
	const char *const names[] = { "run", "wait", "exchange", "delayed", why };
	struct counts now = { 0 };
	long *const values[] = { &now.run, &now.wait, &now.exchange, &now.delayed, &now.why };
	char text[1024], *line, *rest;
	ssize_t n = pread(counts_fd, text, sizeof(text) - 1, 0);

	ASSERT_LT(0, n);
	text[n] = '\0';
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		for (int i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
			size_t length = strlen(names[i]);

			if (!strncmp(line, names[i], length) && line[length] == ' ')
				*values[i] = atol(line + length);
		}
	return now;
}

static struct worker w;
static struct gate gate;
static const char *reason = "class";
static struct counts before, sum;
static atomic_bool enough;

static inline void add_since(struct counts since)
{
	struct counts now = peek(reason);

	sum.why += now.why - since.why;
	sum.delayed += now.delayed - since.delayed;
	sum.run += now.run - since.run;
	sum.wait += now.wait - since.wait;
	sum.exchange += now.exchange - since.exchange;
}

static inline void hire_one(void (*body)(struct worker *worker))
{
	counts_fd = open(COUNTS, O_RDONLY);
	ASSERT_LE(0, counts_fd);
	gate_make(&gate);
	become_server();
	w.body = body;
	hire(&w);
}

#endif
