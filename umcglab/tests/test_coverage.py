# SPDX-License-Identifier: MIT
"""Coverage: the plugin against a QEMU of our own, and what is made of what it saw."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from umcglab.errors import InfraError, UserError
from umcglab.guest.steps import Step
from umcglab.guest.suite import Bundle
from umcglab.kernel import codemap
from umcglab.kernel.codemap import CodeMap, Insn
from umcglab.kernel.kernels import Kernel
from umcglab.lab.arch import X86_64
from umcglab.lab.manifest import Manifest, Program
from umcglab.study import anatomy, coverage
from umcglab.study.coverage import Cover, Coverage, Unreached

# A QEMU that executes blocks, each of which is translated once: a list of addresses.
FAKE_QEMU = r"""
#include <string.h>
#include "qemu-plugin.h"
struct qemu_plugin_insn {
	uint64_t address, *counter;
	void (*callback)(unsigned int vcpu, void *data);
	void *data;
};
struct qemu_plugin_tb {
	size_t n;
	struct qemu_plugin_insn insns[4];
	uint64_t *counter, amount;
	void (*callback)(unsigned int vcpu, void *data);
	void *data;
};
static void (*on_tb)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
static void (*on_exit)(qemu_plugin_id_t id, void *data);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
	void (*callback)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb))
{ (void)id; on_tb = callback; }
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id,
	void (*callback)(qemu_plugin_id_t id, void *data), void *data)
{ (void)id, (void)data; on_exit = callback; }
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb) { return tb->n; }
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb)
{ return tb->insns[0].address; }
struct qemu_plugin_insn *
qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index)
{ return (struct qemu_plugin_insn *)&tb->insns[index]; }
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn)
{ return insn->address; }
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
	void (*callback)(unsigned int vcpu, void *data),
	enum qemu_plugin_cb_flags flags, void *data)
{ (void)flags; tb->callback = callback; tb->data = data; }
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb,
	enum qemu_plugin_op op, void *counter, uint64_t amount)
{ (void)op; tb->counter = counter; tb->amount = amount; }
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
	void (*callback)(unsigned int vcpu, void *data),
	enum qemu_plugin_cb_flags flags, void *data)
{ (void)flags; insn->callback = callback; insn->data = data; }
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn,
	enum qemu_plugin_op op, void *counter, uint64_t amount)
{ (void)op, (void)amount; insn->counter = counter; }

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info,
			int argc, char **argv);

static struct qemu_plugin_tb blocks[] = {
	{ .n = 1, .insns = { { .address = 0x1 } } },					/* the mark */
	{ .n = 2, .insns = { { .address = 0x100 }, { .address = 0x104 } } },		/* a branch */
	{ .n = 1, .insns = { { .address = 0x108 } } },				/* not taken */
	{ .n = 1, .insns = { { .address = 0x200 } } },				/* taken */
	{ .n = 1, .insns = { { .address = 0x900 } } },				/* not ours */
	{ .n = 1, .insns = { { .address = 0x10c } } },				/* ours, other */
};

static void execute(const char *which)
{
	for (; *which; which++) {
		struct qemu_plugin_tb *tb = &blocks[*which - '0'];

		*tb->counter += tb->amount;
		if (tb->callback)
			tb->callback(0, tb->data);
		for (size_t i = 0; i < tb->n; i++) {
			struct qemu_plugin_insn *insn = &tb->insns[i];

			if (insn->callback)
				insn->callback(0, insn->data);
			if (insn->counter)
				++*insn->counter;
		}
	}
}

