# SPDX-License-Identifier: MIT
"""The selftests of the series, built as kselftest does, in guests of real kernels."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from umcglab.guest import accel, image, ssh
from umcglab.host import command
from umcglab.host.progress import Silent
from umcglab.kernel import kernels, patchfile, source
from umcglab.kernel.kernels import Kernel
from umcglab.lab import config
from umcglab.tests import kselftests
from umcglab.verdict import ktap
from umcglab.verdict.ktap import Outcome

pytestmark = [pytest.mark.lab, pytest.mark.nightly, pytest.mark.timeout(3600)]

LAB = config.load(config.ROOT / "lab.yaml")
TCG = accel.Accel("tcg", "what other tests have")
SELFTESTS = "tools/testing/selftests"
OF_KSELFTEST = ("lib.mk", "kselftest.h", "kselftest_harness.h")


def build(patched: config.Target, kernel: Kernel, tree: Path) -> Path:
    """Build the selftests against the headers of a kernel; return their folder."""
    patchfile.apply(patchfile.read(config.ROOT / kselftests.PATCH), tree)
    fetched = source.fetch(patched.source, LAB.cache, Silent())
    for name in OF_KSELFTEST:
        shutil.copy(fetched.path / SELFTESTS / name, tree / SELFTESTS)
    made = tree / "made"
    made.mkdir()
    argv = [
        "make",
        "-C",
        str(tree / kselftests.FOLDER),
        f"OUTPUT={made}",
        f"CROSS_COMPILE={kernel.arch.cross_compile}",
        f"KHDR_INCLUDES=-isystem {kernel.headers}",
        "USERCFLAGS=-Werror",
        # A guest has its own libc.
        "USERLDFLAGS=-static",
    ]
    command.output(argv)
    return made


def outputs(kernel: Kernel, made: Path, log: Path) -> Iterator[tuple[int | None, str]]:
    """Run each program in a guest; yield status and output."""
    root = image.build(kernel.arch, LAB, Silent())
    suite = ssh.suite_files([made])
    with ssh.boot(
        LAB, kernel, root, console_log=log / "console", accel=TCG, suite=suite
    ) as vm:
        for path in sorted(made.iterdir()):
            out = log / path.name
            done = vm.run(f"{ssh.SUITE}/{path.name}", log=out, timeout=300)
            yield done.exit_status, out.read_text()


@pytest.mark.parametrize("base", ["-7.3", ""])
@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_they_pass_with_umcg_and_skip_without(
    arch: str, base: str, tmp_path: Path
) -> None:
    control, patched = config.select(
        LAB, [f"{arch}-control{base}", f"{arch}-umcg-v0.5{base}"]
    )
    kernel = kernels.build(patched, LAB, Silent(), 2)
    made = build(patched, kernel, tmp_path)
    programs = 0
    for status, said in outputs(kernel, made, tmp_path):
        report = ktap.parse(said)
        assert not report.problems, said
        assert {test.outcome for test in report.tests} == {Outcome.PASS}, said
        assert status == 0
        programs += 1
    assert programs == 5
    without = kernels.build(control, LAB, Silent(), 2)
    for status, said in outputs(without, made, tmp_path):
        report = ktap.parse(said)
        assert not report.problems, said
        assert {test.outcome for test in report.tests} == {Outcome.SKIP}, said
        assert status == 4
