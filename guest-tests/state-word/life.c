// SPDX-License-Identifier: GPL-2.0
/* Registration over fork, exec and exit, and many at once. */
#include "peer.h"

extern char **environ;

static bool registered(void)
{
	/* Registering is refused to nobody else, and never changes a thing. */
	struct umcg_task probe __attribute__((aligned(64))) = { 0 };

	umcg_set_word(&probe, RUNNING);
	if (umcg_sys_ctl(UMCG_CTL_REGISTER, &probe))
		return true;
	ASSERT_EQ(0, umcg_sys_ctl(UMCG_CTL_UNREGISTER, NULL));
	return false;
}

static void *expect_unregistered(void *arg)
{
	EXPECT_FALSE(registered());
	EXPECT_EQ(-EINVAL, umcg_sys_wait(0, 1));
	return arg;
}

/* fork() and pthread_create() of a server, in any state of its word. */
TEST(children_are_not_registered)
{
	static const uint32_t words[] = { RUNNING, IDLE, BLOCKED, UMCG_WORD_MASK };
	pthread_t thread;
	pid_t pid;

	become_server();
	for (int i = 0; i < 4; i++) {
		umcg_set_word(&me.task, words[i]);
		pid = fork();
		if (!pid) {
			expect_unregistered(NULL);
			_exit(0);
		}
		EXPECT_EQ(0, reap_child(pid));
		EXPECT_EQ(words[i], umcg_word(&me.task));

		ASSERT_EQ(0, pthread_create(&thread, NULL, expect_unregistered, NULL));
		pthread_join(thread, NULL);
	}
	EXPECT_TRUE(registered());
	EXPECT_EQ(0, wake_tid(me.tid, 0));
}

TEST(vfork_child_is_not_registered)
{
	pid_t pid;
	int err;

	become_server();
	pid = vfork();
	if (!pid) {
		err = umcg_sys_wait(0, 1);
		_exit(err == -EINVAL ? 0 : 1);
	}
	EXPECT_EQ(0, reap_child(pid));
	EXPECT_TRUE(registered());
}

/* A thread forks while another waits: the copy of the waiter is nobody. */
TEST(fork_beside_a_waiter)
{
	static struct peer p;
	pid_t pid;

	become_server();
	peer_start(&p);
	until_asleep(&p);
	pid = fork();
	if (!pid) {
		expect_unregistered(NULL);
		_exit(0);
	}
	EXPECT_EQ(0, reap_child(pid));
	peer_wake(&p);
	EXPECT_EQ(0, peer_join(&p));
}

static void exec_myself(const char *what)
{
	char *const argv[] = { "life", (char *)what, NULL };

	execve("/proc/self/exe", argv, environ);
}

TEST(exec_unregisters)
{
	pid_t pid = fork();

	if (!pid) {
		become_server();
		exec_myself("--after-exec");
		_exit(2);
	}
	EXPECT_EQ(0, reap_child(pid));
}

static void *exec_from_thread(void *arg)
{
	static struct umcg thread;

	ASSERT_EQ(0, umcg_register_server(&thread, NULL));
	exec_myself("--after-exec");
	return arg;
}

/* The thread takes the id of the leader, which is a server as well. */
TEST(exec_in_a_thread)
{
	pid_t pid = fork();

	if (!pid) {
		static struct peer waiter;
		pthread_t thread;

		become_server();
		peer_start(&waiter);
		until_asleep(&waiter);
		pthread_create(&thread, NULL, exec_from_thread, NULL);
		for (;;)
			umcg_wait(&me, 0);
	}
	EXPECT_EQ(0, reap_child(pid));
}

TEST(failed_exec_changes_nothing)
{
	char *const argv[] = { "none", NULL };

	become_server();
	EXPECT_EQ(-1, execve("/nonexistent", argv, environ));
	EXPECT_EQ(-1, execve("/proc/self/maps", argv, environ));
	EXPECT_TRUE(registered());
	umcg_set_word(&me.task, IDLE);
	EXPECT_EQ(-ETIMEDOUT, umcg_sys_wait(0, 1));
}

