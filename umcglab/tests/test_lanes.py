# SPDX-License-Identifier: MIT
"""What the exact lane is told to run."""

from __future__ import annotations

from pathlib import Path

from umcglab import lanes
from umcglab.bundle import Bundle, Manifest, Program
from umcglab.exact import Step
from umcglab.facts import BenchPlanFacts

PLAIN = Program("yard/futex", "bench", ("bench/yard/futex",))
SIZED = Program("scale/x", "bench", ("bench/scale/x",), needs_umcg=True, sizes=(1, 10))
TEST = Program("umcg/ctl", "test", ("bin/umcg/ctl",), ("a",))


def test_every_bench_and_size_in_each_class() -> None:
    plan = lanes.benches(Bundle(Path(), "0", Manifest((TEST, PLAIN, SIZED))))
    assert [made.name for made in plan] == [
        "yard/futex:fair",
        "yard/futex:fifo",
        "scale/x-1:fair",
        "scale/x-1:fifo",
        "scale/x-10:fair",
        "scale/x-10:fifo",
    ]
    fact = BenchPlanFacts("scale/x-10:fifo", "scale/x-10", "fifo", needs_umcg=True)
    argv = ("bench/scale/x", "--sched", "fifo", "--size", "10")
    assert plan[fact] == Step("scale/x-10:fifo", argv)
    first = BenchPlanFacts("yard/futex:fair", "yard/futex", "fair")
    assert plan[first].argv == ("bench/yard/futex", "--sched", "fair")
