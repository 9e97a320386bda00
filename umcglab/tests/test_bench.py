# SPDX-License-Identifier: MIT
from __future__ import annotations

import json
from pathlib import Path

import pytest

from umcglab.results.case import Case
from umcglab.results.facts import BenchPlanFacts
from umcglab.verdict import bench_output
from umcglab.verdict.bench_output import Difference
from umcglab.verdict.figures import Figure

LINE = {
    "schema": 1,
    "bench": "yard/futex",
    "version": 1,
    "sched": "fair",
    "unit": "ns",
    "clock": "tsc",
    "clock_overhead": 31,
    "warmup": 4,
    "batches": 4,
    "ops_per_batch": 40,
    "min": 112000,
    "max": 118000,
    "sum": 454480,
    "hist": [[112000, 1], [112240, 2], [118000, 1]],
    "op": "one-way hand-off: futex wake, then wait",
}
SKIP = {"schema": 1, "bench": "switch/s", "sched": "fair", "skip": "no umcg_ctl"}
DATA = Path(__file__).parent / "data/bench"
PLAN = (
    BenchPlanFacts("futex-fair", "yard/futex", "fair"),
    BenchPlanFacts("switch-fair", "switch/s", "fair", needs_umcg=True),
)


def uart(*blocks: tuple[str, object, int], end: str = "@@ done\n") -> str:
    text = ""
    for name, body, status in blocks:
        line = body if isinstance(body, str) else json.dumps(body)
        text += f"@@ begin {name}\n{line}\n@@ end {name} {status}\n"
    return text + end


GOOD = uart(("futex-fair", LINE, 0), ("switch-fair", SKIP, 4))


def test_a_line() -> None:
    case, seen = bench_output.parse_line(json.dumps(LINE))
    assert isinstance(seen, Figure)
    assert case == seen.case == Case("yard/futex", 0, "fair")
    assert seen.hist == ((112000, 1), (112240, 2), (118000, 1))
    assert seen.per_op == 112240 / 40
    assert seen.per_op_at(100) == 118000 / 40
    assert seen.spread == (118000 - 112000) / 112240


BIG = "9" * 3000
"""An integer that Python reads, and that no float can hold."""
NESTED = ('{"schema":', "[", '{"a":', '{"schema":1,"skip":[', '{"schema":1,"hist":[')


@pytest.mark.parametrize("depth", [900, 5000, 50_000])
@pytest.mark.parametrize("part", NESTED)
@pytest.mark.parametrize("closed", [True, False])
def test_no_nesting_is_too_deep(part: str, depth: int, closed: bool) -> None:
    end = {"{": "}", "[": "]"}
    ends = "".join(end[c] for c in reversed(part) if c in end)
    line = part * depth + ("1" + ends * depth) * closed
    seen = bench_output.parse_uart(uart(("futex-fair", line, 0)), ())
    assert not seen.figures and not seen.skipped
    assert any("futex-fair: " in problem for problem in seen.problems)


def test_deep_objects_as_a_stranger_found_them() -> None:
    seen = bench_output.parse_uart((DATA / "objects.log").read_text(), ())
    assert any("nested too deep" in problem for problem in seen.problems)


@pytest.mark.parametrize(
    "change",
    [
        {
            "min": int(BIG),
            "hist": [[int(BIG), 4]],
            "max": int(BIG),
            "sum": 4 * int(BIG),
        },
        {"hist": [[1, 2**64]], "batches": 2**64, "min": 1, "max": 1, "sum": 2**64},
        {"ops_per_batch": 2**64},
        {"version": -(2**65)},
        {"op": "\ud800"},
        {"unit": "n\ns"},
        {"bench": "\x1b[31m"},
        {"skip": "\udfff"},
    ],
)
def test_what_no_bench_means_and_no_report_holds(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"64 bits|cannot be printed"):
        bench_output.parse_line(json.dumps(LINE | change))


