# SPDX-License-Identifier: MIT
"""What a person should know first: findings by owner, and what to do about each."""

from __future__ import annotations

import contextlib
import itertools
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from umcglab.errors import Fault, worst
from umcglab.lab import config
from umcglab.results.facts import ProgramFacts, RunFacts
from umcglab.verdict import places, splat
from umcglab.verdict.ktap import Outcome
from umcglab.verdict.programs import ProgramVerdict, TestVerdict
from umcglab.verdict.splat import Splat
from umcglab.verdict.targets import TargetResult


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, with what to read and what to type."""

    fault: int
    target: str
    subject: str
    """A program, or the stage that went wrong."""
    headline: str
    """The first line that says what is wrong."""
    problems: tuple[str, ...] = ()
    tests: tuple[TestVerdict, ...] = ()
    """Those that failed or never reported."""
    splats: tuple[tuple[str, Splat], ...] = ()
    """With the console log that each is in, relative to the run's folder, and the
    source lines of what it names."""
    commands: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    output: tuple[str, ...] = ()
    """The last that a program said, where that matters."""
    hint: str = ""

    @property
    def id(self) -> str:
        return f"{self.target}--{self.subject}".replace("/", ".").replace(" ", "-")

    @property
    def owner(self) -> str:
        return Fault(self.fault).owner


@dataclass(frozen=True)
class _Maker:
    """Makes the findings of one target."""

    command: str
    """The command line of the run."""
    target: TargetResult

    def mine(self, name: str) -> str:
        return f"{self.target.name}/{name}"

    def decoded(
        self, log: str, splats: Iterable[Splat]
    ) -> tuple[tuple[str, Splat], ...]:
        """Return splats with their log, and with source lines where those are known."""
        lines = self.target.lines
        return tuple(
            (log, replace(s, excerpt=places.annotate(s.excerpt, lines))) for s in splats
        )

    def errors(self) -> Iterator[Finding]:
        for error in self.target.errors:
            facts, log = error.facts, error.log
            splats = splat.scan(error.text) if facts.stage != "build" else ()
            yield Finding(
                facts.fault,
                self.target.name,
                facts.stage,
                facts.message.removeprefix(f"{self.target.name}: "),
                problems=(facts.where,) if facts.where else (),
                commands=(self.again(),),
                splats=self.decoded(log, splats),
                logs=(log,) if log else (),
                output=() if splats else _telling(error.text),
                hint=facts.hint or "",
            )

    def again(self) -> str:
        return self.line("run")

    def shell(self) -> str:
        return self.line("shell")

    def line(self, verb: str) -> str:
        """Return a line to type, with the lab file that the run was given."""
        words: list[str] = []
        # A command that is no line of a shell is none that the lab wrote.
        with contextlib.suppress(ValueError):
            words = shlex.split(self.command)
        lab = Path("lab.yaml")
        for word, after in itertools.pairwise([*words, ""]):
            if word == "--lab" and after:
                lab = Path(after)
            elif word.startswith("--lab="):
                lab = Path(word.removeprefix("--lab="))
        return config.command(lab, verb, "--only", self.target.name)

    def problems(self) -> Iterator[Finding]:
        splats = [
            found
            for boot in self.target.boots
            for found in self.decoded(
                self.mine(f"console-{boot.facts.n}.log"), boot.splats
            )
        ]
        if self.target.problems:
            texts = tuple(p.text for p in self.target.problems)
            yield Finding(
                worst(p.fault for p in self.target.problems),
                self.target.name,
                "target",
                texts[0],
                problems=texts[1:],
                splats=tuple(splats),
                commands=(self.again(),),
            )

    def programs(self) -> Iterator[Finding]:
        for program in self.target.programs:
            if program.outcome is Outcome.FAIL:
                yield self.program(program)

    def program(self, program: ProgramVerdict) -> Finding:
        assert program.facts
        console = self.mine(f"console-{program.facts.boot}.log")
        bad = [t for t in program.tests if t.outcome in (Outcome.FAIL, Outcome.MISSING)]
        failed = [t for t in bad if t.outcome is Outcome.FAIL]
        stem = program.name.replace("/", ".")
        # The kernel's reports are shown in full below.
        problems = [p.text for p in program.problems if not p.is_splat]
        headline = next(
            iter(
                [s.text for s in program.splats]
                + [f"{t.name}: {t.first}" for t in failed]
                + problems
                + [f"{t.name}: {t.first}" for t in bad]
            )
        )
        return Finding(
            program.fault,
            self.target.name,
            program.name,
            headline,
            problems=(*problems, *_again(program.facts)),
            tests=tuple(bad),
            splats=self.decoded(console, program.splats),
            commands=(program.facts.reproduce, self.shell()),
            logs=tuple(
                [self.mine(f"programs/{stem}.log")]
                + [self.mine(f"programs/{stem}.again.log")] * bool(program.facts.again)
                + [console]
            ),
            output=program.trailing
            if program.facts.exit_status != 0
            and program.trailing not in [t.diagnostics for t in bad]
            else (),
        )

    def exact(self) -> Iterator[Finding]:
        exact = self.target.exact
        if not exact or not exact.problems:
            return
        texts = tuple(p.text for p in exact.problems)
        difference = exact.difference
        yield Finding(
            worst(p.fault for p in exact.problems),
            self.target.name,
            "exact lane",
            texts[0],
            problems=texts[1:],
            splats=self.decoded(self.mine("exact"), exact.splats),
            commands=(self.again(),),
            logs=self.target.exact_logs,
            output=(f"1: {difference.first}", f"2: {difference.second}")
            if difference
            else (),
            hint="do not quote numbers of this target" if difference else "",
        )

    def limits(self) -> Iterator[Finding]:
        over = self.target.over_limit
        if over:
            yield Finding(
                Fault.PATCH,
                self.target.name,
                "limits",
                over[0],
                problems=over[1:],
                commands=(self.again(),),
                logs=(self.mine("exact/1.out"),),
                hint="the counts are exact: the same code costs the same again",
            )


def _again(program: ProgramFacts) -> tuple[str, ...]:
    """Say what came of a program that failed when it was run once more."""
    if program.again is None:
        return ()
    what = "fails again" if program.again.failed else "does not fail again"
    return (f"run once more in a fresh guest, it {what}",)


def _telling(log: str) -> tuple[str, ...]:
    """Return the lines around the first error in a log, or else its end."""
    lines = log.splitlines()
    for n, line in enumerate(lines):
        if re.search(r"\b(?:fatal )?error: |: undefined reference|FAILED at", line):
            return tuple(lines[max(0, n - 5) : n + 12])
    return tuple(lines[-20:])


def findings(run: RunFacts, targets: Sequence[TargetResult]) -> tuple[Finding, ...]:
    """Return what is wrong, the patch's own first, then in the plan's order."""
    made = []
    for target in targets:
        maker = _Maker(run.command, target)
        made += [
            *maker.errors(),
            *maker.problems(),
            *maker.programs(),
            *maker.exact(),
            *maker.limits(),
        ]
    return tuple(sorted(made, key=lambda f: f.fault))
