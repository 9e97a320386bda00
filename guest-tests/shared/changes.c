// SPDX-License-Identifier: GPL-2.0
/*
 * Tasks that hand over to each other, while the rest of Linux changes what they are: at
 * random another process changes the CPUs, class, nice level and group of a thread, has
 * it stop, freeze and be traced, takes CPUs from the machine, and loads a scheduler. In
 * the end all is as it was, and everybody has to get on.
 *
 * How often each change was made is printed: some need what the kernel may not have.
 * Where the scheduler counts how often a place changed hands, some have to.
 */
#include <dirent.h>
#include <linux/prctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "attr.h"
#include "cgroup.h"
#include "rng.h"
#include "scx.h"
#include "storm.h"
#include "trace.h"

enum { RINGS = 3, MEMBERS = 4, CHANGES = 600, LIVES = 12 };

#define ROOM	CGROUPS "/umcg-changes"	/* and two groups of threads in it */

/* What the process that is changed has in common with the one that does it. */
static struct common {
	atomic_bool over;	/* come to an end */
	atomic_bool exec;	/* be another program */
	atomic_long turns[RINGS];
} *common;

/* Rings of servers: of each ring one runs at a time. */
struct member {
	struct umcg umcg;
	int ring;
	struct member *next;
	pthread_t thread;
	atomic_bool ready;
};

static struct member members[RINGS][MEMBERS];
static atomic_int inside[RINGS];

static void *go_round(void *arg)
{
	struct member *m = arg;

	ASSERT_EQ(0, umcg_register_server(&m->umcg, NULL));
	atomic_store(&m->ready, true);
	ASSERT_EQ(0, umcg_wait(&m->umcg, 0));
	while (!atomic_load(&common->over)) {
		ASSERT_EQ(1, atomic_fetch_add(&inside[m->ring], 1) + 1);
		atomic_fetch_add(&common->turns[m->ring], 1);
		ASSERT_EQ(1, atomic_fetch_sub(&inside[m->ring], 1));
		ASSERT_EQ(0, umcg_switch(&m->umcg, &m->next->umcg, 0));
	}
	/* The first one to see it wakes the next, and so on; the last, nobody. */
	umcg_wake(&m->umcg, &m->next->umcg);
	ASSERT_EQ(0, umcg_unregister(&m->umcg));
	return NULL;
}

static void be_rings(void)
{
	become_server();
	for (int r = 0; r < RINGS; r++)
		for (int i = 0; i < MEMBERS; i++) {
			struct member *m = &members[r][i];

			m->ring = r;
			m->next = &members[r][(i + 1) % MEMBERS];
			ASSERT_EQ(0, pthread_create(&m->thread, NULL, go_round, m));
		}
	for (int r = 0; r < RINGS; r++) {
		for (int i = 0; i < MEMBERS; i++)
			while (!atomic_load(&members[r][i].ready) ||
			       umcg_state(&members[r][i].umcg) != UMCG_IS_IDLE)
				nap(MS);
		ASSERT_EQ(0, umcg_wake(&me, &members[r][0].umcg));
	}
	for (int r = 0; r < RINGS; r++)
		for (int i = 0; i < MEMBERS; i++)
			ASSERT_EQ(0, pthread_join(members[r][i].thread, NULL));
	ASSERT_EQ(0, umcg_unregister(&me));
}

/* Workers and three servers: storm.h. */
static void *tell_the_crowd(void *arg)
{
	while (!atomic_load(&common->over)) {
		atomic_store(&common->turns[0], turns_taken());
		nap(MS);
	}
	atomic_store(&enough, true);
	return arg;
}

static void be_crowd(void)
{
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, tell_the_crowd, NULL));
	start_crowd(do_a_bit_of_everything, 0);
	serve_crowd();
	ASSERT_EQ(0, pthread_join(thread, NULL));
}

static void *exec_when_told(void *arg)
{
	extern char **environ;
	char *const argv[] = { "changes", "--after-exec", NULL };

	while (!atomic_load(&common->exec)) {
		if (atomic_load(&common->over))
			return arg;
		nap(MS);
	}
	execve("/proc/self/exe", argv, environ);
	_exit(2);
}

static void nothing(int signal)
{
	(void)signal;
}

