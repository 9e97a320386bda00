# SPDX-License-Identifier: MIT
"""Read KTAP pessimistically: a result that is not stated clearly is missing.

The parser survives truncation at any byte, nesting by indentation or by `# `,
kernel messages between and after lines, and tests that lie about their plan.
It never fails: what is wrong with the stream is listed in `Report.problems`.
Its work is in proportion to the stream's length, and what it keeps is bounded.
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


@dataclass(frozen=True, slots=True)
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


_NOISE = re.compile(r"\[ *\d+\.\d{6}\](?: ?\[ *[TC]\d+\])? ")
_INDENT = re.compile(r"[ \t]*")
_LEVEL = re.compile(r"(?:[ \t]|#[ \t])*")
_NESTS = re.compile(r"(?:not )?ok\b|1\.\.\d|K?TAP version")
_RESULT = re.compile(r"(not )?ok[ \t]+([0-9]+)(?=[ \t]|$)")
_DASH = re.compile(r"[ \t]+-(?=[ \t]|$)")
_DIRECTIVE = re.compile(r"[ \t]#[ \t]*")
_PLAN = re.compile(r"1\.\.([0-9]+)(?:[ \t]*#[ \t]*(.*))?$")
_VERSION = re.compile(r"K?TAP version \d+$")
_BAIL = re.compile(r"Bail out!\s*(.*)$")
_RUN = re.compile(r"# +RUN +(\S+)")
_CLAUSE = re.compile(r"# +clause: +(.*)$")
_SUBTEST = re.compile(r"# Subtest: (.*)$")
_CHATTER = re.compile(r"# Totals:")
# What any line but a diagnostic has in it; most lines of a long stream do not.
_SAYS = re.compile(
    r"ok[ \t]+[0-9]|1\.\.[0-9]|TAP version \d|Bail out!"
    r"|# +(?:RUN|clause:)|# (?:Subtest|Totals):"
)

_BLANK = re.compile(r"[\r\n]*\n")

_PASSES = ("", "TODO", "XFAIL")
"""Directives behind `ok` that leave it a pass; KTAP has these and SKIP."""

_DIGITS = 9  # of a number; no program has more tests
_DEEPEST = 32  # levels of subtests
_MOST_TESTS = 100_000  # and subtests
_MOST_SAYING = 1_000_000  # lines that may be more than a diagnostic
_MOST_PROBLEMS = 1000
_MOST_LINES = 1000  # of one test's diagnostics
_MOST_KEPT = 32_000_000  # bytes of all diagnostics and clauses
_OVERHEAD = 60  # bytes of a string beside its characters
_LONGEST = 4096  # characters kept of a line, of a name or of a problem


@dataclass
class _Level:
    """What has been read at one depth since its last parent."""

    tests: list[Result] = field(default_factory=list)
    plan: int | None = None
    name: str = ""
    height: int = 0
    """How many levels of subtests its tests have."""


@dataclass
class _Parser:
    levels: dict[int, _Level] = field(default_factory=lambda: {0: _Level()})
    pending: list[str] = field(default_factory=list)
    left_out: int = 0
    """How many lines were not put into `pending`, for want of room."""
    kept: int = 0
    clauses: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    more_problems: int = 0
    results: int = 0
    saying: int = 0
    running: str | None = None
    subtest: str = ""
    bail: str | None = None
    versioned: bool = False

    def line(self, text: str) -> None:
        if not _SAYS.search(text):
            if text and not text.isspace():
                self.keep(text)
            return
        self.saying += 1
        depth, body = _split(_without_noise(text))
        if _VERSION.match(body):
            self.versioned = True
        elif match := _BAIL.match(body):
            self.bail = match[1][:_LONGEST] or "no reason given"
        elif match := _PLAN.match(body):
            self.planned(depth, match[1], match[2])
        elif match := _RESULT.match(body):
            self.result(depth, match)
        elif match := _SUBTEST.match(body):
            self.subtest = match[1].strip()[:_LONGEST]
        elif match := _CLAUSE.match(body):
            self.demands(re.split(r"[\s,]+", match[1][:_LONGEST].strip()))
        elif match := _RUN.match(body):
            self.running = match[1][:_LONGEST]
        elif text.strip() and not _CHATTER.match(body):
            self.keep(text)

    def keep(self, text: str) -> None:
        """Add a line to what led up to the next result, if there is room."""
        if self.is_full():
            self.left_out += 1
            return
        self.pending.append(text[:_LONGEST])
        self.kept += len(self.pending[-1]) + _OVERHEAD

    def is_full(self) -> bool:
        return len(self.pending) >= _MOST_LINES or self.kept >= _MOST_KEPT

    def has_enough(self) -> bool:
        """Return whether this is no test program's output but a flood."""
        return self.results >= _MOST_TESTS or self.saying >= _MOST_SAYING

    def skip(self, text: str, at: int) -> int:
        """Count the lines until one says something; return where that begins."""
        found = _SAYS.search(text, at)
        end = text.rfind("\n", at, found.start() if found else len(text)) + 1
        self.left_out += text.count("\n", at, end)
        return max(at, end)

    def demands(self, clauses: Sequence[str]) -> None:
        """Note the clauses that the next result is about, if there is room."""
        if len(self.clauses) < _MOST_LINES and self.kept < _MOST_KEPT:
            self.clauses += clauses
            self.kept += sum(len(clause) + _OVERHEAD for clause in clauses)

    def said(self) -> tuple[str, ...]:
        """Return the lines since the last result, and begin anew."""
        lines = self.pending
        if self.left_out:
            lines.append(f"({self.left_out} more lines are in the log)")
        self.pending, self.left_out = [], 0
        return tuple(lines)

    def problem(self, text: str) -> None:
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(text[:_LONGEST])
        else:
            self.more_problems += 1

    def level(self, depth: int) -> _Level:
        if depth not in self.levels:
            if len(self.levels) > _DEEPEST:
                self.problem(f"subtests are nested more than {_DEEPEST} deep")
                return self.levels[max(self.levels)]
            self.levels[depth] = _Level(name=self.subtest)
        return self.levels[depth]

    def planned(self, depth: int, digits: str, why: str | None) -> None:
        if len(digits) > _DIGITS:
            self.problem(f"plan 1..{digits[:_DIGITS]}... is too long a number")
            return
        count = int(digits)
        level = self.level(depth)
        if level.plan is not None:
            self.problem(f"a second plan, 1..{count}, after 1..{level.plan}")
        level.plan = count
        if not count:
            self.problem(f"plan of zero tests{f': {why}' if why else ''}")

    def result(self, depth: int, match: re.Match[str]) -> None:
        failed, digits = match.groups()
        name, directive = _named(match.string[match.end() :])
        name = name or f"(test {digits[:_DIGITS]})"
        word, _, reason = directive.partition(" ")
        word = word.upper().rstrip(":")
        skipped = word == "SKIP"
        outcome = Outcome.FAIL if failed else Outcome.SKIP if skipped else Outcome.PASS
        height, subtests = self.close(depth, name)
        if outcome is Outcome.PASS and _failed(subtests):
            self.problem(f"{name}: ok, but a subtest of it is not")
            outcome = Outcome.FAIL
        if outcome is Outcome.PASS and word not in _PASSES:
            self.problem(f"{name}: ok, but with `# {directive}`, which KTAP has not")
            outcome = Outcome.FAIL
        level = self.level(depth)
        if len(digits) > _DIGITS:
            self.problem(f"{name}: number {digits[:_DIGITS]}... is too long")
            number = None
        else:
            number = int(digits)
            if number != len(level.tests) + 1:
                self.problem(
                    f"{name}: number {number} where {len(level.tests) + 1} is due"
                )
        if height > _DEEPEST:
            self.problem(f"{name}: subtests are nested more than {_DEEPEST} deep")
            height, subtests = 0, ()
        diagnostics, clauses = self.said(), tuple(self.clauses)
        self.clauses = []
        self.results += 1
        level.height = max(level.height, height)
        level.tests.append(
            Result(
                name,
                outcome,
                number=number,
                reason=reason.strip() if skipped else directive,
                diagnostics=diagnostics,
                clauses=clauses,
                subtests=subtests,
            )
        )
        # With nesting, `# RUN` names what ends at this depth or the next.
        if self.running in (name, None) or depth == 0:
            self.running = None

    def close(self, depth: int, name: str) -> tuple[int, tuple[Result, ...]]:
        """End every level deeper than `depth`; their tests belong to `name`.

        Return how many levels that makes, and the tests.
        """
        below: tuple[Result, ...] = ()
        height = 0
        for deeper in sorted((d for d in self.levels if d > depth), reverse=True):
            level = self.levels.pop(deeper)
            self.check(level, f"{name}: ")
            below = tuple(level.tests) + below
            height = max(height, level.height + 1)
        return height, below

    def check(self, level: _Level, where: str) -> None:
        if level.plan is None:
            self.problem(f"{where}no plan")
        elif level.plan != len(level.tests):
            self.problem(f"{where}plan of {level.plan}, {len(level.tests)} reported")
        counts = Counter(test.name for test in level.tests)
        for name, n in counts.items():
            if n > 1:
                self.problem(f"{where}{name}: reported {n} times")

    def finish(self) -> Report:
        orphans = [d for d in self.levels if d > 0]
        if orphans:
            name = self.levels[min(orphans)].name or self.running or "(unnamed)"
            _, subtests = self.close(0, name)
            self.problem(f"{name}: subtests reported, itself not")
            self.levels[0].tests.append(
                Result(name, Outcome.MISSING, subtests=subtests)
            )
        top = self.levels[0]
        reported = [t for t in top.tests if t.outcome is not Outcome.MISSING]
        if not self.versioned:
            self.problems.insert(0, "no KTAP header")
        self.check(_Level(reported, top.plan), "")
        if not reported:
            self.problem("no test reported")
        if self.running:
            self.problem(f"output stops in {self.running}")
        if self.bail is not None:
            self.problem(f"Bail out! {self.bail}")
        if self.more_problems:
            self.problems.append(f"and {self.more_problems} problems more")
        return Report(
            plan=top.plan,
            tests=tuple(top.tests),
            problems=tuple(self.problems),
            running=self.running,
            bail=self.bail,
            trailing=self.said(),
        )


