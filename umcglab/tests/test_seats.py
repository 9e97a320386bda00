# SPDX-License-Identifier: MIT
"""Programs in guests of their own, several at once: each has one, and all of them run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast
from unittest.mock import MagicMock

import pytest

from umcglab.errors import InfraError
from umcglab.guest import accel, ssh
from umcglab.guest.qemu import Kept, Vm
from umcglab.guest.ssh import Snapshot
from umcglab.host.cache import Cache
from umcglab.host.progress import Silent
from umcglab.kernel.kernels import Kernel
from umcglab.lab import config
from umcglab.lab.arch import X86_64
from umcglab.results import codec
from umcglab.results.facts import ProgramFacts, TargetFacts
from umcglab.results.rundir import RunDir
from umcglab.run import lanes, seats
from umcglab.tests.test_lanes import LAB, WAIT, ready

NAME = "x86_64-umcg-v0.5"
NUMBERS = range(6)


@dataclass
class Own:
    """A guest that fails where it is told to, and says whose console it has."""

    console: Path

    def console_size(self) -> int:
        return self.console.stat().st_size if self.console.exists() else 0

    def console_text(self, start: int = 0) -> str:
        return self.console.read_text()[start:]

    def run(self, command: str, *, log: Path, **_: object) -> ssh.Exec:
        name = log.name.removeprefix("umcg.").partition(".")[0]
        if name == "2":
            raise InfraError("QEMU was killed from outside")
        with self.console.open("a") as console:
            console.write(f"{name}\n")
        time.sleep(0.05)
        return ssh.Exec(int(name == "4"), 0.1)

    def settle(self) -> None:
        pass


@dataclass(frozen=True)
class Taken:
    """A snapshot that notices when two guests of it run at once."""

    console: Path
    argv: tuple[str, ...] = ("qemu", "-incoming")

    def beside(self, console_log: Path) -> Taken:
        return Taken(console_log)

    @contextlib.contextmanager
    def resume(self) -> Iterator[Own]:
        mark = self.console.with_suffix(".taken")
        mark.touch(exist_ok=False)
        try:
            yield Own(self.console)
        finally:
            mark.unlink()


@pytest.mark.parametrize("error", [False, True])
def test_each_program_has_a_guest_to_itself(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: bool
) -> None:
    programs = tuple(
        replace(WAIT, name=f"umcg/{n}") for n in NUMBERS if n != 2 or error
    )
    made = replace(ready(kernel, NAME), programs=programs, again=True, guests=3)
    run_dir, lab = RunDir(tmp_path / "run"), replace(LAB, cache=Cache(tmp_path))
    run_dir.console(NAME, 1).parent.mkdir(parents=True)
    vm = MagicMock(argv=("qemu",), to_ssh=1.0, uname="6.99")
    vm.snapshot.return_value = Taken(run_dir.console(NAME, 1))
    monkeypatch.setattr(lanes, "_boot", lambda *_: contextlib.nullcontext(vm))
    monkeypatch.setattr(ssh, "floor", lambda *_, **__: 1.0)
    monkeypatch.setattr(accel, "probe", lambda *_: accel.Accel("tcg", "so"))
    start = TargetFacts(NAME, "x86_64", "umcg-v0.5", "6.12", "bench")
    state = lanes.test_lane(lab, made, start, run_dir, Silent())
    assert [(b.n, b.to_ssh, b.uname) for b in state.boots] == [
        (1, 1.0, "6.99"),
        (2, None, "6.99"),
        (3, None, "6.99"),
    ]
    if error:
        assert [e.message for e in state.errors] == ["QEMU was killed from outside"]
    else:
        assert state.status == "done"
    for program in programs:
        if program.name == "umcg/2":
            continue
        ran = codec.read(run_dir.program(NAME, program.name), ProgramFacts)
        window = run_dir.console(NAME, ran.boot).read_text()[ran.console_from :]
        assert window.startswith(program.name.removeprefix("umcg/"))
        assert (ran.exit_status, ran.again is not None) == (
            (1, True) if program.name == "umcg/4" else (0, False)
        )
    # The next run begins with those that took longest.
    assert (tmp_path / "durations.programs.json").exists()


def test_guests_of_one_snapshot_can_have_logs_of_their_own(tmp_path: Path) -> None:
    console = tmp_path / "console-2.log"
    kept = Kept(Path("/proc/1/fd/9"), tmp_path / "state")
    vm = Vm(X86_64, Path("k"), Path("i"), tmp_path / "console-1.log", kept=kept)
    other = Snapshot(vm, cast(Any, None), Path()).beside(console)
    assert console.read_bytes() == b"", "a report wants it, whoever sits there"
    words = " ".join(other.argv)
    assert "share=off,mem-path=/proc/1/fd/9" in words
    assert str(console) in words
    assert words.endswith("-incoming defer")


@pytest.mark.parametrize(
    ("cores", "targets", "guests", "busy"),
    [(1, 1, 2, 1), (2, 1, 3, 2), (2, 8, 2, 1), (8, 1, 8, 5), (8, 4, 3, 2)],
)
def test_guests_are_more_than_their_cores(
    cores: int, targets: int, guests: int, busy: int
) -> None:
    assert seats.count(cores, targets) == guests
    assert seats.cores(guests) == busy


def test_only_guests_of_one_cpu_that_are_apart_are_several(kernel: Kernel) -> None:
    made = replace(ready(kernel, NAME), programs=(WAIT, WAIT), guests=3)
    assert lanes.cores(made) == 2
    alone = replace(made, programs=(WAIT,))
    control = replace(
        made, target=config.select(LAB, ["x86_64-control"])[0], programs=(WAIT, WAIT)
    )
    assert lanes.cores(alone) == lanes.cores(control) == 1
