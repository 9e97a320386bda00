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
from umcglab.results.facts import TargetFacts

FOLDER = Path(__file__).resolve().parent.parent.parent / "results/limits"

Costs = Mapping[tuple[str, str], float]
"""(bench, scheduling class) -> what one operation costs."""


@dataclass(frozen=True)
class Of:
    """The targets that limits hold for, of every architecture."""

    abi: str
    base: str
    flavor: str


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
    """A bench may cost this many instructions more than another."""

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


@dataclass(frozen=True)
class Bound:
    """One figure and the limit that it is held to."""

    bench: str
    sched: str
    seen: float
    limit: float
    rule: str
    """Where the limit is from."""

    @property
    def holds(self) -> bool:
        return self.seen <= self.limit

    def __str__(self) -> str:
        return (
            f"{self.bench} {self.sched}: {self.seen:,.1f} instructions, "
            f"at most {self.limit:,.1f} ({self.rule})"
        )


def load(folder: Path = FOLDER) -> tuple[Limits, ...]:
    """Read the limits in `folder`."""
    return tuple(codec.read(path, Limits) for path in sorted(folder.glob("*.json")))


def bounds(
    known: Sequence[Limits], target: TargetFacts, costs: Costs, least: Costs
) -> tuple[Bound, ...]:
    """Return what was measured beside its limits; what was not has none.

    `costs` are of the median batch, `least` of the cheapest one.
    """
    mine = Of(target.abi, target.base, target.flavor)
    return tuple(
        bound
        for limits in known
        if limits.of == mine
        for bound in (*_bounds(limits, target.arch, costs), *_flat(limits, least))
    )


def _bounds(limits: Limits, arch: str, costs: Costs) -> Iterator[Bound]:
    for (bench, sched), seen in costs.items():
        scale, how = 1.0, ""
        if arch != limits.arch:
            yardstick = limits.elsewhere
            here = costs.get((yardstick.bench, sched))
            if here is None:
                continue
            there = yardstick.costs[sched]
            scale = here / there
            how = f", x {yardstick.bench} {here:,.0f} / {there:,.0f}"
        if (most := limits.at_most.get(bench, {}).get(sched)) is not None:
            yield Bound(bench, sched, seen, most * scale, f"{most:,.0f}{how}")
        part = limits.ratios.get(arch, {}).get(bench, {}).get(sched)
        yard = costs.get((limits.elsewhere.bench, sched))
        if part is not None and yard is not None:
            rule = f"{part:.2f} x {limits.elsewhere.bench} {yard:,.0f}"
            yield Bound(bench, sched, seen, part * yard, rule)
        if over := limits.over.get(bench):
            than = costs.get((over.than, sched))
            if than is not None:
                rule = f"{over.than} {than:,.0f} + {over.by:,.0f}{how}"
                yield Bound(bench, sched, seen, than + over.by * scale, rule)


def _flat(limits: Limits, least: Costs) -> Iterator[Bound]:
    """Yield each size of a bench, held to the cheapest one of its class."""
    for family, part in limits.flat.items():
        sizes = {key: n for key, n in least.items() if key[0].startswith(f"{family}-")}
        for (bench, sched), seen in sizes.items():
            cheapest, size = min((n, b) for (b, s), n in sizes.items() if s == sched)
            rule = f"{size} {cheapest:,.0f} + {part:.0%}, minimum batches"
            yield Bound(bench, sched, seen, cheapest * (1 + part), rule)
