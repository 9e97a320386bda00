# SPDX-License-Identifier: MIT
from __future__ import annotations

import random
import statistics
from collections import Counter

import pytest
from hdrh.histogram import HdrHistogram

from umcglab.verdict import stats

HIST = ((10, 1), (20, 2), (30, 1))


def test_figures_of_a_small_histogram() -> None:
    assert stats.count(HIST) == 4
    assert stats.total(HIST) == 80
    assert [stats.percentile(HIST, q) for q in (0, 25, 26, 75, 76, 100)] == [
        10,
        10,
        20,
        20,
        30,
        30,
    ]
    assert stats.spread(HIST) == 1.0


def test_every_figure_is_a_sample() -> None:
    assert stats.median(((1, 2), (1000, 2))) == 1


@pytest.mark.parametrize("q", [-1, 100.1])
def test_no_such_percentile(q: float) -> None:
    with pytest.raises(ValueError, match="not a percentage"):
        stats.percentile(HIST, q)


def test_no_samples_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no samples"):
        stats.percentile((), 50)


def test_change_is_signed() -> None:
    assert stats.change(110, 100) == pytest.approx(0.1)
    assert stats.change(90, 100) == pytest.approx(-0.1)


@pytest.mark.parametrize("seed", range(3))
def test_percentiles_agree_with_hdrhistogram(seed: int) -> None:
    rng = random.Random(seed)
    # Whole hundreds, for this port rounds ranks to nearest where others round up;
    # four significant digits, exact up to 20000.
    n = 100 * rng.randint(1, 5)
    samples = [1 + int(rng.lognormvariate(8, 1)) % 20000 for _ in range(n)]
    oracle = HdrHistogram(1, 20000, 4)
    for sample in samples:
        oracle.record_value(sample)
    hist = sorted(Counter(samples).items())
    for q in (1, 5, 50, 90, 99, 100):
        assert stats.percentile(hist, q) == oracle.get_value_at_percentile(q)
    assert stats.median(hist) == statistics.median_low(samples)
