# SPDX-License-Identifier: MIT
"""A run of the lab, whose kernels and guests are made up: who waits for whom."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from umcglab.errors import InfraError, PatchError
from umcglab.guest import image, qemu, suite
from umcglab.guest.image import Image
from umcglab.guest.suite import Bundle
from umcglab.host.display import Display
from umcglab.host.progress import Progress
from umcglab.kernel import kernels
from umcglab.kernel.kernels import Kernel
from umcglab.lab.arch import Arch
from umcglab.lab.config import Lab, Target
from umcglab.lab.manifest import Manifest, Program
from umcglab.results import codec, facts
from umcglab.results.facts import BootFacts, ExactRunFacts, ProgramFacts, TargetFacts
from umcglab.results.rundir import RunDir
from umcglab.run import lanes, session
from umcglab.run.lanes import Ready
from umcglab.tests import toylab

LAB = """\
cache: cache
sources:
  "6.99": {tree: linux}
targets:
  slow: {arch: x86_64, source: "6.99", abi: umcg-toy, cpu: max}
  fast: {arch: x86_64, source: "6.99", abi: umcg-toy, cpu: max}
defaults: {memory: 2048, cmdline: preempt=full, boot-timeout: 90}
"""
RELEASE = "6.99.0-toy"
FUTEX = Program("yard/futex", "bench", ("bench/yard/futex",))
WAIT = Program("umcg-toy/wait", "test", ("bin/umcg-toy/wait",), ("wakes",))


# What stands for the real work, in the jobs' processes.


def kernel(
    target: Target, lab: Lab, progress: Progress, jobs: int, shares: bool
) -> Kernel:
    folder = lab.root / target.name
    folder.mkdir()
    for name in ("config", "log"):
        (folder / name).write_text(f"{target.name}: no such thing\n")
    return Kernel(
        folder, "d1e5", RELEASE, target.arch, folder / "bzImage", folder / "vmlinux",
        folder / "System.map", folder / "config", folder / "include", folder / "log", {},
    )  # fmt: skip


def slow_kernel(
    target: Target, lab: Lab, progress: Progress, jobs: int, shares: bool
) -> Kernel:
    """Wait, if it is the slow one, for the verdict on the fast one."""
    log = lab.results / "latest" / "lab.log"
    deadline = time.monotonic() + 20
    while target.name == "slow" and not re.search(r"^fast +PASS", read(log), re.M):
        if time.monotonic() > deadline:
            raise InfraError("nothing is said of the fast one")
        time.sleep(0.02)
    return kernel(target, lab, progress, jobs, shares)


def no_kernel(
    target: Target, lab: Lab, progress: Progress, jobs: int, shares: bool
) -> Kernel:
    """Fail, if it is the slow one."""
    if target.name == "slow":
        log = lab.root / "make.log"
        log.write_text("kernel/umcg.c:1:2: error: no\n")
        raise PatchError("slow: no", where="kernel/umcg.c:1:2", log=log)
    return kernel(target, lab, progress, jobs, shares)


def interrupted_kernel(
    target: Target, lab: Lab, progress: Progress, jobs: int, shares: bool
) -> Kernel:
    """Have the lab interrupted once the fast one is judged, and go on for ever."""
    if target.name == "slow":
        slow_kernel(target, lab, progress, jobs, shares)
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(600)
    return kernel(target, lab, progress, jobs, shares)


def disk(arch: Arch, lab: Lab, progress: Progress) -> Image:
    return Image(lab.root / "disk", "d1e5", arch, {})


def bundle(lab: Lab, arch: Arch, made: Kernel, abi: str, progress: Progress) -> Bundle:
    return Bundle(lab.root, "d1e5", Manifest((WAIT,)))


def lane(
    lab: Lab, ready: Ready, start: TargetFacts, run_dir: RunDir, progress: Progress
) -> TargetFacts:
    name = ready.target.name
    for program in ready.programs:
        log = run_dir.program_log(name, program.label)
        log.parent.mkdir(parents=True, exist_ok=True)
        plan = "".join(f"ok {n} {t}\n" for n, t in enumerate(program.tests, 1))
        log.write_text(f"KTAP version 1\n1..{len(program.tests)}\n{plan}")
        ran = ProgramFacts(program.label, 1, 0, 1.0, 0, 0)
        codec.write(run_dir.program(name, program.label), ran)
    run_dir.console(name, 1).write_text("")
    boots = (BootFacts(1, uname=RELEASE),)
    done = replace(start, status="done", boots=boots)
    codec.write(run_dir.target(name), done)
    return done


def no_lane(
    lab: Lab, ready: Ready, start: TargetFacts, run_dir: RunDir, progress: Progress
) -> TargetFacts:
    if ready.target.name == "slow":
        raise InfraError("slow: no QEMU")
    return lane(lab, ready, start, run_dir, progress)


def killed_lane(
    lab: Lab, ready: Ready, start: TargetFacts, run_dir: RunDir, progress: Progress
) -> TargetFacts:
    done = lane(lab, ready, start, run_dir, progress)
    if ready.target.name == "slow":
        os.kill(os.getpid(), signal.SIGKILL)
    return done


def bench_bundle(
    lab: Lab, arch: Arch, made: Kernel, abi: str, progress: Progress
) -> Bundle:
    return Bundle(lab.root, "d1e5", Manifest((WAIT, FUTEX)))


def exact_lane(
    lab: Lab, ready: Ready, run_dir: RunDir, n: int, progress: Progress
) -> ExactRunFacts:
    """Break, on the slow one, in the second guest."""
    if (ready.target.name, n) == ("slow", 2):
        raise InfraError("slow: no QEMU")
    return ExactRunFacts(n, ("qemu",), 1.0)


Run = Callable[..., tuple[int, list[str], dict[str, TargetFacts]]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the lab; return its status, what it said, and the facts of its targets."""
    monkeypatch.delenv("UMCGLAB_CACHE", raising=False)
    toy = toylab.make(tmp_path)
    toy.write("lab.yaml", LAB)
    lab = toy.load()
    monkeypatch.setattr(image, "build", disk)
    monkeypatch.setattr(suite, "build", bundle)
    monkeypatch.setattr(qemu, "version", lambda _: "QEMU 7.2")

    def go(build: object, test: object = lane) -> object:
        monkeypatch.setattr(kernels, "build", build)
        monkeypatch.setattr(lanes, "test_lane", test)
        out = io.StringIO()
        with Display(Console(file=out, width=200)) as display:
            options = session.Options("umcglab run", 2)
            status = session.execute(lab, lab.targets, options, display)
        run_dir = RunDir(lab.results / "latest")
        states = {
            t.name: codec.read(run_dir.target(t.name), TargetFacts) for t in lab.targets
        }
        return status, out.getvalue().splitlines(), states

    return go  # type: ignore[return-value]


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def index(said: list[str], pattern: str) -> int:
    """Return the number of the first line that the pattern matches."""
    return next(n for n, line in enumerate(said) if re.match(pattern, line))


