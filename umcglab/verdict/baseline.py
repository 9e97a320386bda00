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
from umcglab.verdict import stats

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
class Posted:
    """What posted code of another series cost, measured like the rest."""

    what: str
    fair: float
    fifo: float


@dataclass(frozen=True)
class Baseline:
    """One file; figures are bench -> scheduling class -> cost of one operation."""

    name: str
    of: Of
    identity: dict[str, str]
    unit: str
    tolerance: float
    figures: dict[str, dict[str, float]]
    posted: dict[str, Posted] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    """`bench:class` -> why it is off, in words."""
    schema: int = codec.SCHEMA


@dataclass(frozen=True)
class Agreement:
    """One figure beside its reference."""

    bench: str
    sched: str
    seen: float
    reference: float
    tolerance: float
    why: str = ""

    @property
    def change(self) -> float:
        return stats.change(self.seen, self.reference)

    @property
    def agrees(self) -> bool:
        return abs(self.change) <= self.tolerance


def load(folder: Path = FOLDER) -> tuple[Baseline, ...]:
    """Read every baseline of `folder`; none if it does not exist."""
    return tuple(codec.read(path, Baseline) for path in sorted(folder.glob("*.json")))


def agreement(
    baseline: Baseline, bench: str, sched: str, seen: float, release: str
) -> Agreement | None:
    """Return how `seen`, on kernel `release`, stands to the baseline's figure."""
    reference = baseline.figures.get(bench, {}).get(sched)
    if reference is None:
        return None
    why = baseline.why.get(f"{bench}:{sched}", "")
    if not why and not release.startswith(f"{baseline.of.version}-"):
        why = f"the reference is of {baseline.of.version}"
    return Agreement(bench, sched, seen, reference, baseline.tolerance, why)
