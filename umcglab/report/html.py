# SPDX-License-Identifier: MIT
"""Render a run as one HTML file that needs nothing beside it."""

from __future__ import annotations

import functools
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from umcglab.errors import Fault, worst
from umcglab.report import plots, sides, summary
from umcglab.results.case import SCHEDS, Case
from umcglab.results.rundir import program_stem
from umcglab.results.studies import StudyFacts
from umcglab.verdict import repeats
from umcglab.verdict.figures import Figure, Limit
from umcglab.verdict.findings import Finding
from umcglab.verdict.fuzz_log import Totals
from umcglab.verdict.ktap import Outcome
from umcglab.verdict.programs import ProgramVerdict
from umcglab.verdict.runs import ClauseTable, Cover, Run
from umcglab.verdict.targets import BOOT_RATIO, FUTEX, TargetResult

EXCERPT = 60
"""Lines of console or output shown of one finding."""


@dataclass(frozen=True)
class GridTarget:
    """One target in the grid: what tells it from others in its cell, and its outcome."""

    name: str
    variant: str
    word: str
    tally: str


@dataclass(frozen=True)
class GridRow:
    """One ABI on one base; the cells are those of the grid's columns."""

    abi: str
    base: str
    cells: tuple[tuple[GridTarget, ...], ...]


@dataclass(frozen=True)
class Grid:
    """All targets of a run: ABI and base by architecture and flavor."""

    arches: tuple[tuple[str, int], ...]
    """Each architecture and how many flavors it has columns for."""
    flavors: tuple[str, ...]
    """Of each column."""
    rows: tuple[GridRow, ...]


@dataclass(frozen=True)
class Cell:
    """What one stage or program came to; `link` is the id of what explains it."""

    text: str
    kind: str
    link: str = ""
    title: str = ""


@dataclass(frozen=True)
class Row:
    """One stage, or program, of one target; a program has a verdict for each run."""

    name: str
    cell: Cell
    programs: tuple[ProgramVerdict, ...] = ()


@dataclass(frozen=True)
class CostRow:
    """One bench of one architecture and base; cells are target by class, then class."""

    bench: str
    op: str
    cells: tuple[Figure | str, ...]
    """A figure, or why there is none."""
    reference: tuple[Figure | None, ...]
    """Per class, a figure that has a reference."""


@dataclass(frozen=True)
class Costs:
    """The exact lane of one architecture and base."""

    arch: str
    base: str
    targets: tuple[TargetResult, ...]
    rows: tuple[CostRow, ...]

    @property
    def has_reference(self) -> bool:
        return any(figure for row in self.rows for figure in row.reference)

    @property
    def costs(self) -> Markup:
        """The plot of all benches."""
        name = f"costs-{self.arch}-{self.base}"
        return Markup(plots.costs(_headline(self.targets), name))

    @property
    def spreads(self) -> tuple[tuple[str, Markup], ...]:
        """For each target the plot of how its batches spread."""
        return tuple(
            (t.name, Markup(plots.spreads(_ordered(t), f"spread-{t.name}")))
            for t in self.targets
        )


@dataclass(frozen=True)
class ByBase:
    """What one ABI's operations cost on several bases of one architecture.

    Each row's cells are base by class.
    """

    arch: str
    abi: str
    bases: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Figure | None, ...]], ...]