/* Who makes the changes, and whom they are made to. */
struct changer {
	struct rng rng;
	pid_t pid;		/* of the process */
	pid_t tid;		/* of one of its threads, another each time */
	int cpus;
	pid_t had_deadline[64];
	bool groups, quotas, sets;	/* there are such control groups */
	bool stopped, frozen;
	bool extends;		/* schedulers of sched_ext come and go; else cookies, and CPUs */
	bool extended;		/* it has all ordinary tasks */
};

/* One of the process's threads; 0 if it has none any more. */
static pid_t any_thread(struct changer *c)
{
	char path[32];
	struct dirent *entry;
	pid_t found = 0;
	uint32_t seen = 0;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", c->pid);
	tasks = opendir(path);
	while (tasks && (entry = readdir(tasks)))
		if (entry->d_name[0] != '.' && one_in(&c->rng, ++seen))
			found = atoi(entry->d_name);
	if (tasks)
		closedir(tasks);
	return found;
}

/* Return whether it was done; what Linux may refuse by its own rules is no fault. */
static bool is_done(int result)
{
	if (result < 0)
		ASSERT_TRUE(errno == ESRCH || errno == EINVAL || errno == EBUSY ||
			    errno == EPERM || errno == EOPNOTSUPP || errno == ENODEV);
	return result >= 0;
}

static bool write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool done;

	if (fd < 0)
		return false;
	done = is_done(write(fd, text, strlen(text)));
	close(fd);
	return done;
}

static bool affinity(struct changer *c)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(below(&c->rng, c->cpus), &set);
	for (int cpu = 0; cpu < c->cpus; cpu++)
		if (one_in(&c->rng, 3))
			CPU_SET(cpu, &set);
	return is_done(sched_setaffinity(c->tid, sizeof(set), &set));
}

static bool nice_level(struct changer *c)
{
	return is_done(setpriority(PRIO_PROCESS, c->tid, (int)below(&c->rng, 6) - 3));
}

/*
 * Two faults of Linux are kept clear of. One that is given a deadline again may never run
 * any more: linux/deadline.c. And where a CPU goes soon after a task with a deadline has
 * died there, inactive_task_timer() divides by the 0 CPUs that it was of. The compiler
 * may leave that out, since what comes of it is not used; with KASAN it does not.
 */
static bool may_have_a_deadline(struct changer *c)
{
	const int most = sizeof(c->had_deadline) / sizeof(c->had_deadline[0]);

	if (c->cpus > 1)
		return false;
	for (int i = 0; i < most; i++) {
		if (c->had_deadline[i] == c->tid)
			return false;
		if (!c->had_deadline[i]) {
			c->had_deadline[i] = c->tid;
			return true;
		}
	}
	return false;
}

static bool policy(struct changer *c)
{
	static const struct attr ways[] = {
		{ .policy = SCHED_OTHER }, { .policy = SCHED_OTHER, .runtime = 2 * MS },
		{ .policy = SCHED_OTHER, .nice = 1 }, { .policy = SCHED_BATCH },
		{ .policy = SCHED_IDLE }, { .policy = SCHED_FIFO, .priority = 10 },
		{ .policy = SCHED_FIFO, .priority = 11 },
		{ .policy = SCHED_RR, .priority = 10 }, { .policy = SCHED_EXT },
		{ .policy = SCHED_DEADLINE, .runtime = MS, .deadline = 50 * MS,
		  .period = 50 * MS },
	};

	struct attr way = ways[below(&c->rng, sizeof(ways) / sizeof(ways[0]))];

	if (way.policy == SCHED_DEADLINE && !may_have_a_deadline(c))
		return false;
	return is_done(set_attr(c->tid, way));
}

/* One that is ignored where it has no handler: after exec. */
static bool take_signal(struct changer *c)
{
	return is_done(syscall(SYS_tgkill, c->pid, c->tid, SIGURG));
}

static bool stop(struct changer *c)
{
	c->stopped = !c->stopped;
	return is_done(kill(c->pid, c->stopped ? SIGSTOP : SIGCONT));
}

/*
 * Wait for it to stop. A server of a higher priority, which spins until another thread has
 * got on, may keep it from that; and we, who would change that, wait as well.
 */
