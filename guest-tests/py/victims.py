# SPDX-License-Identifier: GPL-2.0
"""Tests of no ABI for harness/selftest to run and see fail, or not."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path


def busy(cpu: int) -> int:
    """Return for how many ms `cpu` has been busy since boot, as the watch has it."""
    (line,) = (
        line
        for line in Path("/proc/stat").read_text().splitlines()
        if line.startswith(f"cpu{cpu} ")
    )
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, line.split()[1:])
    return (user + nice + system + irq + softirq) * 1000 // os.sysconf("SC_CLK_TCK")


def stay() -> int:
    """Run on this CPU alone from now on; return which that is."""
    cpu: int = ctypes.CDLL(None).sched_getcpu()
    os.sched_setaffinity(0, {cpu})
    return cpu


def spin(cpu: int, ms: int) -> None:
    """Keep the CPU busy for `ms`."""
    end = busy(cpu) + ms
    while busy(cpu) < end:
        pass


def test_hogs_a_cpu() -> None:
    """For longer than the selftest's limit, and by a period of the watch less than 1 s.

    The harness that runs the selftest has a watch of its own, whose limit that is.
    """
    cpu = stay()
    first = os.sched_param(os.sched_get_priority_max(os.SCHED_FIFO))
    os.sched_setscheduler(0, os.SCHED_FIFO, first)
    spin(cpu, 700)
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def test_is_busy() -> None:
    spin(stay(), 800)
