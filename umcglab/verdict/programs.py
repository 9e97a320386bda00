# SPDX-License-Identifier: MIT
"""Decide what the raw logs of one program prove.

Everything starts as MISSING and a pass is earned: the plan is the manifest,
the program's words count only if its exit status, the kernel's console and the
kernel's name agree with them. Pure functions of text and facts.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace

from umcglab.errors import Fault, worst
from umcglab.results.facts import PlanFacts, ProgramFacts
from umcglab.verdict import fuzz_log, ktap, splat
from umcglab.verdict.fuzz_log import Fuzzed
from umcglab.verdict.ktap import Outcome
from umcglab.verdict.splat import Splat

ALL_SKIPPED = 4
"""Exit status of a test program that skipped every test."""


@dataclass(frozen=True)
class Problem:
    """Something wrong that is not the outcome of one test, and whose fault it is."""

    text: str
    fault: int
    is_splat: bool = False
    """It is told by a splat, with more to read."""


@dataclass(frozen=True)
class TestVerdict:
    """One test of the plan, or one that ran without being in it."""

    name: str
    outcome: Outcome = Outcome.MISSING
    reason: str = ""
    """Why it is not a PASS."""
    diagnostics: tuple[str, ...] = ()
    clauses: tuple[str, ...] = ()
    planned: bool = True
    reproduce: str = ""

    @property
    def first(self) -> str:
        """The first line that says what is wrong."""
        said = [line for line in self.diagnostics if re.match(r"#? *\S+:\d+: ", line)]
        first = (said or [*self.diagnostics, self.reason])[0]
        return first.lstrip("# ").removeprefix(f"{self.name}: ")


@dataclass(frozen=True)
class Context:
    """What a program's evidence is read against."""

    is_control: bool
    release: str
    """`uname -r` of the kernel that was built for the target."""
    uname: str | None
    """What the guest said."""
    why_not: str = "it was not run"
    """Why a program left no facts."""

    @property
    def fault(self) -> int:
        """Whose fault a failing test is: no patch can break an unpatched kernel."""
        return Fault.LAB if self.is_control else Fault.PATCH


@dataclass(frozen=True)
class ProgramVerdict:
    """One program of the test lane."""

    plan: PlanFacts
    facts: ProgramFacts | None
    outcome: Outcome
    tests: tuple[TestVerdict, ...]
    problems: tuple[Problem, ...] = ()
    splats: tuple[Splat, ...] = ()
    """Line numbers are those of the console log."""
    trailing: tuple[str, ...] = ()
    fault: int = 0
    fuzzed: Fuzzed | None = None
    """What it did, if it is a fuzzer."""

    @property
    def name(self) -> str:
        return self.plan.program


def program(
    plan: PlanFacts,
    facts: ProgramFacts | None,
    log: str | None,
    console: tuple[str, int] | None,
    context: Context,
) -> ProgramVerdict:
    """Judge one program.

    `log` is what it printed; `console` what the kernel said meanwhile, with the
    number of lines before that. None for either means that it cannot be read.
    """
    if facts is None:
        tests = tuple(
            TestVerdict(t, reason=context.why_not, clauses=plan.clauses.get(t, ()))
            for t in plan.tests
        )
        return ProgramVerdict(plan, None, Outcome.MISSING, tests)
    report = ktap.parse(log or "", whole=_came_to_its_end(facts))
    splats = _splats(console)
    problems = [
        *_evidence(facts, log, console, context),
        *(Problem(text, context.fault) for text in _endings(facts)),
        *(Problem(text, context.fault) for text in _words(facts, log, report)),
        *(
            Problem(f"kernel {s.kind}: {s.text}", context.fault, is_splat=True)
            for s in splats
        ),
    ]
    tests = tuple(
        [_planned(plan, name, report, facts, context) for name in plan.tests]
        + [_extra(result, facts) for result in _unplanned(plan, report)]
    )
    problems += [
        Problem(f"{t.name}: ran, but is not in the plan", Fault.LAB)
        for t in tests
        if not t.planned
    ]
    if not plan.tests:
        problems.append(Problem("the plan has no test", Fault.LAB))
    bad = [t for t in tests if t.outcome in (Outcome.FAIL, Outcome.MISSING)]
    if problems or bad:
        outcome = Outcome.FAIL
    elif all(t.outcome is Outcome.SKIP for t in tests):
        outcome = Outcome.SKIP
    else:
        outcome = Outcome.PASS
    # If its output was not kept, what is missing is nobody's failure but the lab's.
    unread = Fault.LAB if log is None else context.fault
    faults = [p.fault for p in problems] + [unread for _ in bad]
    return ProgramVerdict(
        plan,
        facts,
        outcome,
        tests,
        tuple(problems),
        splats,
        report.trailing,
        fault=worst(faults),
        fuzzed=fuzz_log.parse(log or "") if plan.kind == fuzz_log.KIND else None,
    )


def _evidence(
    facts: ProgramFacts,
    log: str | None,
    console: tuple[str, int] | None,
    context: Context,
) -> list[Problem]:
    """Return what is missing to believe anything the program said."""
    problems = []
    if log is None:
        problems.append(Problem("its output was not kept", Fault.LAB))
    if console is None:
        problems.append(
            Problem(
                "the console log lacks the time it ran, so was not scanned", Fault.LAB
            )
        )
    if context.uname != context.release:
        problems.append(
            Problem(
                f"boot {facts.boot} ran {context.uname or 'an unknown kernel'}, "
                f"not {context.release}",
                Fault.LAB,
            )
        )
    return problems


