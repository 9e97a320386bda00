# SPDX-License-Identifier: MIT
"""Which accelerator guests get. KVM is believed only when a guest has run on it.

/dev/kvm can open, create machines and run firmware, and then hang every kernel
before its first line: hence a probe that boots one.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from umcglab.guest import initrd, qemu
from umcglab.guest.console import Console
from umcglab.guest.qemu import Vm
from umcglab.host import files
from umcglab.host.cache import Cache, digest
from umcglab.kernel.kernels import Kernel
from umcglab.lab.arch import Arch
from umcglab.lab.config import Target

_DEVICE = Path("/dev/kvm")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_FIRST_LINE = 5.0
"""Seconds a guest on KVM has to print anything; a good one needs less than one."""
_POWER_OFF = 20.0


@dataclass(frozen=True)
class Accel:
    """An accelerator and why it was chosen."""

    name: str
    why: str


def choose(target: Target, kernel: Kernel, cache: Cache) -> Accel:
    """Return the accelerator for the guests of a target."""
    if target.traits.hypervisor:
        return Accel("tcg", "a guest that has guests is emulated: few hosts nest them")
    return probe(target.arch, kernel, cache)


def probe(arch: Arch, kernel: Kernel, cache: Cache) -> Accel:
    """Return the accelerator for `kernel`; asked once per kernel and host boot."""
    if platform.machine() != arch.machine:
        return Accel("tcg", f"{arch.name} is foreign to this {platform.machine()} host")
    if not _DEVICE.exists():
        return Accel("tcg", f"no {_DEVICE}")
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        return Accel("tcg", f"no permission to use {_DEVICE}")

    def fill(folder: Path) -> None:
        found = _boot(arch, kernel, cache)
        (folder / "accel.json").write_text(json.dumps(asdict(found)))

    key = digest(_BOOT_ID.read_text(), kernel.digest)
    folder = cache.make("accel", key, fill)
    try:
        return Accel(**files.read_json(folder / "accel.json"))
    except (OSError, ValueError, TypeError):
        cache.drop(folder)
        folder = cache.make("accel", key, fill)
        return Accel(**files.read_json(folder / "accel.json"))


def _boot(arch: Arch, kernel: Kernel, cache: Cache) -> Accel:
    """Boot the floor guest under KVM and see how far it comes."""
    with tempfile.TemporaryDirectory(prefix="umcglab-") as folder:
        ramdisk, log = Path(folder) / "initrd", Path(folder) / "console"
        ramdisk.write_bytes(
            initrd.archive({"init": initrd.program("floor", arch, cache)})
        )
        vm = Vm(
            arch=arch,
            kernel=kernel.image,
            initrd=ramdisk,
            console_log=log,
            accel="kvm",
        )
        console = Console(log)
        start = time.monotonic()
        with qemu.start(vm, attach=False) as machine:
            if not machine.wait(_FIRST_LINE) and not console.size():
                return Accel(
                    "tcg",
                    f"{_DEVICE} is there, but a guest on it printed nothing "
                    f"in {_FIRST_LINE:.0f} s",
                )
            machine.wait(_POWER_OFF)
            if failure := machine.failure():
                return Accel("tcg", f"{_DEVICE} is there, but {failure.message}")
        if not console.powered_off():
            return Accel("tcg", f"a guest on {_DEVICE} did not get to its power-off")
        took = time.monotonic() - start
        return Accel("kvm", f"a guest on {_DEVICE} ran in {took:.1f} s")
