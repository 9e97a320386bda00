// SPDX-License-Identifier: GPL-2.0
/*
 * PID 1 of the SSH guest: a tmpfs over the read-only disk, a static address,
 * and an SSH server for each connection. Nothing is probed, waited for or
 * configured that the lab already knows, and nothing is forked before the
 * first connection: under TCG every process counts.
 *
 * The initrd holds this program, the keys of the lab and the test suite; the
 * disk, which all users and labs share, holds none of them.
 *
 * A guest may be one that was kept when it had booted. The host then runs this
 * program once more, as `/proc/1/exe SECONDS SEED`, to set what only it knows,
 * and as `/proc/1/exe settle` before it ends the guest.
 */
#include "init.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <linux/perf_event.h>
#include <linux/random.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>

#define SSH_PORT 22
#define DISK "/dev/vda"
#define SUITE "/suite"
#define SEED_SIZE 32

/* The disk is there when its driver has probed it, which may be after we start. */
static void mount_disk(void)
{
	int tries;

	for (tries = 0; access(DISK, F_OK) && tries < 2000; tries++)
		usleep(5000);
	mount_on(DISK, "/disk", "erofs", MS_RDONLY, NULL);
}

static void copy_secret(const char *from, const char *to)
{
	struct stat st;
	int in = open(from, O_RDONLY);
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (in < 0 || out < 0 || fstat(in, &st) ||
	    sendfile(out, in, NULL, st.st_size) != st.st_size)
		fatal("copy %s to %s", from, to);
	close(in);
	close(out);
}

/*
 * The image has links to /run where SSH looks for keys: no folder of the disk
 * has to be copied up for them.
 */
static void mount_run(void)
{
	mount_on("tmpfs", "/root/run", "tmpfs", 0, "mode=755");
	make_dir("/root/run/ssh");
	copy_secret("/keys/authorized_keys", "/root/run/ssh/authorized_keys");
	copy_secret("/keys/host_key", "/root/run/ssh/host_key");
}

/*
 * From memory, not from a disk: a test must not sleep because a page of its own
 * program has to be read.
 */
static void mount_suite(void)
{
	if (access(SUITE, F_OK))
		return;
	make_dir("/root/run/umcglab");
	if (mount(SUITE, "/root/run/umcglab", NULL, MS_BIND, NULL))
		fatal("mount " SUITE);
}

static void switch_root(void)
{
	mount_on("tmpfs", "/rw", "tmpfs", 0, NULL);
	make_dir("/rw/upper");
	make_dir("/rw/work");
	mount_on("overlay", "/root", "overlay", 0,
		 "lowerdir=/disk,upperdir=/rw/upper,workdir=/rw/work");
	mount_run();
	mount_suite();
	mount_on("/dev", "/root/dev", NULL, MS_MOVE, NULL);
	if (chdir("/root") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot("."))
		fatal("switch root");
}

static void mount_api(void)
{
	mount_on("proc", "/proc", "proc", 0, NULL);
	mount_on("sysfs", "/sys", "sysfs", 0, NULL);
	mount_on("devpts", "/dev/pts", "devpts", 0, "mode=620,ptmxmode=666");
	mount_on("tmpfs", "/dev/shm", "tmpfs", 0, NULL);
	/* For tests; a kernel without them is no reason to stop. */
	mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL);
	mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL);
	symlink("/proc/self/fd", "/dev/fd");
	symlink("/proc/self/fd/0", "/dev/stdin");
	symlink("/proc/self/fd/1", "/dev/stdout");
	symlink("/proc/self/fd/2", "/dev/stderr");
}

/*
 * Turn on what tests need and the kernel changes its own code for, while no other CPU
 * has work. QEMU before 8.1 may go on executing the old code for good, if another CPU
 * translates that page meanwhile. Of 300 times that the statistics were turned on beside
 * four busy CPUs (arm64), two counted nothing; and a switch that does not tell perf events
 * that their task has left ends in an oops.
 *
 * Perf events count in probes (UPROBE_EVENTS); the one of this task keeps them on.
 */
static void turn_on(void)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_DUMMY,
	};
	int fd = open("/proc/sys/kernel/sched_schedstats", O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (write(fd, "1", 1) != 1)
			fatal("turn on schedstats");
		close(fd);
	}
	if (!access("/sys/bus/event_source/devices/uprobe", F_OK) &&
	    syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC) < 0)
		fatal("turn on perf events");
}

static void interface_up(int sock, const char *name, const char *address)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	struct ifreq ifr = { 0 };

	strncpy(ifr.ifr_name, name, IFNAMSIZ - 1);
	if (address) {
		inet_pton(AF_INET, address, &sin.sin_addr);
		memcpy(&ifr.ifr_addr, &sin, sizeof(sin));
		if (ioctl(sock, SIOCSIFADDR, &ifr))
			fatal("address of %s", name);
		inet_pton(AF_INET, "255.255.255.0", &sin.sin_addr);
		memcpy(&ifr.ifr_netmask, &sin, sizeof(sin));
		if (ioctl(sock, SIOCSIFNETMASK, &ifr))
			fatal("netmask of %s", name);
	}
	ifr.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(sock, SIOCSIFFLAGS, &ifr))
		fatal("%s up", name);
}

