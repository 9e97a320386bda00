# SPDX-License-Identifier: MIT
"""A judged run in lines for a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence

from umcglab.verdict import repeats
from umcglab.verdict.ktap import Outcome
from umcglab.verdict.runs import Run
from umcglab.verdict.targets import BOOT_RATIO, TargetResult


def notes(run: Run) -> tuple[str, ...]:
    """Return what is no failure and yet worth knowing."""
    said = []
    if run.facts.interrupted:
        said.append(f"The run did not finish: {run.facts.interrupted}.")
    elif not run.finished:
        said.append("The run did not finish; this is what it left.")
    for target in run.targets:
        compared = [f for f in target.figures.values() if f.reference]
        off = [f for f in compared if f.is_off]
        if off:
            named = ", ".join(f"{f.case} {f.change:+.0%}" for f in off[:4])
            known = [f.reference for f in off if f.reference]
            reasons = {r.why or "no reason is on file" for r in known}
            said.append(
                f"{target.name}: {len(off)} of {len(compared)} figures are more than "
                f"{known[0].tolerance:.0%} off their reference ({named}"
                f"{', ...' if len(off) > 4 else ''}): {'; '.join(sorted(reasons))}."
            )
        if target.boot_ratio and target.boot_ratio > BOOT_RATIO:
            said.append(
                f"{target.name}: boot to SSH took {target.boot_ratio:.1f} times the "
                f"floor; the aim is {BOOT_RATIO:g}."
            )
    whole = "--tests" not in re.split(r"[\s=]", run.facts.command)
    planned = {t.name for t in run.targets if t.programs and whole}
    for table in run.clauses:
        if table.holes and planned.issuperset(table.targets):
            said.append(f"{table.abi}: no test cites {', '.join(table.holes)}.")
        if table.unknown:
            said.append(
                f"{table.abi}: tests cite clauses that ABI.md does not have: "
                f"{', '.join(table.unknown)}."
            )
    return tuple(said)


def lines(run: Run) -> list[str]:
    """Return the run in lines for a terminal."""
    said = [f"{run.verdict}: {tally(run.counts())}"]
    for target in run.targets:
        said.append(f"  {line(target)}")
    found = run.findings
    for finding in found[:8]:
        said.append(f"{finding.target} {finding.subject}: {finding.headline}")
        said += [f"  {command}" for command in finding.commands[:1]]
    if len(found) > 8:
        said.append(f"... and {len(found) - 8} more, in the report")
    said += repeats.summary(run)
    return said + [f"note: {note}" for note in notes(run)]


def line(target: TargetResult) -> str:
    """Return the verdict on one target in a line."""
    return f"{target.name:24} {target.word:10} {about(target)}"


def tally(counts: dict[Outcome, int]) -> str:
    """Return counts in words, the unexciting ones last."""
    order: Sequence[tuple[Outcome, str]] = (
        (Outcome.FAIL, "failed"),
        (Outcome.MISSING, "missing"),
        (Outcome.PASS, "passed"),
        (Outcome.SKIP, "skipped"),
    )
    said = [f"{counts[outcome]} {word}" for outcome, word in order if counts[outcome]]
    return ", ".join(said) or "no tests"


def about(target: TargetResult) -> str:
    """Return one target's tests, boot and exactness in a few words."""
    said = [tally(target.counts())]
    if target.boot_ratio:
        said.append(f"boot to SSH {target.boot_ratio:.1f} x floor")
    if target.exact and target.exact.identical is not None:
        same = target.exact.identical
        said.append("exact runs identical" if same else "EXACT RUNS DIFFER")
    return "; ".join(said)