def parse(text: str, *, whole: bool = False) -> Report:
    """Return what the KTAP stream `text` says, and what is wrong with it.

    `whole` says that the program came to its end, so that it meant its last line
    as it is. Otherwise one without its newline may be any prefix of what was meant,
    `ok 1 fork` of `ok 1 fork_exec`: it is kept, as words only.
    """
    parser = _Parser()
    at = 0
    # Not split(): the lines of 60 MB take several times their room.
    while (end := text.find("\n", at)) >= 0:
        if parser.is_full():
            at = parser.skip(text, at)
            if (end := text.find("\n", at)) < 0:
                break
        if parser.has_enough():
            parser.problems.append(f"too long: byte {at} and what follows is not read")
            return parser.finish()
        if blank := _BLANK.match(text, at):
            at = blank.end()
            continue
        parser.line(text[at:end].rstrip("\r"))
        at = end + 1
    cut = text[at:]
    if whole:
        parser.line(cut.rstrip("\r"))
    elif cut.strip():
        parser.keep(cut)
    return parser.finish()


def _split(text: str) -> tuple[int, str]:
    """Return how deep a line is nested, in characters, and what stands there.

    A `# ` is depth only before what is a result, a plan or a version.
    """
    match = _LEVEL.match(text)
    if not match or not _NESTS.match(text, match.end()):
        match = _INDENT.match(text)
    depth = match.end() if match else 0
    return depth, text[depth:]


def _named(text: str) -> tuple[str, str]:
    """Return the name and the directive in what follows a result's number."""
    dash = _DASH.match(text)
    text = text[dash.end() if dash else 0 :]
    hash_ = _DIRECTIVE.search(text)
    if not hash_:
        return text.strip()[:_LONGEST], ""
    directive = text[hash_.end() :].strip()
    return text[: hash_.start()].strip()[:_LONGEST], directive[:_LONGEST]


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
