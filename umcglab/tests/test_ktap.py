# SPDX-License-Identifier: MIT
from __future__ import annotations

from pathlib import Path

import pytest

from umcglab import ktap
from umcglab.ktap import Outcome, Report, Result

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
