# SPDX-License-Identifier: MIT
"""What an ABI.md says: its clauses, and its tables of capabilities and races."""

from __future__ import annotations

import re
from collections.abc import Iterator

from umcglab.results.facts import CapabilityFacts, ClauseFacts, RaceFacts


def clauses(text: str) -> tuple[ClauseFacts, ...]:
    """Return the numbered clauses of an ABI.md, in its order.

    A clause is a line that begins with `**GROUP-N**` and runs to the next empty
    line.
    """
    matches = (
        re.match(r"\*\*([A-Z]+-[0-9]+)\*\* (.*)", paragraph.lstrip("\n"), re.S)
        for paragraph in re.split(r"\n\s*\n", text)
    )
    return tuple(
        ClauseFacts(match[1], " ".join(match[2].split())) for match in matches if match
    )


def capabilities(text: str) -> tuple[CapabilityFacts, ...]:
    """Return the rows below `| capability | here | clauses |`."""
    return tuple(
        CapabilityFacts(name, here, _cited(cites))
        for name, here, cites in _rows(text, "capability", 3)
    )


def races(text: str) -> tuple[RaceFacts, ...]:
    """Return the rows below `| R | what went wrong | here | clauses | tests |`."""
    return tuple(
        RaceFacts(race, what, here, _cited(cites))
        for race, what, here, cites, _ in _rows(text, "R", 5)
    )


def _cited(cell: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[A-Z]+-[0-9]+", cell))


def _rows(text: str, first: str, width: int) -> Iterator[list[str]]:
    """Yield the rows of the table whose first column is called `first`."""
    inside = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif cells[0] == first:
            inside = True
        elif inside and len(cells) == width and set(cells[0]) != {"-"}:
            yield cells
