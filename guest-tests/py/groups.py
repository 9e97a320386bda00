# SPDX-License-Identifier: GPL-2.0
"""Control groups, and the two ways of the kernel to freeze who is in one."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from patience import until


class Group:
    """A cgroup of its own, frozen as cgroup v2 does it: much as by a stop signal."""

    mount = Path("/sys/fs/cgroup")
    options: tuple[str, ...] = ("-t", "cgroup2")
    control, states = "cgroup.freeze", {False: "0", True: "1"}

    def __init__(self) -> None:
        if not (self.mount / "cgroup.procs").exists():
            self.mount.mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", *self.options, "none", self.mount], check=True)
        self.folder = self.mount / "umcg"
        self.folder.mkdir()
        self.procs = self.folder / "cgroup.procs"

    def add(self, pid: int) -> None:
        self.procs.write_text(str(pid))

    def is_frozen(self, on: bool) -> bool:
        return f"frozen {on:d}" in (self.folder / "cgroup.events").read_text()

    def freeze(self, on: bool) -> None:
        (self.folder / self.control).write_text(self.states[on])
        until(lambda: self.is_frozen(on), f"frozen {on}")

    def end(self) -> None:
        """Kill who is still in it."""
        self.freeze(False)
        for pid in self.procs.read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        until(lambda: not self.procs.read_text(), "an empty group")
        self.folder.rmdir()


class SuspendedGroup(Group):
    """A cgroup that is frozen as all processes are for system suspend: cgroup v1."""

    mount = Path("/run/freezer")
    options = ("-t", "cgroup", "-o", "freezer")
    control, states = "freezer.state", {False: "THAWED", True: "FROZEN"}

    def is_frozen(self, on: bool) -> bool:
        return (self.folder / self.control).read_text().strip() == self.states[on]
