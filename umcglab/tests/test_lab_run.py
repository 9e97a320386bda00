# SPDX-License-Identifier: MIT
"""The whole lab on real kernels, as a person runs it.

Kernels come from the shared cache, or are built first.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from umcglab.guest import exact, suite
from umcglab.host.progress import Silent
from umcglab.kernel import kernels
from umcglab.lab import config
from umcglab.lab.config import Lab
from umcglab.lab.manifest import STUB, abis, load_plan
from umcglab.results.rundir import RunDir
from umcglab.run import lanes, session
from umcglab.run.artifacts import Built
from umcglab.tests import reallab, scope
from umcglab.tests.scope import ARCHES
from umcglab.verdict import bench_output
from umcglab.verdict.runs import Run

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("no_qemu_left")]

ROOT = config.ROOT


@pytest.fixture(scope="module")
def lab(lab_file: Path) -> Lab:
    return config.load(lab_file)


@pytest.fixture(scope="module")
def whole_run(lab: Lab, lab_file: Path, built: Built) -> Run:
    """One run of the lab as a user starts it, of all programs and benches."""
    done = reallab.umcglab(
        "run", "--lab", lab_file, "--only", ",".join(scope.BENCH),
        "--fuzz-ops", scope.FUZZ_OPS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return session.render(RunDir((lab.results / "latest").resolve()))


@pytest.mark.timeout(3600)
def test_every_target_end_to_end(whole_run: Run) -> None:
    for name in ("report.html", "junit.xml", "run.json", "lab.log", "lab.yaml"):
        assert (whole_run.path / name).stat().st_size
    assert {t.name for t in whole_run.targets} == set(scope.BENCH)
    for target in whole_run.targets:
        reallab.assert_all_is_well(target)
        assert target.exact and target.exact.identical
        assert target.facts.floor


PLAIN = ("yard/signal", "yard/io_uring")
"""What tasks do that have nothing to do with UMCG and pass its hooks."""


def more_than_a_look(arch: str, control: float, patched: float) -> float:
    """Return what a patched kernel takes beyond a look at one pointer.

    That is 2 instructions. arm64 has `current` in a system register, and reads that first.
    """
    return patched - control - {"x86_64": 2, "arm64": 3}[arch]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("bench", PLAIN)
def test_tasks_without_umcg_pay_little(whole_run: Run, arch: str, bench: str) -> None:
    """A look at one pointer ahead of signals. What else there may be is none of UMCG's:

    - x86_64, signal: 8 more, and io_uring 6 less. With retpolines x64_sys_call() is a
      tree of comparisons, which two more system calls balance otherwise (1e3ad78334a6
      ("x86/syscall: Don't force use of indirect calls for system calls"), v6.9). `umcglab
      anatomy` shows tgkill() and rt_sigreturn() by 4 longer each, io_uring_enter() by 6
      shorter; else only the exit loop differs, by 2.
    - arm64: a nop that aligns a loop of __send_signal_locked().
    """
    control, patched = (
        {
            (case.name, case.sched): figure.per_op
            for target in whole_run.targets
            if target.name == f"{arch}-{abi}"
            for case, figure in target.figures.items()
        }
        for abi in ("control", "umcg-v0.5")
    )
    noise = {"x86_64": 8, "arm64": 1}[arch] if bench == "yard/signal" else 0
    for sched in ("fair", "fifo"):
        case = bench, sched
        assert more_than_a_look(arch, control[case], patched[case]) <= noise


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("arch", ARCHES)
def test_they_pay_little_on_the_newest_base(
    lab: Lab, tmp_path: Path, arch: str
) -> None:
    """`make test` has no control of that base. Nothing there has to be explained."""
    targets = config.select(lab, [f"{arch}-control-7.3", f"{arch}-umcg-v0.5-7.3"])
    control, patched = (kernels.build(t, lab, Silent(), 2) for t in targets)
    bundle = suite.build(lab, targets[1].arch, patched, targets[1].abi, Silent())
    plan = {p: s for p, s in lanes.benches(bundle).items() if p.case.name in PLAIN}
    costs = []
    for kernel in (control, patched):
        done = exact.run(
            lab,
            kernel,
            bundle.dir,
            [*plan.values()],
            output=tmp_path / kernel.release / "output",
            console_log=tmp_path / kernel.release / "console",
        )
        read = bench_output.parse_uart(done.output.read_text(), [*plan])
        assert not read.problems
        costs.append({case: figure.per_op for case, figure in read.figures.items()})
    assert costs[0].keys() == costs[1].keys() == {p.case for p in plan}
    more = {c: more_than_a_look(arch, costs[0][c], costs[1][c]) for c in costs[0]}
    assert max(more.values()) <= 0, more


@pytest.mark.timeout(3600)
def test_controls_run_the_bundle_of_every_abi(whole_run: Run) -> None:
    """All of it skips; that of the stub for the reason that its manifest gives."""
    suite = ROOT / "guest-tests"
    for target in (t for t in whole_run.targets if t.facts.is_control):
        programs = {p.name: p for p in target.programs}
        assert {name.partition("/")[0] for name in programs} >= {*abis(suite)}
        for program in load_plan(suite, STUB).programs:
            if program.abi != STUB:
                continue
            found = {(t.name, t.reason) for t in programs[program.name].tests}
            assert found == {(test, program.absent) for test in program.tests}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("arch", ARCHES)
def test_report_renders_an_old_run_again(whole_run: Run, arch: str) -> None:
    report = whole_run.path / "report.html"
    report.unlink()
    done = reallab.umcglab("report", whole_run.path)
    assert done.returncode == 0, done.stderr
    assert reallab.PATCHED.format(arch) in report.read_text()