@functools.cache
def _environment() -> jinja2.Environment:
    """Return what has the templates, each compiled when it is first asked for."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "css": css,
        "kind": kind,
        "code_spans": code_spans,
        "seconds": seconds,
        "join_argv": shlex.join,
        "flat": flat,
        "stem": program_stem,
    }
    return environment


def render(run: Run) -> bytes:
    """Return the report."""
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            notes=summary.notes(run),
            tally=summary.tally(run.counts()),
            grid=grid(run),
            programs={t.name: tuple(rows(t, run.findings)) for t in run.targets},
            costs=tuple(costs(run)),
            by_base=tuple(by_base(run)),
            limits=tuple(limits(run)),
            capabilities=sides.capabilities(run),
            races=sides.races(run),
            races_told=tuple(races_told(run)),
            studies=tuple((t.name, t.study) for t in run.targets if t.study),
            race_is=sides.what,
            fuzzed=fuzzed(run),
            repeated=tuple(repeats.repeats(run)),
            clause_texts={
                row.clause.id: row.clause.text
                for table in run.clauses
                for row in table.rows
            },
            by_outcome=by_outcome,
            duration=duration(run),
            boot_aim=BOOT_RATIO,
            excerpt=EXCERPT,
            scheds=SCHEDS,
        )
        .encode()
    )


def render_studies(title: str, studies: Sequence[tuple[str, StudyFacts]]) -> bytes:
    """Return the page of what studies have found out about targets."""
    template = _environment().get_template("study.html.j2")
    return template.render(title=title, studies=studies).encode()


def fuzzed(run: Run) -> tuple[tuple[str, Totals], ...]:
    """Return the totals of each target that a fuzzer came to its end on."""
    return tuple(
        (target.name, program.fuzzed.totals)
        for target in run.targets
        for program in target.programs
        if program.fuzzed and program.fuzzed.totals
    )


def races_told(run: Run) -> Iterator[tuple[str, str]]:
    """Yield, for each ABI, how many races it has closed, and so on."""
    for abi, rows in run.facts.races.items():
        counts = Counter(row.word for row in rows)
        yield abi, ", ".join(f"{n} {word}" for word, n in counts.most_common())


def by_outcome(table: ClauseTable, row: Cover) -> dict[Outcome | None, list[str]]:
    """Return the targets by what came of a clause's tests there, the worst first."""
    found: dict[Outcome | None, list[str]] = {}
    for target, outcome in zip(table.targets, row.outcomes, strict=True):
        found.setdefault(outcome, []).append(target)
    order = (Outcome.FAIL, Outcome.MISSING, None, Outcome.SKIP, Outcome.PASS)
    return {outcome: found[outcome] for outcome in order if outcome in found}


def css(word: object) -> str:
    """Return an outcome, verdict or severity as a CSS class."""
    return str(word).lower().replace(" ", "-")


def kind(fault: int) -> str:
    """Return whose fault something is as a CSS class."""
    return "fail" if fault == Fault.PATCH else "lab-error"


def seconds(value: float) -> str:
    """Return a time span as people write it."""
    if value < 60:
        return f"{value:.1f} s"
    return f"{int(value) // 60} min {int(value) % 60:02} s"


def duration(run: Run) -> str:
    """Return how long the run took, if it ended."""
    if not run.facts.finished:
        return ""
    begun, ended = map(datetime.fromisoformat, (run.facts.started, run.facts.finished))
    return seconds((ended - begun).total_seconds())


def code_spans(text: str) -> Markup:
    """Return text with its `spans` as code, everything else escaped."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def flat(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield nested values as `a.b: value`, lists as JSON."""
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{k}" if k else key, v) for k, v in flat(value))
        else:
            plain = value if isinstance(value, str) else json.dumps(value)
            yield key, plain


def grid(run: Run) -> Grid:
    """Return the targets of a run by what they are, however many there are."""
    columns: dict[str, dict[str, None]] = {}
    cells: dict[tuple[str, str], dict[tuple[str, str], list[GridTarget]]] = {}
    for target in run.targets:
        facts = target.facts
        columns.setdefault(facts.arch, {})[facts.flavor] = None
        row = cells.setdefault((facts.abi, facts.base), {})
        row.setdefault((facts.arch, facts.flavor), []).append(
            GridTarget(
                target.name,
                _variant(target),
                target.word,
                summary.tally(target.counts()),
            )
        )
    order = [(arch, flavor) for arch, flavors in columns.items() for flavor in flavors]
    return Grid(
        tuple((arch, len(flavors)) for arch, flavors in columns.items()),
        tuple(flavor for _, flavor in order),
        tuple(
            GridRow(abi, base, tuple(tuple(row.get(at, ())) for at in order))
            for (abi, base), row in cells.items()
        ),
    )


