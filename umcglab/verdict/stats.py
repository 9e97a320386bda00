# SPDX-License-Identifier: MIT
"""Statistics over histograms: the one place where benches become numbers.

A histogram is a sorted tuple of (value, count), as benches print it. Every
figure is a value that was observed, never one interpolated between two, so that
equal outputs give equal figures to the last digit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Histogram = Sequence[tuple[int, int]]


def count(hist: Histogram) -> int:
    """Return how many samples there are."""
    return sum(n for _, n in hist)


def total(hist: Histogram) -> int:
    """Return the sum of all samples."""
    return sum(value * n for value, n in hist)


def percentile(hist: Histogram, q: float) -> int:
    """Return the smallest sample that at least `q` percent of them do not exceed."""
    if not 0 <= q <= 100:
        raise ValueError(f"not a percentage: {q}")
    rank = max(1, math.ceil(count(hist) * q / 100))
    for value, n in hist:
        rank -= n
        if rank <= 0:
            return value
    raise ValueError("no samples")


def median(hist: Histogram) -> int:
    """Return the lower of the samples in the middle."""
    return percentile(hist, 50)


def spread(hist: Histogram) -> float:
    """Return how far the middle nine tenths reach, as a fraction of the median."""
    return (percentile(hist, 95) - percentile(hist, 5)) / median(hist)


def change(seen: float, expected: float) -> float:
    """Return (seen - expected) / expected."""
    return seen / expected - 1