static int until_it_stops(struct changer *c)
{
	int status, ms = 0;
	pid_t pid;

	while (!(pid = waitpid(c->tid, &status, __WALL | WNOHANG))) {
		if (++ms == 100)
			set_attr(c->tid, (struct attr){ .policy = SCHED_FIFO, .priority = 49 });
		nap(MS);
	}
	ASSERT_EQ(c->tid, pid);
	return status;
}

/* Have it stop for a tracer and go on, with the signal that it may stop at. */
static bool trace(struct changer *c)
{
	int status;

	/* A thread that is about to be another program changes its tid. */
	if (atomic_load(&common->exec) ||
	    !is_done(ptrace(PTRACE_SEIZE, c->tid, NULL, NULL)))
		return false;
	ASSERT_EQ(0, ptrace(PTRACE_INTERRUPT, c->tid, NULL, NULL));
	status = until_it_stops(c);
	ASSERT_TRUE(WIFSTOPPED(status));
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, c->tid, NULL,
			    status >> 16 ? 0 : WSTOPSIG(status)));
	return true;
}

static const char *const groups[] = { ROOM "/a", ROOM "/b" };

static bool group(struct changer *c)
{
	char path[64], text[16];

	if (!c->groups)
		return false;
	snprintf(path, sizeof(path), "%s/cgroup.threads", groups[below(&c->rng, 2)]);
	snprintf(text, sizeof(text), "%d", c->tid);
	return write_to(path, text);
}

static bool quota(struct changer *c)
{
	return c->quotas &&
	       write_to(ROOM "/a/cpu.max", one_in(&c->rng, 2) ? "1000 5000" : "max 5000");
}

static bool cpuset(struct changer *c)
{
	char text[16];

	snprintf(text, sizeof(text), "0-%d", below(&c->rng, c->cpus));
	return c->sets && write_to(ROOM "/b/cpuset.cpus", text);
}

static bool freeze(struct changer *c)
{
	if (!c->groups)
		return false;
	c->frozen = !c->frozen;
	return write_to(ROOM "/cgroup.freeze", c->frozen ? "1" : "0");
}

static bool set_online(int cpu, bool online)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
	return write_to(path, online ? "1" : "0");
}

/*
 * Any but the first, which cannot go everywhere. Not where there may be a scheduler of
 * sched_ext: with that, a CPU that goes had deadline.c warn now and then (6.12, line 265,
 * dl_server_stop() of sched_cpu_dying() in the trace), and whose fault it is is not known.
 */
static bool hotplug(struct changer *c)
{
	return c->cpus > 1 && !(c->extends && scx_is_there()) &&
	       set_online(1 + below(&c->rng, c->cpus - 1), one_in(&c->rng, 2));
}

/*
 * A fault of Linux is kept clear of: where a core is for tasks of one cookie, a scheduler
 * of sched_ext that comes or goes has put_prev_task_scx() warn (6.12). Pipes do to show it.
 */
static bool extend(struct changer *c)
{
	if (!c->extends || !scx_is_there())
		return false;
	if (c->extended)
		scx_stop();
	else if (!is_done(scx_start(0)))
		return false;
	c->extended = !c->extended;
	return true;
}

/* Nobody but itself on the other threads of its core; or anybody, as with us. */
static bool core(struct changer *c)
{
	if (c->extends)
		return false;
	if (one_in(&c->rng, 2))
		return is_done(prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, c->tid,
				     PR_SCHED_CORE_SCOPE_THREAD, 0));
	return is_done(prctl(PR_SCHED_CORE, PR_SCHED_CORE_SHARE_TO, c->tid,
			     PR_SCHED_CORE_SCOPE_THREAD, 0));
}

static const struct change {
	const char *name;
	bool (*make)(struct changer *c);
	uint32_t weight;
} changes[] = {
	{ "affinity", affinity, 12 }, { "nice", nice_level, 8 }, { "policy", policy, 12 },
	{ "signal", take_signal, 8 }, { "stop", stop, 6 }, { "trace", trace, 6 },
	{ "group", group, 8 }, { "quota", quota, 4 }, { "cpuset", cpuset, 4 },
	{ "freeze", freeze, 4 }, { "hotplug", hotplug, 1 }, { "extend", extend, 3 },
	{ "core", core, 4 },
};

enum { KINDS = sizeof(changes) / sizeof(changes[0]) };

