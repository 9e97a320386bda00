# SPDX-License-Identifier: MIT
"""Anatomies: the plugin against a QEMU of our own, and what is made of its counts."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from umcglab import cli
from umcglab.errors import InfraError, UserError
from umcglab.guest.suite import Bundle
from umcglab.kernel.kernels import Kernel
from umcglab.lab import config
from umcglab.lab.arch import X86_64
from umcglab.lab.config import Lab
from umcglab.lab.manifest import load_plan
from umcglab.results.case import Case
from umcglab.results.facts import BenchPlanFacts
from umcglab.study import anatomy
from umcglab.study.anatomy import Anatomy
from umcglab.verdict.figures import Figure

FIGURE = Figure(
    Case("switch/toy", 0, "fair"),
    version=1,
    op="one-way hand-off",
    ops_per_batch=10,
    clock_overhead=4,
    hist=((1000, 1), (1030, 1), (1200, 1)),
)
SCHEDULE, UMCG = 0xFFFFFFFF81000000, 0xFFFFFFFF81000100
KERNEL = anatomy.functions(
    {"__schedule": SCHEDULE, "umcg_idle": UMCG, "__pi_umcg_idle": UMCG,
     "last": UMCG + 0x100}
)  # fmt: skip
PROGRAM = anatomy.functions(
    {
        "rounds": 0x1000,
        "bench_main": 0x1100,
        "bench_mark_begin": 0x1110,
        "_fini": 0x1200,
    }
)
MEDIAN = {
    SCHEDULE: 600,
    SCHEDULE + 4: 300,
    UMCG + 0x10: 100,
    0x1004: 20,
    0x1114: 6,
    0x7FFF0000: 4,
}
BATCHES = [{SCHEDULE: 1200}, MEDIAN, {SCHEDULE: 1000}]

# A QEMU that translates a loop of four instructions twice (the second time as
# two blocks), and executes it three times: from the middle, whole, and whole.
FAKE_QEMU = r"""
#include "qemu-plugin.h"
struct qemu_plugin_insn {
	uint64_t address, *counter;
	void (*callback)(unsigned int vcpu, void *data);
};
struct qemu_plugin_tb { size_t n; struct qemu_plugin_insn *insns; };
static void (*on_tb)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
static void (*on_exit)(qemu_plugin_id_t id, void *data);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
	void (*callback)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb))
{ (void)id; on_tb = callback; }
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id,
	void (*callback)(qemu_plugin_id_t id, void *data), void *data)
{ (void)id, (void)data; on_exit = callback; }
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb) { return tb->n; }
struct qemu_plugin_insn *
qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index)
{ return &tb->insns[index]; }
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn)
{ return insn->address; }
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
	void (*callback)(unsigned int vcpu, void *data),
	enum qemu_plugin_cb_flags flags, void *data)
{ (void)flags, (void)data; insn->callback = callback; }
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn,
	enum qemu_plugin_op op, void *counter, uint64_t amount)
{ (void)op, (void)amount; insn->counter = counter; }

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info,
			int argc, char **argv);
