# SPDX-License-Identifier: MIT
"""A judged run for machines: run.json, with what was derived as its result.

`run.schema.json` beside this file is the JSON schema of it, as `schema` makes it of these
classes. Their names are no part of it; those of their fields are.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from umcglab.results import codec
from umcglab.results.facts import ErrorFacts, RunFacts
from umcglab.verdict.exact import ExactVerdict
from umcglab.verdict.ktap import Outcome
from umcglab.verdict.programs import ProgramVerdict
from umcglab.verdict.repeats import repeats
from umcglab.verdict.runs import Run, Verdict
from umcglab.verdict.targets import TargetResult

SCHEMA = Path(__file__).with_name("run.schema.json")


@dataclass(frozen=True)
class TestJson:
    """One test; `planned` is false if the manifest does not have it."""

    name: str
    outcome: Outcome
    reason: str
    planned: bool
    clauses: tuple[str, ...]


@dataclass(frozen=True)
class SplatJson:
    """One kernel report; `line` is that of the console's log."""

    kind: str
    line: int
    text: str


@dataclass(frozen=True)
class ProgramJson:
    """One program of the test lane."""

    program: str
    outcome: Outcome
    problems: tuple[str, ...]
    splats: tuple[SplatJson, ...]
    tests: tuple[TestJson, ...]


@dataclass(frozen=True)
class BenchJson:
    """One figure: instructions per operation; `spread` and `change` are fractions."""

    bench: str
    version: int
    sched: str
    op: str
    per_op: float
    spread: float
    ratio_to_futex: float | None
    reference: float | None
    change: float | None


@dataclass(frozen=True)
class SkippedJson:
    """A bench that its kernel cannot run, by its own word."""

    bench: str
    sched: str
    reason: str


@dataclass(frozen=True)
class LimitJson:
    """One figure that has a limit, in instructions per operation."""

    bench: str
    sched: str
    seen: float
    limit: float
    rule: str
    holds: bool


@dataclass(frozen=True)
class ExactJson:
    """The exact lane; `identical` is null if there are not two outputs to compare."""

    identical: bool | None
    problems: tuple[str, ...]
    skipped: tuple[SkippedJson, ...]
    benches: tuple[BenchJson, ...]
    limits: tuple[LimitJson, ...]


@dataclass(frozen=True)
class TargetJson:
    """One target; `faults` are exit codes, and whose fault what went wrong is."""

    name: str
    outcome: Outcome
    faults: tuple[int, ...]
    errors: tuple[ErrorFacts, ...]
    problems: tuple[str, ...]
    boot_ratio: float | None
    programs: tuple[ProgramJson, ...]
    exact: ExactJson | None


@dataclass(frozen=True)
class RepeatJson:
    """One test that was run several times, and how often it passed."""

    target: str
    program: str
    test: str
    outcomes: tuple[Outcome, ...]
    passed: int


@dataclass(frozen=True)
class ResultJson:
    """What was derived from the facts and logs of a run."""

    verdict: Verdict
    exit_code: int
    counts: dict[Outcome, int]
    targets: tuple[TargetJson, ...]
    repeats: tuple[RepeatJson, ...]


@dataclass(frozen=True)
class RunJson(RunFacts):
    """run.json. A run that is not finished has no result yet."""

    result: ResultJson | None = None


def schema() -> dict[str, object]:
    """Return the JSON schema of run.json."""
    return codec.schema(RunJson)


def render(run: Run) -> bytes:
    """Return run.json, with what was derived as its `result`."""
    result = ResultJson(
        verdict=run.verdict,
        exit_code=run.exit_code,
        counts=run.counts(),
        targets=tuple(map(_target, run.targets)),
        repeats=tuple(
            RepeatJson(o.target, o.program, o.test, o.outcomes, o.passed)
            for o in repeats(run)
        ),
    )
    return codec.json_bytes(asdict(run.facts) | {"result": asdict(result)})


def _target(target: TargetResult) -> TargetJson:
    return TargetJson(
        name=target.name,
        outcome=target.outcome,
        faults=tuple(sorted(target.faults)),
        errors=target.facts.errors,
        problems=tuple(p.text for p in target.problems),
        boot_ratio=target.boot_ratio,
        programs=tuple(map(_program, target.programs)),
        exact=_exact(target.exact) if target.exact else None,
    )


def _program(program: ProgramVerdict) -> ProgramJson:
    return ProgramJson(
        program=program.name,
        outcome=program.outcome,
        problems=tuple(p.text for p in program.problems),
        splats=tuple(SplatJson(s.kind, s.line, s.text) for s in program.splats),
        tests=tuple(
            TestJson(t.name, t.outcome, t.reason, t.planned, t.clauses)
            for t in program.tests
        ),
    )


def _exact(exact: ExactVerdict) -> ExactJson:
    return ExactJson(
        identical=exact.identical,
        problems=tuple(p.text for p in exact.problems),
        skipped=tuple(
            SkippedJson(case.name, case.sched, reason)
            for case, reason in exact.skipped.items()
        ),
        benches=tuple(
            BenchJson(
                bench=figure.case.name,
                version=figure.version,
                sched=figure.case.sched,
                op=figure.op,
                per_op=figure.per_op,
                spread=figure.spread,
                ratio_to_futex=figure.ratio,
                reference=figure.reference.cost if figure.reference else None,
                change=figure.change,
            )
            for figure in exact.figures.values()
        ),
        limits=tuple(
            LimitJson(f.case.name, f.case.sched, n.seen, n.most, n.rule, n.holds)
            for f in exact.figures.values()
            for n in f.limits
        ),
    )
