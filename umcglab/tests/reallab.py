# SPDX-License-Identifier: MIT
"""The lab of the project, with results of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from umcglab.host import display
from umcglab.lab import config
from umcglab.lab.config import Lab, Target
from umcglab.run import artifacts
from umcglab.run.artifacts import Built
from umcglab.verdict.targets import TargetResult

ROOT = config.ROOT
PATCHED = "{}-umcg-v0.5"
SMALL = (("smp: 4", "smp: 2"), ("memory: 4096", "memory: 1024"))


def make(folder: Path, *, small: bool = False) -> Path:
    """Write a lab.yaml like the project's into `folder`; return it.

    Guests are `small` for detectors that look through all memory, and on as many CPUs as
    most hosts of `make test` have: a run with four and with all memory is for the night.
    """
    text = (ROOT / "lab.yaml").read_text()
    for whole, part in SMALL if small else ():
        assert whole in text
        text = text.replace(whole, part)
    path = folder / "lab.yaml"
    path.write_text(f"{text}\nresults: {folder}/results\n")
    return path


def build(lab: Lab, targets: Sequence[Target]) -> Built:
    """Build `targets`, or take them from the lab's cache."""
    with display.Display() as shown:
        made = artifacts.build(lab, targets, artifacts.cores(None), shown)
    assert made.errors() == ()
    return made


def umcglab(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "umcglab", *argv],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def qemus_of(folder: Path) -> list[str]:
    """Return the command lines of running QEMUs that use `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "qemu-system" in line and str(folder) in line:
            found.append(line)
    return found


def assert_all_is_well(target: TargetResult) -> None:
    """Every test of a target passed, or skipped where the control has no UMCG."""
    outcomes = {test.name: test.outcome for p in target.programs for test in p.tests}
    assert outcomes
    skipped = {name for name, outcome in outcomes.items() if outcome == "SKIP"}
    needs = {n for p in target.facts.programs for n in p.needs_umcg}
    assert skipped == (needs if target.facts.is_control else set())
    assert target.facts.boots[0].to_ssh
