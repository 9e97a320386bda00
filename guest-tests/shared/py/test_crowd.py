# SPDX-License-Identifier: GPL-2.0
"""Many workers at work, and a system that does to them all that systems do."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import random
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from child import Child
from groups import Group
from patience import PATIENCE, until

HERE = Path(__file__).resolve().parent
STORM = HERE.parent.parent / "bin" / HERE.name / "storm"
CPUS = Path("/sys/devices/system/cpu")
COMPACT = Path("/proc/sys/vm/compact_memory")
KEPT_FREE = Path("/proc/sys/vm/min_free_kbytes")
SWAPPINESS = Path("/proc/sys/vm/swappiness")
DROP_CACHES = Path("/proc/sys/vm/drop_caches")

MIB = 1 << 20
LOOP_SET_FD, LOOP_CLR_FD, LOOP_CTL_GET_FREE = 0x4C00, 0x4C01, 0x4C82
PIECE = 64
"""Turns of the crowd that show it to be alive."""

libc = ctypes.CDLL(None, use_errno=True)


class Crowd(Child):
    """A process of workers that take turns at everything until told to end."""

    def __init__(self) -> None:
        super().__init__(STORM, "--crowd")

    def turns(self) -> int:
        return int(self.ask())

    def goes_on(self, turns: int = PIECE) -> None:
        """Wait until it has taken some more turns."""
        goal = self.turns() + turns
        until(lambda: self.turns() >= goal, "turns of the crowd")

    @property
    def tids(self) -> list[int]:
        return [int(p.name) for p in Path(f"/proc/{self.pid}/task").iterdir()]

    @property
    def states(self) -> set[str]:
        """The state letters of its threads."""
        stats = Path(f"/proc/{self.pid}/task").glob("*/stat")
        return {p.read_text().rpartition(")")[2].split()[0] for p in stats}

    def ends(self) -> None:
        """See every worker come to its end, and the process well."""
        assert self.end() == 0


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    crowd = Crowd()
    crowd.goes_on()
    yield crowd
    crowd.kill()
    crowd.bury()


def freeze_often(group: Group) -> None:
    crowd = Crowd()
    group.add(crowd.pid)
    for _ in range(10):
        crowd.goes_on()
        group.freeze(True)
        group.freeze(False)
    crowd.goes_on()
    crowd.ends()


def test_cgroup_freezer(group: Group) -> None:
    freeze_often(group)


def test_suspend_freezer(suspended: Group) -> None:
    freeze_often(suspended)


def test_killed_while_frozen(group: Group) -> None:
    crowd = Crowd()
    crowd.goes_on()
    group.add(crowd.pid)
    group.freeze(True)
    crowd.kill()
    assert crowd.process.wait(PATIENCE) == -signal.SIGKILL


def test_stop_and_continue(crowd: Crowd) -> None:
    for _ in range(20):
        crowd.goes_on()
        os.kill(crowd.pid, signal.SIGSTOP)
        until(lambda: crowd.states == {"T"}, "a stop of all")
        os.kill(crowd.pid, signal.SIGCONT)
    crowd.goes_on()
    crowd.ends()


def test_cpus_unplugged(crowd: Crowd) -> None:
    """Each CPU that can go does, under the crowd; one CPU alone stays."""
    switches = sorted(CPUS.glob("cpu[0-9]*/online"))
    switches = [s for s in switches if s.parent.name != "cpu0"]
    assert len(switches) == os.sysconf("SC_NPROCESSORS_CONF") - 1
    try:
        for _ in range(3):
            for switch in switches:
                switch.write_text("0")
                crowd.goes_on()
            for switch in switches:
                switch.write_text("1")
                crowd.goes_on()
    finally:
        for switch in switches:
            switch.write_text("1")
    crowd.ends()


def test_moved_about(crowd: Crowd) -> None:
    """Threads get other CPUs, priorities and classes, whatever they are at."""
    dice = random.Random(1)
    cpus = sorted(os.sched_getaffinity(0))
    fair = [(os.SCHED_OTHER, 0), (os.SCHED_BATCH, 0)]
    real = [(os.SCHED_FIFO, 1), (os.SCHED_RR, 1)]
    for _ in range(200):
        tid = dice.choice(crowd.tids)
        os.sched_setaffinity(tid, [dice.choice(cpus)])
        # The first thread is a server: keep it from starving our own shell.
        policy, priority = dice.choice(fair if tid == crowd.pid else fair + real)
        os.sched_setscheduler(tid, policy, os.sched_param(priority))
    for tid in crowd.tids:
        os.sched_setscheduler(tid, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(tid, cpus)
    crowd.goes_on()
    crowd.ends()


def test_memory_compacted(crowd: Crowd) -> None:
    for _ in range(10):
        with mmap.mmap(-1, 64 * MIB, mmap.MAP_PRIVATE) as holes:
            for at in range(0, len(holes), 2 * mmap.PAGESIZE):
                holes[at] = 1
            COMPACT.write_text("1")
        crowd.goes_on()
    crowd.ends()


class Locked:
    """Memory that cannot be swapped out."""

    def __init__(self, fd: int, size: int) -> None:
        self.memory = mmap.mmap(fd, size, mmap.MAP_SHARED)
        at = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        assert libc.mlock(ctypes.c_void_p(at), ctypes.c_size_t(size)) == 0


@pytest.fixture
def swap() -> Iterator[None]:
    """Swap to a loop device over locked memory, with room for all that can be swapped."""
    size = 256 * MIB
    fd = os.memfd_create("swap")
    os.ftruncate(fd, size)
    os.pwrite(fd, struct.pack("=II", 1, size // 4096 - 1), 1024)
    os.pwrite(fd, b"SWAPSPACE2", 4096 - 10)
    locked = Locked(fd, size)
    with Path("/dev/loop-control").open("rb") as control:
        device = f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
    with Path(device).open("r+b", buffering=0) as loop:
        fcntl.ioctl(loop, LOOP_SET_FD, fd)
        assert libc.swapon(device.encode(), 0) == 0
        yield
        assert libc.swapoff(device.encode()) == 0
        fcntl.ioctl(loop, LOOP_CLR_FD)
    del locked
    os.close(fd)


def meminfo(key: str) -> int:
    """Return a line of /proc/meminfo, in bytes."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(x.split()[1]) << 10 for x in lines if x.startswith(f"{key}:"))


