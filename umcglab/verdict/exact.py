# SPDX-License-Identifier: MIT
"""Decide what the raw logs of one exact lane prove.

Pure functions of text and facts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from umcglab.errors import Fault
from umcglab.results.case import Case
from umcglab.results.facts import BenchPlanFacts
from umcglab.verdict import bench_output, splat
from umcglab.verdict.bench_output import DONE, Difference
from umcglab.verdict.figures import Figure
from umcglab.verdict.programs import Context, Problem
from umcglab.verdict.splat import Splat


@dataclass(frozen=True)
class ExactVerdict:
    """The exact lane of one target.

    `identical` is None if there are not two outputs that came to their end.
    """

    figures: Mapping[Case, Figure]
    skipped: Mapping[Case, str]
    """What its kernel cannot run, and why, by its own word."""
    identical: bool | None
    difference: Difference | None
    problems: tuple[Problem, ...]
    splats: tuple[Splat, ...] = ()


def judge(
    plan: Sequence[BenchPlanFacts],
    outputs: Sequence[str | None],
    consoles: Sequence[str | None],
    difference: Difference | None,
    context: Context,
) -> ExactVerdict:
    """Judge the exact guests of one target from their outputs and consoles.

    None stands for what a guest did not leave. Numbers are those of the first
    guest, and only if nothing is wrong do they mean anything.
    """
    problems: list[Problem] = []
    splats: list[Splat] = []
    parsed = []
    for n, (output, console) in enumerate(zip(outputs, consoles, strict=True), 1):
        who = f"exact guest {n}"
        if output is None:
            problems.append(Problem(f"{who}: left no output", Fault.LAB))
            continue
        parsed.append(bench_output.parse_uart(output, plan))
        problems += [
            Problem(f"{who}: {text}", context.fault) for text in parsed[-1].problems
        ]
        if console is None:
            problems.append(Problem(f"{who}: its console was not kept", Fault.LAB))
            continue
        found = splat.scan(console)
        splats += found
        problems += [
            Problem(f"{who}: kernel {s.kind}: {s.text}", context.fault) for s in found
        ]
        booted = re.search(r"Linux version (\S+)", console)
        if booted and booted[1] != context.release:
            problems.append(
                Problem(f"{who}: ran {booted[1]}, not {context.release}", Fault.LAB)
            )
    identical = None
    if len(outputs) > 1 and all(o and o.endswith(f"{DONE}\n") for o in outputs):
        identical = difference is None
        if difference:
            where = f" ({difference.bench})" if difference.bench else ""
            problems.append(
                Problem(
                    f"two exact guests differ in line {difference.line}{where}",
                    Fault.LAB,
                )
            )
    first = parsed[0] if parsed else bench_output.Output({}, {}, ())
    problems += [p for output in parsed[:1] for p in _skips(plan, output, context)]
    return ExactVerdict(
        first.figures,
        first.skipped,
        identical,
        difference,
        tuple(problems),
        tuple(splats),
    )


def _skips(
    plan: Sequence[BenchPlanFacts], output: bench_output.Output, context: Context
) -> list[Problem]:
    """Return which benches ran, or did not, on the wrong kernel."""
    needs = {p.case for p in plan if p.needs_umcg}
    absent = {p.case: p.absent for p in plan if p.absent is not None}
    problems = []
    for case, reason in output.skipped.items():
        legal = context.is_control and case in needs
        if not legal and absent.get(case) != reason:
            problems.append(Problem(f"{case}: skipped ({reason})", context.fault))
    for case in output.figures:
        why = absent.get(case)
        if why is not None:
            why = f"measured, and its ABI is said to lack that: {why}"
        elif context.is_control and case in needs:
            why = "measured without UMCG"
        if why is not None:
            problems.append(Problem(f"{case}: {why}", Fault.LAB))
    return problems
