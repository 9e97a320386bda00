# SPDX-License-Identifier: MIT
"""Where a guest that hangs is stuck: its programs, or its CPUs."""

from __future__ import annotations

import contextlib
import re
import time
from bisect import bisect_right
from pathlib import Path

from umcglab.errors import InfraError
from umcglab.guest.qemu import Qemu

_SAMPLES = 5
_OURS = ("init", "dropbear", "sh")

# Without a fork: threads of programs (which have a command line), and the
# kernel function each waits in, 0 for one that runs.
TASKS = """for task in /proc/[0-9]*/task/[0-9]*; do
    line=; read -r line < $task/cmdline
    if [ "$line" ]; then
        read -r comm < $task/comm; read -r wchan < $task/wchan; echo "$comm $wchan"
    fi
done 2>/dev/null; true"""

_PC = re.compile(r"\b(?:RIP|PC)\s*=\s*([0-9a-f]{8,16})")


def tasks(said: str) -> tuple[str, ...]:
    """Return `program: function` for what `TASKS` printed, without the lab's own."""
    rows = (line.rpartition(" ") for line in said.splitlines())
    return tuple(
        dict.fromkeys(
            f"{comm}: {'running' if wchan == '0' else wchan}"
            for comm, _, wchan in rows
            if comm not in _OURS
        )
    )


def cpus(machine: Qemu, system_map: Path) -> tuple[str, ...]:
    """Ask the monitor a few times where the CPUs are."""
    answers = []
    with contextlib.suppress(InfraError):
        for _ in range(_SAMPLES):
            answers.append(machine.monitor("info registers -a"))
            time.sleep(0.1)
    return locate("".join(answers), system_map.read_text()) or ("an unknown place",)


def locate(registers: str, system_map: str) -> tuple[str, ...]:
    """Return the functions that program counters in `registers` are in, once each."""
    rows = (line.split() for line in system_map.splitlines())
    table = sorted((int(row[0], 16), row[2]) for row in rows if row[1] in "tTwW")
    addresses = [address for address, _ in table]
    names = []
    for match in _PC.finditer(registers):
        address = int(match[1], 16)
        at = bisect_right(addresses, address) - 1
        inside = at >= 0 and address < addresses[-1]
        names.append(table[at][1] if inside else "user space")
    return tuple(dict.fromkeys(names))
