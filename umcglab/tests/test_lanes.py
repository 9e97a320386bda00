# SPDX-License-Identifier: MIT
"""What lanes run: programs and what they are told, benches in each class."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from umcglab.guest import accel, exact, ssh
from umcglab.guest.exact import Step
from umcglab.guest.image import Image
from umcglab.guest.suite import Bundle
from umcglab.host.progress import Silent
from umcglab.kernel.kernels import Kernel
from umcglab.lab import config, leaks
from umcglab.lab.manifest import Manifest, Program
from umcglab.results import codec
from umcglab.results.facts import (
    BenchPlanFacts,
    KeptFacts,
    ProgramFacts,
    TargetFacts,
)
from umcglab.results.rundir import RunDir
from umcglab.run import lanes, session
from umcglab.run.lanes import Ready

LAB = config.load(config.ROOT / "lab.yaml")
WAIT = Program("umcg/wait", "test", ("bin/umcg/wait",), ("wakes",))
PLAIN = Program("yard/futex", "bench", ("bench/yard/futex",))
SIZED = Program("scale/x", "bench", ("bench/scale/x",), needs_umcg=True, sizes=(1, 10))
TEST = Program("umcg/ctl", "test", ("bin/umcg/ctl",), ("a",))


def ready(kernel: Kernel, name: str) -> Ready:
    (target,) = config.select(LAB, [name])
    image = Image(Path(), "1", kernel.arch, {})
    bundle = Bundle(kernel.dir / "bundle", "2", Manifest(()))
    return Ready(target, kernel, image, bundle, (WAIT,))


def test_programs_know_how_slow_their_kernel_is(kernel: Kernel) -> None:
    fast = lanes.environment(ready(kernel, "x86_64-umcg-v0.5"))
    slow = lanes.environment(ready(kernel, "x86_64-umcg-v0.5-debug"))
    assert fast == {"UMCGLAB_SLOW": "1"}
    assert int(slow["UMCGLAB_SLOW"]) > 1
    control = lanes.environment(ready(kernel, "x86_64-control"))
    assert control["UMCGLAB_CONTROL_RELEASE"] == kernel.release


def test_what_repeats_a_program(kernel: Kernel) -> None:
    made = ready(kernel, "x86_64-umcg-v0.5-debug")
    again = "umcglab run --only x86_64-umcg-v0.5-debug"
    assert lanes.reproduce(made, WAIT) == f"{again} --tests umcg/wait"
    assert lanes.reproduce(made, leaks.PROGRAM) == again


def test_what_repeats_a_program_names_its_lab_and_its_test(kernel: Kernel) -> None:
    one = replace(WAIT, tests=("wakes",))
    made = ready(kernel, "x86_64-umcg-v0.5")
    made = replace(made, programs=(one,), select=True, lab=Path("my lab.yaml"))
    assert lanes.reproduce(made, one) == (
        "umcglab run --lab 'my lab.yaml' --only x86_64-umcg-v0.5 "
        "--tests umcg/wait:wakes"
    )


def test_each_repetition_is_recorded_by_itself(kernel: Kernel, tmp_path: Path) -> None:
    made = session.repeated(ready(kernel, "x86_64-umcg-v0.5"), 2)
    assert [program.name for program in made.programs] == ["umcg/wait"] * 2
    assert lanes.unplanned(made) == frozenset()
    run_dir, vm = RunDir(tmp_path), MagicMock()
    vm.run.return_value = ssh.Exec(0, 0.5)
    vm.console_size.return_value = 7
    vm.console_text.return_value = ""
    for n, program in enumerate(made.programs, 1):
        assert lanes.run_program(made, program, vm, 1, run_dir).is_good
        path = run_dir.program(made.target.name, f"umcg/wait@{n}")
        ran = codec.read(path, ProgramFacts)
        assert ran.program == f"umcg/wait@{n}"
        assert ran.reproduce.endswith("--tests umcg/wait --repeat 2")
        plan = session.plan(program)
        assert (plan.program, plan.repeats) == (ran.program, "umcg/wait")
        assert vm.run.call_args.kwargs["log"] == path.with_suffix(".log")
    assert session.plan(WAIT).repeats is None
    assert session.repeated(made, 1) is made


def test_nothing_is_run_beside_a_program_that_was_cut_off(
    kernel: Kernel, tmp_path: Path
) -> None:
    made, vm = ready(kernel, "x86_64-umcg-v0.5"), MagicMock()
    vm.run.return_value = ssh.Exec(None, 0.5)
    vm.console_size.return_value = 7
    vm.console_text.return_value = ""
    ran = lanes.run_program(made, WAIT, vm, 1, RunDir(tmp_path))
    assert (ran.failed, ran.is_good) == (True, False)


@pytest.mark.parametrize(
    ("keep", "statuses", "left", "boots"),
    [
        (True, [0, 4, 1, 0, 1], "umcg/2", 2),
        (True, [0, 0, 0, 0, 1], "umcg/4", 1),
        (True, [0, 0, 0, 0, 0], None, 1),
        (True, [0, None, 0, 0, 0], None, 1),
        (False, [0, 4, 1, 0, 1], None, 1),
    ],
)
def test_the_first_guest_that_a_program_fails_in_is_left(
    kernel: Kernel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keep: bool,
    statuses: list[int | None],
    left: str | None,
    boots: int,
) -> None:
    made = ready(kernel, "x86_64-umcg-v0.5")
    programs = tuple(replace(WAIT, name=f"umcg/{n}") for n in range(5))
    made = replace(made, programs=programs, keep=keep)
    waiting, begun = list(statuses), []
    last: list[int | None] = []

    def run(*_: object, **__: object) -> ssh.Exec:
        last.append(status := waiting.pop(0))
        return ssh.Exec(status, 0.1, lost=status is None)

    @contextlib.contextmanager
    def boot(*_: object, **__: object) -> Iterator[MagicMock]:
        vm = MagicMock(argv=("qemu",), to_ssh=1.0, uname="6.99", pid=4711)
        vm.run.side_effect = run
        vm.console_size.return_value = 0
        vm.console_text.return_value = ""
        vm.answers.side_effect = lambda: last[-1] is not None
        vm.ssh_command.return_value = ("ssh", "-p", "22")
        vm.snapshot.return_value.resume.side_effect = lambda **_: nullcontext(vm)
        begun.append(vm)
        yield vm

    monkeypatch.setattr(lanes, "booted", boot)
    monkeypatch.setattr(ssh, "floor", lambda *_, **__: 1.0)
    monkeypatch.setattr(accel, "probe", lambda *_: accel.Accel("tcg", "test"))
    run_dir = RunDir(tmp_path)
    name = made.target.name
    start = TargetFacts(name, "x86_64", "umcg-v0.5", "6.12", "bench")
    state = lanes.test_lane(LAB, made, start, run_dir, Silent())
    assert (state.status, len(state.boots)) == ("done", boots)
    assert waiting == []
    assert codec.read(run_dir.target(name), TargetFacts) == state
    assert sum(vm.leave_running.call_count for vm in begun) == (left is not None)
    if left is None:
        assert state.kept is None
        return
    assert state.kept == KeptFacts(left, 1, ("ssh", "-p", "22"), 4711)
    said = "\n".join(session.kept(state, run_dir))
    for word in (f"{left} failed", "ssh -p 22", "kill 4711", "console-1.log"):
        assert word in said


@pytest.mark.parametrize(("tests", "floors"), [(None, 1), ("umcg/wait", 0)])
def test_a_chosen_test_does_not_wait_for_a_floor(
    kernel: Kernel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tests: str | None,
    floors: int,
) -> None:
    vm = MagicMock(argv=("qemu",), to_ssh=1.0, uname="6.99")
    vm.run.return_value = ssh.Exec(0, 0.1)
    vm.console_size.return_value = 0
    vm.console_text.return_value = ""
    floor = MagicMock(return_value=1.5)
    monkeypatch.setattr(lanes, "booted", lambda *_, **__: nullcontext(vm))
    monkeypatch.setattr(ssh, "floor", floor)
    monkeypatch.setattr(accel, "probe", lambda *_: accel.Accel("tcg", "test"))
    made = session.choose(ready(kernel, "x86_64-control"), tests)
    start = TargetFacts(made.target.name, "x86_64", "control", "6.12", "bench")
    state = lanes.test_lane(LAB, made, start, RunDir(tmp_path), Silent())
    assert (state.status, floor.call_count) == ("done", floors)
    assert state.floor == (1.5 if floors else None)


def test_what_the_plan_does_not_run_is_not_sent(kernel: Kernel) -> None:
    script = Program("umcg/py", "py", ("python3", "py/run.py", "test_py.py"), ("a",))
    bundle = Bundle(Path(), "2", Manifest((WAIT, TEST, script, PLAIN)))
    made = replace(ready(kernel, "x86_64-umcg-v0.5"), bundle=bundle)
    assert lanes.unplanned(made) == {"bin/umcg/ctl", "bench/yard/futex"}
    starter = replace(script, starts="umcg/ctl")
    made = replace(made, programs=(starter,))
    assert lanes.unplanned(made) == {"bin/umcg/wait", "bench/yard/futex"}


@pytest.mark.parametrize(("mute", "boots"), [(0, 1), (1, 2)])
def test_a_guest_without_a_name_is_booted_again(
    kernel: Kernel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mute: int,
    boots: int,
) -> None:
    made = ready(kernel, "x86_64-umcg-v0.5")
    begun, vm = [], MagicMock()

    @contextlib.contextmanager
    def boot(*_: object) -> Iterator[MagicMock]:
        begun.append(1)
        if len(begun) <= mute:
            raise ssh.Nameless("nothing was said")
        yield vm

    monkeypatch.setattr(lanes, "_boot", boot)
    with lanes.booted(LAB, made, RunDir(tmp_path), 1, Silent()) as got:
        assert got is vm
    assert len(begun) == boots


@pytest.mark.parametrize(
    ("statuses", "again"),
    [([0, 1, 1, 0], True), ([0, 1, 0, 0], False), ([0, None, 1, 0], True)],
)
def test_what_fails_is_run_once_more_in_a_fresh_guest(
    kernel: Kernel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    statuses: list[int | None],
    again: bool,
) -> None:
    made = replace(
        ready(kernel, "x86_64-umcg-v0.5"),
        programs=tuple(replace(WAIT, name=f"umcg/{n}") for n in range(3)),
        again=True,
    )
    vm, waiting = MagicMock(argv=("qemu",), to_ssh=1.0, uname="6.99"), list(statuses)
    vm.run.side_effect = lambda *_, **__: ssh.Exec(
        waiting[0], 0.1, lost=waiting.pop(0) is None
    )
    vm.console_size.return_value = 0
    vm.console_text.return_value = ""
    resume = vm.snapshot.return_value.resume
    resume.side_effect = lambda **_: nullcontext(vm)
    run_dir = RunDir(tmp_path)
    name = made.target.name
    monkeypatch.setattr(lanes, "_boot", lambda *_: nullcontext(vm))
    monkeypatch.setattr(ssh, "floor", lambda *_, **__: 1.0)
    monkeypatch.setattr(accel, "probe", lambda *_: accel.Accel("tcg", "so"))
    start = TargetFacts(name, "x86_64", "umcg-v0.5", "6.12", "bench")
    state = lanes.test_lane(LAB, made, start, run_dir, Silent())
    assert (state.status, len(state.boots), resume.call_count) == ("done", 1, 4)
    found = [
        codec.read(run_dir.program(name, p.name), ProgramFacts) for p in made.programs
    ]
    assert [p.exit_status for p in found] == [0, statuses[1], 0]
    assert [p.again and p.again.failed for p in found] == [None, again, None]
    logs = [call.kwargs["log"].name for call in vm.run.call_args_list]
    assert logs == ["umcg.0.log", "umcg.1.log", "umcg.1.again.log", "umcg.2.log"]


def test_an_exact_guest_for_a_program_that_asks_for_one(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a boot of its own, after the others; a control has nothing to be exact in."""
    both = (replace(WAIT, name="umcg/steps", exact_cpus=2), WAIT)
    vm, plans = MagicMock(argv=("qemu",), to_ssh=1.0, uname="6.99"), []
    vm.run.return_value = ssh.Exec(4, 0.1)
    vm.console_size.return_value = 0
    vm.console_text.return_value = ""
    vm.snapshot.return_value.resume.side_effect = lambda **_: nullcontext(vm)

    def run(
        *given: object, output: Path, console_log: Path, smp: int, **_: object
    ) -> exact.ExactRun:
        plans.append((given[-1], smp))
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text("@@ begin umcg/steps\nok 1 a\n@@ end umcg/steps 1\n@@ done\n")
        console_log.write_text("[0] Linux version 7.0-x (me)\n")
        return exact.ExactRun(output, 2.0, ("qemu", "-icount"), 1)

    monkeypatch.setattr(lanes, "_boot", lambda *_: nullcontext(vm))
    monkeypatch.setattr(ssh, "floor", lambda *_, **__: 1.0)
    monkeypatch.setattr(accel, "probe", lambda *_: accel.Accel("tcg", "so"))
    monkeypatch.setattr(exact, "run", run)
    for name, boots in (("x86_64-umcg-v0.5", [1, 2]), ("x86_64-control", [1])):
        made = replace(ready(kernel, name), programs=both, again=True)
        run_dir = RunDir(tmp_path / name)
        run_dir.console(name, 1).parent.mkdir(parents=True)
        start = TargetFacts(name, "x86_64", "umcg-v0.5", "6.12", "bench")
        state = lanes.test_lane(LAB, made, start, run_dir, Silent())
        assert (state.status, [b.n for b in state.boots]) == ("done", boots)
        ran = codec.read(run_dir.program(name, "umcg/steps"), ProgramFacts)
        assert (ran.boot, ran.exit_status) == ((2, 1) if len(boots) > 1 else (1, 4))
    assert plans == [((Step("umcg/steps", ("bin/umcg/wait",)),), 2)]
    own = RunDir(tmp_path / "x86_64-umcg-v0.5")
    assert own.program_log("x86_64-umcg-v0.5", "umcg/steps").read_text() == "ok 1 a\n"
    found = codec.read(own.target("x86_64-umcg-v0.5"), TargetFacts)
    assert (found.boots[1].uname, found.boots[1].to_ssh) == ("7.0-x", None)


