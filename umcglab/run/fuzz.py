# SPDX-License-Identifier: MIT
"""The fuzzer of the guest suite: how long it runs, from which seed, what it found.

Episodes that failed are kept in `results/fuzz-seeds.txt`, whatever run found
them, and each run replays them first until somebody takes them out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from umcglab.lab.config import Lab, Target
from umcglab.results.facts import RunDir
from umcglab.verdict.ktap import Outcome
from umcglab.verdict.programs import ProgramVerdict
from umcglab.verdict.runs import Run

KIND = "fuzz"
"""The kind of such a program in the manifest."""

OPS = 1_000_000
SEED = 1

_SLOWEST = 400
"""Operations a second on the slowest of guests; the fuzzer has the same figure."""
_PER_REPLAY = 10
"""Seconds to replay one episode as often as the fuzzer does."""
_MOST_REPLAYS = 64
_SLOWNESS = {"bench": 1}
"""By flavor; a kernel that checks itself takes this much longer for the same."""
_SLOWNESS_OTHER = 10

_EPISODE = re.compile(r"^# episode (\d+:\d+)$", re.MULTILINE)
_FAILED = re.compile(r"^# again: fuzz --replay (\d+:\d+)", re.MULTILINE)
_COUNT = re.compile(r"[0-9]{1,18}")
_TOTALS = re.compile(r"^# fuzz: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Fuzz:
    """What a run asks of the fuzzer."""

    ops: int = OPS
    seed: int = SEED
    replay: tuple[str, ...] = ()
    """Episodes to begin with, each `SEED:EPISODE`."""

    def on(self, target: Target) -> Fuzz:
        """Return what is asked of it on `target`: less where it takes longer."""
        slow = _SLOWNESS.get(target.flavor, _SLOWNESS_OTHER)
        return Fuzz(max(1, self.ops // slow), self.seed, self.replay)

    @property
    def argv(self) -> tuple[str, ...]:
        replays = [a for episode in self.replay for a in ("--replay", episode)]
        return ("--ops", str(self.ops), "--seed", str(self.seed), *replays)

    @property
    def seconds(self) -> float:
        """How long all of it may take."""
        return self.ops / _SLOWEST + _PER_REPLAY * len(self.replay)

    @property
    def options(self) -> tuple[str, ...]:
        """The lab's options that ask for the same."""
        return ("--fuzz-ops", str(self.ops), "--fuzz-seed", str(self.seed))


def kept(lab: Lab) -> tuple[str, ...]:
    """Return the episodes that failed before, the latest last."""
    try:
        text = _file(lab).read_text()
    except FileNotFoundError:
        return ()
    found = re.findall(r"^(\d+:\d+)\b", text, re.MULTILINE)
    return tuple(dict.fromkeys(found))[-_MOST_REPLAYS:]


def keep(lab: Lab, run: Run) -> tuple[str, ...]:
    """Add the episodes that failed in `run` to those kept; return the new ones."""
    old = kept(lab)
    new = {e: t for t, e in _failed(run) if e not in old}
    if new:
        with _file(lab).open("a") as out:
            for episode, target in new.items():
                out.write(f"{episode} {target} {run.facts.id}\n")
    return tuple(new)


def _file(lab: Lab) -> Path:
    return lab.results / "fuzz-seeds.txt"


def _said(run: Run, target: str, program: ProgramVerdict) -> str:
    """Return what a program printed, if it is a fuzzer."""
    log = RunDir(run.path).program_log(target, program.name)
    if program.plan.kind != KIND or not log.exists():
        return ""
    return log.read_text(errors="replace")


def _failed(run: Run) -> Iterator[tuple[str, str]]:
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
