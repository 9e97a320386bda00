# SPDX-License-Identifier: MIT
"""The real series and fragments, beyond what building the targets says of them."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from umcglab.host.progress import Silent
from umcglab.kernel import kernels
from umcglab.lab import config
from umcglab.lab.arch import ARCHES
from umcglab.tests import scope

pytestmark = pytest.mark.lab

LAB = config.load(config.ROOT / "lab.yaml")
PATCHED = [target for target in scope.targets(LAB) if not target.is_control]
FLAVORS = sorted(p.stem for p in LAB.patches.glob("kconfig/flavor/*.config"))
CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize("target", PATCHED, ids=lambda target: target.name)
def test_what_the_series_add_was_compiled_with_w1(target: config.Target) -> None:
    kernel = kernels.build(target, LAB, Silent(), CORES)
    touched = kernel.identity["touched"]
    assert isinstance(touched, list)
    assert "kernel/sched/umcg.c" in touched
    made = [line for line in kernel.log.read_text().splitlines() if " W=1 " in line]
    assert any("kernel/sched/umcg.o" in line for line in made), "with W=1"


@pytest.mark.parametrize("target", PATCHED, ids=lambda target: target.name)
def test_the_series_is_free_of_warnings_with_the_abi_off(target: config.Target) -> None:
    kernels.check_without_abi(target, LAB, Silent(), CORES)


@pytest.mark.parametrize(
    ("base", "flavor"),
    [
        *(("", flavor) for flavor in FLAVORS),
        *(scope.nightly("-7.3", flavor) for flavor in ("bench", "debug", "kcsan")),
    ],
)
@pytest.mark.parametrize("arch", ARCHES)
def test_every_flavor_gets_the_config_it_asks_for(
    arch: str, base: str, flavor: str
) -> None:
    (target,) = config.select(LAB, [f"{arch}-umcg-v0.5{base}"])
    kernels.check_config(replace(target, flavor=flavor), LAB, Silent(), CORES)