static void execute(struct qemu_plugin_insn *insns, int from, int to)
{
	for (int i = from; i < to; i++) {
		if (insns[i].callback)
			insns[i].callback(0, NULL);
		++*insns[i].counter;
	}
}
int main(int argc, char **argv)
{
	struct qemu_plugin_insn insns[] = {
		{ .address = 0x10 }, { .address = 0xffffffff81000000 },
		{ .address = 0xffffffff81000000 + 4 }, { .address = 0x18 },
	};
	struct qemu_plugin_tb whole = { 4, insns }, first = { 2, insns },
		second = { 2, insns + 2 };

	if (qemu_plugin_install(1, NULL, argc - 1, argv + 1))
		return 2;
	on_tb(1, &whole);
	execute(insns, 1, 4);
	execute(insns, 0, 2);
	execute(insns, 1, 4);
	on_tb(1, &first);
	on_tb(1, &second);
	execute(insns, 0, 4);
	on_exit(1, NULL);
	return 0;
}
"""


@pytest.fixture(scope="module")
def fake_qemu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "qemu.c").write_text(FAKE_QEMU)
    flags = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", f"-I{anatomy.PLUGIN}")
    sources = [str(folder / "qemu.c"), str(anatomy.PLUGIN / "count.c")]
    subprocess.run(["gcc", *flags, "-o", folder / "qemu", *sources], check=True)
    return folder / "qemu"


def test_the_plugin_counts_between_the_marks(fake_qemu: Path, tmp_path: Path) -> None:
    out = tmp_path / "counts"
    argv = [str(fake_qemu), "begin=10", "end=18", f"out={out}"]
    subprocess.run(argv, check=True)
    # Not the first pass, which began in the middle.
    assert anatomy.read_counts(out.read_text()) == [
        {0x10: 1, SCHEDULE: 2, SCHEDULE + 4: 1},
        {0x10: 1, SCHEDULE: 1, SCHEDULE + 4: 1},
    ]


@pytest.mark.parametrize("given", [(), ("begin=10", "end=18"), ("begin=10", "out=x")])
def test_a_plugin_told_too_little_ends_qemu(
    fake_qemu: Path, tmp_path: Path, given: tuple[str, ...]
) -> None:
    done = subprocess.run([fake_qemu, *given], cwd=tmp_path, capture_output=True)
    assert done.returncode == 2
    assert b"needs begin=, end= and out=" in done.stderr


def test_the_plugin_is_built_once(lab: Lab) -> None:
    made = anatomy.build_plugin(lab.cache)
    assert made == anatomy.build_plugin(lab.cache)
    exported = subprocess.run(
        ["nm", "-D", "--defined-only", made], capture_output=True, text=True, check=True
    ).stdout
    assert "qemu_plugin_install" in exported
    assert "qemu_plugin_version" in exported


@pytest.mark.parametrize("text", ["", "batch\n10 1\n", "batch\n10 1"])
def test_counts_that_stop_are_no_counts(text: str) -> None:
    with pytest.raises(InfraError, match="not complete"):
        anatomy.read_counts(text)


def dissect() -> Anatomy:
    return anatomy.dissect(FIGURE, BATCHES, KERNEL, PROGRAM)


def test_the_median_batch_is_told_by_function_and_adds_up() -> None:
    found = dissect()
    assert found.functions == {
        "__schedule": 90.0,
        "umcg_idle": 10.0,
        "user:rounds": 2.0,
        "bench_main": 0.6,
        "[vdso]": 0.4,
    }
    assert found.total == pytest.approx(FIGURE.per_op)
    assert found.groups() == {
        "schedule": 90.0,
        "umcg": 10.0,
        "user": 2.0,
        "clock": 1.0,
    }


@pytest.mark.parametrize("off", [-21, 21])
def test_a_sum_that_is_not_the_benchs_figure_is_an_error(off: int) -> None:
    wrong = [{**MEDIAN, SCHEDULE: 600 + off}] * 3
    with pytest.raises(InfraError, match=f"executes {1030 + off} instructions"):
        anatomy.dissect(FIGURE, wrong, KERNEL, PROGRAM)


def test_an_instruction_that_faults_is_counted_once() -> None:
    fault = UMCG + 0x80
    kernel = anatomy.functions({"asm_exc_page_fault": fault, "last": fault + 0x100})
    places = {0x1004: 1030 + 30 - 60, fault: 30, fault + 4: 30}
    found = anatomy.dissect(FIGURE, [places] * 3, kernel, PROGRAM)
    assert found.total == pytest.approx(FIGURE.per_op)
    assert found.groups() == {"user": 100.0, "faults": 3.0}


def test_a_batch_too_few_is_an_error() -> None:
    with pytest.raises(
        InfraError, match="2 batches were counted, the bench measured 3"
    ):
        anatomy.dissect(FIGURE, BATCHES[:2], KERNEL, PROGRAM)


@pytest.mark.parametrize(
    ("function", "group"),
    [
        ("__x64_sys_umcg_wait", "umcg"),
        ("user:umcg_switch", "user"),
        ("el0t_64_sync_handler", "entry"),
        ("entry_SYSCALL_64_after_hwframe", "entry"),
        ("try_to_wake_up", "wake-up"),
        ("__update_load_avg_se", "pelt"),
        ("__dequeue_entity", "runqueue"),
        ("__switch_to_asm", "switch"),
        ("cpu_switch_to", "switch"),
        ("_raw_spin_lock", "schedule"),
        ("do_page_fault", "faults"),
        ("futex_wake", "futex"),
        ("pipe_read", "files"),
        ("never_heard_of", "other"),
    ],
)
def test_the_group_of_a_function(function: str, group: str) -> None:
    assert anatomy.group(function) == group


def test_the_table_has_all_and_the_figure_beside_it() -> None:
    found = dissect()
    lines = list(anatomy.table(found))
    assert "    90.00   87.4%   87.4%  __schedule  (schedule)" in lines
    assert "     0.40    0.4%  100.0%  [1 more below 0.5 each]" in lines
    assert "    10.00    9.7%   97.1%  umcg" in lines
    assert "   103.00  counted in the median batch" in lines
    figure = "the bench's own figure: the median of 3 batches of 10"
    assert f"   103.00  {figure}" in lines
    assert "     0.40  of both is reading the clock, once a batch" in lines


def test_the_instructions_of_a_function(kernel: Kernel, tmp_path: Path) -> None:
    source = tmp_path / "toy.c"
    source.write_text("int toy(int a) { return a + 1; } int main(void) { return 0; }")
    toy = tmp_path / "toy"
    subprocess.run(["gcc", "-O1", "-static", "-o", toy, source], check=True)
    start = anatomy.symbol_table(X86_64, toy)["toy"]
    found = replace(dissect(), places={start: 2.5})
    lines = list(anatomy.listing(found, kernel, toy, "user:toy"))
    assert lines[0].startswith(f"     2.50  {start:x}  ")
    assert any("ret" in line and line.startswith(" " * 11) for line in lines)
    with pytest.raises(UserError, match="no function 'nothing'"):
        list(anatomy.listing(found, kernel, toy, "user:nothing"))


def test_a_program_without_marks_and_a_bench_that_skips() -> None:
    with pytest.raises(UserError, match="no label bench_mark_begin"):
        anatomy.mark({"main": 1}, "bench_mark_begin", Path("x"))
    said = (
        '@@ begin a/b:fair\n{"schema":1,"bench":"a/b","sched":"fair","skip":"not here"}\n'
        "@@ end a/b:fair 4\n@@ done\n"
    )
    plan = BenchPlanFacts("a/b:fair", "a/b", "fair", needs_umcg=False)
    with pytest.raises(UserError, match="a/b:fair: skipped in this kernel: not here"):
        anatomy.result(said, plan)
    with pytest.raises(InfraError, match="not measured"):
        anatomy.result("@@ done\n", plan)


def test_a_bench_by_its_name_and_size(tmp_path: Path) -> None:
    manifest = load_plan(config.ROOT / "guest-tests", "umcg-v0.5")
    bundle = Bundle(tmp_path, "d1e5", manifest)
    _, step = anatomy.find(bundle, "scale/workers-100", "fifo")
    assert step.argv == (
        "bench/scale/workers", "--sched", "fifo", "--size", "100"
    )  # fmt: skip
    with pytest.raises(UserError, match="no bench 'scale/workers'") as e:
        anatomy.find(bundle, "scale/workers", "fifo")
    assert "yard/futex, " in str(e.value.hint)


def test_the_command_line_is_checked_before_anything_is_built() -> None:
    lab = str(config.ROOT / "lab.yaml")
    for target, bench, said in (
        ("x86_64-control", "yard/futex:rr", "fair or fifo"),
        ("*", "yard/futex", "needs one target"),
    ):
        with pytest.raises(UserError, match=said):
            cli.main(["anatomy", "--lab", lab, target, bench])
