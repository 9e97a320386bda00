// SPDX-License-Identifier: MIT
/*
 * A QEMU plugin that counts how often each instruction of a guest is executed
 * between two marks, which are addresses in the guest's program.
 *
 *	-plugin count.so,begin=ADDRESS,end=ADDRESS,out=FILE
 *
 * FILE gets a line `batch` each time the end is reached after the beginning,
 * lines `ADDRESS COUNT` of what was executed between, the instruction at the
 * beginning included, and a last line `done` when QEMU exits. All numbers
 * but COUNT are hexadecimal.
 *
 * Counting adds no guest instruction and so takes no time of a guest that runs
 * under -icount, which has one thread for all CPUs: nothing here is locked.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu-plugin.h"

#define BITS	20
#define MOST	(1u << BITS)	/* a boot and a bench execute 0.2 million */

struct place {
	uint64_t address, count, before;
};

static struct place places[MOST];
static uint32_t used;
static uint32_t table[2 * MOST];	/* of indices into places, from 1 */

static uint64_t begin_address, end_address;
static FILE *out;
static int measuring;

static void die(const char *what)
{
	fprintf(stderr, "count: %s\n", what);
	exit(1);
}

/* One counter for an address, however often it is translated. */
static struct place *find(uint64_t address)
{
	uint64_t hash = address * UINT64_C(0x9e3779b97f4a7c15);
	uint32_t slot = hash >> (64 - BITS - 1);

	for (; table[slot]; slot = (slot + 1) % (2 * MOST))
		if (places[table[slot] - 1].address == address)
			return &places[table[slot] - 1];
	if (used == MOST)
		die("too many instructions for its table");
	places[used].address = address;
	table[slot] = ++used;
	return &places[used - 1];
}

static void begin(unsigned int vcpu, void *data)
{
	(void)vcpu, (void)data;
	for (uint32_t i = 0; i < used; i++)
		places[i].before = places[i].count;
	measuring = 1;
}

static void end(unsigned int vcpu, void *data)
{
	(void)vcpu, (void)data;
	if (!measuring)
		return;
	measuring = 0;
	fprintf(out, "batch\n");
	for (uint32_t i = 0; i < used; i++)
		if (places[i].count != places[i].before)
			fprintf(out, "%llx %llu\n",
				(unsigned long long)places[i].address,
				(unsigned long long)(places[i].count -
						     places[i].before));
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb);

	(void)id;
	for (size_t i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t address = qemu_plugin_insn_vaddr(insn);

		if (address == begin_address)
			qemu_plugin_register_vcpu_insn_exec_cb(
				insn, begin, QEMU_PLUGIN_CB_NO_REGS, NULL);
		if (address == end_address)
			qemu_plugin_register_vcpu_insn_exec_cb(
				insn, end, QEMU_PLUGIN_CB_NO_REGS, NULL);
		qemu_plugin_register_vcpu_insn_exec_inline(
			insn, QEMU_PLUGIN_INLINE_ADD_U64, &find(address)->count, 1);
	}
}

static void finish(qemu_plugin_id_t id, void *data)
{
	(void)id, (void)data;
	fprintf(out, "done\n");
	if (fclose(out))
		die("cannot write its output");
}

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id,
					   const struct qemu_info *info,
					   int argc, char **argv)
{
	(void)info;
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "begin=", 6))
			begin_address = strtoull(argv[i] + 6, NULL, 16);
		else if (!strncmp(argv[i], "end=", 4))
			end_address = strtoull(argv[i] + 4, NULL, 16);
		else if (!strncmp(argv[i], "out=", 4))
			out = fopen(argv[i] + 4, "w");
	}
	if (!begin_address || !end_address || !out) {
		fprintf(stderr, "count: needs begin=, end= and out=\n");
		return 1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
	qemu_plugin_register_atexit_cb(id, finish, NULL);
	return 0;
}
