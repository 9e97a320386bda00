# SPDX-License-Identifier: MIT
"""What studies have found out about a kernel and its suite, for the reports of runs.

`umcglab coverage` and `umcglab mutants --generate` take hours where a run takes minutes,
so they are not part of one. What they find is kept in `results/studies/`, a file for each
target, and a run of the same kernel takes a copy into its folder.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from umcglab.errors import LabError
from umcglab.results import codec
from umcglab.results.facts import TargetFacts
from umcglab.results.rundir import RunDir

KILLED, SURVIVED = "killed", "SURVIVED"


@dataclass(frozen=True)
class CodeFacts:
    """One line of the series that became code, and who runs it."""

    file: str
    line: int
    function: str
    text: str
    tests: tuple[int, ...] = ()
    """By their place in `CoverageFacts.tests`, the cheapest first; none: never run."""
    why: str = ""
    """Of one that is never run: the reason, from the ABI's list."""
    never_to: tuple[str, ...] = ()
    """Of one that branches: `FILE:LINE` of those that it never leads to."""


@dataclass(frozen=True)
class CoverageFacts:
    """Which lines of a series its tests run."""

    when: str
    tests: tuple[str, ...]
    lines: tuple[CodeFacts, ...]
    needless: tuple[str, ...]
    """Tests that run nothing that another does not."""
    uncounted: tuple[str, ...] = ()
    """Those that do not pass in an exact guest."""

    @property
    def run(self) -> tuple[CodeFacts, ...]:
        return tuple(line for line in self.lines if line.tests)

    @property
    def never(self) -> tuple[CodeFacts, ...]:
        return tuple(line for line in self.lines if not line.tests)

    @property
    def one_way(self) -> tuple[CodeFacts, ...]:
        return tuple(line for line in self.lines if line.never_to)


@dataclass(frozen=True)
class MutantFacts:
    """What became of one generated mutant that changes the compiler's output."""

    file: str
    line: int
    function: str
    text: str
    """Its line, without the mistake."""
    change: str
    word: str
    by: str = ""
    """The test that noticed."""
    ran: int = 0
    """How many tests were run."""
    why: str = ""
    """Of a survivor: the reason, from the ABI's list."""

    @property
    def survived(self) -> bool:
        return self.word == SURVIVED

    @property
    def key(self) -> tuple[str, int, str]:
        return self.file, self.line, self.change


@dataclass(frozen=True)
class Score:
    """How many of the mutants tried were killed, in a file or a function of it."""

    file: str
    function: str
    killed: int
    listed: int
    """Survivors that have a reason."""
    tried: int

    @property
    def fraction(self) -> float:
        """Of those that a program could see."""
        could = self.tried - self.listed
        return self.killed / could if could else 1.0


@dataclass(frozen=True)
class StudyFacts:
    """`results/studies/<target>.json`, and the copy of it in a run's folder."""

    kernel: str
    """Digest of the kernel."""
    suite: str
    """Digest of the guest suite."""
    coverage: CoverageFacts | None = None
    mutants: tuple[MutantFacts, ...] = ()
    mutants_when: str = ""

    @property
    def survivors(self) -> tuple[MutantFacts, ...]:
        return tuple(m for m in self.mutants if m.survived)

    def score(self, file: str = "", function: str = "") -> Score:
        """Return the score of all mutants, of those of a file, or of a function."""
        mine = [
            m
            for m in self.mutants
            if file in ("", m.file) and function in ("", m.function)
        ]
        return Score(
            file,
            function,
            sum(not m.survived for m in mine),
            sum(m.survived and bool(m.why) for m in mine),
            len(mine),
        )

    def scores(self) -> tuple[tuple[Score, tuple[Score, ...]], ...]:
        """Return the score of each file, with those of its functions."""
        functions: dict[str, dict[str, None]] = {}
        for mutant in self.mutants:
            functions.setdefault(mutant.file, {})[mutant.function] = None
        return tuple(
            (self.score(file), tuple(self.score(file, f) for f in sorted(names)))
            for file, names in sorted(functions.items())
        )


@dataclass(frozen=True)
class Subject:
    """What a study is of: one target, with the digests of its kernel and its suite."""

    results: Path
    target: str
    kernel: str
    suite: str


def load(of: Subject) -> StudyFacts:
    """Return what is known of a subject: nothing, if its kernel or suite is another now."""
    path = _path(of.results, of.target)
    empty = StudyFacts(of.kernel, of.suite)
    if not path.exists():
        return empty
    try:
        known = codec.read(path, StudyFacts)
    except LabError:
        # Of a lab that is not this one; it can be had again.
        return empty
    return known if (known.kernel, known.suite) == (of.kernel, of.suite) else empty


def keep_coverage(of: Subject, coverage: CoverageFacts) -> StudyFacts:
    """Keep the coverage of a subject; return all that is known of it."""
    return _write(of, replace(load(of), coverage=coverage))


def keep_mutants(
    of: Subject, mutants: tuple[MutantFacts, ...], when: str
) -> StudyFacts:
    """Add generated mutants to those that were tried before; return all that is known."""
    known = load(of)
    by_key = {m.key: m for m in (*known.mutants, *mutants)}
    made = tuple(by_key[key] for key in sorted(by_key))
    return _write(of, replace(known, mutants=made, mutants_when=when))


def take(run_dir: RunDir) -> None:
    """Copy into a run's folder what is known by now of the kernels that it tested."""
    results = run_dir.path.parent.parent
    for path in sorted(run_dir.path.glob("*/target.json")):
        target = codec.read(path, TargetFacts)
        source = _path(results, target.name)
        if not target.kernel or not source.exists():
            continue
        try:
            known = codec.read(source, StudyFacts)
        except LabError:
            continue
        if known.kernel == target.kernel.digest:
            shutil.copyfile(source, run_dir.study(target.name))


def _path(results: Path, target: str) -> Path:
    return results / "studies" / f"{target}.json"


def _write(of: Subject, study: StudyFacts) -> StudyFacts:
    path = _path(of.results, of.target)
    path.parent.mkdir(exist_ok=True)
    codec.write(path, study)
    return study
