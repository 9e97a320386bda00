# SPDX-License-Identifier: MIT
"""Reference figures with their identity: results/baselines/*.json.

A figure off by more than the file's tolerance is no failure of a run: the
reference is of one kernel, compiler and config. It is flagged, and the file's
`why` has room for the reason once somebody has found it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from umcglab.results import codec
from umcglab.results.case import Case
from umcglab.verdict.figures import Posted, Reference

FOLDER = Path(__file__).resolve().parent.parent.parent / "results/baselines"


@dataclass(frozen=True)
class Of:
    """The targets a baseline speaks of."""

    arch: str
    abi: str
    base: str
    version: str
    """Of the kernel it was measured on; others of the base are compared too."""


@dataclass(frozen=True)
class PostedCosts:
    """What the code of a posted series cost, measured like the rest."""

    what: str
    figures: dict[str, dict[str, float]]
    """Bench -> scheduling class -> cost of one operation."""


@dataclass(frozen=True)
class Baseline:
    """One file; figures are bench -> scheduling class -> cost of one operation."""

    name: str
    of: Of
    identity: dict[str, str]
    unit: str
    tolerance: float
    figures: dict[str, dict[str, float]]
    posted: dict[str, PostedCosts] = field(default_factory=dict)
    """By the ABI whose contract the series had."""
    why: dict[str, str] = field(default_factory=dict)
    """`bench:class` -> why it is off, in words."""
    schema: int = codec.SCHEMA


def load(folder: Path = FOLDER) -> tuple[Baseline, ...]:
    """Read every baseline of `folder`; none if it does not exist."""
    return tuple(codec.read(path, Baseline) for path in sorted(folder.glob("*.json")))


def reference(baseline: Baseline, case: Case, release: str) -> Reference | None:
    """Return what to compare `case` with, as measured on kernel `release`."""
    cost = baseline.figures.get(case.name, {}).get(case.sched)
    if cost is None:
        return None
    why = baseline.why.get(f"{case.name}:{case.sched}", "")
    if not why and not release.startswith(f"{baseline.of.version}-"):
        why = f"the reference is of {baseline.of.version}"
    return Reference(cost, baseline.tolerance, why)


def posted(baseline: Baseline, case: Case, abi: str) -> Posted | None:
    """Return what posted code costs in `case`, where that is known.

    That is the posting of this ABI, or else the first that there is.
    """
    mine = baseline.posted.get(abi)
    for costs in (mine,) if mine else baseline.posted.values():
        cost = costs.figures.get(case.name, {}).get(case.sched)
        if cost is not None:
            return Posted(costs.what, cost)
    return None
