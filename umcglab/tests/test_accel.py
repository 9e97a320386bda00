# SPDX-License-Identifier: MIT
"""When KVM is believed: a fake QEMU plays hosts where it works, hangs and breaks."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from umcglab.guest import accel
from umcglab.kernel.kernels import Kernel
from umcglab.lab import config
from umcglab.lab.arch import ARCHES, X86_64
from umcglab.lab.config import Lab

Play = Callable[..., None]
POWER_OFF = ["[    0.000000] Linux version 6.99", "[    0.300000] reboot: Power down"]


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be an x86_64 host that has /dev/kvm."""
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr(accel, "_DEVICE", device)
    # Nobody waits that long but for a guest that says nothing, or does not end.
    monkeypatch.setattr(accel, "_FIRST_LINE", 60.0)
    monkeypatch.setattr(accel, "_POWER_OFF", 60.0)
    monkeypatch.setattr(platform, "machine", lambda: X86_64.machine)


def probe(lab: Lab, kernel: Kernel) -> accel.Accel:
    return accel.probe(X86_64, kernel, lab.cache)


def test_a_guest_that_ran_is_believed(lab: Lab, kernel: Kernel, play: Play) -> None:
    play(console=POWER_OFF, exit=0)
    found = probe(lab, kernel)
    assert found.name == "kvm"
    assert "ran in" in found.why


def test_a_guest_that_prints_nothing_is_not(
    lab: Lab, kernel: Kernel, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accel, "_FIRST_LINE", 1.0)
    play()
    found = probe(lab, kernel)
    assert found.name == "tcg"
    assert "printed nothing in 1 s" in found.why


def test_a_guest_that_stops_half_way_is_not(
    lab: Lab, kernel: Kernel, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy host the fake itself takes seconds to print it.
    monkeypatch.setattr(accel, "_FIRST_LINE", 8.0)
    monkeypatch.setattr(accel, "_POWER_OFF", 0.1)
    play(console=POWER_OFF[:1])
    assert probe(lab, kernel).name == "tcg"
    assert "did not get to its power-off" in probe(lab, kernel).why


def test_a_qemu_that_breaks_is_quoted(lab: Lab, kernel: Kernel, play: Play) -> None:
    play(stderr="kvm_buf_set_msrs: Assertion failed\n", exit=1)
    found = probe(lab, kernel)
    assert found.name == "tcg"
    assert "kvm_buf_set_msrs" in found.why


def test_it_is_asked_once_per_boot_of_the_host(
    lab: Lab,
    kernel: Kernel,
    play: Play,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(accel, "_FIRST_LINE", 1.0)
        play()
        first = probe(lab, kernel)
    play(console=POWER_OFF, exit=0)
    assert probe(lab, kernel) == first
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("another boot\n")
    monkeypatch.setattr(accel, "_BOOT_ID", boot_id)
    assert probe(lab, kernel).name == "kvm"


def test_guests_that_have_guests_are_emulated(lab: Lab, kernel: Kernel) -> None:
    real = config.load(config.ROOT / "lab.yaml")
    (target,) = config.select(real, ["x86_64-umcg-v0.5-kvm"])
    assert accel.choose(target, kernel, lab.cache).name == "tcg"


def test_foreign_guests_and_hosts_without_kvm_are_not_probed(
    lab: Lab, kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = accel.probe(ARCHES["arm64"], kernel, lab.cache)
    assert foreign == accel.Accel("tcg", "arm64 is foreign to this x86_64 host")
    monkeypatch.setattr(accel, "_DEVICE", tmp_path / "none")
    assert probe(lab, kernel).why == f"no {tmp_path / 'none'}"
