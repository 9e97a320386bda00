# SPDX-License-Identifier: MIT
"""Exact figures held to their limits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from umcglab.lab.config import ROOT
from umcglab.lab.manifest import load_plan
from umcglab.results.case import Case
from umcglab.results.facts import TargetFacts
from umcglab.verdict import limits
from umcglab.verdict.figures import Figure, Limit
from umcglab.verdict.limits import Limits, Of, Over, Yardstick

RULES = Limits(
    of=Of("umcg-x", "6.12", "bench"),
    arch="x86_64",
    elsewhere=Yardstick("yard/futex", {"fair": 1000, "fifo": 2000}),
    at_most={"switch/a": {"fair": 3000, "fifo": 2000}},
    over={"worker/b": Over("yard/b", 20)},
    flat={"scale/c": 0.1},
)
TARGET = TargetFacts("t", "x86_64", "umcg-x", "6.12", "bench")


Costs = dict[tuple[str, str], float]


def held(
    costs: Costs,
    target: TargetFacts = TARGET,
    least: Costs | None = None,
    rules: Limits = RULES,
) -> dict[str, Limit]:
    """Return the limits of figures with these medians, and cheapest batches."""
    figures = {}
    for name, sched in {**costs, **(least or {})}:
        case = Case.of(name, sched)
        cost = costs.get((name, sched), 10**6)
        low = (least or {}).get((name, sched), cost)
        # In tenths of an instruction, ten operations a batch.
        batches = ((round(100 * low), 1), (round(100 * cost), 2))
        figures[case] = Figure(case, 1, "an operation", 100, 0, batches)
    made = limits.of([rules], target, figures)
    assert all(len(found) == 1 for found in made.values())
    return {f"{c.name}:{c.sched}": found[0] for c, found in made.items()}


@pytest.mark.parametrize(("seen", "holds"), [(3000, True), (3000.1, False)])
def test_at_most(seen: float, holds: bool) -> None:
    made = held({("switch/a", "fair"): seen, ("switch/a", "fifo"): 1})
    assert made["switch/a:fair"] == Limit(seen, 3000, "3,000")
    assert made["switch/a:fair"].holds is holds
    assert made["switch/a:fifo"].most == 2000


def test_what_is_over_is_said_in_words() -> None:
    figure = Figure(Case.of("scale/c-10", "fair"), 1, "an operation", 1, 0, ((30, 1),))
    held_to = (Limit(30, 20, "twenty"), Limit(30, 30, "thirty"))
    said = "scale/c-10 fair: 30.0 instructions, at most 20.0 (twenty)"
    assert replace(figure, limits=held_to).over() == (said,)


def test_over_another_of_the_same_class() -> None:
    costs = {
        ("yard/b", "fair"): 200.0,
        ("yard/b", "fifo"): 100.0,
        ("worker/b", "fair"): 220.0,
        ("worker/b", "fifo"): 121.0,
    }
    made = held(costs)
    assert {name: b.holds for name, b in made.items()} == {
        "worker/b:fair": True,
        "worker/b:fifo": False,
    }
    # A median that is elsewhere says nothing of it.
    least = held({**costs, ("worker/b", "fifo"): 160.0}, least=costs)
    assert least["worker/b:fifo"].seen == 121.0
    assert made["worker/b:fifo"].rule == "yard/b 100 + 20, minimum batches"
    assert not held({("worker/b", "fair"): 220.0}), "nothing to hold it to"


@pytest.mark.parametrize(("seen", "holds"), [(620, True), (620.1, False)])
def test_a_part_of_the_yardstick_of_the_same_boot(seen: float, holds: bool) -> None:
    rules = replace(RULES, at_most={}, ratios={"arm64": {"switch/a": {"fair": 0.62}}})
    costs = {("yard/futex", "fair"): 1000.0, ("switch/a", "fair"): seen}
    arm64 = replace(TARGET, arch="arm64")
    (made,) = held(costs, arm64, rules=rules).values()
    assert made == Limit(seen, 620, "0.62 x yard/futex 1,000")
    assert made.holds is holds
    assert not held(costs, TARGET, rules=rules), "of another architecture"
    del costs["yard/futex", "fair"]
    assert not held(costs, arm64, rules=rules), "nothing to hold it to"


def test_every_size_is_held_to_the_cheapest_of_its_class() -> None:
    costs = {
        ("scale/c-1", "fair"): 110.1,
        ("scale/c-10", "fair"): 100.0,
        ("scale/c-100", "fair"): 109.9,
        ("scale/c-1", "fifo"): 50.0,
        ("scale/c", "fair"): 1.0,
    }
    made = held({}, least=costs)
    assert {name: b.holds for name, b in made.items()} == {
        "scale/c-1:fair": False,
        "scale/c-10:fair": True,
        "scale/c-100:fair": True,
        "scale/c-1:fifo": True,
    }
    assert made["scale/c-1:fair"].rule == "scale/c-10 100 + 10%, minimum batches"


def test_elsewhere_it_goes_by_the_yardstick() -> None:
    arm = TargetFacts("t", "arm64", "umcg-x", "6.12", "bench")
    costs = {
        ("yard/futex", "fair"): 500.0,
        ("yard/futex", "fifo"): 1000.0,
        ("switch/a", "fifo"): 1001.0,
    }
    (bound,) = held(costs, arm).values()
    assert (bound.most, bound.holds) == (1000, False)
    assert bound.rule == "2,000, x yard/futex 1,000 / 2,000"
    assert not held({("switch/a", "fifo"): 1.0}, arm), "without it there is no limit"


@pytest.mark.parametrize(
    "other",
    [
        TargetFacts("t", "x86_64", "control", "6.12", "bench"),
        TargetFacts("t", "x86_64", "umcg-x", "6.1", "bench"),
        TargetFacts("t", "x86_64", "umcg-x", "6.12", "debug"),
        TargetFacts("t", "x86_64", "umcg-x", "6.12", "bench", extra="more"),
    ],
)
def test_other_targets_have_none(other: TargetFacts) -> None:
    assert not held({("switch/a", "fair"): 1.0}, other)


def test_what_is_built_with_more_has_its_own() -> None:
    rules = replace(RULES, of=replace(RULES.of, extra="more"))
    costs = {("switch/a", "fair"): 1.0}
    assert held(costs, replace(TARGET, extra="more"), rules=rules)
    assert not held(costs, rules=rules)


def test_what_has_a_limit_is_measured() -> None:
    known = limits.load()
    assert known
    for rules in known:
        benches = {
            b.name: b
            for b in load_plan(ROOT / "guest-tests", rules.of.abi).of_kind("bench")
        }
        named = {*rules.at_most, *rules.over, *(o.than for o in rules.over.values())}
        assert named | {rules.elsewhere.bench} <= benches.keys()
        for sizes in (benches[name].sizes for name in rules.flat):
            assert (sizes[0], sizes[-1]) == (1, 10000)