def _variant(target: TargetResult) -> str:
    """Return what of a target's name neither its row nor its column says."""
    facts = target.facts
    if not facts.arch:
        # All that is known of it.
        return target.name
    rest = target.name
    for known in (facts.arch, facts.abi, facts.base, facts.flavor):
        rest = re.sub(rf"(^|-){re.escape(known)}(?=-|$)", "", rest, count=1)
    return rest.strip("-")


def rows(target: TargetResult, found: Sequence[Finding]) -> Iterator[Row]:
    """Yield the stages and programs of a target, in order."""
    ids = {(f.target, f.subject): f.id for f in found}
    yield Row("build", _built(target, ids))
    yield Row("boot", _booted(target, ids))
    programs: dict[str, list[ProgramVerdict]] = {}
    for program in target.programs:
        programs.setdefault(program.plan.repeats or program.name, []).append(program)
    for name, verdicts in programs.items():
        cell = _program(target, name, ids)
        yield Row(name, cell, tuple(verdicts))
    if target.facts.benches:
        yield Row("exact lane", _exact(target, ids))


def _error(target: TargetResult, stage: str) -> int | None:
    return next((e.facts.fault for e in target.errors if e.facts.stage == stage), None)


def _broken(fault: int) -> Cell:
    return Cell("failed" if fault == Fault.PATCH else "error", kind(fault))


def _built(target: TargetResult, ids: Mapping[tuple[str, str], str]) -> Cell:
    fault = _error(target, "build")
    link = ids.get((target.name, "build"), "")
    if fault:
        cell = _broken(fault)
        return Cell(cell.text, cell.kind, link)
    return Cell("built", "pass") if target.facts.kernel else Cell("-", "missing")


def _booted(target: TargetResult, ids: Mapping[tuple[str, str], str]) -> Cell:
    for stage in ("boot", "test", "target"):
        link = ids.get((target.name, stage), "")
        fault = _error(target, stage)
        if fault:
            cell = _broken(fault)
            return Cell(cell.text, cell.kind, link)
        if link:
            return Cell("problem", "fail", link)
    if not target.facts.boots:
        return Cell("-", "missing")
    said = [f"{target.boot_ratio:.1f} x floor" if target.boot_ratio else "up"]
    if (n := sum(bool(boot.to_ssh) for boot in target.facts.boots)) > 1:
        said.append(f"{n} boots")
    return Cell(", ".join(said), "pass", "boot")


def _program(
    target: TargetResult, name: str, ids: Mapping[tuple[str, str], str]
) -> Cell:
    if again := [p for p in target.programs if p.plan.repeats == name]:
        return _repeated(target, again, ids)
    program = next(p for p in target.programs if p.name == name)
    link = ids.get((target.name, name), "")
    outcomes = [t.outcome for t in program.tests]
    said = []
    for outcome, word in (
        (Outcome.FAIL, "failed"),
        (Outcome.MISSING, "missing"),
        (Outcome.PASS, "pass"),
        (Outcome.SKIP, "skip"),
    ):
        if n := outcomes.count(outcome):
            said.append(f"{n} {word}")
    if program.splats:
        said.insert(0, "splat")
    elif program.outcome is Outcome.FAIL and not (
        {Outcome.FAIL, Outcome.MISSING} & set(outcomes)
    ):
        said.insert(0, "problem")
    failed = program.outcome is Outcome.FAIL
    how = kind(program.fault) if failed else css(program.outcome)
    return Cell(", ".join(said) or "no tests", how, link)


def _repeated(
    target: TargetResult,
    again: Sequence[ProgramVerdict],
    ids: Mapping[tuple[str, str], str],
) -> Cell:
    good = [p for p in again if p.outcome in (Outcome.PASS, Outcome.SKIP)]
    bad = [p for p in again if p not in good]
    link = next((ids[key] for p in bad if (key := (target.name, p.name)) in ids), "")
    how = "pass"
    if bad:
        fault = worst(p.fault for p in bad if p.fault)
        how = kind(fault) if fault else "missing"
    return Cell(f"{len(good)} of {len(again)} runs", how, link or "repeats")