@pytest.fixture
def kept_free() -> Iterator[None]:
    """Have the kernel keep most of the free memory for itself."""
    # What it could drop it would not have to swap out.
    DROP_CACHES.write_text("3")
    # The watermarks that come of this are more than there is: kswapd never has enough. Of
    # what it takes, the text of all programs would be read again and again: only swap.
    kept, swappiness = KEPT_FREE.read_text(), SWAPPINESS.read_text()
    SWAPPINESS.write_text("200")
    KEPT_FREE.write_text(str((meminfo("MemFree") - 64 * MIB) >> 10))
    yield
    KEPT_FREE.write_text(kept)
    SWAPPINESS.write_text(swappiness)


@pytest.mark.deadline(180)
def test_memory_short(swap: None, crowd: Crowd, kept_free: None) -> None:
    """More is wanted than there is, until much is in swap, the crowd as well."""
    hog = (
        "import mmap, os, sys\n"
        # It is to get on beside a crowd whose members are many, and kswapd.
        "os.nice(-20)\n"
        "memory = mmap.mmap(-1, int(sys.argv[1]), mmap.MAP_PRIVATE)\n"
        "def swapped():\n"
        "    lines = (x.split() for x in open('/proc/meminfo'))\n"
        "    kib = {x[0]: int(x[1]) for x in lines}\n"
        "    return kib['SwapTotal:'] - kib['SwapFree:'] << 10\n"
        # No fixed size would do: one zone may have free pages that another lacks, and
        # kswapd may have given up, so that only those who want memory swap out.
        "for at in range(0, len(memory), 4096):\n"
        "    memory[at] = 1\n"
        "    if at % (1 << 20) == 0 and swapped() > int(sys.argv[2]): break\n"
        "print('full', flush=True)\n"
        "sys.stdin.read()\n"
    )
    eater = Child("python3", "-c", hog, str(meminfo("MemFree")), str(32 * MIB))
    # Its answer is for as long as it takes to swap others out.
    assert eater.output.readline() == b"full\n"
    assert meminfo("SwapTotal") - meminfo("SwapFree") > 8 * MIB
    crowd.goes_on(10 * PIECE)
    # To end by itself it would have to be read back from swap, however long that takes.
    eater.kill()
    eater.bury()
    crowd.goes_on()
    crowd.ends()