def test_a_verdict_is_told_when_the_target_is_through(run: Run) -> None:
    status, said, states = run(slow_kernel)
    assert status == 0
    assert [s.status for s in states.values()] == ["done", "done"]
    assert index(said, r"fast +PASS +1 passed") < index(said, "kernel slow: done")
    assert index(said, "test slow: done") < index(said, r"slow +PASS +1 passed")
    assert index(said, r"slow +PASS +1 passed") < index(said, "PASS: 2 passed")


def test_a_failed_build_is_its_targets_alone(run: Run, tmp_path: Path) -> None:
    status, said, states = run(no_kernel)
    assert status == 1
    (error,) = states["slow"].errors
    assert (error.stage, error.fault, error.message) == ("build", 1, "slow: no")
    assert states["fast"].status == "done"
    assert index(said, "slow +FAIL") < index(said, "FAIL: 1 passed")
    assert not [line for line in said if line.startswith(("bundle slow", "test slow"))]
    latest = tmp_path / "results" / "latest"
    assert "error: no" in (latest / "slow" / "build.log").read_text()
    assert "slow: no" in (latest / "report.html").read_text()


def test_a_lane_that_broke_is_written_down(run: Run) -> None:
    status, said, states = run(kernel, no_lane)
    assert status == 3
    (error,) = states["slow"].errors
    assert (error.stage, error.message) == ("test", "slow: no QEMU")
    assert states["slow"].programs[0].program == WAIT.name
    assert index(said, "slow +LAB ERROR +1 missing")
    assert index(said, r"fast +PASS")


def test_what_a_lane_wrote_before_it_was_killed_is_kept(run: Run) -> None:
    _, _, states = run(kernel, killed_lane)
    (error,) = states["slow"].errors
    assert (error.stage, error.fault) == ("test", 3)
    assert "killed" in error.message
    assert states["slow"].boots == states["fast"].boots != ()


def test_what_a_target_is_is_written_down(run: Run) -> None:
    """All that tells whether two runs may be compared."""
    _, _, states = run(no_kernel)
    for state in states.values():
        assert (state.source, state.base, state.flavor) == ("6.99", "6.99", "bench")
        assert (state.smp, state.cpu, state.memory) == (1, "max", 2048)
        assert (state.cmdline, state.boot_timeout) == ("preempt=full", 90)


def test_each_exact_guest_is_a_job_of_its_own(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "build", bench_bundle)
    monkeypatch.setattr(lanes, "exact_lane", exact_lane)
    _, said, states = run(kernel)
    assert index(said, "exact slow 2: failed")
    (error,) = states["slow"].errors
    assert (error.stage, error.message) == ("exact", "slow: no QEMU")
    run_dir = RunDir(tmp_path / "results" / "latest")
    for name, numbers in (("slow", [1]), ("fast", [1, 2])):
        measured = codec.read(run_dir.exact(name), facts.ExactFacts)
        assert [guest.n for guest in measured.runs] == numbers
        assert [b.bench for b in states[name].benches] == ["yard/futex"] * 2


def test_an_interrupted_run_keeps_what_is_judged(run: Run, tmp_path: Path) -> None:
    status, _, states = run(interrupted_kernel)
    assert status == session.INTERRUPTED
    assert {n: s.status for n, s in states.items()} == {
        "slow": "planned",
        "fast": "done",
    }
    latest = tmp_path / "results" / "latest"
    assert codec.read(latest / "run.json", facts.RunFacts).interrupted
    targets = json.loads((latest / "run.json").read_text())["result"]["targets"]
    assert {t["name"]: t["outcome"] for t in targets} == {
        "slow": "MISSING",
        "fast": "PASS",
    }
    assert (latest / "report.html").exists()