def _exact(target: TargetResult, ids: Mapping[tuple[str, str], str]) -> Cell:
    link = ids.get((target.name, "exact lane"), "")
    exact = target.exact
    fault = _error(target, "exact")
    if fault or exact is None:
        return _broken(fault) if fault else Cell("-", "missing")
    if exact.identical is False:
        return Cell("runs differ", "lab-error", link)
    if exact.problems:
        return Cell("problem", kind(worst(p.fault for p in exact.problems)), link)
    if over := len(target.over_limit):
        return Cell(f"{over} over limit", "fail", ids[target.name, "limits"])
    return Cell("bit-identical", "pass", "numbers")


def costs(run: Run) -> Iterator[Costs]:
    """Yield the tables of the exact lane, one per architecture and base.

    Each base has a control and references of its own.
    """
    for arch, base in dict.fromkeys((t.facts.arch, t.facts.base) for t in run.targets):
        targets = tuple(
            t
            for t in run.targets
            if (t.facts.arch, t.facts.base) == (arch, base) and t.figures
        )
        if not targets:
            continue
        yield Costs(arch, base, targets, tuple(_cost_rows(targets)))


def by_base(run: Run) -> Iterator[ByBase]:
    """Yield, for each ABI that was measured on several bases, operations x base.

    Counts of two kernels say little beside each other; their ratios to futex do.
    """
    of: dict[tuple[str, str], dict[str, TargetResult]] = {}
    for target in run.targets:
        facts = target.facts
        if target.figures and not facts.is_control:
            of.setdefault((facts.arch, facts.abi), {}).setdefault(facts.base, target)
    for (arch, abi), targets in of.items():
        if len(targets) < 2:
            continue
        planned = dict.fromkeys(
            b.bench for t in targets.values() for b in t.facts.benches
        )
        yield ByBase(
            arch,
            abi,
            tuple(targets),
            tuple(
                (
                    bench,
                    tuple(
                        t.figures.get(Case.of(bench, s))
                        for t in targets.values()
                        for s in SCHEDS
                    ),
                )
                for bench in sorted(planned, key=_order)
                if not bench.startswith("yard/") or bench == FUTEX
            ),
        )


def limits(run: Run) -> Iterator[tuple[str, Figure, Limit]]:
    """Yield every limit with the name of its target and its figure."""
    for target in run.targets:
        for figure in target.figures.values():
            for limit in figure.limits:
                yield target.name, figure, limit


def _order(bench: str) -> tuple[bool, bool, bool]:
    """Sort hand-offs of the ABI first, then futex, then what makes no hand-off."""
    bare = bench.removeprefix("yard/") in (
        "syscall",
        "fault",
        "swapcontext",
        "signal",
        "io_uring",
    )
    return (bench.startswith("yard/"), bench != FUTEX, bare)


def _ordered(target: TargetResult) -> list[Figure]:
    return sorted(target.figures.values(), key=lambda f: _order(f.case.name))


def _headline(targets: Sequence[TargetResult]) -> list[Figure]:
    """Return the figures of the target that measured most: the patched one."""
    return _ordered(max(targets, key=lambda t: len(t.figures)))


def _cost_rows(targets: Sequence[TargetResult]) -> Iterator[CostRow]:
    planned = dict.fromkeys(b.bench for t in targets for b in t.facts.benches)
    for bench in sorted(planned, key=_order):
        cases = [Case.of(bench, sched) for sched in SCHEDS]
        made = [t.figures[c] for t in targets for c in cases if c in t.figures]
        yield CostRow(
            bench,
            made[-1].op if made else "",
            tuple(
                t.figures.get(c) or _unmeasured(t, c) for t in targets for c in cases
            ),
            tuple(
                next((f for f in made if f.case == c and f.reference), None)
                for c in cases
            ),
        )


def _unmeasured(target: TargetResult, case: Case) -> str:
    reason = target.exact.skipped.get(case) if target.exact else None
    return "not measured" if reason is None else f"skipped: {reason}"
