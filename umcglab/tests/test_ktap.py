# SPDX-License-Identifier: MIT
from __future__ import annotations

import sys
from pathlib import Path

import pytest

from umcglab.verdict import ktap
from umcglab.verdict.ktap import Outcome, Report, Result

DATA = Path(__file__).parent / "data/ktap"
PASS, FAIL, SKIP, MISSING = Outcome


def report(name: str) -> Report:
    return ktap.parse((DATA / f"{name}.log").read_text())


def outcomes(tests: tuple[Result, ...]) -> list[tuple[str, Outcome]]:
    return [(t.name, t.outcome) for t in tests]


def test_a_sound_stream() -> None:
    seen = report("pass")
    assert outcomes(seen.tests) == [
        ("register", PASS),
        ("wait.wake", PASS),
        ("worker", SKIP),
    ]
    assert (seen.plan, seen.problems, seen.running, seen.bail) == (3, (), None, None)
    assert [t.clauses for t in seen.tests] == [
        ("CTL-1", "CTL-2"),
        ("WAIT-3", "R1"),
        ("WRK-1",),
    ]
    assert seen.tests[1].diagnostics == ("checking with 2 servers",)
    assert seen.tests[2].reason == "no UMCG on this kernel"


def test_failures_keep_what_led_to_them() -> None:
    seen = report("fail")
    assert outcomes(seen.tests)[1:] == [("wait_einval", FAIL), ("wait_timeout", FAIL)]
    assert seen.tests[1].diagnostics == (
        "# tests/umcg/wait.c:41: Expected -EINVAL (-22) == umcg_wait(0xff, 0) (0)",
        "# wait_einval: exit status 1",
    )
    assert seen.tests[2].diagnostics == ("# wait_timeout: timed out after 30 s",)
    assert seen.problems == ()


def test_nesting_by_indentation() -> None:
    seen = report("nested")
    assert seen.problems == ()
    servers, workers = seen.tests
    assert outcomes(servers.subtests) == [("switch", PASS), ("wake", PASS)]
    assert outcomes(servers.subtests[0].subtests) == [("there_and_back", PASS)]
    assert servers.subtests[1].diagnostics == ("    # servers: 17 switches",)
    assert outcomes(workers.subtests) == [("block", FAIL)]
    assert workers.outcome is FAIL


def test_a_parent_cannot_pass_over_a_failed_child() -> None:
    seen = report("nested-lie")
    assert outcomes(seen.tests) == [("servers", FAIL)]
    assert seen.problems == ("servers: ok, but a subtest of it is not",)


def test_embedded_in_comments() -> None:
    seen = report("embedded")
    assert outcomes(seen.tests) == [
        ("selftests: umcg: wait", FAIL),
        ("selftests: umcg: ctl", PASS),
    ]
    assert outcomes(seen.tests[0].subtests) == [
        ("global.wait", PASS),
        ("global.wake", FAIL),
    ]
    assert seen.tests[0].reason == "exit=1"
    assert seen.problems == ()


def test_kernel_messages_in_between() -> None:
    seen = report("kernel-noise")
    # What was torn in two is not guessed at.
    assert outcomes(seen.tests) == [("register", PASS), ("wait", PASS), ("wa", PASS)]
    assert seen.trailing == ("ke", "# dmesg: [    1.400000] umcg: registered")


@pytest.mark.parametrize(
    ("name", "problems"),
    [
        ("duplicate", ["register: reported 2 times"]),
        ("short-plan", ["plan of 4, 2 reported"]),
        ("long-plan", ["plan of 1, 2 reported"]),
        ("tabs", ["wait: plan of 3, 1 reported"]),
        (
            "number-too-long",
            ["plan 1..999999999... is too long a number", "no plan"],
        ),
        (
            "directive-error",
            ["wait: ok, but with `# ERROR it could not be told`, which KTAP has not"],
        ),
        (
            "directive-skipped",
            ["wait: ok, but with `# SKIPPED no UMCG`, which KTAP has not"],
        ),
        (
            "blanks-and-hashes",
            [
                "(unnamed): plan of 1, 0 reported",
                "(unnamed): subtests reported, itself not",
                "plan of 1, 0 reported",
                "no test reported",
            ],
        ),
        ("numbers", ["wait: number 3 where 2 is due"]),
        ("no-plan", ["no KTAP header", "no plan"]),
        ("zero", ["plan of zero tests: SKIP no such test", "no test reported"]),
        (
            "bail",
            [
                "plan of 3, 2 reported",
                "Bail out! wait: a process is alive 10 s after SIGKILL",
            ],
        ),
        ("cut-in-line", ["plan of 4, 1 reported", "output stops in fork_exec"]),
        ("cut-in-test", ["plan of 2, 1 reported", "output stops in fork_exec"]),
        (
            "two-plans",
            [
                "a second plan, 1..1, after 1..1",
                "wait: number 1 where 2 is due",
                "plan of 1, 2 reported",
            ],
        ),
    ],
)
def test_what_is_wrong_is_said(name: str, problems: list[str]) -> None:
    assert list(report(name).problems) == problems


