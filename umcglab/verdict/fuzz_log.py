# SPDX-License-Identifier: MIT
"""What the fuzzer of the guest suite printed: totals, and episodes that failed."""

from __future__ import annotations

import re
from dataclasses import dataclass

KIND = "fuzz"
"""The kind of such a program in the manifest."""

_EPISODE = re.compile(r"^# episode (\d+:\d+)$", re.MULTILINE)
_FAILED = re.compile(r"^# again: fuzz --replay (\d+:\d+)", re.MULTILINE)
_COUNT = re.compile(r"[0-9]{1,18}")
_TOTALS = re.compile(r"^# fuzz: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Totals:
    """What the fuzzer did on one target, in its own words."""

    figures: dict[str, str]
    """Its seed, operations, and the like, by name."""
    clauses: dict[str, tuple[int, int]]
    """For each clause the operations that succeeded, and all of them."""


@dataclass(frozen=True)
class Fuzzed:
    """What one run of the fuzzer printed."""

    totals: Totals | None
    episodes: tuple[str, ...]
    """Those to look for the failure in, if it has failed."""


def parse(said: str) -> Fuzzed:
    """Read the output of a fuzzer, whole or not."""
    found = _TOTALS.search(said)
    episodes = _FAILED.findall(said)
    # Of one that took the guest along there is only its beginning.
    if not episodes and not found:
        episodes = _EPISODE.findall(said)[-1:]
    return Fuzzed(_totals(found[1]) if found else None, tuple(episodes))


def _totals(line: str) -> Totals:
    pairs = dict(word.split("=", 1) for word in line.split() if "=" in word)
    return Totals(
        {name: value for name, value in pairs.items() if "/" not in value},
        {
            name: (int(part), int(whole))
            for name, value in pairs.items()
            for part, _, whole in [value.partition("/")]
            if _COUNT.fullmatch(part) and _COUNT.fullmatch(whole)
        },
    )
