# SPDX-License-Identifier: MIT
"""Every detector of the debug kernels, alive: each is shown one bug of its kind.

What lkdtm has no trigger for, kernel-patches/debug adds.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from umcglab.host.progress import Silent
from umcglab.lab import config, leaks
from umcglab.lab.config import Lab
from umcglab.results.rundir import RunDir
from umcglab.run import lanes, session
from umcglab.run.artifacts import Built
from umcglab.tests import reallab, scope
from umcglab.tests.provoke import provoked, run_programs

pytestmark = [pytest.mark.lab, pytest.mark.timeout(3600)]

# what lkdtm does: the kind it is found as, the words of the report, where it is
DEBUG = {
    "LOCK_INVERSION": ("lockdep", "possible circular locking", "detectors.c"),
    "RCU_UNPROTECTED": ("lockdep", "suspicious RCU usage", "detectors.c"),
    "ATOMIC_SLEEP": ("atomic-sleep", "sleeping function called", "detectors.c"),
    "READ_AFTER_FREE": ("kasan", "KASAN: slab-use-after-free", "heap.c"),
    "FREE_ACTIVE_TIMER": ("odebug", "ODEBUG: free active", "detectors.c"),
}
KCSAN = {"DATA_RACE": ("kcsan", "KCSAN: data-race in race", "detectors.c")}


@pytest.fixture(scope="module")
def lab_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reallab.make(tmp_path_factory.mktemp("lab"), small=True)


@pytest.fixture(scope="module")
def lab(lab_file: Path) -> Lab:
    return config.load(lab_file)


def built(lab: Lab, name: str) -> Built:
    return reallab.build(lab, config.select(lab, [name]))


def test_a_kernel_with_detectors_end_to_end(lab: Lab, lab_file: Path) -> None:
    done = reallab.umcglab(
        "run", "--lab", lab_file, "--only", scope.DEBUG, "--tests", scope.SMOKE
    )
    assert done.returncode == 0, done.stderr
    (target,) = session.render(RunDir((lab.results / "latest").resolve())).targets
    reallab.assert_all_is_well(target)
    assert not target.facts.benches
    assert target.programs[-1].name == "kernel/kmemleak"


@pytest.mark.parametrize(
    ("name", "bugs"),
    [
        (scope.DEBUG, DEBUG),
        scope.nightly("arm64-umcg-v0.5-debug", DEBUG),
        scope.nightly("x86_64-umcg-v0.5-kcsan", KCSAN),
        scope.nightly("arm64-umcg-v0.5-kcsan", KCSAN),
        scope.nightly("x86_64-umcg-v0.5-7.3-debug", DEBUG),
        scope.nightly("arm64-umcg-v0.5-7.3-debug", DEBUG),
        scope.nightly("x86_64-umcg-v0.5-7.3-kcsan", KCSAN),
        scope.nightly("arm64-umcg-v0.5-7.3-kcsan", KCSAN),
    ],
)
def test_a_bug_under_a_passing_test_is_found_and_named(
    lab: Lab, name: str, bugs: dict[str, tuple[str, str, str]]
) -> None:
    programs = [provoked(f"lab/{what.lower()}", what) for what in bugs]
    done = run_programs(
        lab, built(lab, name), name, provoked("lab/before", ""), *programs
    )
    before, *broken = done.targets[0].programs
    assert before.outcome == "PASS", before.problems
    found = {f.subject: f for f in done.findings}
    for program, (kind, words, file) in zip(broken, bugs.values(), strict=True):
        assert program.outcome == "FAIL", program.name
        named = [s for s in program.splats if s.kind == kind and words in s.text]
        assert named, (program.name, program.splats)
        (finding,) = [f for s, f in found.items() if s == program.name]
        assert finding.fault == 1
        excerpts = "".join(s.excerpt for _, s in finding.splats)
        assert f" drivers/misc/lkdtm/{file}:" in excerpts, "decoded"
    assert done.exit_code == 1


@pytest.mark.parametrize(
    "name",
    [
        scope.DEBUG,
        scope.nightly("arm64-umcg-v0.5-debug"),
        scope.nightly("x86_64-umcg-v0.5-7.3-debug"),
        scope.nightly("arm64-umcg-v0.5-7.3-debug"),
    ],
)
def test_lost_memory_is_found_when_all_tests_are_done(lab: Lab, name: str) -> None:
    loses = provoked("lab/loses", "MEMORY_LEAK")
    done = run_programs(lab, built(lab, name), name, loses, leaks.PROGRAM)
    before, leak = done.targets[0].programs
    assert before.outcome == "PASS"
    assert leak.outcome == "FAIL"
    assert "kmemleak" in [s.kind for s in leak.splats]
    said = "\n".join(leak.tests[0].diagnostics)
    assert "lkdtm_MEMORY_LEAK" in said
    assert len(done.targets[0].facts.boots) == 1


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *((scope.DEBUG, mode) for mode in ("none", "voluntary", "full")),
        *(
            scope.nightly(f"{arch}-umcg-v0.5{debug}", mode)
            for arch, debug, mode in (
                ("arm64", "-debug", "none"),
                ("arm64", "-debug", "voluntary"),
                ("arm64", "-debug", "full"),
                ("x86_64", "-7.3-debug", "lazy"),
                ("x86_64", "-7.3-debug", "full"),
                ("arm64", "-7.3-debug", "lazy"),
                ("arm64", "-7.3-debug", "full"),
            )
        ),
    ],
)
def test_preemption_is_chosen_on_the_command_line(
    lab: Lab, name: str, mode: str, tmp_path: Path
) -> None:
    target = replace(config.select(lab, [name])[0], cmdline=f"preempt={mode}")
    made = session.ready(target, built(lab, name))
    with lanes.booted(lab, made, RunDir(tmp_path), 1, Silent()) as vm:
        said = vm.output("cat /sys/kernel/debug/sched/preempt")
    assert f"({mode})" in said