def test_a_cut_line_is_no_result() -> None:
    seen = report("cut-in-line")
    assert outcomes(seen.tests) == [("register", PASS)]
    assert seen.running == "fork_exec"
    assert seen.trailing == ("# waiting for the child", "ok 2 fork")


def test_a_cut_among_subtests_leaves_the_parent_missing() -> None:
    seen = report("cut-in-subtest")
    assert outcomes(seen.tests) == [("servers", MISSING)]
    assert outcomes(seen.tests[0].subtests) == [("switch", PASS), ("wake", PASS)]
    assert list(seen.problems) == [
        "servers: plan of 3, 2 reported",
        "servers: subtests reported, itself not",
        "plan of 2, 0 reported",
        "no test reported",
    ]


def test_words_are_not_results_and_only_skip_skips() -> None:
    seen = report("words")
    assert outcomes(seen.tests) == [
        ("register", PASS),
        ("wait", PASS),
        ("wake", FAIL),
        ("(test 4)", SKIP),
    ]
    assert seen.tests[0].diagnostics == ("okay, here we go", "ok so far")
    assert seen.tests[1].reason == "TODO think again"


def test_streams_recorded_from_guests() -> None:
    seen = report("guest-fail")
    assert FAIL in {t.outcome for t in seen.tests}
    assert seen.problems == ()
    seen = report("guest-py")
    assert {t.outcome for t in seen.tests} == {PASS}
    assert len(seen.tests) == seen.plan == 6
    assert seen.problems == ()


def test_nothing_at_all() -> None:
    assert ktap.parse("").problems == (
        "no KTAP header",
        "no plan",
        "no test reported",
    )


@pytest.mark.parametrize("path", sorted(DATA.glob("*.log")), ids=lambda p: p.stem)
def test_no_prefix_of_a_stream_passes_more_than_the_whole(path: Path) -> None:
    text = path.read_text()
    if len(text) > 10_000:
        text = text[:2000] + text[-2000:]
    whole = {t.name for t in ktap.parse(text).tests if t.outcome is PASS}
    for cut in range(len(text)):
        part = ktap.parse(text[:cut])
        assert {t.name for t in part.tests if t.outcome is PASS} <= whole


def test_no_prefix_that_lacks_a_result_is_sound() -> None:
    text = (DATA / "pass.log").read_text()
    for cut in range(text.index("# Totals")):
        assert ktap.parse(text[:cut]).problems


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_line_endings_do_not_matter(end: str) -> None:
    text = (DATA / "pass.log").read_text()
    assert ktap.parse(text.replace("\n", end)) == ktap.parse(text)


def one(line: str) -> tuple[Result, tuple[str, ...]]:
    """Return the result of a stream of one, and what is wrong with that."""
    seen = ktap.parse(f"KTAP version 1\n1..1\n{line}\n")
    (test,) = seen.tests
    return test, seen.problems


@pytest.mark.parametrize(
    "directive",
    [
        "SKIPPED",
        "ERROR",
        "TIMEOUT",
        "XPASS",
        "exit=1",
        "time=3ms",
        "skips: x",
        "# SKIP",
    ],
)
@pytest.mark.parametrize("mark", [" # ", " #", "\t#\t", "  #  "])
def test_only_a_known_directive_leaves_a_pass(directive: str, mark: str) -> None:
    test, problems = one(f"ok 1 wait{mark}{directive} why")
    assert (test.name, test.outcome) == ("wait", FAIL)
    assert len(problems) == 1
    # Behind `not ok` it is why.
    test, problems = one(f"not ok 1 wait{mark}{directive} why")
    assert (test.outcome, problems) == (FAIL, ())


@pytest.mark.parametrize(
    ("line", "name", "outcome", "reason"),
    [
        ("ok 1 - wait # SKIP why", "wait", SKIP, "why"),
        ("ok 1 - wait #skip: why", "wait", SKIP, "why"),
        ("ok\t1\t-\twait\t#\tSKIP why", "wait", SKIP, "why"),
        ("ok 1 # SKIP", "(test 1)", SKIP, ""),
        ("ok 1 - # SKIP", "(test 1)", SKIP, ""),
        ("ok 1 -wait", "-wait", PASS, ""),
        ("ok 1 wait#SKIP", "wait#SKIP", PASS, ""),
        ("ok 1 wait #", "wait", PASS, ""),
        ("ok 1 wait # XFAIL known", "wait", PASS, "XFAIL known"),
    ],
)
def test_the_parts_of_a_result(
    line: str, name: str, outcome: Outcome, reason: str
) -> None:
    test, problems = one(line)
    assert (test.name, test.outcome, test.reason) == (name, outcome, reason)
    assert problems == ()