static long made[KINDS];

static void change(struct changer *c)
{
	uint32_t sum = 0, at;
	int kind = 0;

	/* Most of the time they run. */
	if (c->stopped && one_in(&c->rng, 2))
		stop(c);
	if (c->frozen && one_in(&c->rng, 2))
		freeze(c);
	for (int i = 0; i < KINDS; i++)
		sum += changes[i].weight;
	for (at = below(&c->rng, sum); at >= changes[kind].weight; kind++)
		at -= changes[kind].weight;
	c->tid = any_thread(c);
	if (c->tid && changes[kind].make(c))
		made[kind]++;
	/* Some come at once after another. */
	if (!one_in(&c->rng, 4))
		nap(below(&c->rng, MS));
}

/* Have all threads be as they were. */
static void change_back(struct changer *c)
{
	char path[32];
	struct dirent *entry;
	cpu_set_t all;
	DIR *tasks;

	for (int cpu = 1; cpu < c->cpus; cpu++)
		set_online(cpu, true);
	if (c->extended)
		scx_stop();
	is_done(kill(c->pid, SIGCONT));
	write_to(ROOM "/cgroup.freeze", "0");
	write_to(ROOM "/a/cpu.max", "max 5000");
	CPU_ZERO(&all);
	for (int cpu = 0; cpu < c->cpus; cpu++)
		CPU_SET(cpu, &all);
	snprintf(path, sizeof(path), "/proc/%d/task", c->pid);
	tasks = opendir(path);
	while (tasks && (entry = readdir(tasks))) {
		pid_t tid = atoi(entry->d_name);

		if (!tid || !is_done(set_attr(tid, (struct attr){ .policy = SCHED_OTHER })))
			continue;
		is_done(sched_setaffinity(tid, sizeof(all), &all));
		is_done(prctl(PR_SCHED_CORE, PR_SCHED_CORE_SHARE_TO, tid,
			      PR_SCHED_CORE_SCOPE_THREAD, 0));
	}
	if (tasks)
		closedir(tasks);
	/* With a deadline none could be moved. */
	snprintf(path, sizeof(path), "0-%d", c->cpus - 1);
	write_to(ROOM "/b/cpuset.cpus", path);
	c->stopped = c->frozen = c->extended = false;
}

/* Make groups if the kernel has any, and those things of them that it has. */
static void make_groups(struct changer *c)
{
	mkdir(CGROUPS, 0755);
	if (access(CGROUPS "/cgroup.procs", F_OK) &&
	    mount("none", CGROUPS, "cgroup2", 0, NULL))
		return;
	c->groups = true;
	c->quotas = write_to(CGROUPS "/cgroup.subtree_control", "+cpu");
	c->sets = write_to(CGROUPS "/cgroup.subtree_control", "+cpuset");
	cgroup_make(ROOM);
	for (int i = 0; i < 2; i++) {
		cgroup_make(groups[i]);
		cgroup_write(groups[i], "cgroup.type", "threaded");
	}
	if (c->quotas)
		cgroup_write(ROOM, "cgroup.subtree_control", "+cpu");
	if (c->sets)
		cgroup_write(ROOM, "cgroup.subtree_control", "+cpuset");
	c->quotas = c->quotas && !access(ROOM "/a/cpu.max", W_OK);
}

static void remove_groups(struct changer *c)
{
	if (!c->groups)
		return;
	for (int i = 0; i < 2; i++)
		cgroup_remove(groups[i]);
	cgroup_remove(ROOM);
}

static void begin(struct changer *c, void (*be)(void))
{
	pthread_t thread;

	atomic_store(&common->over, false);
	atomic_store(&common->exec, false);
	for (int r = 0; r < RINGS; r++)
		atomic_store(&common->turns[r], 0);
	c->stopped = c->frozen = c->extended = false;
	c->extends = !c->extends;
	memset(c->had_deadline, 0, sizeof(c->had_deadline));
	c->pid = fork();
	ASSERT_NE(-1, c->pid);
	if (!c->pid) {
		on_signal(SIGURG, nothing, SA_RESTART);
		schedule_as(SCHED_OTHER, 0);
		if (c->groups) {
			cgroup_add(ROOM, getpid());
			cgroup_add(groups[0], getpid());
		}
		ASSERT_EQ(0, pthread_create(&thread, NULL, exec_when_told, NULL));
		be();
		ASSERT_EQ(0, pthread_join(thread, NULL));
		_exit(0);
	}
}