/*
 * QEMU's user network knows our MAC address only after it has heard from us,
 * and would spend the first connection on asking. Any datagram will do.
 */
static void greet_gateway(int sock)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(9) };

	inet_pton(AF_INET, "10.0.2.2", &sin.sin_addr);
	sendto(sock, "", 1, 0, (struct sockaddr *)&sin, sizeof(sin));
}

static int listen_ssh(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(SSH_PORT) };
	int one = 1;
	int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (udp < 0 || tcp < 0)
		fatal("socket");
	interface_up(udp, "lo", NULL);
	interface_up(udp, "eth0", "10.0.2.15");
	greet_gateway(udp);
	close(udp);
	setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(tcp, (struct sockaddr *)&sin, sizeof(sin)) || listen(tcp, 16))
		fatal("listen on port %d", SSH_PORT);
	return tcp;
}

static void serve(int connection)
{
	/*
	 * -i: this connection only; -s: no passwords; -j -k: no forwarding;
	 * -W: a window that lets uploads run.
	 */
	static char *const argv[] = { "dropbear", "-i", "-s", "-j", "-k",
				      "-r", "/run/ssh/host_key",
				      "-W", "1048576", NULL };
	static char *const env[] = { "HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
				     NULL };

	setsid();
	signal(SIGCHLD, SIG_DFL);
	dup2(connection, 0);
	dup2(connection, 1);
	execve("/usr/sbin/dropbear", argv, env);
	dprintf(2, MARK "exec dropbear: %s\n", strerror(errno));
	_exit(127);
}

/* The clock stood still while this guest was kept; others were resumed from it. */
static int resume(const char *seconds, const char *seed)
{
	struct timespec now = { .tv_sec = atoll(seconds) };
	struct {
		struct rand_pool_info head;
		char data[SEED_SIZE];
	} pool = { .head = { .entropy_count = 8 * SEED_SIZE, .buf_size = SEED_SIZE } };
	int random = open("/dev/random", O_RDONLY);

	if (clock_settime(CLOCK_REALTIME, &now)) {
		perror("clock_settime");
		return 1;
	}
	memcpy(pool.data, seed, strnlen(seed, SEED_SIZE));
	if (ioctl(random, RNDADDENTROPY, &pool) || ioctl(random, RNDRESEEDCRNG)) {
		perror("/dev/random");
		return 1;
	}
	return 0;
}

/* Of this thread of the kernel: before all others on its CPU. */
static void run_first(pid_t pid)
{
	struct sched_param first = { .sched_priority = 99 };

	if (sched_setscheduler(pid, SCHED_FIFO, &first))
		fatal("priority of %d", pid);
}

/*
 * With PREEMPT_RT a thread of the lowest real-time priority serves the timers of its CPU.
 * A test that keeps a CPU to itself would wait for its own timer for ever, and the
 * harness would not see that it takes too long.
 */
static void serve_timers_first(void)
{
	char path[32], comm[32];
	struct utsname kernel;
	struct dirent *entry;
	DIR *proc;
	int fd;

	if (uname(&kernel) || !strstr(kernel.version, "PREEMPT_RT"))
		return;
	proc = opendir("/proc");
	while ((entry = readdir(proc))) {
		snprintf(path, sizeof(path), "/proc/%d/comm", atoi(entry->d_name));
		fd = open(path, O_RDONLY);
		if (fd < 0)
			continue;
		if (read(fd, comm, sizeof(comm)) > 8 && !strncmp(comm, "ktimers/", 8))
			run_first(atoi(entry->d_name));
		close(fd);
	}
	closedir(proc);
}

/* Twice: what waits for the end of a first grace period is done after it. */
static int settle(void)
{
	int i;

	for (i = 0; i < 2; i++) {
		if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0)) {
			perror("membarrier");
			return 1;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	int listener, connection;

	if (getpid() != 1) {
		if (argc == 3)
			return resume(argv[1], argv[2]);
		if (argc == 2 && !strcmp(argv[1], "settle"))
			return settle();
		fprintf(stderr, "usage: %s SECONDS SEED | settle\n", argv[0]);
		return 2;
	}

	mount_on("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mount_disk();
	switch_root();
	mount_api();
	turn_on();
	serve_timers_first();
	sethostname("umcglab", 7);
	/* Orphans and servers alike are reaped by the kernel. */
	signal(SIGCHLD, SIG_IGN);
	listener = listen_ssh();
	dprintf(1, MARK "ready\n");
	for (;;) {
		connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (connection < 0)
			continue;
		if (!fork())
			serve(connection);
		close(connection);
	}
}
