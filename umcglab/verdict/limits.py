# SPDX-License-Identifier: MIT
"""What the exact lane may show at most: results/limits/*.json.

Instruction counts are exact, so they can be asserted: a figure over its limit
is a failure of the patch. Limits are of one architecture; on the others they are
scaled by what a yardstick costs there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from umcglab.results import codec
from umcglab.results.case import Case
from umcglab.results.facts import TargetFacts
from umcglab.verdict.figures import Figure, Limit

FOLDER = Path(__file__).resolve().parent.parent.parent / "results/limits"


@dataclass(frozen=True)
class Of:
    """The targets that limits hold for, of every architecture."""

    abi: str
    base: str
    flavor: str
    extra: str = ""
    """What they are built `with`."""


@dataclass(frozen=True)
class Yardstick:
    """What scales limits elsewhere: what a bench costs there over what it `costs` here.

    It is measured in the scheduling class of the figure that is held to a limit,
    for architectures differ in what a class costs them.
    """

    bench: str
    costs: dict[str, float]
    """scheduling class -> instructions per operation"""


@dataclass(frozen=True)
class Over:
    """A bench may cost this many instructions more than another, by minimum batches.

    Medians do not work: on 7.3 some first touches of pages cost what they do elsewhere,
    others more from batch to batch, and one batch more or less of those moves the median
    by as much as a worker may cost.
    """

    than: str
    by: float


@dataclass(frozen=True)
class Limits:
    """One file."""

    of: Of
    arch: str
    elsewhere: Yardstick
    at_most: dict[str, dict[str, float]]
    """bench -> scheduling class -> instructions per operation"""
    over: dict[str, Over]
    flat: dict[str, float]
    """Bench with sizes -> the most by which any size may exceed the cheapest, as a
    fraction, comparing minimum batches.

    Medians do not work: EEVDF's delayed dequeue, which may leave a task that sleeps on
    the run queue, puts long stretches of a run into one of two modes about 15 % apart
    (152e11f6df29 ("sched/fair: Implement delayed dequeue"), v6.12).
    """
    ratios: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    """architecture -> bench -> scheduling class -> fraction of what the yardstick costs in
    the same boot and class"""
    schema: int = codec.SCHEMA


def load(folder: Path = FOLDER) -> tuple[Limits, ...]:
    """Read the limits in `folder`."""
    return tuple(codec.read(path, Limits) for path in sorted(folder.glob("*.json")))


def of(
    known: Sequence[Limits], target: TargetFacts, figures: Mapping[Case, Figure]
) -> Mapping[Case, tuple[Limit, ...]]:
    """Return the limits of what was measured on `target`; most figures have none."""
    found: dict[Case, tuple[Limit, ...]] = {}
    for limits in known:
        if limits.of != Of(target.abi, target.base, target.flavor, target.extra):
            continue
        made = (*_of_one(limits, target.arch, figures), *_flat(limits, figures))
        for case, limit in made:
            found[case] = (*found.get(case, ()), limit)
    return found


def _of_one(
    limits: Limits, arch: str, figures: Mapping[Case, Figure]
) -> Iterator[tuple[Case, Limit]]:
    for case, figure in figures.items():
        seen, sched = figure.per_op, case.sched
        yardstick = limits.elsewhere
        yard = figures.get(Case.of(yardstick.bench, sched))
        scale, how = 1.0, ""
        if arch != limits.arch:
            if yard is None:
                continue
            there = yardstick.costs[sched]
            scale = yard.per_op / there
            how = f", x {yardstick.bench} {yard.per_op:,.0f} / {there:,.0f}"
        if (most := limits.at_most.get(case.name, {}).get(sched)) is not None:
            yield case, Limit(seen, most * scale, f"{most:,.0f}{how}")
        part = limits.ratios.get(arch, {}).get(case.name, {}).get(sched)
        if part is not None and yard is not None:
            rule = f"{part:.2f} x {yardstick.bench} {yard.per_op:,.0f}"
            yield case, Limit(seen, part * yard.per_op, rule)
        over = limits.over.get(case.name)
        than = figures.get(Case.of(over.than, sched)) if over else None
        if over and than:
            rule = (
                f"{over.than} {than.least:,.0f} + {over.by:,.0f}{how}, minimum batches"
            )
            yield case, Limit(figure.least, than.least + over.by * scale, rule)


def _flat(
    limits: Limits, figures: Mapping[Case, Figure]
) -> Iterator[tuple[Case, Limit]]:
    """Yield each size of a bench, held to the cheapest one of its class."""
    for bench, part in limits.flat.items():
        sizes = {c: f.least for c, f in figures.items() if c.bench == bench and c.size}
        for case, seen in sizes.items():
            cheapest, name = min(
                (cost, c.name) for c, cost in sizes.items() if c.sched == case.sched
            )
            rule = f"{name} {cheapest:,.0f} + {part:.0%}, minimum batches"
            yield case, Limit(seen, cheapest * (1 + part), rule)
