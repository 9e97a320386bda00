# SPDX-License-Identifier: MIT
"""Read KTAP pessimistically: what was not said clearly was not said.

The parser survives truncation at any byte, nesting by indentation or by `# `,
kernel messages between and after lines, and tests that lie about their plan.
It never fails: what is wrong with the stream is listed in `Report.problems`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """What became of a test; every one starts as MISSING."""

    PASS = "PASS"
    FAIL = "FAIL"
    SKIP = "SKIP"
    MISSING = "MISSING"


@dataclass(frozen=True)
class Result:
    """One result line with the lines that led up to it."""

    name: str
    outcome: Outcome
    number: int | None = None
    reason: str = ""
    """What follows `# SKIP`, or any other directive with its name."""
    diagnostics: tuple[str, ...] = ()
    clauses: tuple[str, ...] = ()
    subtests: tuple[Result, ...] = ()


@dataclass(frozen=True)
class Report:
    """One program's output; it is sound only if `problems` is empty."""

    plan: int | None
    tests: tuple[Result, ...]
    problems: tuple[str, ...]
    running: str | None
    """The test that had begun and not ended when the output stopped."""
    bail: str | None
    trailing: tuple[str, ...]
    """Lines that belong to no test, or to the one that was running."""


_NOISE = re.compile(r"\[ *\d+\.\d{6}\](?:\[ *[TC]\d+\])? ")
_LEVEL = re.compile(r"(?: +|# (?=(?: |# )*(?:(?:not )?ok\b|1\.\.\d|K?TAP version)))*")
_RESULT = re.compile(r"(not )?ok +(\d+)(?: +-)?(?: +(?!#)(.*?))?(?: +# *(.*))?$")
_PLAN = re.compile(r"1\.\.(\d+)(?: *# *(.*))?$")
_VERSION = re.compile(r"K?TAP version \d+$")
_BAIL = re.compile(r"Bail out!\s*(.*)$")
_RUN = re.compile(r"# +RUN +(\S+)")
_CLAUSE = re.compile(r"# +clause: +(.*)$")
_SUBTEST = re.compile(r"# Subtest: (.*)$")
_CHATTER = re.compile(r"# Totals:")


@dataclass
class _Level:
    """What has been read at one depth since its last parent."""

    tests: list[Result] = field(default_factory=list)
    plan: int | None = None
    name: str = ""


