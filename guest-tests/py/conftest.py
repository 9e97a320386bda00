# SPDX-License-Identifier: GPL-2.0
"""What tests of more than one file need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from groups import Group, SuspendedGroup


@pytest.fixture
def group() -> Iterator[Group]:
    group = Group()
    yield group
    group.end()


@pytest.fixture
def suspended() -> Iterator[Group]:
    group = SuspendedGroup()
    yield group
    group.end()
