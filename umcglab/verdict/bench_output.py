# SPDX-License-Identifier: MIT
"""Read what exact guests wrote: `@@` framing around one line of JSON per bench.

    @@ begin NAME
    {"schema":1,"bench":"yard/futex","sched":"fair",...}
    @@ end NAME STATUS
    @@ done

Benches print totals of whole batches; what one operation costs is computed here.
"""

from __future__ import annotations

import json
import re
import typing
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umcglab.results.facts import BenchPlanFacts
from umcglab.verdict import stats

SCHEMA = 1
SKIPPED = 4

SCHEDS = ("fair", "fifo")
"""Scheduling classes that benches run in: the fair one, and SCHED_FIFO."""


@dataclass(frozen=True)
class Bench:
    """One bench in one scheduling class; `hist` is of batch totals in `unit`."""

    bench: str
    version: int
    sched: str
    unit: str
    clock: str
    clock_overhead: int
    warmup: int
    batches: int
    ops_per_batch: int
    min: int
    max: int
    sum: int
    hist: tuple[tuple[int, int], ...]
    op: str

    @property
    def per_op(self) -> float:
        """What one operation costs: the median batch over its operations."""
        return stats.median(self.hist) / self.ops_per_batch

    def per_op_at(self, q: float) -> float:
        """Return the `q`th percentile of batches, over operations."""
        return stats.percentile(self.hist, q) / self.ops_per_batch

    @property
    def spread(self) -> float:
        return stats.spread(self.hist)


@dataclass(frozen=True)
class Skipped:
    """A bench that its kernel cannot run, by its own word."""

    bench: str
    sched: str
    reason: str


@dataclass(frozen=True)
class Output:
    """One exact guest's output; it is sound only if `problems` is empty."""

    benches: tuple[Bench, ...]
    skipped: tuple[Skipped, ...]
    problems: tuple[str, ...]

    def find(self, bench: str, sched: str) -> Bench | None:
        return next(
            (b for b in self.benches if (b.bench, b.sched) == (bench, sched)), None
        )


@dataclass(frozen=True)
class Difference:
    """The first line in which two outputs that should be the same differ."""

    line: int
    bench: str
    """The block it is in; empty outside of any."""
    first: str
    second: str


_LARGEST = 2**64 - 1
_BEGIN = re.compile(r"@@ begin (\S+)$")
_END = re.compile(r"@@ end (\S+) (-?[0-9]{1,9})$")
_TYPES: dict[str, type] = {
    name: kind for name, kind in typing.get_type_hints(Bench).items() if name != "hist"
}


def parse_line(line: str) -> Bench | Skipped:
    """Return one line of a bench; ValueError says what is wrong with it."""
    try:
        return _parsed(json.loads(line))
    except RecursionError:
        raise ValueError("nested too deep") from None


def _parsed(data: Any) -> Bench | Skipped:
    if not isinstance(data, dict):
        raise ValueError("not an object")
    if data.get("schema") != SCHEMA:
        raise ValueError(f"schema {str(data.get('schema'))[:80]}, {SCHEMA} expected")
    if "skip" in data:
        wrong = [k for k in ("bench", "sched", "skip") if type(data.get(k)) is not str]
        if wrong:
            raise ValueError(f"{wrong[0]} is missing or of the wrong type")
        _check_values(data)
        return Skipped(data["bench"], data["sched"], data["skip"])
    for name, kind in _TYPES.items():
        if type(data.get(name)) is not kind:
            raise ValueError(f"{name} is missing or of the wrong type")
    _check_values(data)
    hist = _hist(data.get("hist"))
    made = Bench(hist=hist, **{name: data[name] for name in _TYPES})
    for name, seen in (
        ("batches", stats.count(hist)),
        ("min", hist[0][0]),
        ("max", hist[-1][0]),
        ("sum", stats.total(hist)),
    ):
        if getattr(made, name) != seen:
            said = getattr(made, name)
            raise ValueError(f"{name} is {said}, its histogram says {seen}")
    if made.ops_per_batch < 1:
        raise ValueError("ops_per_batch is not positive")
    return made


