// SPDX-License-Identifier: GPL-2.0
/* Who pays for what the kernel remembers of a server: its memory control group. */
#include "cgroup.h"
#include "worker.h"

#define GROUP	CGROUPS "/umcg-charge"

/* Together many times the 4096 bytes that a CPU may hold back from the statistics. */
enum { SERVERS = 400, LEAST = 64 };

static struct umcg own[SERVERS];
static pthread_barrier_t all;

static long slab_of_group(void)
{
	char name[64];
	long value;
	FILE *file = fopen(GROUP "/memory.stat", "r");

	ASSERT_TRUE(file);
	while (fscanf(file, "%63s %ld", name, &value) == 2)
		if (!strcmp(name, "slab_unreclaimable")) {
			fclose(file);
			return value;
		}
	TH_LOG("memory.stat has no slab_unreclaimable");
	ktap_fail_and_exit();
	return 0;
}

static void *server(void *arg)
{
	pthread_barrier_wait(&all);	/* has what a thread needs beside */
	pthread_barrier_wait(&all);	/* is told to register */
	ASSERT_EQ(0, umcg_register_server(arg, NULL));
	pthread_barrier_wait(&all);	/* has done so */
	pthread_barrier_wait(&all);	/* is told to end */
	ASSERT_EQ(0, umcg_unregister(arg));
	return NULL;
}

/* In a child, so that the group is empty afterwards. */
static void register_many(void *arg)
{
	pthread_t thread[SERVERS];
	long before;

	(void)arg;
	cgroup_add(GROUP, getpid());
	ASSERT_EQ(0, pthread_barrier_init(&all, NULL, SERVERS + 1));
	for (int i = 0; i < SERVERS; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, server, &own[i]));
	pthread_barrier_wait(&all);
	before = slab_of_group();
	pthread_barrier_wait(&all);
	pthread_barrier_wait(&all);
	/* The statistics are brought up to date every two seconds, at the latest. */
	for (int i = 0; i < 100 && slab_of_group() - before < SERVERS * LEAST; i++)
		nap(100 * MS);
	EXPECT_LE(SERVERS * LEAST, slab_of_group() - before);
	pthread_barrier_wait(&all);
	for (int i = 0; i < SERVERS; i++)
		ASSERT_EQ(0, pthread_join(thread[i], NULL));
}

TEST(registered_servers)
{
	cgroup_mount();
	cgroup_write(CGROUPS, "cgroup.subtree_control", "+memory");
	cgroup_make(GROUP);
	EXPECT_EQ(0, status_of_child(register_many, NULL));
	cgroup_remove(GROUP);
}

UMCG_TEST_MAIN
