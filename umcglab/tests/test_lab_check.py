# SPDX-License-Identifier: MIT
"""The real series, as a reviewer will look at them: on each base and architecture."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from umcglab.host.display import Display
from umcglab.lab import config
from umcglab.lab.arch import X86_64
from umcglab.study import check

pytestmark = [pytest.mark.lab, pytest.mark.nightly, pytest.mark.timeout(3 * 3600)]

LAB = config.load(config.ROOT / "lab.yaml")
CORES = len(os.sched_getaffinity(0))
PATCHES = "kernel-patches"
# Where the source, the series or the compiler differ; flavors differ in options only.
TARGETS = {
    (t.arch.name, t.base, t.abi): t
    for t in reversed(LAB.targets)
    if not t.is_control and t.flavor == "bench"
}


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_a_reviewer_finds_nothing(
    target: config.Target, capsys: pytest.CaptureFixture[str]
) -> None:
    with Display() as display:
        status = check.execute(LAB, target, CORES, display)
    said = capsys.readouterr().err
    assert status == 0, said
    assert "own configuration: ABI on: ok" in said
    assert "own configuration: sparse: ok" in said
    if target.arch.name == "x86_64" and not target.arch.cross_compile:
        assert "ARCH=um: link: ok" in said
        assert "ARCH=um: KUnit: ok" in said


@pytest.mark.skipif(
    bool(X86_64.cross_compile), reason="user-mode Linux is for x86_64 hosts"
)
def test_a_kunit_assertion_that_fails_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(config.ROOT / PATCHES, tmp_path / PATCHES)
    (patch,) = tmp_path.glob(f"{PATCHES}/umcg-v0.5/any/*-umcg-test-what-*.patch")
    text = patch.read_text()
    assert "NULL(test, umcg_known(&ref, 8));" in text
    patch.write_text(text.replace("umcg_known(&ref, 8)", "umcg_known(&ref, 7)"))
    lab = config.load(LAB.file, tmp_path)
    (target,) = config.select(lab, ["x86_64-umcg-v0.5"])
    with Display() as display:
        status = check.execute(lab, target, CORES, display, only=["ARCH=um"])
    said = capsys.readouterr().err
    assert status == 1, said
    assert "ARCH=um: link: ok" in said
    assert "ARCH=um: KUnit: FAILED" in said
