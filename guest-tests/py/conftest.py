# SPDX-License-Identifier: GPL-2.0
"""What tests of more than one file need."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from actors import until

CGROUPS = Path("/sys/fs/cgroup")


@pytest.fixture
def group() -> Iterator[Path]:
    """Yield a cgroup of its own; who is still in it at the end is killed."""
    if not (CGROUPS / "cgroup.procs").exists():
        CGROUPS.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "cgroup2", "none", CGROUPS], check=True)
    group = CGROUPS / "umcg"
    group.mkdir()
    yield group
    (group / "cgroup.freeze").write_text("0")
    for pid in (group / "cgroup.procs").read_text().split():
        os.kill(int(pid), signal.SIGKILL)
    until(lambda: not (group / "cgroup.procs").read_text(), "an empty group")
    group.rmdir()
