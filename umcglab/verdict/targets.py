# SPDX-License-Identifier: MIT
"""Read the folder of one target, its facts and logs, and have both judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from umcglab.errors import Fault, LabError, worst
from umcglab.results import codec, facts
from umcglab.results.case import Case
from umcglab.results.facts import (
    ErrorFacts,
    ExactFacts,
    LineFacts,
    RunFacts,
    TargetFacts,
)
from umcglab.results.rundir import RunDir
from umcglab.results.studies import StudyFacts
from umcglab.verdict import baseline, bench_output, exact, limits, programs, splat
from umcglab.verdict.baseline import Baseline
from umcglab.verdict.exact import ExactVerdict
from umcglab.verdict.figures import Figure
from umcglab.verdict.ktap import Outcome
from umcglab.verdict.limits import Limits
from umcglab.verdict.programs import Context, Problem, ProgramVerdict
from umcglab.verdict.splat import Splat

BOOT_RATIO = 2.0
"""Boot to first SSH command over the floor: what the lab aims for."""

EXACT_RUNS = 2
"""Exact guests per target; their outputs must be the same to the bit."""

FUTEX = "yard/futex"
"""The yardstick that ratios are to."""


@dataclass(frozen=True)
class BootVerdict:
    """One boot: what its kernel said before the first program ran."""

    facts: facts.BootFacts
    splats: tuple[Splat, ...]


@dataclass(frozen=True)
class ErrorVerdict:
    """An error that ended a stage, and the log that tells more of it."""

    facts: ErrorFacts
    log: str
    """Relative to the run's folder, if it is in there; empty if there is none."""
    text: str
    """What is in it."""


@dataclass(frozen=True)
class TargetResult:
    """One target; `problems` are those that belong to no program."""

    facts: TargetFacts
    boots: tuple[BootVerdict, ...] = ()
    programs: tuple[ProgramVerdict, ...] = ()
    exact: ExactVerdict | None = None
    exact_facts: ExactFacts | None = None
    problems: tuple[Problem, ...] = ()
    errors: tuple[ErrorVerdict, ...] = ()
    lines: Mapping[str, str] = field(default_factory=dict)
    """The source lines of what its splats name, as far as they are known."""
    exact_logs: tuple[str, ...] = ()
    """What its exact guests left, relative to the run's folder."""
    study: StudyFacts | None = None
    """What is known of how well its tests test its kernel."""

    @property
    def name(self) -> str:
        return self.facts.name

    @property
    def boot_ratio(self) -> float | None:
        """Boot to first SSH command, over the same kernel's floor."""
        times = [b.to_ssh for b in self.facts.boots if b.to_ssh]
        if not times or not self.facts.floor:
            return None
        return times[0] / self.facts.floor

    def all_problems(self) -> Iterator[Problem]:
        yield from self.problems
        for program in self.programs:
            yield from program.problems
        if self.exact:
            yield from self.exact.problems
        yield from (Problem(text, Fault.PATCH) for text in self.over_limit)

    @property
    def figures(self) -> Mapping[Case, Figure]:
        """What its exact lane measured."""
        return self.exact.figures if self.exact else {}

    @property
    def over_limit(self) -> tuple[str, ...]:
        """The figures that exceed a limit, in words."""
        return tuple(text for f in self.figures.values() for text in f.over())

    @property
    def faults(self) -> frozenset[int]:
        return frozenset(
            [e.fault for e in self.facts.errors]
            + [p.fault for p in self.all_problems()]
            + [p.fault for p in self.programs if p.fault]
        )

    @property
    def outcome(self) -> Outcome:
        """PASS only if nothing at all is wrong or missing."""
        if self.faults:
            return Outcome.FAIL
        # One that was not begun may not even know its programs.
        outcomes = {p.outcome for p in self.programs}
        missing = self.facts.status == "planned" or Outcome.MISSING in outcomes
        return Outcome.MISSING if missing else Outcome.PASS

    @property
    def word(self) -> str:
        """The outcome, or whose error stands in its way."""
        words: dict[int, str] = {Fault.USER: "USER ERROR", Fault.LAB: "LAB ERROR"}
        return words.get(worst(self.faults)) or str(self.outcome)

    def counts(self) -> dict[Outcome, int]:
        """Return how many tests came out how."""
        seen = [t.outcome for p in self.programs for t in p.tests]
        return {outcome: seen.count(outcome) for outcome in Outcome}