@dataclass
class _Parser:
    levels: dict[int, _Level] = field(default_factory=lambda: {0: _Level()})
    pending: list[str] = field(default_factory=list)
    clauses: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    running: str | None = None
    subtest: str = ""
    bail: str | None = None
    versioned: bool = False

    def line(self, text: str) -> None:
        depth, body = _split(_without_noise(text))
        if _VERSION.match(body):
            self.versioned = True
        elif match := _BAIL.match(body):
            self.bail = match[1] or "no reason given"
        elif match := _PLAN.match(body):
            self.planned(depth, int(match[1]), match[2])
        elif match := _RESULT.match(body):
            self.result(depth, match)
        elif match := _SUBTEST.match(body):
            self.subtest = match[1].strip()
        elif match := _CLAUSE.match(body):
            self.clauses += re.split(r"[\s,]+", match[1].strip())
        elif match := _RUN.match(body):
            self.running = match[1]
        elif text.strip() and not _CHATTER.match(body):
            self.pending.append(text)

    def level(self, depth: int) -> _Level:
        if depth not in self.levels:
            self.levels[depth] = _Level(name=self.subtest)
        return self.levels[depth]

    def planned(self, depth: int, count: int, why: str | None) -> None:
        level = self.level(depth)
        if level.plan is not None:
            self.problems.append(f"a second plan, 1..{count}, after 1..{level.plan}")
        level.plan = count
        if not count:
            self.problems.append(f"plan of zero tests{f': {why}' if why else ''}")

    def result(self, depth: int, match: re.Match[str]) -> None:
        failed, number, name, directive = match.groups()
        word, _, reason = (directive or "").partition(" ")
        skipped = word.upper().rstrip(":") == "SKIP"
        outcome = Outcome.FAIL if failed else Outcome.SKIP if skipped else Outcome.PASS
        name = (name or "").strip() or f"(test {number})"
        subtests = self.close(depth, name)
        if outcome is Outcome.PASS and _failed(subtests):
            self.problems.append(f"{name}: ok, but a subtest of it is not")
            outcome = Outcome.FAIL
        level = self.level(depth)
        if int(number) != len(level.tests) + 1:
            self.problems.append(
                f"{name}: number {number} where {len(level.tests) + 1} is due"
            )
        level.tests.append(
            Result(
                name,
                outcome,
                number=int(number),
                reason=reason.strip() if skipped else (directive or ""),
                diagnostics=tuple(self.pending),
                clauses=tuple(self.clauses),
                subtests=subtests,
            )
        )
        self.pending, self.clauses = [], []
        # With nesting, `# RUN` names what ends at this depth or the next.
        if self.running in (name, None) or depth == 0:
            self.running = None

    def close(self, depth: int, name: str) -> tuple[Result, ...]:
        """End every level deeper than `depth`; their tests belong to `name`."""
        below: tuple[Result, ...] = ()
        for deeper in sorted((d for d in self.levels if d > depth), reverse=True):
            level = self.levels.pop(deeper)
            self.check(level, f"{name}: ")
            below = tuple(level.tests) + below
        return below

    def check(self, level: _Level, where: str) -> None:
        if level.plan is None:
            self.problems.append(f"{where}no plan")
        elif level.plan != len(level.tests):
            self.problems.append(
                f"{where}plan of {level.plan}, {len(level.tests)} reported"
            )
        counts = Counter(test.name for test in level.tests)
        for name, n in counts.items():
            if n > 1:
                self.problems.append(f"{where}{name}: reported {n} times")

    def finish(self) -> Report:
        orphans = [d for d in self.levels if d > 0]
        if orphans:
            name = self.levels[min(orphans)].name or self.running or "(unnamed)"
            subtests = self.close(0, name)
            self.problems.append(f"{name}: subtests reported, itself not")
            self.levels[0].tests.append(
                Result(name, Outcome.MISSING, subtests=subtests)
            )
        top = self.levels[0]
        reported = [t for t in top.tests if t.outcome is not Outcome.MISSING]
        if not self.versioned:
            self.problems.insert(0, "no KTAP header")
        self.check(_Level(reported, top.plan), "")
        if not reported:
            self.problems.append("no test reported")
        if self.running:
            self.problems.append(f"output stops in {self.running}")
        if self.bail is not None:
            self.problems.append(f"Bail out! {self.bail}")
        return Report(
            plan=top.plan,
            tests=tuple(top.tests),
            problems=tuple(self.problems),
            running=self.running,
            bail=self.bail,
            trailing=tuple(self.pending),
        )


def parse(text: str) -> Report:
    """Return what the KTAP stream `text` says, and what is wrong with it."""
    parser = _Parser()
    lines = text.split("\n")
    whole, cut = lines[:-1], lines[-1]
    for line in whole:
        parser.line(line.rstrip("\r"))
    # A line without its end may be any prefix of what was meant: `ok 1 fork`
    # of `ok 1 fork_exec`. It is kept, as words only.
    if cut.strip():
        parser.pending.append(cut)
    return parser.finish()


def _split(text: str) -> tuple[int, str]:
    """Return how deep a line is nested, in characters, and what stands there."""
    match = _LEVEL.match(text)
    depth = match.end() if match else 0
    return depth, text[depth:]


def _without_noise(line: str) -> str:
    """Drop a kernel message that shares a line with KTAP, or its timestamp."""
    if match := _NOISE.search(line):
        for part in (line[: match.start()], line[match.end() :]):
            body = _split(part)[1]
            if any(p.match(body) for p in (_RESULT, _PLAN, _VERSION, _BAIL)):
                return part
    return line


def _failed(tests: Sequence[Result]) -> bool:
    return any(t.outcome in (Outcome.FAIL, Outcome.MISSING) for t in tests)
