# SPDX-License-Identifier: GPL-2.0
"""Waiting for what has to happen."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

PATIENCE = 20.0 * int(os.environ.get("UMCGLAB_SLOW", "1"))
"""Seconds after which what should have happened has not."""


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for `condition()`, and fail if it does not come."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE} s: {what}"
        time.sleep(0.002)
