# SPDX-License-Identifier: MIT
"""QEMU's command line, against recorded ones.

After a change that is meant: rm umcglab/tests/data/argv/*, run the tests twice,
look at what git says.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from umcglab.guest import qemu
from umcglab.guest.qemu import Exact, Kept, Vm
from umcglab.lab.arch import ARCHES, ARM64, X86_64, Arch

DATA = Path(__file__).parent / "data" / "argv"


def probe(arch: Arch) -> Vm:
    """The floor guest, which is the accelerator's probe too."""
    return Vm(
        arch=arch,
        kernel=Path("/cache/kernel"),
        initrd=Path("/tmp/initrd"),
        console_log=Path("/results/console.log"),
        qmp_fd=5,
    )


def ssh(arch: Arch) -> Vm:
    return replace(
        probe(arch), disk=Path("/cache/root.erofs"), ssh=True, smp=2, console_fd=6
    )


def hypervisor(arch: Arch) -> Vm:
    return replace(ssh(arch), hypervisor=True)


def exact(arch: Arch) -> Vm:
    return replace(
        probe(arch),
        cmdline=("norandmaps", *arch.exact_cmdline),
        exact=Exact(Path("/results/1.out"), seed=7),
    )


GUESTS = {
    "floor": probe,
    "kvm": lambda arch: replace(probe(arch), accel="kvm"),
    "ssh": ssh,
    "exact": exact,
    "hypervisor": hypervisor,
}


def test_an_exact_guest_may_have_a_plugin() -> None:
    vm = exact(X86_64)
    plugin = f"{qemu.option_value(Path('/a,b/count.so'))},out=/x"
    counted = replace(vm, exact=Exact(Path("/results/1.out"), seed=7, plugin=plugin))
    assert qemu.argv(counted) == (*qemu.argv(vm), "-plugin", "/a,,b/count.so,out=/x")


def test_guests_that_are_resumed_copy_what_they_write_to() -> None:
    vm = replace(ssh(X86_64), kept=Kept(Path("/proc/7/fd/9"), Path("/tmp/state")))
    size = "memory-backend-file,id=ram,size=1024M"
    assert f"{size},share=on,mem-path=/proc/7/fd/9" in qemu.argv(vm)
    resumed = qemu.argv(replace(vm, resumed=True))
    assert f"{size},share=off,mem-path=/proc/7/fd/9" in resumed


def test_an_exact_guest_is_recorded_if_qemu_can() -> None:
    vm = exact(X86_64)
    assert "rr=record" in " ".join(qemu.argv(vm))
    assert "rr=" not in " ".join(qemu.argv(replace(vm, smp=2)))


def test_virtual_cpus_may_be_threads_of_a_core() -> None:
    line = " ".join(qemu.argv(replace(ssh(X86_64), smp=4, threads=2)))
    assert "-smp 4,threads=2 " in line


@pytest.mark.parametrize("arch", ARCHES.values(), ids=ARCHES)
@pytest.mark.parametrize("guest", GUESTS)
def test_argv_is_as_recorded(guest: str, arch: Arch) -> None:
    text = "".join(f"{word}\n" for word in qemu.argv(GUESTS[guest](arch)))
    golden = DATA / f"{guest}-{arch.name}.txt"
    if not golden.exists():
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
        pytest.fail(f"recorded {golden}: look at it, and run again")
    assert text == golden.read_text()


@pytest.mark.parametrize("arch", ARCHES.values(), ids=ARCHES)
def test_an_exact_guest_has_nothing_from_outside(arch: Arch) -> None:
    line = " ".join(qemu.argv(exact(arch)))
    assert "virtio" not in line
    assert "-netdev" not in line
    assert "-drive" not in line
    assert "socket,id=console" not in line
    assert "clock=vm" in line
    assert "-seed 7" in line


def test_a_comma_in_a_path_stays_in_the_path() -> None:
    vm = replace(probe(X86_64), console_log=Path("/a,b/c"))
    assert "file,id=console,path=/a,,b/c" in qemu.argv(vm)


def test_the_guest_reaches_nothing_and_is_reached_on_loopback() -> None:
    (netdev,) = (word for word in qemu.argv(ssh(ARM64)) if word.startswith("user,"))
    options = netdev.split(",")
    assert "restrict=on" in options
    assert "hostfwd=tcp:127.0.0.1:0-:22" in options


def test_version_is_a_line_of_qemus_own() -> None:
    assert qemu.version(X86_64).startswith("QEMU emulator version ")
