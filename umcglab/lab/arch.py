# SPDX-License-Identifier: MIT
"""What differs between architectures, one row each; nothing else branches on it."""

from __future__ import annotations

import platform
from dataclasses import dataclass


@dataclass(frozen=True)
class Arch:
    """One architecture under its names in four worlds, and how QEMU plays it."""

    name: str
    """The lab's and `uname -m`-like name, as in lab.yaml and target names."""
    machine: str
    """`platform.machine()` of a host that runs it natively."""
    kernel_arch: str
    """`ARCH=` for kbuild."""
    debian_arch: str
    triplet: str
    """GNU triplet of the compiler."""
    image: str
    """Bootable image, relative to the kernel build directory."""
    qemu: str
    """QEMU system binary."""
    machine_args: tuple[str, ...]
    cpus: tuple[str, ...]
    """QEMU's names of processors a target may ask for; the first is what it gets else."""
    disk: str
    """QEMU's virtio block device."""
    nic: str
    """QEMU's virtio network device."""
    gdb: str
    """gdb's name of the architecture."""
    console: str
    """Kernel name of the console UART."""
    exact_serial: tuple[str, ...]
    """QEMU arguments that add a second UART on chardev `exact`."""
    exact_tty: str
    """Kernel name of that second UART."""
    hypervisor: tuple[str, ...] = ()
    """QEMU arguments for a guest that is to run guests, if it needs any."""
    clocked_cmdline: tuple[str, ...] = ()
    """More kernel parameters for guests that live by the host's clock."""
    exact_cmdline: tuple[str, ...] = ()
    """More kernel parameters for exact guests, which do not."""

    def exact_parameters(self, cpus: int) -> tuple[str, ...]:
        """Return `exact_cmdline` for a guest with so many CPUs.

        It is for one CPU: others have no timer but the one left out there.
        """
        return self.exact_cmdline if cpus == 1 else ()

    @property
    def cross_compile(self) -> str:
        """`CROSS_COMPILE=` prefix on this host; empty when it is native."""
        return "" if platform.machine() == self.machine else f"{self.triplet}-"


X86_64 = Arch(
    name="x86_64",
    machine="x86_64",
    kernel_arch="x86_64",
    debian_arch="amd64",
    triplet="x86_64-linux-gnu",
    image="arch/x86/boot/bzImage",
    qemu="qemu-system-x86_64",
    # Not microvm: with QEMU 7.2 under TCG one boot in 17 never leaves
    # calibrate_delay.
    machine_args=("-machine", "q35"),
    cpus=("max",),
    disk="virtio-blk-pci",
    nic="virtio-net-pci,romfile=",
    gdb="i386:x86-64",
    console="ttyS0",
    exact_serial=("-serial", "chardev:exact"),
    exact_tty="ttyS1",
    # x86 panics if ten ticks do not come in the time that a loop takes: a host that
    # is busy may run the one and not the other.
    clocked_cmdline=("no_timer_check",),
    # Calibrating the local APIC's timer is a loop over rdtsc, which takes
    # -icount 4 of the 6 seconds of a boot; the HPET ticks as well.
    # In periodic mode QEMU's HPET fires twice for each tick, 10 ns apart, and whether the
    # guest has one interrupt or two depends on QEMU's threads. Linux uses that mode until
    # it relies on the TSC, which otherwise takes it a second.
    exact_cmdline=("nolapic_timer", "tsc=reliable"),
)

ARM64 = Arch(
    name="arm64",
    machine="aarch64",
    kernel_arch="arm64",
    debian_arch="arm64",
    triplet="aarch64-linux-gnu",
    image="arch/arm64/boot/Image",
    qemu="qemu-system-aarch64",
    machine_args=("-machine", "virt"),
    hypervisor=("-machine", "virtualization=on"),
    # cortex-a57 has no LSE: atomic operations are loops of exclusive loads and stores.
    cpus=("max", "cortex-a57", "neoverse-n1"),
    disk="virtio-blk-device",
    nic="virtio-net-device",
    gdb="aarch64",
    console="ttyAMA0",
    exact_serial=("-device", "pci-serial,chardev=exact"),
    exact_tty="ttyS0",
)

ARCHES = {arch.name: arch for arch in (X86_64, ARM64)}
