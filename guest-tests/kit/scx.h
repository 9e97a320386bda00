/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A scheduler of sched_ext that has no code of its own: all it says is its name. Tasks of
 * SCHED_EXT wait in the one queue that the kernel has for such schedulers.
 *
 * It goes by the kernel's own description of its types (BTF), so that no library and no
 * compiler for BPF is needed.
 */
#ifndef SCX_H
#define SCX_H

#include <linux/bpf.h>
#include <linux/btf.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "attr.h"
#include "kit.h"

#ifndef SCHED_EXT
#define SCHED_EXT	7
#endif

/* sched_ext_ops.flags: tasks of SCHED_OTHER are not its own. */
#define SCX_SWITCH_PARTIAL	8

struct btf {
	const char *types, *end, *strings;
};

static inline struct btf btf_open(void)
{
	int fd = open("/sys/kernel/btf/vmlinux", O_RDONLY);
	const struct btf_header *head;
	struct stat st;
	char *all;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fstat(fd, &st));
	all = malloc(st.st_size);
	for (off_t at = 0; at < st.st_size;) {
		ssize_t n = read(fd, all + at, st.st_size - at);

		ASSERT_LT(0, n);
		at += n;
	}
	close(fd);
	head = (const struct btf_header *)all;
	all += head->hdr_len;
	return (struct btf){ all + head->type_off, all + head->type_off + head->type_len,
			     all + head->str_off };
}

/* Bytes that follow a type's head. */
static inline size_t btf_rest(const struct btf_type *type)
{
	size_t n = BTF_INFO_VLEN(type->info);

	switch (BTF_INFO_KIND(type->info)) {
	case BTF_KIND_INT:
	case BTF_KIND_VAR:
	case BTF_KIND_DECL_TAG:
		return sizeof(uint32_t);
	case BTF_KIND_ARRAY:
		return sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return n * sizeof(struct btf_member);
	case BTF_KIND_ENUM:
		return n * sizeof(struct btf_enum);
	case BTF_KIND_ENUM64:
		return n * sizeof(struct btf_enum64);
	case BTF_KIND_FUNC_PROTO:
		return n * sizeof(struct btf_param);
	case BTF_KIND_DATASEC:
		return n * sizeof(struct btf_var_secinfo);
	default:
		return 0;
	}
}

/* The structure of that name, and its number. */
static inline const struct btf_type *btf_struct(struct btf btf, const char *name, uint32_t *id)
{
	const char *at = btf.types;

	for (*id = 1; at < btf.end; ++*id) {
		const struct btf_type *type = (const struct btf_type *)at;

		if (BTF_INFO_KIND(type->info) == BTF_KIND_STRUCT &&
		    !strcmp(btf.strings + type->name_off, name))
			return type;
		at += sizeof(*type) + btf_rest(type);
	}
	TH_LOG("the kernel has no struct %s", name);
	ktap_fail_and_exit();
	return NULL;
}

/* Where that member begins, in bytes. */
static inline size_t btf_offset(struct btf btf, const struct btf_type *type, const char *name)
{
	const struct btf_member *member = (const struct btf_member *)(type + 1);

	for (int i = 0; i < BTF_INFO_VLEN(type->info); i++)
		if (!strcmp(btf.strings + member[i].name_off, name))
			return BTF_MEMBER_BIT_OFFSET(member[i].offset) / 8;
	TH_LOG("no member %s", name);
	ktap_fail_and_exit();
	return 0;
}

static inline int bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

/* Types of our own, without which there is no map: one, that nothing is of. */
static inline int btf_load(void)
{
	static const struct {
		struct btf_header head;
		struct btf_type type;
		uint32_t encoding;
		char strings[5];
	} own = {
		.head = {
			.magic = BTF_MAGIC,
			.version = BTF_VERSION,
			.hdr_len = sizeof(own.head),
			.type_len = sizeof(own.type) + sizeof(own.encoding),
			.str_off = sizeof(own.type) + sizeof(own.encoding),
			.str_len = sizeof(own.strings),
		},
		.type = { .name_off = 1, .info = BTF_KIND_INT << 24, .size = 4 },
		.encoding = 32,
		.strings = "\0int",
	};
	union bpf_attr attr = {
		.btf = (uintptr_t)&own,
		.btf_size = offsetof(typeof(own), strings) + sizeof(own.strings),
	};
	int fd = bpf(BPF_BTF_LOAD, &attr);

	ASSERT_LE(0, fd);
	return fd;
}

static int scx_map;

/* Whether the kernel has that class. */
static inline bool scx_is_there(void)
{
	return !access("/sys/kernel/sched_ext", F_OK);
}

/*
 * Once in a guest at a time. It is there until scx_stop(), whatever becomes of us, or a
 * CPU comes or goes. -1, with errno, if that cannot be.
 */
static inline int scx_start(uint64_t flags)
{
	static struct btf btf;
	static const struct btf_type *ops, *value;
	static uint32_t id;
	union bpf_attr attr = { .map_type = BPF_MAP_TYPE_STRUCT_OPS, .max_entries = 1 };
	uint32_t key = 0;
	char *data, *its_ops;
	int err;

	if (!value) {
		btf = btf_open();
		ops = btf_struct(btf, "sched_ext_ops", &id);
		value = btf_struct(btf, "bpf_struct_ops_sched_ext_ops", &id);
	}
	attr.key_size = sizeof(key);
	attr.value_size = value->size;
	attr.btf_vmlinux_value_type_id = id;
	attr.btf_fd = btf_load();
	scx_map = bpf(BPF_MAP_CREATE, &attr);
	ASSERT_LE(0, scx_map);
	close(attr.btf_fd);

	data = calloc(1, value->size);
	its_ops = data + btf_offset(btf, value, "data");
	strcpy(its_ops + btf_offset(btf, ops, "name"), "umcg");
	memcpy(its_ops + btf_offset(btf, ops, "flags"), &flags, sizeof(flags));
	attr = (union bpf_attr){
		.map_fd = scx_map, .key = (uintptr_t)&key, .value = (uintptr_t)data,
	};
	err = bpf(BPF_MAP_UPDATE_ELEM, &attr);
	free(data);
	if (err)
		close(scx_map);
	return err;
}

static inline void scx_stop(void)
{
	uint32_t key = 0;
	union bpf_attr attr = { .map_fd = scx_map, .key = (uintptr_t)&key };

	ASSERT_EQ(0, bpf(BPF_MAP_DELETE_ELEM, &attr));
	close(scx_map);
}

/* Of this thread. */
static inline void scx_join(void)
{
	ASSERT_EQ(0, set_attr(0, (struct attr){ .policy = SCHED_EXT }));
}

#endif
