# SPDX-License-Identifier: MIT
"""A run, derived from what lies in its folder, each time anew.

`collect` reads facts and raw logs and judges them; nothing that was
decided earlier is read back, so an old run is judged by today's rules.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from umcglab.errors import Fault, worst
from umcglab.results import codec
from umcglab.results.facts import ClauseFacts, RunFacts
from umcglab.results.rundir import RunDir
from umcglab.verdict import baseline, findings, limits, targets
from umcglab.verdict.baseline import Baseline
from umcglab.verdict.findings import Finding
from umcglab.verdict.ktap import Outcome
from umcglab.verdict.limits import Limits
from umcglab.verdict.targets import TargetResult


class Verdict(StrEnum):
    """The run in one word (or two)."""

    PASS = "PASS"
    FAIL = "FAIL"
    USER_ERROR = "USER ERROR"
    LAB_ERROR = "LAB ERROR"
    INCOMPLETE = "INCOMPLETE"


@dataclass(frozen=True)
class Cover:
    """One clause: what became of the tests that cite it, target by target."""

    clause: ClauseFacts
    outcomes: tuple[Outcome | None, ...]
    """Beside `ClauseTable.targets`; None where no test cites it."""
    tests: tuple[str, ...]

    @property
    def is_hole(self) -> bool:
        return not self.tests


@dataclass(frozen=True)
class ClauseTable:
    """One ABI's contract against the targets that have it."""

    abi: str
    targets: tuple[str, ...]
    rows: tuple[Cover, ...]
    unknown: tuple[str, ...]
    """Clauses that tests cite and the contract does not have."""

    @property
    def holes(self) -> tuple[str, ...]:
        return tuple(row.clause.id for row in self.rows if row.is_hole)

    @property
    def sound(self) -> bool:
        """Whether every clause has tests, and all of those pass."""
        return all(set(row.outcomes) == {Outcome.PASS} for row in self.rows)


@dataclass(frozen=True)
class Run:
    """Everything a report says."""

    path: Path
    facts: RunFacts
    targets: tuple[TargetResult, ...]
    clauses: tuple[ClauseTable, ...]
    baselines: tuple[Baseline, ...]

    @functools.cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong, the patch's own first, then in the plan's order."""
        return findings.findings(self.facts, self.targets)

    @property
    def finished(self) -> bool:
        return self.facts.finished is not None and self.facts.interrupted is None

    @property
    def faults(self) -> frozenset[int]:
        return frozenset(f for target in self.targets for f in target.faults)

    @property
    def exit_code(self) -> int:
        """What the worst of its faults deserves; the lab's if it is not complete."""
        complete = self.finished and all(
            target.outcome is Outcome.PASS for target in self.targets
        )
        return worst(self.faults) or (0 if complete and self.targets else Fault.LAB)

    @property
    def verdict(self) -> Verdict:
        if Fault.PATCH in self.faults:
            return Verdict.FAIL
        if not self.finished:
            return Verdict.INCOMPLETE
        return {0: Verdict.PASS, Fault.USER: Verdict.USER_ERROR}.get(
            self.exit_code, Verdict.LAB_ERROR
        )

    def counts(self) -> dict[Outcome, int]:
        """Return how many tests came out how, over all targets."""
        per_target = [target.counts() for target in self.targets]
        return {o: sum(c[o] for c in per_target) for o in Outcome}


def collect(
    path: Path,
    baselines: Sequence[Baseline] | None = None,
    bounds: Sequence[Limits] | None = None,
) -> Run:
    """Read the folder of a run, finished or not; UserError if it is none."""
    run_dir = RunDir(path)
    run = codec.read(run_dir.run, RunFacts)
    known = tuple(baseline.load() if baselines is None else baselines)
    held = tuple(limits.load() if bounds is None else bounds)
    judged = tuple(targets.read(run_dir, name, run, known, held) for name in run.plan)
    tables = tuple(
        _cover(abi, clauses, [t for t in judged if t.facts.abi == abi])
        for abi, clauses in run.clauses.items()
    )
    return Run(path, run, judged, tables, known)


def target(path: Path, name: str) -> TargetResult:
    """Judge one target, whose jobs have ended, of a run that goes on."""
    run = codec.read(RunDir(path).run, RunFacts)
    run = replace(run, finished=run.finished or run.started)
    return targets.read(RunDir(path), name, run, baseline.load(), limits.load())


def _cover(
    abi: str, clauses: Sequence[ClauseFacts], targets: Sequence[TargetResult]
) -> ClauseTable:
    rows = []
    for clause in clauses:
        cited: dict[str, None] = {}
        outcomes: list[Outcome | None] = []
        for target in targets:
            citing = [
                (f"{program.name}:{test.name}", test.outcome)
                for program in target.programs
                for test in program.tests
                if clause.id in test.clauses
            ]
            cited |= dict.fromkeys(name for name, _ in citing)
            outcomes.append(_worst([outcome for _, outcome in citing]))
        rows.append(Cover(clause, tuple(outcomes), tuple(cited)))
    known = {clause.id for clause in clauses}
    # R-numbers are races, which the contract mentions but does not number.
    unknown = {
        clause
        for target in targets
        for program in target.facts.programs
        for cites in program.clauses.values()
        for clause in cites
        if clause not in known and not re.fullmatch(r"R-?\d+", clause)
    }
    names = tuple(target.name for target in targets)
    return ClauseTable(abi, names, tuple(rows), tuple(sorted(unknown)))


def _worst(outcomes: Sequence[Outcome]) -> Outcome | None:
    order = (Outcome.FAIL, Outcome.MISSING, Outcome.SKIP, Outcome.PASS)
    return min(outcomes, key=order.index, default=None)
