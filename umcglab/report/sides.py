# SPDX-License-Identifier: MIT
"""The contracts of a run's ABIs, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from umcglab.results.facts import CapabilityFacts, RaceFacts
from umcglab.verdict.runs import Run

Row = TypeVar("Row")


@dataclass(frozen=True)
class Sides(Generic[Row]):
    """What each ABI says of each thing; None of what it does not mention."""

    abis: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Row | None, ...]], ...]


def capabilities(run: Run) -> Sides[CapabilityFacts] | None:
    """Return capabilities x ABI; None of a run with one ABI."""
    known = {
        abi: {row.name: row for row in rows}
        for abi, rows in run.facts.capabilities.items()
    }
    return _sides(known)


def races(run: Run) -> Sides[RaceFacts] | None:
    """Return races x ABI; None of a run with one ABI."""
    known = {
        abi: {row.id: row for row in rows} for abi, rows in run.facts.races.items()
    }
    return _sides(known)


def what(cells: Sequence[RaceFacts | None]) -> str:
    """Return what a race is."""
    return next(cell.what for cell in cells if cell)


def _sides(known: Mapping[str, Mapping[str, Row]]) -> Sides[Row] | None:
    abis = tuple(abi for abi, rows in known.items() if rows)
    if len(abis) < 2:
        return None
    names = dict.fromkeys(name for abi in abis for name in known[abi])
    return Sides(
        abis,
        tuple((name, tuple(known[abi].get(name) for abi in abis)) for name in names),
    )