int main(int argc, char **argv)
{
	if (qemu_plugin_install(1, NULL, argc - 2, argv + 2))
		return 2;
	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
		on_tb(1, &blocks[i]);
	execute(argv[1]);
	on_exit(1, NULL);
	return 0;
}
"""
PLACES = "i 100\nb 104 200 108\ni 108\ni 10c\ni 200\n"


@pytest.fixture(scope="module")
def fake_qemu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "qemu.c").write_text(FAKE_QEMU)
    flags = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", f"-I{anatomy.PLUGIN}")
    sources = [str(folder / "qemu.c"), str(anatomy.PLUGIN / "cover.c")]
    subprocess.run(["gcc", *flags, "-o", folder / "qemu", *sources], check=True)
    (folder / "places").write_text(PLACES)
    return folder / "qemu"


@pytest.mark.parametrize(
    ("executed", "steps"),
    [
        # The boot, then one step that takes the branch and one that does not.
        ("0130120", [
            (1, set(), set()),
            (4, {0x100, 0x104, 0x200}, {(0x104, True)}),
            (4, {0x100, 0x104, 0x108}, {(0x104, False)}),
        ]),
        # An interrupt between a branch and where it leads hides nothing if it runs
        # nothing of ours, and shows nothing wrong if it does.
        ("01430", [
            (1, set(), set()),
            (5, {0x100, 0x104, 0x200}, {(0x104, True)}),
        ]),
        ("01530", [
            (1, set(), set()),
            (5, {0x100, 0x104, 0x10C, 0x200}, set()),
        ]),
    ],
)  # fmt: skip
def test_the_plugin_sees_places_and_sides(
    fake_qemu: Path,
    tmp_path: Path,
    executed: str,
    steps: list[tuple[int, set[int], set[tuple[int, bool]]]],
) -> None:
    out = tmp_path / "out"
    options = ["mark=1", f"places={fake_qemu.parent / 'places'}", f"out={out}"]
    subprocess.run([fake_qemu, executed, *options], check=True)
    told = coverage.read_steps(out.read_text())
    assert [(n, set(i), set(s)) for n, i, s in told] == steps


def test_the_plugin_needs_its_arguments(fake_qemu: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [fake_qemu, "0", f"out={tmp_path / 'out'}"], capture_output=True, text=True
    )
    assert done.returncode and "needs mark=, places= and out=" in done.stderr


def test_what_the_plugin_wrote_must_be_complete() -> None:
    with pytest.raises(InfraError, match="not complete"):
        coverage.read_steps("step 1\ni 100\n")


A, B, C, D = ("a.c", 10), ("a.c", 11), ("a.c", 12), ("a.c", 13)


def insn(address: int, *lines: tuple[str, int], target: int = 0) -> Insn:
    return Insn(address, "f", lines, "a.c", "", target, address + 4 if target else 0)


CODE = CodeMap(
    {
        i.address: i
        for i in (insn(0, A), insn(4, A, target=12), insn(8, B), insn(12, C, A))
    },
    {8: B, 12: C},
)
TESTS = {
    "p:dear": Cover(0, 500, frozenset({0, 4, 8}), frozenset({(4, False)})),
    "p:cheap": Cover(0, 50, frozenset({0, 4, 8}), frozenset({(4, False)})),
    "p:fails": Cover(1, 5, frozenset({12}), frozenset({(4, True)})),
}


def covered(**tests: Cover) -> Coverage:
    texts = {A: "if (x)", B: "return 1;", C: "return 2;", D: "x = 0;"}
    names = dict.fromkeys(texts, "f")
    ours = {"a.c": frozenset({10, 11, 12, 13})}
    return Coverage(CODE, ours, names, texts, {**TESTS, **tests})


def test_what_never_runs_and_what_goes_one_way() -> None:
    found = covered()
    assert found.never() == [C]
    assert found.one_way() == [(A, C)]
    # A test that does not pass has run nothing.
    other = covered(more=Cover(0, 9, frozenset({4, 12}), frozenset({(4, True)})))
    assert other.never() == [] and other.one_way() == []


def test_which_tests_run_a_line() -> None:
    found = covered()
    assert found.of_line(B) == ["p:cheap", "p:dear"]
    assert found.of_line(C) == []
    # A line that is no instruction of its own: whoever runs its function.
    assert found.of_line(D) == ["p:cheap", "p:dear"]
    assert found.alone() == {"p:dear": 0, "p:cheap": 0, "p:fails": 2}


def test_a_line_that_is_not_run_needs_a_reason(tmp_path: Path) -> None:
    found = covered()
    assert coverage.unreached(tmp_path) == ()
    assert coverage.unlisted(found, ()) == [C]
    (tmp_path / "unreached.yaml").write_text("a.c:\n  f:\n    return 2;: no memory\n")
    listed = coverage.unreached(tmp_path)
    assert listed == (Unreached("a.c", "f", "return 2;", "no memory"),)
    assert coverage.unlisted(found, listed) == []
    said = "\n".join(coverage.table(found, listed))
    assert "3 lines became code, 2 of them run" in said
    assert "a.c:12 f: return 2;  [no memory]" in said
    assert "a.c:10 never goes to:12: if (x)" in said
    assert "p: dear cheap" in said and "p:fails: status 1" in said
    assert "NOT LISTED" in "\n".join(coverage.table(found, ()))
    (tmp_path / "unreached.yaml").write_text("a.c:\n  f: [x]\n")
    with pytest.raises(UserError) as e:
        coverage.unreached(tmp_path)
    assert "unreached.yaml:2" in str(e.value.where)


def test_a_line_is_named_by_the_end_of_its_file() -> None:
    assert coverage.line_of("a.c:12", covered()) == C
    for wrong in ("b.c:12", "a.c", "c:12", "a.c:x"):
        with pytest.raises(UserError, match="names no line of the series"):
            coverage.line_of(wrong, covered())


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    coverage._write(TESTS, tmp_path / "coverage.json")
    read = coverage._read(tmp_path / "coverage.json")
    assert read["p:dear"] == TESTS["p:dear"]


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("je     ffffffff812b05fc <umcg_put+0x1c>", 0xFFFFFFFF812B05FC),
        ("jne    ffffffff812b05fc <x>", 0xFFFFFFFF812B05FC),
        ("b.eq\tffff800080012340 <x>  // b.none", 0xFFFF800080012340),
        ("cbnz\tw0, ffff800080012340 <x>", 0xFFFF800080012340),
        ("tbz\tw0, #3, ffff800080012340 <x>", 0xFFFF800080012340),
        ("jmp    ffffffff812b05fc <x>", 0),
        ("call   ffffffff812b05fc <x>", 0),
        ("b\tffff800080012340 <x>", 0),
        ("bl\tffff800080012340 <x>", 0),
        ("test   %rdi,%rdi", 0),
    ],
)
def test_a_conditional_branch(text: str, target: int) -> None:
    match = codemap.BRANCH.match(text)
    assert (int(match[1], 16) if match else 0) == target


def test_a_step_is_a_test_that_the_kernel_can_run(tmp_path: Path) -> None:
    programs = (
        Program("toy/wait", "test", ("bin/toy/wait",), ("a", "b"), timeout=9),
        Program("toy/probed", "test", ("bin/toy/probed",), ("c",), needs_config=("X",)),
        Program("toy/gone", "test", ("bin/toy/gone",), ("d",), absent="it cannot"),
        Program("toy/exact", "test", ("bin/toy/exact",), ("g",), exact_cpus=3),
        Program("toy/crowd", "py", ("py/run.py",), ("e",)),
        Program("harness/selftest", "test", ("bin/harness/selftest",), ("f",)),
    )
    bundle = Bundle(tmp_path, "d1e5", Manifest(programs))
    config = tmp_path / "config"
    config.write_text("CONFIG_Y=y\n")
    kernel = Kernel(
        dir=tmp_path, digest="x", release="x", arch=X86_64, image=config,
        vmlinux=config, system_map=config, config=config, headers=config, log=config,
        identity={},
    )  # fmt: skip
    wait = [
        Step("toy/wait:a", ("bin/toy/wait", "-t", "a"), 9),
        Step("toy/wait:b", ("bin/toy/wait", "-t", "b"), 9),
    ]
    assert coverage.plan(bundle, kernel, "toy") == wait
    config.write_text("CONFIG_X=y\n")
    found = coverage.plan(bundle, kernel, "toy")
    assert [s.name for s in found] == ["toy/wait:a", "toy/wait:b", "toy/probed:c"]
    exact = coverage.plan(bundle, kernel, "toy", 3)
    assert [s.name for s in exact] == ["toy/exact:g"]
    assert coverage.left_out(bundle, "toy") == ["toy/exact", "toy/crowd"]


def test_what_is_kept_for_reports() -> None:
    listed = (coverage.Unreached("a.c", "f", "return 2;", "cannot be"),)
    found = coverage.facts(covered(), listed, "today")
    assert found.tests == tuple(TESTS)
    lines = {line.line: line for line in found.lines}
    assert [found.tests[n] for n in lines[11].tests] == ["p:cheap", "p:dear"]
    assert (lines[12].tests, lines[12].why) == ((), "cannot be")
    assert lines[10].never_to == ("a.c:12",)
    assert found.never == (lines[12],) and found.one_way == (lines[10],)
    assert found.needless == ("p:dear", "p:cheap") and found.uncounted == ("p:fails",)
