# SPDX-License-Identifier: MIT
"""What a run writes down as it happens: the JSON half of the results folder.

Only facts that the raw logs cannot tell live here (what was planned, which
kernel it was, exit statuses, offsets into the console log); no verdict is ever
stored and read back. `verdict.runs` derives those from these files and the
logs, each time. results/README.md documents the folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from umcglab.errors import LabError
from umcglab.results.case import Case
from umcglab.results.codec import SCHEMA

Status = Literal["planned", "running", "done", "error"]
Stage = Literal["build", "image", "bundle", "boot", "test", "exact", "run"]


@dataclass(frozen=True)
class ErrorFacts:
    """One error that ended a stage early, and whose fault it is (its exit code)."""

    fault: int
    message: str
    stage: Stage = "run"
    where: str | None = None
    hint: str | None = None
    log: str | None = None

    @classmethod
    def of(cls, error: LabError, stage: Stage) -> ErrorFacts:
        """Record a `LabError` met in `stage`."""
        return cls(
            fault=error.exit_code,
            message=error.message,
            stage=stage,
            where=error.where,
            hint=error.hint,
            log=str(error.log) if error.log else None,
        )


@dataclass(frozen=True)
class PlanFacts:
    """One program of the SSH lane, as the manifest has it."""

    program: str
    kind: str
    tests: tuple[str, ...]
    needs_umcg: tuple[str, ...] = ()
    absent: str | None = None
    """Why the ABI lacks what it tests: all of it has to skip, for this reason."""
    clauses: dict[str, tuple[str, ...]] = field(default_factory=dict)
    repeats: str | None = None
    """The program that this is one of several runs of."""


@dataclass(frozen=True)
class BenchPlanFacts:
    """One bench of the exact lane; `name` is what its `@@ begin` line says."""

    name: str
    bench: str
    """With its size, if it has sizes."""
    sched: str
    needs_umcg: bool = False
    absent: str | None = None
    """Why the ABI lacks what it measures: it has to skip, for this reason."""

    @property
    def case(self) -> Case:
        return Case.of(self.bench, self.sched)


@dataclass(frozen=True)
class KernelFacts:
    """The kernel under test; `identity` is `Kernel.identity` as built."""

    digest: str
    release: str
    identity: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AccelFacts:
    """The accelerator that was used and why it was that one."""

    name: str
    why: str


@dataclass(frozen=True)
class BootFacts:
    """One boot of the SSH lane; `uname` is what its `uname -r` printed.

    Guests that go on from a snapshot of another boot, one after the other, are one as
    well where they have a console's log of their own; `to_ssh` is None.
    """

    n: int
    argv: tuple[str, ...] = ()
    to_ssh: float | None = None
    uname: str | None = None


@dataclass(frozen=True)
class KeptFacts:
    """The guest that was left running after a failure, and how to enter and end it."""

    program: str
    boot: int
    ssh: tuple[str, ...]
    pid: int


@dataclass(frozen=True)
class TargetFacts:
    """`<target>/target.json`."""

    name: str
    arch: str
    abi: str
    base: str
    flavor: str
    status: Status = "planned"
    smp: int = 1
    memory: int = 1024
    programs: tuple[PlanFacts, ...] = ()
    benches: tuple[BenchPlanFacts, ...] = ()
    kernel: KernelFacts | None = None
    image: str | None = None
    bundle: str | None = None
    qemu: str | None = None
    accel: AccelFacts | None = None
    floor: float | None = None
    boots: tuple[BootFacts, ...] = ()
    errors: tuple[ErrorFacts, ...] = ()
    started: str | None = None
    finished: str | None = None
    kept: KeptFacts | None = None
    source: str = ""
    """Where its kernel is from, as lab.yaml names it."""
    cpu: str = ""
    cmdline: str = ""
    boot_timeout: int = 60
    extra: str = ""
    """What it is built `with` beside plumbing and ABI."""

    @property
    def is_control(self) -> bool:
        return self.abi == "control"


@dataclass(frozen=True)
class AgainFacts:
    """What came of a program that failed when it was run once more, in a fresh guest.

    What it printed is in `<program>.again.log`.
    """

    failed: bool
    exit_status: int | None
    console_from: int
    """Where its part of the console's log begins."""


@dataclass(frozen=True)
class ProgramFacts:
    """`<target>/programs/<program>.json`, beside the program's raw `.log`.

    `console_from` and `console_to` are byte offsets into `console-<boot>.log`.
    `reproduce` is the command line that runs this program again in such a guest.
    """

    program: str
    boot: int
    exit_status: int | None
    duration: float
    console_from: int
    console_to: int
    timed_out: bool = False
    lost: bool = False
    reproduce: str = ""
    stuck: tuple[str, ...] = ()
    again: AgainFacts | None = None


@dataclass(frozen=True)
class ExactRunFacts:
    """One exact guest; its raw UART is `<n>.out`, its console `console-<n>.log`."""

    n: int
    argv: tuple[str, ...]
    duration: float


@dataclass(frozen=True)
class ExactFacts:
    """`<target>/exact/exact.json`."""

    seed: int
    runs: tuple[ExactRunFacts, ...] = ()


@dataclass(frozen=True)
class LineFacts:
    """`<target>/lines.json`: source lines of `function+0x1/0x2` in its splats."""

    lines: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ClauseFacts:
    """One numbered clause of an ABI.md."""

    id: str
    text: str


@dataclass(frozen=True)
class CapabilityFacts:
    """What an ABI.md says of one thing that ABIs may or may not offer."""

    name: str
    here: str
    """In what way the ABI has it, or `no`, perhaps with the reason."""
    clauses: tuple[str, ...] = ()

    @property
    def has(self) -> bool:
        return re.match(r"no\b", self.here) is None


@dataclass(frozen=True)
class RaceFacts:
    """What an ABI.md says of one race or bug of the proposals."""

    id: str
    what: str
    here: str
    """How it is closed, or why it does not apply; `word` is how that begins."""
    clauses: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """`closed`, `cannot happen` or `open by contract`; `?` if it says none."""
        begins = self.here.partition(":")[0]
        words = ("closed", "cannot happen", "open by contract")
        return next((word for word in words if begins.endswith(word)), "?")


@dataclass(frozen=True)
class RunFacts:
    """`run.json`; at the end of a run it also has the derived `result`.

    `plan` names the targets; `clauses`, `capabilities` and `races` have each ABI's
    contract as it was.
    `interrupted` is why it ended early, where it did.
    """

    id: str
    started: str
    command: str
    lab_git: str
    plan: tuple[str, ...]
    host: dict[str, Any] = field(default_factory=dict)
    clauses: dict[str, tuple[ClauseFacts, ...]] = field(default_factory=dict)
    capabilities: dict[str, tuple[CapabilityFacts, ...]] = field(default_factory=dict)
    races: dict[str, tuple[RaceFacts, ...]] = field(default_factory=dict)
    finished: str | None = None
    interrupted: str | None = None
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        """Raise ValueError or TypeError for times that no report could tell."""
        begun = datetime.fromisoformat(self.started)
        if self.finished:
            datetime.fromisoformat(self.finished) - begun