def _check_values(data: dict[str, Any]) -> None:
    """Raise ValueError for what no bench can mean and no report can hold."""
    for name, value in data.items():
        if type(value) is int and abs(value) > _LARGEST:
            raise ValueError(f"{name} is larger than 64 bits are")
        # JSON can escape halves of surrogate pairs, which no file can hold.
        if isinstance(value, str) and not value.isprintable():
            raise ValueError(f"{name} has characters that cannot be printed")


def _hist(data: Any) -> tuple[tuple[int, int], ...]:
    try:
        hist = tuple((value, n) for value, n in data)
    except (TypeError, ValueError):
        raise ValueError("hist is not a list of pairs") from None
    numbers = [number for pair in hist for number in pair]
    if not hist or any(type(number) is not int for number in numbers):
        raise ValueError("hist is empty or has something else than integers")
    if max(numbers) > _LARGEST:
        raise ValueError("hist has numbers larger than 64 bits are")
    if list(hist) != sorted(hist) or min(numbers) < 1:
        raise ValueError("hist is not sorted or not positive")
    return hist


def parse_uart(text: str, plan: Sequence[BenchPlanFacts]) -> Output:
    """Return what one exact guest measured, and where that falls short of `plan`."""
    found: list[Bench | Skipped] = []
    problems: list[str] = []
    ended: Counter[str] = Counter()
    open_block = ""
    done = False
    known = {p.name: p for p in plan}
    for line in text.split("\n")[:-1]:
        line = line.rstrip("\r")
        if match := _BEGIN.match(line):
            if open_block:
                problems.append(f"{open_block}: did not end")
            open_block, before = match[1], len(found)
            if open_block not in known:
                problems.append(f"{open_block}: not in the plan")
        elif match := _END.match(line):
            if match[1] != open_block:
                problems.append(f"{match[1]}: ended, had not begun")
                continue
            problems += _check(open_block, int(match[2]), found[before:], known)
            ended[open_block] += 1
            open_block = ""
        elif line == "@@ done":
            done = True
        elif open_block and line.strip():
            try:
                found.append(parse_line(line))
            except ValueError as e:
                problems.append(f"{open_block}: {e}: {line[:80]}")
    if open_block:
        problems.append(f"{open_block}: did not end")
    for name in known:
        if not ended[name]:
            problems.append(f"{name}: not measured")
        elif ended[name] > 1:
            problems.append(f"{name}: measured {ended[name]} times")
    if not done:
        problems.append("the guest did not finish")
    return Output(
        benches=tuple(f for f in found if isinstance(f, Bench)),
        skipped=tuple(f for f in found if isinstance(f, Skipped)),
        problems=tuple(problems),
    )


def _check(
    name: str,
    status: int,
    found: Sequence[Bench | Skipped],
    known: dict[str, BenchPlanFacts],
) -> list[str]:
    """Return what is wrong with one finished block."""
    if len(found) != 1:
        return [f"{name}: {len(found)} results, exit status {status}"]
    if status != (SKIPPED if isinstance(found[0], Skipped) else 0):
        return [f"{name}: a result, but exit status {status}"]
    plan = known.get(name)
    seen = (found[0].bench, found[0].sched)
    if plan and seen != (plan.bench, plan.sched):
        return [f"{name}: the result is of {' '.join(seen)}"]
    return []


def compare(first: Path, second: Path) -> Difference | None:
    """Compare two raw outputs byte for byte; return the first difference."""
    a, b = first.read_bytes(), second.read_bytes()
    if a == b:
        return None
    left, right = a.split(b"\n"), b.split(b"\n")
    n = next(
        (
            n
            for n, pair in enumerate(zip(left, right, strict=False))
            if len(set(pair)) > 1
        ),
        min(len(left), len(right)),
    )
    blocks = [
        m[1] for line in left[:n] if (m := _BEGIN.match(_text(line).rstrip("\r")))
    ]
    return Difference(
        line=n + 1,
        bench=blocks[-1] if blocks else "",
        first=_text(left[n]) if n < len(left) else "(end)",
        second=_text(right[n]) if n < len(right) else "(end)",
    )


def _text(line: bytes) -> str:
    return line.decode(errors="backslashreplace")
