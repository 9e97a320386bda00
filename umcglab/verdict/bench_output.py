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
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umcglab.results.case import Case
from umcglab.results.facts import BenchPlanFacts
from umcglab.verdict import stats
from umcglab.verdict.figures import Figure

SCHEMA = 1
SKIPPED = 4

DONE = "@@ done"
"""The last line of an output that is complete."""


@dataclass(frozen=True)
class Output:
    """One exact guest's output; it is sound only if `problems` is empty."""

    figures: Mapping[Case, Figure]
    skipped: Mapping[Case, str]
    """What its kernel cannot run, and why, by its own word."""
    problems: tuple[str, ...]


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
_TYPES: Mapping[str, type] = {
    "bench": str,
    "version": int,
    "sched": str,
    "unit": str,
    "clock": str,
    "clock_overhead": int,
    "warmup": int,
    "batches": int,
    "ops_per_batch": int,
    "min": int,
    "max": int,
    "sum": int,
    "op": str,
}


def parse_line(line: str) -> tuple[Case, Figure | str]:
    """Return the figure that one line of a bench has, or why it skipped.

    ValueError says what is wrong with the line.
    """
    try:
        return _parsed(json.loads(line))
    except RecursionError:
        raise ValueError("nested too deep") from None


def _parsed(data: Any) -> tuple[Case, Figure | str]:
    if not isinstance(data, dict):
        raise ValueError("not an object")
    if data.get("schema") != SCHEMA:
        raise ValueError(f"schema {str(data.get('schema'))[:80]}, {SCHEMA} expected")
    if "skip" in data:
        wrong = [k for k in ("bench", "sched", "skip") if type(data.get(k)) is not str]
        if wrong:
            raise ValueError(f"{wrong[0]} is missing or of the wrong type")
        _check_values(data)
        return Case.of(data["bench"], data["sched"]), data["skip"]
    for name, kind in _TYPES.items():
        if type(data.get(name)) is not kind:
            raise ValueError(f"{name} is missing or of the wrong type")
    _check_values(data)
    hist = _hist(data.get("hist"))
    for name, seen in (
        ("batches", stats.count(hist)),
        ("min", hist[0][0]),
        ("max", hist[-1][0]),
        ("sum", stats.total(hist)),
    ):
        if data[name] != seen:
            raise ValueError(f"{name} is {data[name]}, its histogram says {seen}")
    if data["ops_per_batch"] < 1:
        raise ValueError("ops_per_batch is not positive")
    case = Case.of(data["bench"], data["sched"])
    kept = ("version", "op", "ops_per_batch", "clock_overhead")
    return case, Figure(case, hist=hist, **{name: data[name] for name in kept})


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
    found: list[tuple[Case, Figure | str]] = []
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
        elif line == DONE:
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
        figures={case: made for case, made in found if isinstance(made, Figure)},
        skipped={case: made for case, made in found if isinstance(made, str)},
        problems=tuple(problems),
    )


def _check(
    name: str,
    status: int,
    found: Sequence[tuple[Case, Figure | str]],
    known: dict[str, BenchPlanFacts],
) -> list[str]:
    """Return what is wrong with one finished block."""
    if len(found) != 1:
        return [f"{name}: {len(found)} results, exit status {status}"]
    ((case, made),) = found
    if status != (SKIPPED if isinstance(made, str) else 0):
        return [f"{name}: a result, but exit status {status}"]
    plan = known.get(name)
    if plan and case != plan.case:
        return [f"{name}: the result is of {case}"]
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
