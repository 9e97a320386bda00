# SPDX-License-Identifier: MIT
"""The real series, as a reviewer will look at them: on each base and architecture."""

from __future__ import annotations

import os

import pytest

from umcglab.host.display import Display
from umcglab.lab import config
from umcglab.study import check

pytestmark = [pytest.mark.lab, pytest.mark.nightly, pytest.mark.timeout(3 * 3600)]

LAB = config.load(config.ROOT / "lab.yaml")
CORES = len(os.sched_getaffinity(0))
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
