# SPDX-License-Identifier: MIT
"""What the goals of the Makefile call, and that a failure is theirs too."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from umcglab.lab import config
from umcglab.lab.config import ROOT

SCRIPT = '#!/bin/sh\necho "$@"\n[ "$1" != "$FAILS" ]\n'


@pytest.mark.parametrize(
    ("goals", "fails", "calls"),
    [
        (["lab"], "none", ["build"]),
        (["run"], "none", ["run"]),
        (["lab", "run"], "none", ["run"]),
        (["-j2", "run", "lab"], "none", ["run"]),
        (["lab", "run", "ONLY=a,b", "JOBS=3"], "none", ["run --only a,b --jobs 3"]),
        (["lab", "report"], "none", ["build", "report results/latest"]),
        (["lab"], "build", ["build"]),
        (["lab", "run"], "run", ["run"]),
        (["lab", "run"], "build", ["run"]),
    ],
)
def test_goals(tmp_path: Path, goals: list[str], fails: str, calls: list[str]) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in (".venv/bin/umcglab", "umcglab/setup/setup.sh"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(SCRIPT)
        path.chmod(0o755)
    # Not the flags of a make that runs the tests.
    env = os.environ | {"MAKEFLAGS": "", "MFLAGS": "", "FAILS": fails}
    done = subprocess.run(
        ["make", "-C", tmp_path, "--no-print-directory", *goals],
        env=env,
        capture_output=True,
        text=True,
    )
    said = [line for line in done.stdout.splitlines() if not line.startswith("make")]
    assert said == ["", *calls]  # the first is setup's
    assert (done.returncode != 0) == any(
        call.startswith(fails or "-") for call in calls
    )


def dry(goal: str) -> list[str]:
    """Return the commands of a goal, without the set-up."""
    argv = ["make", "-C", str(ROOT), "-n", "--no-print-directory", *shlex.split(goal)]
    env = os.environ | {"MAKEFLAGS": "", "MFLAGS": ""}
    done = subprocess.run(argv, check=True, env=env, capture_output=True, text=True)
    lines = (" ".join(line.split()) for line in done.stdout.splitlines())
    return [line for line in lines if "setup.sh" not in line]


def test_the_nights_of_ci_are_all_of_make_nightly() -> None:
    """What is in parts for want of time must be there as a whole, each target too."""
    all_of_it = [line for line in dry("nightly") if not line.startswith("make")]
    assert len(all_of_it) == 4
    github = yaml.safe_load((ROOT / ".github/workflows/nightly.yml").read_text())
    gitlab = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text())["nightly"]
    for parts in (
        [
            part["goals"]
            for part in github["jobs"]["lab"]["strategy"]["matrix"]["include"]
        ],
        [
            f"{part['GOALS']} ONLY='{only}'"
            for part in gitlab["parallel"]["matrix"]
            for only in part.get("ONLY", [""])
        ],
    ):
        commands = [line for goals in parts for line in dry(goals)]
        only = re.compile(r" --only '(.*?)'")
        assert {only.sub("", line) for line in commands} == set(all_of_it)
        patterns = [match[1] for line in commands if (match := only.search(line))]
        lab = config.load(ROOT / "lab.yaml")
        assert set(config.select(lab, patterns)) == set(lab.targets)


def test_every_test_is_run_by_one_goal() -> None:
    """By its marks, in what `make test` and `make nightly-tests` run, and only once."""
    lines = [line for goal in ("test", "nightly-tests") for line in dry(goal)]
    chosen = [
        m[1] or m[2]
        for line in lines
        if (m := re.search(r"-m (?:'(.*?)'|(\w+))", line))
    ]
    assert len(chosen) == 3
    names = ("lab", "nightly", "slow")
    for marks in itertools.product((False, True), repeat=3):
        known = dict(zip(names, marks, strict=True))
        # A test of the night is one of the lab's.
        if known["lab"] or not known["nightly"]:
            assert [eval(one, {}, known) for one in chosen].count(True) == 1, known


@pytest.fixture
def limit_of_fixtures() -> float:
    """The time that is left to a fixture, in seconds; 0 when it has no limit."""
    return signal.getitimer(signal.ITIMER_REAL)[0]


@pytest.mark.timeout(3600)
def test_building_a_kernel_does_not_count_as_time_of_a_test(
    limit_of_fixtures: float,
) -> None:
    assert limit_of_fixtures == 0
    assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 3600
