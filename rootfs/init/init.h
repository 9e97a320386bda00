/* SPDX-License-Identifier: GPL-2.0 */
/* What the static init programs share: PID 1 that cannot fail quietly. */
#ifndef UMCGLAB_INIT_H
#define UMCGLAB_INIT_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#define MARK "umcglab-init: "

/* With panic=-1 and -no-reboot this ends QEMU; the host looks for MARK "failed". */
static inline __attribute__((noreturn, format(printf, 1, 2))) void
fatal(const char *format, ...)
{
	int error = errno;
	va_list args;

	dprintf(2, "\n" MARK "failed: ");
	va_start(args, format);
	vdprintf(2, format, args);
	va_end(args);
	dprintf(2, ": %s\n", strerror(error));
	reboot(RB_POWER_OFF);
	_exit(1);
}

static inline void make_dir(const char *path)
{
	if (mkdir(path, 0755) && errno != EEXIST)
		fatal("mkdir %s", path);
}

static inline void mount_on(const char *source, const char *target, const char *type,
			    unsigned long flags, const char *data)
{
	make_dir(target);
	if (mount(source, target, type, flags, data))
		fatal("mount %s on %s", type ? type : source, target);
}

/* The second UART, for what the host reads byte for byte. */
static inline int open_uart(const char *name)
{
	struct termios raw;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/dev/%s", name);
	fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || tcgetattr(fd, &raw))
		fatal("open %s", path);
	cfmakeraw(&raw);
	raw.c_cflag |= CLOCAL;
	cfsetspeed(&raw, B115200);
	if (tcsetattr(fd, TCSANOW, &raw))
		fatal("set up %s", path);
	return fd;
}

#endif
