# SPDX-License-Identifier: MIT
"""One figure of the exact lane, and what it is compared with."""

from __future__ import annotations

from dataclasses import dataclass

from umcglab.results.case import Case
from umcglab.verdict import stats


@dataclass(frozen=True)
class Reference:
    """What the same bench cost when its baseline was taken, in the figure's unit."""

    cost: float
    tolerance: float
    """The most by which a figure may be off, as a fraction."""
    why: str = ""
    """Why it is off, in words; empty if nobody has found out."""


@dataclass(frozen=True)
class Posted:
    """What the code of a posted series cost, measured like the rest."""

    what: str
    cost: float


@dataclass(frozen=True)
class Limit:
    """What a figure may be at most."""

    seen: float
    """What is held to it: the median batch or the cheapest one, for one operation."""
    most: float
    rule: str
    """Where the limit is from."""

    @property
    def holds(self) -> bool:
        return self.seen <= self.most


@dataclass(frozen=True)
class Figure:
    """One bench in one scheduling class; `hist` is of batch totals, in instructions."""

    case: Case
    version: int
    op: str
    """What one operation is."""
    ops_per_batch: int
    clock_overhead: int
    """What reading the clock costs each batch."""
    hist: tuple[tuple[int, int], ...]
    ratio: float | None = None
    """To futex in the same boot and scheduling class."""
    reference: Reference | None = None
    posted: Posted | None = None
    limits: tuple[Limit, ...] = ()

    @property
    def batches(self) -> int:
        return stats.count(self.hist)

    @property
    def per_op(self) -> float:
        """What one operation costs: the median batch over its operations."""
        return stats.median(self.hist) / self.ops_per_batch

    @property
    def least(self) -> float:
        """What one operation costs in the cheapest batch."""
        return self.hist[0][0] / self.ops_per_batch

    def per_op_at(self, q: float) -> float:
        """Return the `q`th percentile of batches, over operations."""
        return stats.percentile(self.hist, q) / self.ops_per_batch

    @property
    def spread(self) -> float:
        return stats.spread(self.hist)

    @property
    def change(self) -> float | None:
        """How far it is from its reference, as a fraction; None if it has none."""
        if self.reference is None:
            return None
        return stats.change(self.per_op, self.reference.cost)

    @property
    def is_off(self) -> bool:
        """Whether it is further from its reference than that tolerates."""
        if self.reference is None or self.change is None:
            return False
        return abs(self.change) > self.reference.tolerance

    def over(self) -> tuple[str, ...]:
        """Return the limits that it exceeds, in words."""
        return tuple(
            f"{self.case}: {limit.seen:,.1f} instructions, "
            f"at most {limit.most:,.1f} ({limit.rule})"
            for limit in self.limits
            if not limit.holds
        )
