// SPDX-License-Identifier: MIT
/*
 * A QEMU plugin that says which instructions of a list are executed, and to which
 * side its conditional branches go, step by step.
 *
 *	-plugin cover.so,mark=ADDRESS,places=FILE,out=FILE
 *
 * `places` has lines `i ADDRESS`, an instruction, and `b ADDRESS TARGET NEXT`, one
 * that is a branch. A step ends when the instruction at `mark` is executed: `out`
 * gets a line `step INSTRUCTIONS`, how many were executed in it, all told, then a line
 * `i ADDRESS` for each of the list that was, and `b ADDRESS t` or `b ADDRESS n` for
 * each side that a branch went to. What comes first is the boot. The last line is
 * `done`. All numbers but INSTRUCTIONS are hexadecimal.
 *
 * A branch ends a block. So the next block of the same CPU that begins in the list
 * tells which way it went; an interrupt between the two only hides that once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu-plugin.h"

#define BITS	16
#define MOST	(1u << BITS)
#define CPUS	64

struct place {
	uint64_t address, target, next;	/* the latter 0 unless it is a branch */
	uint64_t count;
	uint8_t taken, passed;
};

static struct place places[MOST];
static uint32_t used;
static uint32_t table[2 * MOST];	/* of indices into places, from 1 */
static struct place *pending[CPUS];	/* a branch, until its side is known */

static uint64_t mark_address, executed, executed_before;
static FILE *out;

static void die(const char *what)
{
	fprintf(stderr, "cover: %s\n", what);
	exit(1);
}

static uint32_t *slot_of(uint64_t address)
{
	uint64_t hash = address * UINT64_C(0x9e3779b97f4a7c15);
	uint32_t slot = hash >> (64 - BITS - 1);

	while (table[slot] && places[table[slot] - 1].address != address)
		slot = (slot + 1) % (2 * MOST);
	return &table[slot];
}

static struct place *find(uint64_t address)
{
	uint32_t *slot = slot_of(address);

	return *slot ? &places[*slot - 1] : NULL;
}

static void end_step(unsigned int vcpu, void *data)
{
	(void)vcpu, (void)data;
	fprintf(out, "step %llu\n", (unsigned long long)(executed - executed_before));
	executed_before = executed;
	for (uint32_t i = 0; i < used; i++) {
		struct place *p = &places[i];
		unsigned long long address = p->address;

		if (p->count)
			fprintf(out, "i %llx\n", address);
		if (p->taken)
			fprintf(out, "b %llx t\n", address);
		if (p->passed)
			fprintf(out, "b %llx n\n", address);
		p->count = p->taken = p->passed = 0;
	}
}

static void on_branch(unsigned int vcpu, void *data)
{
	pending[vcpu % CPUS] = data;
}

static void on_block(unsigned int vcpu, void *data)
{
	struct place *branch = pending[vcpu % CPUS];
	struct place *here = data;

	if (!branch)
		return;
	pending[vcpu % CPUS] = NULL;
	if (here->address == branch->target)
		branch->taken = 1;
	else if (here->address == branch->next)
		branch->passed = 1;
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb);
	struct place *first = find(qemu_plugin_tb_vaddr(tb));

	(void)id;
	qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64,
						 &executed, n);
	if (first)
		qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block,
						     QEMU_PLUGIN_CB_NO_REGS, first);
	for (size_t i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t address = qemu_plugin_insn_vaddr(insn);
		struct place *place = find(address);

		if (address == mark_address)
			qemu_plugin_register_vcpu_insn_exec_cb(
				insn, end_step, QEMU_PLUGIN_CB_NO_REGS, NULL);
		if (!place)
			continue;
		qemu_plugin_register_vcpu_insn_exec_inline(
			insn, QEMU_PLUGIN_INLINE_ADD_U64, &place->count, 1);
		if (place->next)
			qemu_plugin_register_vcpu_insn_exec_cb(
				insn, on_branch, QEMU_PLUGIN_CB_NO_REGS, place);
	}
}

static void finish(qemu_plugin_id_t id, void *data)
{
	(void)id, (void)data;
	fprintf(out, "done\n");
	if (fclose(out))
		die("cannot write its output");
}

static void read_places(const char *path)
{
	FILE *file = fopen(path, "r");
	char line[128];

	if (!file)
		die("cannot read its list");
	while (fgets(line, sizeof(line), file)) {
		unsigned long long address, target = 0, next = 0;
		uint32_t *slot;

		if (sscanf(line, "i %llx", &address) != 1 &&
		    sscanf(line, "b %llx %llx %llx", &address, &target, &next) != 3)
			die("a line of its list makes no sense");
		slot = slot_of(address);
		if (*slot)
			continue;
		if (used == MOST)
			die("too many instructions for its table");
		places[used].address = address;
		places[used].target = target;
		places[used].next = next;
		*slot = ++used;
	}
	fclose(file);
}

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id,
					   const struct qemu_info *info,
					   int argc, char **argv)
{
	(void)info;
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "mark=", 5))
			mark_address = strtoull(argv[i] + 5, NULL, 16);
		else if (!strncmp(argv[i], "places=", 7))
			read_places(argv[i] + 7);
		else if (!strncmp(argv[i], "out=", 4))
			out = fopen(argv[i] + 4, "w");
	}
	if (!mark_address || !used || !out) {
		fprintf(stderr, "cover: needs mark=, places= and out=\n");
		return 1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
	qemu_plugin_register_atexit_cb(id, finish, NULL);
	return 0;
}