@pytest.mark.parametrize("status", ["9" * 5000, "-" + "1" * 10, "\u00b2", "x", ""])
def test_a_status_that_is_none(status: str) -> None:
    text = f"@@ begin futex-fair\n{json.dumps(LINE)}\n@@ end futex-fair {status}\n"
    seen = bench_output.parse_uart(text, PLAN)
    assert "futex-fair: did not end" in seen.problems


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 2}, "schema 2, 1 expected"),
        ({"op": None}, "op is missing"),
        ({"batches": True}, "batches is missing or of the wrong type"),
        ({"batches": 5}, "batches is 5, its histogram says 4"),
        ({"sum": 1}, "sum is 1, its histogram says 454480"),
        ({"min": 1}, "min is 1, its histogram says 112000"),
        ({"max": 1}, "max is 1, its histogram says 118000"),
        ({"ops_per_batch": 0}, "ops_per_batch is not positive"),
        ({"hist": []}, "hist is empty"),
        ({"hist": [[1, 2, 3]]}, "not a list of pairs"),
        ({"hist": None}, "not a list of pairs"),
        ({"hist": [[2, 1], [1, 3]]}, "not sorted"),
        ({"hist": [[1, 0]]}, "not positive"),
        ({"hist": [[1.5, 4]]}, "something else than integers"),
        ({"skip": 3}, "skip is missing or of the wrong type"),
    ],
)
def test_a_wrong_line(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        bench_output.parse_line(json.dumps(LINE | change))


@pytest.mark.parametrize("line", ["", "[1]", '{"schema":1', "Segmentation fault"])
def test_not_a_line(line: str) -> None:
    with pytest.raises(ValueError):
        bench_output.parse_line(line)


def test_an_output() -> None:
    seen = bench_output.parse_uart(GOOD, PLAN)
    assert seen.problems == ()
    assert list(seen.figures) == [Case("yard/futex", 0, "fair")]
    assert seen.skipped == {Case("switch/s", 0, "fair"): "no umcg_ctl"}


def test_a_uart_may_add_carriage_returns() -> None:
    crlf = bench_output.parse_uart(GOOD.replace("\n", "\r\n"), PLAN)
    assert crlf == bench_output.parse_uart(GOOD, PLAN)


S = ("switch-fair", SKIP, 4)
F = ("futex-fair", LINE, 0)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            "",
            [
                "futex-fair: not measured",
                "switch-fair: not measured",
                "the guest did not finish",
            ],
        ),
        (uart(F, S, end=""), ["the guest did not finish"]),
        # Cut in the last line: `@@ done` has no end, so it was not said.
        (uart(F, S, end="@@ done"), ["the guest did not finish"]),
        (uart(F), ["switch-fair: not measured"]),
        (uart(F, F, S), ["futex-fair: measured 2 times"]),
        (
            uart(("futex-fair", LINE, 1), S),
            ["futex-fair: a result, but exit status 1"],
        ),
        (
            uart(F, ("switch-fair", SKIP, 0)),
            ["switch-fair: a result, but exit status 0"],
        ),
        (
            uart(F, ("switch-fair", "", 139)),
            ["switch-fair: 0 results, exit status 139"],
        ),
        (
            uart(F, ("switch-fair", LINE, 0)),
            ["switch-fair: the result is of yard/futex fair"],
        ),
        (uart(F, S, ("other", LINE, 0)), ["other: not in the plan"]),
        (
            uart(F, S, end="@@ end futex-fair 0\n@@ done\n"),
            ["futex-fair: ended, had not begun"],
        ),
        (
            uart(F, end="@@ begin switch-fair\n"),
            [
                "switch-fair: did not end",
                "switch-fair: not measured",
                "the guest did not finish",
            ],
        ),
        (
            "@@ begin switch-fair\n" + uart(F, S),
            ["switch-fair: did not end"],
        ),
    ],
)
def test_what_is_wrong_with_an_output_is_said(text: str, problems: list[str]) -> None:
    assert list(bench_output.parse_uart(text, PLAN).problems) == problems


def test_a_line_that_is_no_result_is_quoted() -> None:
    text = uart(F, ("switch-fair", "Segmentation fault", 139))
    seen = bench_output.parse_uart(text, PLAN)
    assert seen.problems[0].startswith("switch-fair: ")
    assert seen.problems[0].endswith(": Segmentation fault")


def compare(tmp_path: Path, first: bytes, second: bytes) -> Difference | None:
    (tmp_path / "1.out").write_bytes(first)
    (tmp_path / "2.out").write_bytes(second)
    return bench_output.compare(tmp_path / "1.out", tmp_path / "2.out")


def test_equal_outputs_have_no_difference(tmp_path: Path) -> None:
    assert compare(tmp_path, GOOD.encode(), GOOD.encode()) is None


def test_the_first_difference_is_named(tmp_path: Path) -> None:
    other = GOOD.replace("no umcg_ctl", "no umcg_wait")
    seen = compare(tmp_path, GOOD.encode(), other.encode())
    assert seen
    assert (seen.line, seen.bench) == (5, "switch-fair")
    assert "no umcg_ctl" in seen.first
    assert "no umcg_wait" in seen.second


@pytest.mark.parametrize("cut", [1, 10, len(GOOD) - 1])
def test_a_prefix_is_different(tmp_path: Path, cut: int) -> None:
    seen = compare(tmp_path, GOOD.encode(), GOOD.encode()[:cut])
    assert seen and seen.first != seen.second
    again = compare(tmp_path, GOOD.encode()[:cut], GOOD.encode())
    assert again and (again.line, again.second) == (seen.line, seen.first)


def test_one_bit_is_different(tmp_path: Path) -> None:
    seen = compare(tmp_path, b"\x80\n", b"\x81\n")
    assert seen == Difference(1, "", r"\x80", r"\x81")


@pytest.mark.parametrize(
    ("arch", "futex", "switch"),
    [("x86_64", (2807, 2749), (2662, 2020)), ("arm64", (2739, 2895), (2599, 2206))],
)
def test_an_output_recorded_from_a_guest(
    arch: str, futex: tuple[int, int], switch: tuple[int, int]
) -> None:
    text = (DATA / f"{arch}-umcg-v0.5.out").read_text()
    names = ["syscall", "sched_yield", "futex", "eventfd", "pipe", "condvar"]
    benches = [f"yard/{n}" for n in [*names, "swapcontext"]] + ["switch/server-server"]
    plan = [BenchPlanFacts(f"{b}:{s}", b, s) for b in benches for s in ("fair", "fifo")]
    seen = bench_output.parse_uart(text, plan)
    assert seen.problems == ()
    assert list(seen.figures) == [p.case for p in plan]
    for name, expected in (("yard/futex", futex), ("switch/server-server", switch)):
        for sched, figure in zip(("fair", "fifo"), expected, strict=True):
            assert round(seen.figures[Case.of(name, sched)].per_op) == figure
