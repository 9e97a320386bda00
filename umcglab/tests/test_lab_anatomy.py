# SPDX-License-Identifier: MIT
"""Counting instructions in guests of real kernels."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from umcglab.guest import exact, suite
from umcglab.host.progress import Silent
from umcglab.kernel import kernels
from umcglab.lab import config
from umcglab.lab.arch import ARCHES
from umcglab.study import anatomy
from umcglab.tests import scope

pytestmark = [pytest.mark.lab, pytest.mark.timeout(3600)]

LAB = config.load(config.ROOT / "lab.yaml")
CORES = len(os.sched_getaffinity(0))
BENCH = "switch/server-server"


@pytest.mark.parametrize("base", ["", scope.nightly("-7.3")])
@pytest.mark.parametrize("arch", ARCHES)
def test_an_anatomy_adds_up_and_counting_changes_nothing(
    arch: str, base: str, tmp_path: Path
) -> None:
    (target,) = config.select(LAB, [f"{arch}-umcg-v0.5{base}"])
    kernel = kernels.build(target, LAB, Silent(), CORES)
    bundle = suite.build(LAB, target.arch, kernel, target.abi, Silent())
    found = anatomy.measure(LAB, kernel, bundle, BENCH, "fifo")
    plan, step = anatomy.find(bundle, BENCH, "fifo")
    plain = exact.run(
        LAB,
        kernel,
        bundle.dir,
        [step],
        output=tmp_path / "output",
        console_log=tmp_path / "console",
    )
    assert anatomy.result(plain.output.read_text(), plan) == found.figure
    assert found.total == pytest.approx(found.figure.per_op, abs=0.5)
    # One switch and one wake-up each, by our own code.
    groups = found.groups()
    assert {"entry", "umcg", "wake-up", "runqueue", "switch", "user"} <= groups.keys()
    assert groups.get("other", 0.0) < 0.05 * found.total