static struct changer changer_of(uint64_t seed)
{
	struct changer c = {
		.rng = rng_of(seed, 0), .cpus = sysconf(_SC_NPROCESSORS_ONLN),
	};

	common = shared_memory(sizeof(*common));
	make_groups(&c);
	/* Ahead of those that it changes, or some would never be changed again. */
	schedule_as(SCHED_FIFO, 50);
	return c;
}

static void tell(void)
{
	char line[320] = "";
	size_t at = 0;

	for (int i = 0; i < KINDS; i++)
		at += snprintf(line + at, sizeof(line) - at, " %s %ld", changes[i].name,
			       made[i]);
	TH_LOG("made:%s", line);
}

/* Wait until each ring, or the crowd, takes `more` turns. */
static void until_turned(struct changer *c, int rings, long more)
{
	for (int r = 0; r < rings; r++) {
		long until = atomic_load(&common->turns[r]) + more;

		while (atomic_load(&common->turns[r]) < until) {
			ASSERT_EQ(0, waitpid(c->pid, NULL, WNOHANG));
			nap(MS);
		}
	}
}

/* How often the place of one task was handed to another; -1 if that is not counted. */
static long handed_over(void)
{
	FILE *file = fopen("/sys/kernel/debug/sched/hand_over", "r");
	long sum = 0, value;
	char name[32];

	if (!file)
		return -1;
	while (fscanf(file, "%31s %ld", name, &value) == 2)
		if (!strcmp(name, "run") || !strcmp(name, "wait") || !strcmp(name, "exchange"))
			sum += value;
	fclose(file);
	return sum;
}

static void expect_all_to_get_on(void (*be)(void), int rings)
{
	struct changer c = changer_of(1);
	long before = handed_over();

	for (int life = 0; life < 2; life++) {
		begin(&c, be);
		until_turned(&c, rings, 1);
		for (int i = 0; i < CHANGES / 2; i++) {
			ASSERT_EQ(0, waitpid(c.pid, NULL, WNOHANG));
			change(&c);
		}
		change_back(&c);
		until_turned(&c, rings, 100);
		atomic_store(&common->over, true);
		EXPECT_EQ(0, reap_child(c.pid));
	}
	tell();
	remove_groups(&c);
	if (before >= 0) {
		TH_LOG("handed over: %ld", handed_over() - before);
		EXPECT_LT(before, handed_over());
	}
}

TEST(rings_are_changed, .deadline = 120)
{
	expect_all_to_get_on(be_rings, RINGS);
}

TEST(crowd_is_changed, .deadline = 120)
{
	expect_all_to_get_on(be_crowd, 1);
}

/* Killed, or made another program, in the middle of that. */
static void expect_to_end(void (*be)(void), int rings)
{
	struct changer c = changer_of(2);

	for (int life = 0; life < LIVES; life++) {
		begin(&c, be);
		until_turned(&c, rings, 1);
		for (int n = below(&c.rng, CHANGES / LIVES); n; n--)
			change(&c);
		if (life % 2) {
			ASSERT_EQ(0, kill(c.pid, SIGKILL));
			EXPECT_EQ(SIGKILL, reap_child(c.pid));
		} else {
			atomic_store(&common->exec, true);
			for (int n = below(&c.rng, 8); n; n--)
				change(&c);
			change_back(&c);
			EXPECT_EQ(0, reap_child(c.pid));
		}
		change_back(&c);
	}
	tell();
	remove_groups(&c);
}

TEST(rings_end_in_between, .deadline = 120)
{
	expect_to_end(be_rings, RINGS);
}

TEST(crowd_ends_in_between, .deadline = 120)
{
	expect_to_end(be_crowd, 1);
}

static void need_changes(void)
{
	need_umcg();
	need_capabilities(UMCG_WORKERS | UMCG_POOLS | UMCG_SWITCHES | UMCG_DEADLINES |
			  UMCG_REQUEUES);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--after-exec"))
		return !umcg_is_nobody();
	ktap_before_each = need_changes;
	return ktap_main(argc, argv);
}
