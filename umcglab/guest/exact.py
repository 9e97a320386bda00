# SPDX-License-Identifier: MIT
"""The exact lane: a guest whose every instruction takes one nanosecond.

Two runs print the same bytes, whatever else the host does, because nothing
from outside gets in: no disk, no NIC, no clock but the instruction counter.
Kernel, programs and plan are in memory from the start, and what the programs
print leaves through a UART of its own.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from umcglab.errors import InfraError
from umcglab.guest import hang, initrd, qemu
from umcglab.guest.console import Console
from umcglab.guest.initrd import File
from umcglab.guest.qemu import SEED, Exact, Vm
from umcglab.kernel.kernels import Kernel
from umcglab.lab.arch import Arch
from umcglab.lab.config import Lab
from umcglab.verdict.bench_output import DONE

TIMEOUT = 1200.0
"""Seconds of the host's time for all programs of one guest.

They take one minute on an idle host, and four on one where eight times as much runs as it
has CPUs.
"""

_CMDLINE = ("norandmaps", "mitigations=off")


@dataclass(frozen=True)
class Step:
    """One program of a plan; `argv[0]` is relative to the bundle."""

    name: str
    argv: tuple[str, ...]


@dataclass(frozen=True)
class ExactRun:
    """One run of an exact guest that got to the end of its plan."""

    output: Path
    duration: float
    argv: tuple[str, ...]
    seed: int


def run(
    lab: Lab,
    kernel: Kernel,
    bundle: Path,
    plan: Sequence[Step],
    *,
    output: Path,
    console_log: Path,
    memory: int = 1024,
    smp: int = 1,
    seed: int = SEED,
    plugin: str = "",
    timeout: float = TIMEOUT,
) -> ExactRun:
    """Run the programs of `plan`, from folder `bundle`, and keep what they print."""
    console = Console(console_log)
    for path in (output, console_log):
        path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="umcglab-") as folder:
        ramdisk = Path(folder) / "initrd"
        init = initrd.program("exact", kernel.arch, lab.cache)
        ramdisk.write_bytes(initrd.archive(_files(kernel.arch, init, bundle, plan)))
        vm = Vm(
            arch=kernel.arch,
            kernel=kernel.image,
            initrd=ramdisk,
            console_log=console_log,
            cmdline=(*_CMDLINE, *kernel.arch.exact_parameters(smp)),
            memory=memory,
            smp=smp,
            exact=Exact(output, seed, plugin),
        )
        start = time.monotonic()
        with qemu.start(vm, attach=False) as machine:
            # A bench may well be silent for longer than a boot.
            if not console.await_end(machine.wait, timeout, lambda: _said(output)):
                where = hang.cpus(machine, kernel.system_map)
                doing = f"exact guest, {_progress(output)}"
                raise console.death(doing, where, machine.starved())
            if failure := machine.failure():
                raise failure
            took = time.monotonic() - start
    if why := console.init_failure():
        raise InfraError(f"the exact guest's init failed: {why}", log=console_log)
    if not output.exists() or not complete(output.read_bytes()):
        raise console.death(f"exact guest, {_progress(output)}")
    return ExactRun(output, took, machine.argv, seed)


def complete(output: bytes) -> bool:
    """Whether a UART's output has its last line."""
    return output.endswith(f"{DONE}\n".encode())


def _said(output: Path) -> bool:
    """Whether a program was begun."""
    return output.exists() and output.stat().st_size > 0


def _progress(output: Path) -> str:
    """Say which program an output that is not complete stops in."""
    text = output.read_text(errors="replace") if output.exists() else ""
    marks = [line for line in text.splitlines() if line.startswith("@@ ")]
    return f"after `{marks[-1]}`" if marks else "before the first program"


def _files(
    arch: Arch, init: File, bundle: Path, plan: Sequence[Step]
) -> dict[str, File]:
    files = {"init": init, "plan": File(_plan(arch, plan))}
    for name in sorted({step.argv[0] for step in plan}):
        files[f"bundle/{name}"] = File((bundle / name).read_bytes(), 0o755)
    return files


def _plan(arch: Arch, plan: Sequence[Step]) -> bytes:
    """Return the plan as rootfs/init/exact.c reads it."""
    lines = [arch.exact_tty]
    for step in plan:
        words = [step.name, f"/bundle/{step.argv[0]}", *step.argv[1:]]
        if any(set(word) & set("\t\n") for word in words):
            raise ValueError(f"a tab or newline in {step}")
        lines.append("\t".join(words))
    return "".join(f"{line}\n" for line in lines).encode()