@pytest.mark.parametrize("indent", ["\t", "  ", "    ", "\t  ", "# ", "#\t", "\t# "])
def test_indentation_of_any_kind_makes_subtests(indent: str) -> None:
    lines = ["KTAP version 1", "1..2", "ok 1 a", "not ok 2 b"]
    text = "\n".join(["KTAP version 1", "1..1", *(indent + line for line in lines)])
    seen = ktap.parse(f"{text}\nnot ok 1 both\n")
    assert outcomes(seen.tests) == [("both", FAIL)]
    assert outcomes(seen.tests[0].subtests) == [("a", PASS), ("b", FAIL)]
    assert seen.problems == ()


LONG = "9" * 5000


@pytest.mark.parametrize(
    "line",
    [f"1..{LONG}", f"ok {LONG} a", f"not ok {LONG} - a", f"ok 1 {LONG}", "1..\u00b2"],
)
def test_no_number_is_too_long_or_too_strange(line: str) -> None:
    seen = ktap.parse(f"KTAP version 1\n{line}\n1..2\n  {line}\n{line} # SKIP\n")
    assert seen.problems
    assert all(len(problem) < 5000 for problem in seen.problems)


def test_the_last_line_of_a_program_that_ended_counts_without_its_newline() -> None:
    text = "KTAP version 1\n1..2\nok 1 a\nok 2 b"
    seen = ktap.parse(text, whole=True)
    assert (outcomes(seen.tests), seen.problems) == ([("a", PASS), ("b", PASS)], ())
    assert outcomes(ktap.parse(text).tests) == [("a", PASS)]


def height(tests: tuple[Result, ...]) -> int:
    deep = 0
    while tests:
        deep += 1
        tests = tuple(t for test in tests for t in test.subtests)
    return deep


@pytest.mark.parametrize("order", [1, -1])
def test_nesting_is_bounded_and_said(order: int) -> None:
    lines = [" " * n + "ok 1 a" for n in range(500)][::order]
    seen = ktap.parse("\n".join(["KTAP version 1", "1..1", *lines, "ok 1 a", ""]))
    assert height(seen.tests) <= 40
    assert any("nested more than 32 deep" in problem for problem in seen.problems)
    # Neither of these is done by a loop.
    assert seen == seen and repr(seen)


def test_what_is_kept_is_bounded_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    # A tenth of what the bounds are takes a tenth of the time to exceed.
    monkeypatch.setattr(ktap, "_MOST_TESTS", 10_000)
    monkeypatch.setattr(ktap, "_MOST_SAYING", 100_000)
    words = "some words\n" * 5000
    seen = ktap.parse(f"KTAP version 1\n1..1\n{words}not ok 1 a\n{words}")
    assert len(seen.tests[0].diagnostics) == len(seen.trailing) == 1001
    assert seen.trailing[-1] == "(4000 more lines are in the log)"
    seen = ktap.parse("KTAP version 1\n1..1\n" + "ok 7 a\n" * 15_000)
    assert len(seen.tests) == 10_000
    assert any(problem.startswith("too long: byte ") for problem in seen.problems)
    assert seen.problems[-1].startswith("and ")
    seen = ktap.parse("KTAP version 1\n1..1\n" + "1..1\n" * 110_000)
    assert any(problem.startswith("too long: byte ") for problem in seen.problems)


def test_a_result_behind_any_number_of_lines_counts() -> None:
    for line in ("", "a", "ok", "not ok 1st", "[    1.000000] look"):
        words = f"{line}\n" * 100_000
        seen = ktap.parse(f"KTAP version 1\n1..2\nok 1 a\n{words}not ok 2 b\n")
        assert outcomes(seen.tests) == [("a", PASS), ("b", FAIL)], line


def steps(text: str) -> int:
    """Return how many Python function calls and lines parsing a text takes."""
    count = 0

    def trace(*_: object) -> object:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        ktap.parse(text)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize(
    "block",
    ["ok 1 a\n", "  ok 1 a\nok 1 b\n", "words\n", "# RUN a\n", "1..1\n", "\t1..1\n"],
)
def test_the_work_is_in_proportion_to_the_lines(block: str) -> None:
    assert steps(block * 2000) < 2.2 * steps(block * 1000)


@pytest.mark.parametrize(
    "part",
    [" ", "\t", "#", " #", "# ", "  #  ", "ok ", "1..1 ", "[ ", "[ 1.000000] ", "x, "],
)
@pytest.mark.parametrize(
    "before", ["", "ok 1 a", "ok 1", "1..1 ", "# clause: ", "Bail out!"]
)
def test_no_line_is_too_long(before: str, part: str) -> None:
    # What is quadratic takes hours for this, and pytest-timeout ends it.
    text = before + part * (2_000_000 // len(part))
    ktap.parse(f"{text}\n{text}x\n")
