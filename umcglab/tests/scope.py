# SPDX-License-Identifier: MIT
"""How much of lab.yaml `make test` builds and boots; the nightly run has the rest."""

from __future__ import annotations

import pytest

from umcglab.lab import config
from umcglab.lab.config import Lab, Target

ARCHES = ("x86_64", "arm64")
BENCH = tuple(
    f"{arch}-{name}"
    for arch in ARCHES
    for name in ("control", "umcg-v0.5", "umcg-v0.5-7.3")
)
"""Targets that `make test` runs whole."""
DEBUG = "x86_64-umcg-v0.5-debug"
SMOKE = "umcg-v0.5/worker*"
"""Programs that `make test` runs on DEBUG; the nightly run has them all."""
FUZZ_OPS = "20000"


def targets(lab: Lab) -> tuple[Target, ...]:
    """Return the targets of `make test`."""
    return config.select(lab, (*BENCH, DEBUG))


def nightly(*values: object) -> object:
    """Return values of a parametrized test that are too much for `make test`."""
    return pytest.param(*values, marks=pytest.mark.nightly)
