# SPDX-License-Identifier: MIT
"""What the goals of the Makefile call, and that a failure is theirs too."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

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
