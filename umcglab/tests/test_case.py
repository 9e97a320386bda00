# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from umcglab.results.case import Case


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("yard/futex", Case("yard/futex", 0, "fair")),
        ("scale/workers-10", Case("scale/workers", 10, "fair")),
        ("switch/server-server", Case("switch/server-server", 0, "fair")),
        ("scale/workers-x/y", Case("scale/workers-x/y", 0, "fair")),
        ("scale/workers-007", Case("scale/workers-007", 0, "fair")),
    ],
)
def test_a_name_is_a_bench_and_a_size(name: str, case: Case) -> None:
    assert Case.of(name, "fair") == case
    assert case.name == name
    assert str(case) == f"{name} fair"


def test_cases_are_in_the_order_of_their_sizes() -> None:
    sizes = [Case.of(f"scale/workers-{n}", "fair") for n in (100, 9, 10)]
    assert [case.size for case in sorted(sizes)] == [9, 10, 100]
