# SPDX-License-Identifier: MIT
"""Tests one by one in an exact guest: no SSH, no Python, seconds from boot to end.

Like the benches of `guest.exact` they run in memory, by the instruction counter: a test
that sleeps takes no time, and one kernel always does the same. It is no place to look
for races, which the SSH guests are for; it is where the same few hundred tests are run
again and again, on a kernel after another.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from umcglab.errors import InfraError
from umcglab.guest import initrd, qemu
from umcglab.guest.console import Console
from umcglab.guest.initrd import File
from umcglab.guest.qemu import SEED, Exact, Qemu, Vm
from umcglab.kernel.kernels import Kernel
from umcglab.lab.config import Lab
from umcglab.verdict import splat
from umcglab.verdict.bench_output import DONE

MARK = re.compile(r"__(?:x64|arm64)_sys_setdomainname")
"""The kernel's function that is called ahead of each step, and at no other time."""

LATE = 124
"""The status of a step that was not done in its time."""

_CMDLINE = ("norandmaps", "mitigations=off")
BOOT = "the boot"
"""Stands for a step where the guest does not get to one."""

_LOOK = 0.5
"""Seconds between looks at how much of the host's CPU a guest has had."""


@dataclass(frozen=True)
class Step:
    """One program, or one test of it; `argv[0]` is relative to the bundle."""

    name: str
    argv: tuple[str, ...]
    limit: int
    """Seconds of the guest's time."""


@dataclass(frozen=True)
class Ended:
    """One step that has ended."""

    name: str
    status: int
    said: str


@dataclass(frozen=True)
class Ran:
    """What a guest has come to."""

    ended: tuple[Ended, ...]
    current: str
    """The step that the guest stopped in; empty if it did in none."""
    died: str
    """Why it has not got to its end; empty if it has."""
    splats: tuple[str, ...]
    duration: float
    """Seconds of the host's time."""
    cpu: float
    """Seconds of the host's CPUs."""

    @property
    def failed(self) -> tuple[str, ...]:
        """The steps that did not pass, and the one in which the guest was lost."""
        bad = tuple(e.name for e in self.ended if e.status)
        if self.died:
            bad += (self.current or BOOT,)
        elif self.splats and not bad:
            bad = (self.ended[-1].name if self.ended else BOOT,)
        return bad

    def __add__(self, later: Ran) -> Ran:
        """Return what this guest, which got to its end, and a later one came to."""
        return Ran(
            (*self.ended, *later.ended),
            later.current,
            later.died,
            (*self.splats, *later.splats),
            self.duration + later.duration,
            self.cpu + later.cpu,
        )


def run(
    lab: Lab,
    kernel: Kernel,
    bundle: Path,
    plan: Sequence[Step],
    *,
    folder: Path,
    stop: bool,
    cpu_limit: float,
    memory: int,
    smp: int = 1,
    plugin: str = "",
) -> Ran:
    """Run steps; with `stop`, up to the first that fails.

    What the guest says is in `folder`, as `output` and `console`. `cpu_limit` is how
    many seconds of the host's CPU may pass from one step's end to the next.
    """
    output, console_log = folder / "output", folder / "console"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="umcglab-") as tmp:
        ramdisk = Path(tmp) / "initrd"
        init = initrd.program("steps", kernel.arch, lab.cache)
        files = {"init": init, "plan": File(_plan(kernel, plan, stop))}
        for name in _needed(bundle, plan):
            files[f"bundle/{name}"] = File((bundle / name).read_bytes(), 0o755)
        ramdisk.write_bytes(initrd.archive(files))
        vm = Vm(
            arch=kernel.arch,
            kernel=kernel.image,
            initrd=ramdisk,
            console_log=console_log,
            cmdline=(*_CMDLINE, *kernel.arch.exact_parameters(smp)),
            memory=memory,
            smp=smp,
            exact=Exact(output, SEED, plugin),
        )
        start = time.monotonic()
        with qemu.start(vm, attach=False) as machine:
            died, cpu = _watch(machine, output, cpu_limit)
            if not died and (failure := machine.failure()):
                raise failure
        duration = time.monotonic() - start
    console = Console(console_log)
    if why := console.init_failure():
        raise InfraError(f"the guest's init failed: {why}", log=console_log)
    text = output.read_text(errors="replace") if output.exists() else ""
    found = splat.scan(console_log.read_text(errors="replace"))
    if not died and not text.endswith(f"{DONE}\n"):
        died = found[0].text if found else "it ended without a word"
    ended, current = parse(text)
    return Ran(ended, current, died, tuple(s.text for s in found), duration, cpu)


def parse(text: str) -> tuple[tuple[Ended, ...], str]:
    """Return the steps that ended, and the name of one that has not."""
    ended: list[Ended] = []
    said: list[str] = []
    name = ""
    for line in text.split("\n"):
        if begin := re.fullmatch(r"@@ begin (\S+)", line):
            name, said = begin[1], []
        elif end := re.fullmatch(r"@@ end (\S+) (\d+)", line):
            ended.append(Ended(end[1], int(end[2]), "\n".join(said)))
            name = ""
        else:
            said.append(line)
    return tuple(ended), name


def _watch(machine: Qemu, output: Path, cpu_limit: float) -> tuple[str, float]:
    """Wait for a guest's end; return why it was not waited for, and the CPU it took.

    It is a guest that hangs, not a host that is busy, if its CPU runs and runs.
    """
    size, since, cpu = -1, 0.0, 0.0
    while not machine.wait(_LOOK):
        cpu = _cpu(machine.process.pid) or cpu
        now = output.stat().st_size if output.exists() else 0
        if now != size:
            size, since = now, cpu
        elif cpu - since > cpu_limit:
            return f"no step ended in {cpu_limit:.0f} s of the host's CPU", cpu
    return "", cpu


def _cpu(pid: int) -> float | None:
    """Return the CPU time that a process has had, in seconds."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _plan(kernel: Kernel, plan: Sequence[Step], stop: bool) -> bytes:
    """Return the plan as rootfs/init/steps.c reads it."""
    lines = [f"{kernel.arch.exact_tty}\t{'stop' if stop else 'go'}"]
    for step in plan:
        words = [step.name, str(step.limit), f"/bundle/{step.argv[0]}", *step.argv[1:]]
        if any(set(word) & set("\t\n") for word in words):
            raise ValueError(f"a tab or newline in {step}")
        lines.append("\t".join(words))
    return "".join(f"{line}\n" for line in lines).encode()


def _needed(bundle: Path, plan: Sequence[Step]) -> Iterator[str]:
    """Return the files of a bundle that the programs of a plan need."""
    yield from sorted({step.argv[0] for step in plan})
    for path in sorted((bundle / "bin" / "helpers").rglob("*")):
        if path.is_file():
            yield str(path.relative_to(bundle))
