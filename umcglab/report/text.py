# SPDX-License-Identifier: MIT
"""Render what a run compares as plain text of 72 columns, fit for a mail."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from umcglab.report import html, sides, summary
from umcglab.results.case import SCHEDS, Case
from umcglab.results.facts import CapabilityFacts, RaceFacts
from umcglab.verdict.figures import Figure
from umcglab.verdict.runs import Run
from umcglab.verdict.targets import TargetResult

WIDTH = 72
_NAME, _CELL = 22, 8
_BESIDE = (WIDTH - _NAME) // (len(SCHEDS) * _CELL)
"""How many targets fit beside each other."""

_SIGNS = {"closed": "+", "cannot happen": "-", "open by contract": "o", "?": "?"}


def render(run: Run) -> bytes:
    """Return the verdict, operations x ABI, capabilities x ABI and races x ABI."""
    said = [
        f"{run.verdict}: {summary.tally(run.counts())}",
        *_wrapped(f"umcglab {run.facts.id}, lab {run.facts.lab_git}"),
    ]
    for table in html.costs(run):
        said += _operations(table)
    for contract in (_capabilities(run), _races(run)):
        said += contract
    return "\n".join(line.rstrip() for line in [*said, ""]).encode()


def _heading(text: str) -> list[str]:
    return ["", text, "-" * len(text)]


def _wrapped(text: str, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()),
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_on_hyphens=False,
    )


def _operations(table: html.Costs) -> Iterator[str]:
    yield from _heading(f"Instructions per operation, {table.arch}, {table.base}")
    yield "Below each its ratio to futex in the same boot and class, and what the"
    yield "posted series cost where that was measured."
    for at in range(0, len(table.targets), _BESIDE):
        yield ""
        yield from _beside(table, table.targets[at : at + _BESIDE])


def _beside(table: html.Costs, targets: Sequence[TargetResult]) -> Iterator[str]:
    width = len(SCHEDS) * _CELL
    # Each by its name, on lines of their own: that may be longer than its columns.
    for n, target in enumerate(targets):
        yield from _wrapped(f"({n + 1}) {_about(target)}", "  ", "      ")
    yield " " * _NAME + "".join(f"{f'({n + 1})':>{width}}" for n in range(len(targets)))
    yield " " * _NAME + "".join(
        f"{'FIFO' if s == 'fifo' else s:>{_CELL}}" for _ in targets for s in SCHEDS
    )
    for row in table.rows:
        cells = [t.figures.get(Case.of(row.bench, s)) for t in targets for s in SCHEDS]
        if not any(cells):
            continue
        yield f"{row.bench:{_NAME}}" + _cells(
            f"{f.per_op:.0f}" if f else "-" for f in cells
        )
        ratios = [f"{f.ratio:.2f}" if f and f.ratio else "" for f in cells]
        if any(ratios):
            yield f"{'  x futex':{_NAME}}" + _cells(ratios)
        posted = [_posted(f) for f in cells]
        if any(posted):
            yield f"{'  posted':{_NAME}}" + _cells(posted)


def _about(target: TargetResult) -> str:
    """Return its name, what is posted beside its figures, and what is wrong with them."""
    posted = {f.posted.what for f in target.figures.values() if f.posted}
    same = target.exact.identical if target.exact else None
    return (
        target.name
        + "".join(f", posted: {what}" for what in sorted(posted))
        + ("" if same else ": runs differ" if same is False else ": not repeated")
    )


def _posted(figure: Figure | None) -> str:
    return f"{figure.posted.cost:.0f}" if figure and figure.posted else ""


def _cells(texts: Iterator[str] | Sequence[str]) -> str:
    return "".join(f"{text:>{_CELL}}" for text in texts)


def _capabilities(run: Run) -> Iterator[str]:
    table: sides.Sides[CapabilityFacts] | None = sides.capabilities(run)
    if not table:
        return
    yield from _heading("Capabilities")
    wide = max(map(len, table.abis)) + 4
    for name, cells in table.rows:
        yield name
        for abi, cell in zip(table.abis, cells, strict=True):
            first = f"  {abi}".ljust(wide)
            yield from _wrapped(cell.here if cell else "?", first, " " * wide)


def _races(run: Run) -> Iterator[str]:
    table: sides.Sides[RaceFacts] | None = sides.races(run)
    if not table:
        return
    yield from _heading("Races and bugs of the proposals")
    yield from _wrapped(
        "; ".join(f"{sign} {word}" for word, sign in _SIGNS.items() if word != "?")
    )
    for n, abi in enumerate(table.abis):
        yield f"  ({n + 1}) {abi}"
    marks = [f"({n + 1})" for n in range(len(table.abis))]
    yield f"{'':5}" + " ".join(marks)
    indent = 5 + 4 * len(marks) + 1
    for race, cells in table.rows:
        signs = " ".join(f" {_SIGNS[c.word] if c else '?'} " for c in cells)
        yield from _wrapped_behind(f"{race:5}{signs}", sides.what(cells), indent)


def _wrapped_behind(begin: str, text: str, indent: int) -> Iterator[str]:
    lines = textwrap.wrap(text, WIDTH - indent, break_on_hyphens=False)
    for n, line in enumerate(lines):
        yield (begin.ljust(indent) if n == 0 else " " * indent) + line
