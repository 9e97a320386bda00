# SPDX-License-Identifier: MIT
"""What a figure is of: a bench, with a size if it has sizes, in a scheduling class."""

from __future__ import annotations

import re
from dataclasses import dataclass

SCHEDS = ("fair", "fifo")
"""Scheduling classes that benches run in: the fair one, and SCHED_FIFO."""

_SIZED = re.compile(r"(.+)-([1-9][0-9]{0,8})")


@dataclass(frozen=True, order=True)
class Case:
    """The key of every table of figures; no bench's own name ends as a size does."""

    bench: str
    size: int
    """0 if the bench has none."""
    sched: str

    @classmethod
    def of(cls, name: str, sched: str) -> Case:
        """Return the case of a bench by its name with the size, as `scale/workers-10`."""
        match = _SIZED.fullmatch(name)
        return cls(match[1], int(match[2]), sched) if match else cls(name, 0, sched)

    @property
    def name(self) -> str:
        """The bench and its size, as benches, limits and references write it."""
        return f"{self.bench}-{self.size}" if self.size else self.bench

    def __str__(self) -> str:
        return f"{self.name} {self.sched}"