static void *register_and_return(void *arg)
{
	return umcg_register_server(arg, NULL) ? arg : NULL;
}

static void *register_and_exit(void *arg)
{
	ASSERT_EQ(0, umcg_register_server(arg, NULL));
	syscall(SYS_exit, 0);
	return NULL;
}

TEST(exit_unregisters)
{
	void *(*bodies[])(void *) = { register_and_return, register_and_exit };
	static struct peer bystander;
	static struct umcg gone;
	pthread_t thread;
	void *failed;

	become_server();
	peer_start(&bystander);
	until_asleep(&bystander);
	umcg_set_word(&bystander.umcg.task, RUNNING);
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_create(&thread, NULL, bodies[i], &gone));
		ASSERT_EQ(0, pthread_join(thread, &failed));
		ASSERT_EQ(NULL, failed);
		EXPECT_EQ(-ESRCH, wake_tid(gone.tid, 0));
		EXPECT_EQ(RUNNING, umcg_word(&gone.task));
	}
	expect_asleep(&bystander);
	EXPECT_EQ(0, wake_tid(bystander.tid, 0));
	EXPECT_EQ(0, peer_join(&bystander));
}

TEST(structure_may_go_between_calls)
{
	struct umcg_task *task = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, (void *)task);
	umcg_set_word(task, RUNNING);
	ASSERT_EQ(0, umcg_sys_ctl(UMCG_CTL_REGISTER, task));
	ASSERT_EQ(0, munmap(task, 4096));
	for (int i = 0; i < 5; i++)
		nap(MS);
	EXPECT_EQ(-EFAULT, umcg_sys_wait(0, 1));
	EXPECT_EQ(task, mmap(task, 4096, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	umcg_set_word(task, IDLE);
	EXPECT_EQ(-ETIMEDOUT, umcg_sys_wait(0, 1));
	EXPECT_EQ(RUNNING, umcg_word(task));
}

#define CROWD	8

static atomic_int crowd_tids[CROWD];

/* Register, wake any other, wait a little, and now and then leave by exiting. */
static void *jostle(void *arg)
{
	atomic_int *my_tid = arg;
	unsigned int seed = my_tid - crowd_tids;
	struct umcg *u = aligned_alloc(64, sizeof(*u));

	for (int i = 0; i < 30; i++) {
		int err;

		ASSERT_EQ(0, umcg_register_server(u, NULL));
		atomic_store(my_tid, u->tid);
		u->task.next_tid = atomic_load(&crowd_tids[rand_r(&seed) % CROWD]);
		err = umcg_sys_wait(UMCG_WAIT_WAKE_ONLY, 0);
		ASSERT_TRUE(err == 0 || err == -ESRCH || !u->task.next_tid);
		umcg_set_word(&u->task, IDLE);
		err = umcg_sys_wait(0, from_now(rand_r(&seed) % (MS / 5)));
		ASSERT_TRUE(err == -ETIMEDOUT || err == -ESRCH);
		if (rand_r(&seed) % 8 == 0)
			break;
		ASSERT_EQ(0, umcg_unregister(u));
	}
	free(u);
	return NULL;
}

TEST(all_at_once)
{
	pthread_t threads[CROWD];
	int started = CROWD;
	uint64_t until = clock_ns(CLOCK_MONOTONIC) + 20 * SOON;

	for (int i = 0; i < CROWD; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, jostle, &crowd_tids[i]));
	while (clock_ns(CLOCK_MONOTONIC) < until) {
		int i = started++ % CROWD;

		ASSERT_EQ(0, pthread_join(threads[i], NULL));
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, jostle, &crowd_tids[i]));
	}
	for (int i = 0; i < CROWD; i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
	TH_LOG("%d threads came and went", started);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--after-exec"))
		return registered() || umcg_sys_wait(0, 1) != -EINVAL;
	ktap_before_each = need_umcg;
	return ktap_main(argc, argv);
}
