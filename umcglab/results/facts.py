# SPDX-License-Identifier: MIT
"""What a run writes down as it happens: the JSON half of the results folder.

Only facts that the raw logs cannot tell live here (what was planned, which
kernel it was, exit statuses, offsets into the console log); no verdict is ever
stored and read back. `results.collect` derives those from these files and the
logs, each time. results/README.md documents the folder.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from umcglab.errors import LabError, UserError
from umcglab.host import files

SCHEMA = 1

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


@dataclass(frozen=True)
class BenchPlanFacts:
    """One bench of the exact lane; `name` is what its `@@ begin` line says."""

    name: str
    bench: str
    sched: str
    needs_umcg: bool = False


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
    """One boot of the SSH lane; `uname` is what its `uname -r` printed."""

    n: int
    argv: tuple[str, ...] = ()
    to_ssh: float | None = None
    uname: str | None = None


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

    @property
    def is_control(self) -> bool:
        return self.abi == "control"


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
class RunFacts:
    """`run.json`; at the end of a run it also has the derived `result`.

    `plan` names the targets, `clauses` has each ABI's contract as it was.
    `interrupted` is why it ended early, where it did.
    """

    id: str
    started: str
    command: str
    lab_git: str
    plan: tuple[str, ...]
    host: dict[str, Any] = field(default_factory=dict)
    clauses: dict[str, tuple[ClauseFacts, ...]] = field(default_factory=dict)
    finished: str | None = None
    interrupted: str | None = None
    schema: int = SCHEMA


def program_stem(program: str) -> str:
    """Return the file name, without suffix, of a program's log and facts."""
    return program.replace("/", ".")


@dataclass(frozen=True)
class RunDir:
    """Where each fact and raw log of one run lies."""

    path: Path

    @property
    def run(self) -> Path:
        return self.path / "run.json"

    def target(self, target: str) -> Path:
        return self.path / target / "target.json"

    def build_log(self, target: str) -> Path:
        return self.path / target / "build.log"

    def console(self, target: str, boot: int) -> Path:
        return self.path / target / f"console-{boot}.log"

    def lines(self, target: str) -> Path:
        return self.path / target / "lines.json"

    def floor(self, target: str) -> Path:
        return self.path / target / "floor.log"

    def program(self, target: str, program: str) -> Path:
        return self.path / target / "programs" / f"{program_stem(program)}.json"

    def program_log(self, target: str, program: str) -> Path:
        return self.program(target, program).with_suffix(".log")

    def exact(self, target: str) -> Path:
        return self.path / target / "exact" / "exact.json"

    def exact_output(self, target: str, n: int) -> Path:
        return self.path / target / "exact" / f"{n}.out"

    def exact_console(self, target: str, n: int) -> Path:
        return self.path / target / "exact" / f"console-{n}.log"


Facts = TypeVar("Facts")


def write_json(path: Path, data: object) -> None:
    """Write `data` to `path` in one step: readers see the old file or the new."""
    files.write(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def write(path: Path, facts: object) -> None:
    """Write one facts dataclass to its file, in one step."""
    write_json(path, asdict(typing.cast(Any, facts)))


def read(path: Path, kind: type[Facts]) -> Facts:
    """Read one facts dataclass; UserError if the file is not such a thing."""
    try:
        data = files.read_json(path)
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such file", hint="give the folder of a run") from e
    except OSError as e:
        raise UserError(f"{path}: cannot read it: {e.strerror}") from e
    except ValueError as e:
        raise UserError(f"{path}: not JSON: {e}") from e
    if isinstance(data, dict) and data.get("schema", SCHEMA) != SCHEMA:
        raise UserError(
            f"{path}: schema {data['schema']}, this lab reads {SCHEMA}",
            hint="render it with the version of the lab that wrote it",
        )
    try:
        return typing.cast(Facts, _build(kind, data, ""))
    except (TypeError, ValueError) as e:
        raise UserError(f"{path}: {e}") from e


def _build(hint: Any, value: Any, where: str) -> Any:
    """Make `value`, out of JSON, into the type `hint`; unknown keys are ignored."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _build(next(a for a in args if a is not type(None)), value, where)
    if origin is Literal:
        if value in args:
            return value
    elif origin is tuple:
        if isinstance(value, list):
            return tuple(
                _build(args[0], v, f"{where}[{n}]") for n, v in enumerate(value)
            )
    elif origin is dict:
        if isinstance(value, Mapping):
            return {k: _build(args[1], v, f"{where}.{k}") for k, v in value.items()}
    elif is_dataclass(hint):
        if isinstance(value, Mapping):
            hints = typing.get_type_hints(hint)
            return typing.cast(Any, hint)(
                **{
                    f.name: _build(hints[f.name], value[f.name], f"{where}.{f.name}")
                    for f in fields(hint)
                    if f.name in value
                }
            )
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif type(value) is hint:
        return value
    raise TypeError(f"{where.lstrip('.') or 'top level'}: unexpected {value!r:.60}")