def test_leaks_are_looked_for_in_a_guest_that_ran_all_programs(kernel: Kernel) -> None:
    """So is that programs skip, which takes less than a guest for each."""
    for name, apart in (
        ("x86_64-umcg-v0.5", True),
        ("x86_64-umcg-v0.5-debug", False),
        ("x86_64-control", False),
    ):
        made = ready(kernel, name)
        assert not lanes.are_apart(made)
        made = replace(made, programs=(WAIT, WAIT))
        assert lanes.are_apart(made) == apart
        assert not lanes.are_apart(replace(made, repeat=2))


def test_time_limits_are_those_of_a_fast_kernel(kernel: Kernel) -> None:
    fast, slow = (ready(kernel, f"x86_64-umcg-v0.5{f}") for f in ("", "-debug"))
    factor = slow.target.traits.slow
    assert lanes.time_limit(fast, WAIT) == WAIT.timeout
    assert lanes.time_limit(slow, WAIT) == factor * WAIT.timeout


def test_every_bench_and_size_in_each_class() -> None:
    plan = lanes.benches(Bundle(Path(), "0", Manifest((TEST, PLAIN, SIZED))))
    assert [made.name for made in plan] == [
        "yard/futex:fair",
        "yard/futex:fifo",
        "scale/x-1:fair",
        "scale/x-1:fifo",
        "scale/x-10:fair",
        "scale/x-10:fifo",
    ]
    fact = BenchPlanFacts("scale/x-10:fifo", "scale/x-10", "fifo", needs_umcg=True)
    argv = ("bench/scale/x", "--sched", "fifo", "--size", "10")
    assert plan[fact] == Step("scale/x-10:fifo", argv)
    first = BenchPlanFacts("yard/futex:fair", "yard/futex", "fair")
    assert plan[first].argv == ("bench/yard/futex", "--sched", "fair")