def read(
    run_dir: RunDir,
    name: str,
    run: RunFacts,
    baselines: Sequence[Baseline],
    known: Sequence[Limits],
) -> TargetResult:
    """Read and judge one target of a run."""
    try:
        target = codec.read(run_dir.target(name), TargetFacts)
    except LabError as e:
        return TargetResult(
            TargetFacts(name, arch="", abi="", base="", flavor=""),
            problems=(Problem(e.message, Fault.LAB),),
        )
    release = target.kernel.release if target.kernel else ""
    finished = run.finished is not None and run.interrupted is None
    why_not = _why_not(run, target)
    windows = _Windows(run_dir, target)
    verdicts = []
    for plan in target.programs:
        ran = windows.ran.get(plan.program)
        uname = next((b.uname for b in target.boots if ran and b.n == ran.boot), None)
        verdicts.append(
            programs.program(
                plan,
                ran,
                _text(run_dir.program_log(name, plan.program)),
                windows.of(plan.program) if ran else None,
                Context(target.is_control, release, uname, why_not),
            )
        )
    boots = tuple(BootVerdict(b, windows.boot(b.n)) for b in target.boots)
    context = Context(target.is_control, release, None)
    problems = [
        Problem(f"boot {b.facts.n}: kernel {s.kind}: {s.text}", context.fault)
        for b in boots
        for s in b.splats
    ]
    problems += windows.problems
    if target.status == "done" and not (target.programs or target.benches):
        problems.append(Problem("nothing was planned", Fault.LAB))
    # That nothing was measured is no news after an error or an interruption.
    exact = _exact(run_dir, target, context, due=finished and not target.errors)
    return TargetResult(
        target,
        boots,
        tuple(verdicts),
        exact and _compared(target, exact, baselines, known),
        _exact_facts(run_dir, name),
        tuple(problems),
        tuple(_error(run_dir, name, e) for e in target.errors),
        _lines(run_dir, name),
        _exact_logs(run_dir, name),
        _study(run_dir, name),
    )


def _error(run_dir: RunDir, name: str, error: ErrorFacts) -> ErrorVerdict:
    log = Path(error.log or "")
    if log.is_absolute() and log.is_relative_to(run_dir.path):
        log = log.relative_to(run_dir.path)
    # The cache may be emptied, what was copied into the results stays.
    kept = run_dir.build_log(name)
    if error.stage == "build" and kept.exists():
        log = kept.relative_to(run_dir.path)
    has_log = log != Path()
    text = _text(run_dir.path / log) if has_log else ""
    return ErrorVerdict(error, str(log) if has_log else "", text or "")


def _lines(run_dir: RunDir, name: str) -> Mapping[str, str]:
    path = run_dir.lines(name)
    return codec.read(path, LineFacts).lines if path.exists() else {}


def _study(run_dir: RunDir, name: str) -> StudyFacts | None:
    path = run_dir.study(name)
    return codec.read(path, StudyFacts) if path.exists() else None


def _exact_logs(run_dir: RunDir, name: str) -> tuple[str, ...]:
    runs = range(1, EXACT_RUNS + 1)
    paths = [run_dir.exact_output(name, n) for n in runs]
    paths += [run_dir.exact_console(name, n) for n in runs]
    return tuple(str(p.relative_to(run_dir.path)) for p in paths if p.exists())


def _why_not(run: RunFacts, target: TargetFacts) -> str:
    """Return why what did not run did not."""
    if target.errors:
        return f"not run: {target.errors[-1].message}"
    if run.interrupted:
        return f"not run: {run.interrupted}"
    return "not run" if run.finished else "not run: the lab did not finish"


