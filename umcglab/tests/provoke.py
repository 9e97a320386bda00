# SPDX-License-Identifier: MIT
"""Kernels made to misbehave, by lkdtm, under programs that say they passed."""

from __future__ import annotations

from dataclasses import replace

from umcglab.host.progress import Silent
from umcglab.kernel import addr2line
from umcglab.lab import config
from umcglab.lab.config import Lab
from umcglab.lab.manifest import Program
from umcglab.run import lanes, session
from umcglab.run.artifacts import Built
from umcglab.verdict.runs import Run

PROVOKE = "echo {} > /sys/kernel/debug/provoke-crash/DIRECT"
PASSES = "echo 'TAP version 13'; echo 1..1; echo 'ok 1 fine'"


def provoked(name: str, what: str) -> Program:
    """Return a program that provokes `what` and then says that it passed."""
    shell = f"{PROVOKE.format(what)}; {PASSES}" if what else PASSES
    return Program(
        name=name,
        kind="test",
        argv=("sh", "-c", shell),
        timeout=15,
        tests=("fine",),
    )


def run_programs(lab: Lab, built: Built, name: str, *programs: Program) -> Run:
    """Run made-up programs on a real target; return the derived result."""
    target = config.select(lab, [name])[0]
    run_dir = session.begin(lab, [target], session.Options(command="test", cores=2))
    made = replace(session.ready(target, built), programs=programs, floor=False)
    state = session.write_plan(made, run_dir, benches=())
    lanes.test_lane(lab, made, state, run_dir, Silent())
    addr2line.write(made.kernel, run_dir, target.name)
    return session.render(run_dir)
