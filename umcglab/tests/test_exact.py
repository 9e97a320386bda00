# SPDX-License-Identifier: MIT
"""The exact lane's protocol, played by a fake QEMU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from umcglab.errors import InfraError
from umcglab.guest import console, exact
from umcglab.guest.console import GuestExit, GuestHang, KernelPanic
from umcglab.guest.exact import ExactRun, Step
from umcglab.kernel.kernels import Kernel
from umcglab.lab.arch import ARM64, X86_64
from umcglab.lab.config import Lab

Play = Callable[..., None]
OUTPUT = "@@ begin a\n{}\n@@ end a 0\n@@ done\n"


@pytest.fixture
def run(lab: Lab, kernel: Kernel, tmp_path: Path) -> Callable[..., ExactRun]:
    bench = tmp_path / "bundle" / "bench" / "a"
    bench.parent.mkdir(parents=True)
    bench.write_bytes(b"\x7fELF")

    def run_plan(timeout: float = 20.0) -> ExactRun:
        return exact.run(
            lab,
            kernel,
            tmp_path / "bundle",
            [Step("a", ("bench/a", "--sched", "fair"))],
            output=tmp_path / "exact" / "1.out",
            console_log=tmp_path / "exact" / "console-1.log",
            timeout=timeout,
        )

    return run_plan


def test_a_complete_output_is_kept_as_it_came(
    run: Callable[..., ExactRun], play: Play
) -> None:
    play(console=["reboot: Power down"], output=OUTPUT, exit=0)
    done = run()
    assert done.output.read_text() == OUTPUT
    assert done.argv[0] == X86_64.qemu
    assert done.seed == 1


def test_an_output_that_stops_is_never_a_pass(
    run: Callable[..., ExactRun], play: Play
) -> None:
    play(console=["reboot: Power down"], output="@@ begin a\n", exit=0)
    with pytest.raises(GuestExit, match="after `@@ begin a`"):
        run()
    play(console=["reboot: Power down"], exit=0)
    with pytest.raises(GuestExit, match=r"before the first program"):
        run()


def test_a_panic_is_the_patchs_fault(run: Callable[..., ExactRun], play: Play) -> None:
    play(console=["Kernel panic - not syncing: oh"], output="@@ begin a\n", exit=0)
    with pytest.raises(KernelPanic, match=r"oh \(exact guest, after `@@ begin a`\)"):
        run()


def test_a_hang_ends_at_the_deadline_and_says_where(
    run: Callable[..., ExactRun], play: Play
) -> None:
    play(output="@@ begin a\n", pc="ffffffff81001010")
    with pytest.raises(GuestHang, match=r"umcg_spin \(exact guest, after `@@ begin a`"):
        run(timeout=2.0)


OOPS = ["BUG: kernel NULL pointer dereference, address: 0000000000000008"]


@pytest.mark.timeout(120)
def test_an_oops_that_stops_the_boot_is_told_long_before_the_deadline(
    run: Callable[..., ExactRun], play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_GRACE", 0.3)
    play(console=OOPS, pc="ffffffff81001010")
    with pytest.raises(GuestHang, match=r"before the first program.*NULL pointer"):
        run(timeout=3600)


def test_a_bench_may_be_silent_after_a_splat(
    run: Callable[..., ExactRun], play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_GRACE", 0.1)
    play(console=OOPS, later=[console.POWER_OFF], pause=2, output=OUTPUT, exit=0)
    assert run().output.read_text() == OUTPUT


def test_faults_of_qemu_and_of_init_are_the_labs(
    run: Callable[..., ExactRun], play: Play
) -> None:
    play(stderr="no such option\n", exit=1)
    with pytest.raises(InfraError, match="no such option"):
        run()
    play(console=["umcglab-init: failed: open /dev/ttyS1: No such device"], exit=0)
    with pytest.raises(InfraError, match="open /dev/ttyS1: No such device"):
        run()


def test_the_plan_names_the_uart_and_one_program_a_line() -> None:
    steps = [Step("a", ("bench/a", "--n", "2")), Step("b", ("bench/b",))]
    assert exact._plan(ARM64, steps) == (
        b"ttyS0\na\t/bundle/bench/a\t--n\t2\nb\t/bundle/bench/b\n"
    )
    with pytest.raises(ValueError, match="a tab or newline"):
        exact._plan(X86_64, [Step("a\tb", ("bench/a",))])