class _Windows:
    """Which part of which console log was written while what ran.

    A program's window reaches to the next one's start, or to the end of the
    guest: a kernel may take its time to complain.
    """

    def __init__(self, run_dir: RunDir, target: TargetFacts) -> None:
        self.ran: dict[str, facts.ProgramFacts] = {}
        self.problems: list[Problem] = []
        for plan in target.programs:
            path = run_dir.program(target.name, plan.program)
            if not path.exists():
                continue
            try:
                self.ran[plan.program] = codec.read(path, facts.ProgramFacts)
            except LabError as e:
                self.problems.append(Problem(e.message, Fault.LAB))
        numbers = {b.n for b in target.boots} | {p.boot for p in self.ran.values()}
        self.logs = {n: _bytes(run_dir.console(target.name, n)) for n in numbers}

    def _in_boot(self, n: int) -> list[facts.ProgramFacts]:
        """Return the programs of boot `n` in console order.

        Those that printed nothing keep the order of the plan.
        """
        ran = [p for p in self.ran.values() if p.boot == n]
        return sorted(ran, key=lambda p: (p.console_from, p.console_to))

    def of(self, program: str) -> tuple[str, int] | None:
        """Return a program's window and how many lines are before it."""
        ran = self.ran[program]
        log = self.logs[ran.boot]
        if log is None or len(log) < ran.console_to:
            return None
        around = self._in_boot(ran.boot)
        later = around[around.index(ran) + 1 :]
        end = later[0].console_from if later else len(log)
        if ran.again:
            end = ran.again.console_from
        window = log[ran.console_from : end]
        return window.decode(errors="replace"), log.count(b"\n", 0, ran.console_from)

    def boot(self, n: int) -> tuple[Splat, ...]:
        """Return what the kernel complained of before the first program ran."""
        log = self.logs[n]
        if log is None:
            self.problems.append(
                Problem(f"boot {n}: its console was not kept", Fault.LAB)
            )
            return ()
        first = self._in_boot(n)
        end = first[0].console_from if first else len(log)
        return splat.scan(log[:end].decode(errors="replace"))


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _text(path: Path) -> str | None:
    data = _bytes(path)
    return None if data is None else data.decode(errors="replace")


def _exact(
    run_dir: RunDir, target: TargetFacts, context: Context, due: bool
) -> ExactVerdict | None:
    if not target.benches:
        return None
    runs = range(1, EXACT_RUNS + 1)
    paths = [run_dir.exact_output(target.name, n) for n in runs]
    outputs = [_text(path) for path in paths]
    if outputs == [None] * EXACT_RUNS and not due:
        return None
    both = None not in outputs
    return exact.judge(
        target.benches,
        outputs,
        [_text(run_dir.exact_console(target.name, n)) for n in runs],
        bench_output.compare(paths[0], paths[1]) if both else None,
        context,
    )


def _exact_facts(run_dir: RunDir, target: str) -> ExactFacts | None:
    path = run_dir.exact(target)
    return codec.read(path, ExactFacts) if path.exists() else None


def _compared(
    target: TargetFacts,
    exact: ExactVerdict,
    baselines: Sequence[Baseline],
    known: Sequence[Limits],
) -> ExactVerdict:
    """Return the exact lane with what its figures are compared with."""
    release = target.kernel.release if target.kernel else ""
    near = [
        b for b in baselines if (b.of.arch, b.of.base) == (target.arch, target.base)
    ]
    mine = [b for b in near if b.of.abi == target.abi]
    # What guests measured that something is wrong with proves nothing.
    held = {} if exact.problems else limits.of(known, target, exact.figures)
    made = {}
    for case, figure in exact.figures.items():
        futex = exact.figures.get(Case.of(FUTEX, case.sched))
        references = (baseline.reference(b, case, release) for b in mine)
        posted = (baseline.posted(b, case, target.abi) for b in near)
        made[case] = replace(
            figure,
            ratio=figure.per_op / futex.per_op if futex else None,
            reference=next(filter(None, references), None),
            posted=next(filter(None, posted), None),
            limits=held.get(case, ()),
        )
    return replace(exact, figures=made)
