# SPDX-License-Identifier: MIT
"""What the fuzzer of the guest suite printed: totals, and episodes that failed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from umcglab.results.rundir import RunDir
from umcglab.verdict.ktap import Outcome

if TYPE_CHECKING:
    from umcglab.verdict.programs import ProgramVerdict
    from umcglab.verdict.runs import Run

KIND = "fuzz"
"""The kind of such a program in the manifest."""

_EPISODE = re.compile(r"^# episode (\d+:\d+)$", re.MULTILINE)
_FAILED = re.compile(r"^# again: fuzz --replay (\d+:\d+)", re.MULTILINE)
_COUNT = re.compile(r"[0-9]{1,18}")
_TOTALS = re.compile(r"^# fuzz: (.*)$", re.MULTILINE)


def _said(run: Run, target: str, program: ProgramVerdict) -> str:
    """Return what a program printed, if it is a fuzzer."""
    log = RunDir(run.path).program_log(target, program.name)
    if program.plan.kind != KIND or not log.exists():
        return ""
    return log.read_text(errors="replace")


def failed(run: Run) -> Iterator[tuple[str, str]]:
    """Yield each target and episode that failed on it."""
    for target in run.targets:
        for program in target.programs:
            if program.outcome is not Outcome.FAIL:
                continue
            said = _said(run, target.name, program)
            told = _FAILED.findall(said)
            # Of one that took the guest along there is only its beginning.
            if not told and not _TOTALS.search(said):
                told = _EPISODE.findall(said)[-1:]
            yield from ((target.name, episode) for episode in told)


@dataclass(frozen=True)
class Totals:
    """What the fuzzer did on one target, in its own words."""

    target: str
    figures: dict[str, str]
    """Its seed, operations, and the like, by name."""
    clauses: dict[str, tuple[int, int]]
    """For each clause the operations that succeeded, and all of them."""


def totals(run: Run) -> Iterator[Totals]:
    """Yield the totals of each target that has some."""
    for target in run.targets:
        for program in target.programs:
            if found := _TOTALS.search(_said(run, target.name, program)):
                yield _totals(target.name, found[1])


def _totals(target: str, line: str) -> Totals:
    pairs = dict(word.split("=", 1) for word in line.split() if "=" in word)
    return Totals(
        target,
        {name: value for name, value in pairs.items() if "/" not in value},
        {
            name: (int(part), int(whole))
            for name, value in pairs.items()
            for part, _, whole in [value.partition("/")]
            if _COUNT.fullmatch(part) and _COUNT.fullmatch(whole)
        },
    )
