# SPDX-License-Identifier: MIT
"""The fuzzer of the guest suite: how long it runs, from which seed, which episodes first.

Episodes that failed are kept in `results/fuzz-seeds.txt`, whatever run found
them, and each run replays them first until somebody takes them out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from umcglab.verdict.ktap import Outcome

# The command line has our defaults in its help, and shall not wait for these.
if TYPE_CHECKING:
    from umcglab.lab.config import Lab, Target
    from umcglab.verdict.runs import Run

OPS = 100_000
SEED = 1

_SLOWEST = 400
"""Operations a second on the slowest of guests; the fuzzer has the same figure."""
_PER_REPLAY = 150
"""Seconds to replay one episode as often as the fuzzer does."""
_MOST_REPLAYS = 64
_SLOWNESS = {"bench": 1}
"""By flavor; a kernel that checks itself takes this much longer for the same."""
_SLOWNESS_OTHER = 10
_MOST_TARGETS = 1000
"""Of one ABI, so that seeds made from two seeds are never the same."""


@dataclass(frozen=True)
class Fuzz:
    """What a run asks of the fuzzer."""

    ops: int = OPS
    seed: int = SEED
    replay: tuple[str, ...] = ()
    """Episodes to begin with, each `SEED:EPISODE`."""

    def on(self, target: Target) -> Fuzz:
        """Return what is asked of it on `target`: less where it takes longer."""
        return Fuzz(max(1, self.ops // _slowness(target)), self.seed, self.replay)

    def shared(self, targets: Sequence[Target]) -> dict[str, Fuzz]:
        """Return what is asked, by name, where targets of one ABI share the operations.

        Each has a seed of its own, so that what they do is not the same.
        """
        parts: dict[str, list[Target]] = {}
        for target in targets:
            parts.setdefault(target.abi, []).append(target)
        shares = {}
        for members in parts.values():
            whole = sum(Fraction(1, _slowness(target)) for target in members)
            ops = math.ceil(self.ops / whole)
            for n, target in enumerate(members):
                seed = self.seed * _MOST_TARGETS + n
                shares[target.name] = replace(self, ops=ops, seed=seed)
        return shares

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


def _slowness(target: Target) -> int:
    return _SLOWNESS.get(target.flavor, _SLOWNESS_OTHER)


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
    new = {
        episode: target.name
        for target in run.targets
        for program in target.programs
        if program.fuzzed and program.outcome is Outcome.FAIL
        for episode in program.fuzzed.episodes
        if episode not in old
    }
    if new:
        with _file(lab).open("a") as out:
            for episode, target in new.items():
                out.write(f"{episode} {target} {run.facts.id}\n")
    return tuple(new)


def _file(lab: Lab) -> Path:
    return lab.results / "fuzz-seeds.txt"