def _came_to_its_end(facts: ProgramFacts) -> bool:
    """Return whether what a program printed is all that it meant to.

    One that a signal killed had perhaps written a part of its last line.
    """
    status = facts.exit_status
    ended = status is not None and 0 <= status < 128
    return ended and not facts.timed_out and not facts.lost


def _endings(facts: ProgramFacts) -> list[str]:
    """Return how the program ended, where that is not by exiting."""
    if facts.timed_out:
        stuck = f"; the guest was in {', '.join(facts.stuck)}" if facts.stuck else ""
        return [f"no end within {facts.duration:.0f} s{stuck}"]
    if facts.lost:
        return [f"the guest was lost after {facts.duration:.1f} s"]
    if facts.exit_status is None:
        return ["no exit status"]
    return []


def _words(facts: ProgramFacts, log: str | None, report: ktap.Report) -> list[str]:
    """Return what is wrong with what the program said, if that is known."""
    return [] if log is None else [*report.problems, *_status(facts, report)]


def _status(facts: ProgramFacts, report: ktap.Report) -> list[str]:
    """Return in what the exit status contradicts the output."""
    outcomes = {t.outcome for t in report.tests}
    if facts.exit_status is None or not outcomes:
        return [] if facts.exit_status in (None, 0) else [_exited(facts.exit_status)]
    if outcomes & {Outcome.FAIL, Outcome.MISSING}:
        expected = 1
    else:
        expected = ALL_SKIPPED if outcomes == {Outcome.SKIP} else 0
    if facts.exit_status == expected:
        return []
    return [f"{_exited(facts.exit_status)}, but its output says {expected}"]


def _exited(status: int) -> str:
    return f"exit status {status}" + (f" (signal {status - 128})" * (status > 128))


def _planned(
    plan: PlanFacts,
    name: str,
    report: ktap.Report,
    facts: ProgramFacts,
    context: Context,
) -> TestVerdict:
    """Judge one test of the plan."""
    verdict = TestVerdict(
        name,
        clauses=plan.clauses.get(name, ()),
        reproduce=reproduce(facts, name),
    )
    results = [t for t in report.tests if t.name == name]
    if not results:
        if report.running == name:
            return replace(
                verdict,
                reason="was running when the output stopped",
                diagnostics=report.trailing,
            )
        return replace(verdict, reason="did not report")
    worst = max(results, key=lambda t: list(Outcome).index(t.outcome))
    verdict = replace(verdict, outcome=worst.outcome, diagnostics=worst.diagnostics)
    needs_umcg = name in plan.needs_umcg
    if len(results) > 1:
        return replace(
            verdict, outcome=Outcome.FAIL, reason=f"reported {len(results)} times"
        )
    if worst.outcome is Outcome.SKIP:
        legal = (context.is_control and needs_umcg) or (
            plan.absent is not None and worst.reason == plan.absent
        )
        return replace(
            verdict,
            outcome=Outcome.SKIP if legal else Outcome.FAIL,
            reason=worst.reason
            if legal
            else f"skipped ({worst.reason or 'no reason given'}), which only a test "
            "that needs UMCG may do, and only on the control kernel",
        )
    if worst.outcome is Outcome.PASS and plan.absent is not None:
        return replace(
            verdict,
            outcome=Outcome.FAIL,
            reason=f"passes, and its ABI is said to lack that: {plan.absent}",
        )
    if worst.outcome is Outcome.PASS and context.is_control and needs_umcg:
        return replace(
            verdict,
            outcome=Outcome.FAIL,
            reason="passes on a kernel without UMCG, so it tests nothing",
        )
    if worst.outcome is not Outcome.PASS:
        failed = [t.name for t in worst.subtests if t.outcome is not Outcome.PASS]
        return replace(
            verdict,
            reason=worst.reason
            or (f"failed in {', '.join(failed)}" if failed else _bare(worst)),
        )
    return verdict


def _bare(result: ktap.Result) -> str:
    """Return the reason of a failure that gave none; its own words are better."""
    return "" if result.diagnostics else "not ok"


def _unplanned(plan: PlanFacts, report: ktap.Report) -> list[ktap.Result]:
    return [t for t in report.tests if t.name not in plan.tests]


def _extra(result: ktap.Result, facts: ProgramFacts) -> TestVerdict:
    return TestVerdict(
        result.name,
        outcome=result.outcome,
        reason=result.reason or "not in the plan",
        diagnostics=result.diagnostics,
        planned=False,
        reproduce=reproduce(facts, result.name),
    )


def reproduce(facts: ProgramFacts, test: str) -> str:
    """Return the command line that runs one test of a program again."""
    words = shlex.split(facts.reproduce)
    if "--tests" not in words:
        return facts.reproduce
    at = words.index("--tests") + 1
    # It names a test already where one was asked for.
    words[at] = f"{words[at].partition(':')[0]}:{test}"
    return shlex.join(words)


def _splats(console: tuple[str, int] | None) -> tuple[Splat, ...]:
    if console is None:
        return ()
    text, before = console
    return tuple(replace(s, line=s.line + before) for s in splat.scan(text))
