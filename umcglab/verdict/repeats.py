# SPDX-License-Identifier: MIT
"""How often each test passed that a run was asked to repeat.

Each time is a program of the plan by itself, with a verdict like any other; here they
are only counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from umcglab.verdict.ktap import Outcome
from umcglab.verdict.programs import ProgramVerdict
from umcglab.verdict.runs import Run
from umcglab.verdict.targets import TargetResult


@dataclass(frozen=True)
class Repeated:
    """One test that was planned several times on one target."""

    target: str
    program: str
    test: str
    outcomes: tuple[Outcome, ...]
    """In order; what passed in a program that something else was wrong with failed."""

    @property
    def passed(self) -> int:
        return self.outcomes.count(Outcome.PASS)

    @property
    def worst(self) -> Outcome:
        order = (Outcome.FAIL, Outcome.MISSING, Outcome.SKIP, Outcome.PASS)
        return min(self.outcomes, key=order.index)

    def __str__(self) -> str:
        others = [
            f"{n} {word}"
            for outcome, word in (
                (Outcome.FAIL, "failed"),
                (Outcome.MISSING, "missing"),
                (Outcome.SKIP, "skipped"),
            )
            if (n := self.outcomes.count(outcome))
        ]
        more = f" ({', '.join(others)})" if others else ""
        return f"passed {self.passed} of {len(self.outcomes)}{more}"


def repeats(run: Run) -> Iterator[Repeated]:
    """Yield the tests of a run that were planned several times."""
    for target in run.targets:
        yield from of_target(target)


def of_target(target: TargetResult) -> Iterator[Repeated]:
    """Yield those of one target."""
    outcomes: dict[tuple[str, str], list[Outcome]] = {}
    for program in target.programs:
        if (name := program.plan.repeats) is not None:
            for test in program.tests:
                seen = _outcome(program, test.outcome)
                outcomes.setdefault((name, test.name), []).append(seen)
    for (name, of), found in outcomes.items():
        yield Repeated(target.name, name, of, tuple(found))


def _outcome(program: ProgramVerdict, outcome: Outcome) -> Outcome:
    if program.problems and outcome is Outcome.PASS:
        return Outcome.FAIL
    return outcome


def summary(run: Run) -> Iterator[str]:
    """Yield a line for each test that did not always pass, and one for the others."""
    found = tuple(repeats(run))
    for one in found:
        if one.worst is not Outcome.PASS:
            yield f"{one.target} {one.program}:{one.test} {one}"
    if good := [one for one in found if one.worst is Outcome.PASS]:
        times = sorted({len(one.outcomes) for one in good})
        often = ", ".join(map(str, times))
        who = "1 test" if len(good) == 1 else f"{len(good)} tests"
        yield f"{who} passed each of {often} times"
