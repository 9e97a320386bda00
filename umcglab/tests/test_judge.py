# SPDX-License-Identifier: MIT
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from umcglab.errors import Fault, worst
from umcglab.results.case import Case
from umcglab.results.facts import BenchPlanFacts, PlanFacts, ProgramFacts
from umcglab.verdict import exact, programs
from umcglab.verdict.bench_output import Difference
from umcglab.verdict.exact import ExactVerdict
from umcglab.verdict.ktap import Outcome
from umcglab.verdict.programs import Context, ProgramVerdict

PASS, FAIL, SKIP, MISSING = Outcome
DATA = Path(__file__).parent / "data"

PLAN = PlanFacts("umcg/ctl", "test", ("a", "b"), clauses={"a": ("CTL-1",)})
FACTS = ProgramFacts(
    "umcg/ctl",
    boot=1,
    exit_status=0,
    duration=1,
    console_from=0,
    console_to=0,
    reproduce="umcglab run --only t --tests umcg/ctl",
)
PATCHED = Context(is_control=False, release="6.12-umcg", uname="6.12-umcg")
CONTROL = Context(is_control=True, release="6.12-control", uname="6.12-control")
GOOD = "KTAP version 1\n1..2\n# RUN a\nok 1 a\n# RUN b\nok 2 b\n"
SKIPPED = "KTAP version 1\n1..2\nok 1 a # SKIP ENOSYS\nok 2 b # SKIP ENOSYS\n"
NEEDS = replace(PLAN, needs_umcg=("a", "b"))


def judged(
    log: str | None = GOOD,
    facts: ProgramFacts | None = FACTS,
    console: tuple[str, int] | None = ("", 0),
    context: Context = PATCHED,
    plan: PlanFacts = PLAN,
) -> ProgramVerdict:
    return programs.program(plan, facts, log, console, context)


def outcomes(verdict: ProgramVerdict) -> list[Outcome]:
    return [t.outcome for t in verdict.tests]


def problems(verdict: ProgramVerdict) -> list[str]:
    return [p.text for p in verdict.problems]


def test_a_pass_with_everything_in_order() -> None:
    verdict = judged()
    assert (verdict.outcome, verdict.fault, verdict.problems) == (PASS, 0, ())
    assert outcomes(verdict) == [PASS, PASS]
    assert verdict.tests[0].clauses == ("CTL-1",)
    assert verdict.tests[1].reproduce == "umcglab run --only t --tests umcg/ctl:b"


def test_a_last_line_without_its_newline_counts_if_the_program_came_to_it() -> None:
    cut = GOOD.removesuffix("\n")
    assert judged(cut).outcome is PASS
    for change in (
        {"exit_status": 137},
        {"exit_status": None, "lost": True},
        {"exit_status": 0, "timed_out": True},
    ):
        verdict = judged(cut, replace(FACTS, **change))
        assert outcomes(verdict) == [PASS, MISSING]


def test_what_did_not_run_is_missing() -> None:
    verdict = judged(facts=None, context=replace(PATCHED, why_not="interrupted"))
    assert (verdict.outcome, outcomes(verdict)) == (MISSING, [MISSING, MISSING])
    assert verdict.tests[0].reason == "interrupted"


def test_a_failed_test_fails_with_its_own_words() -> None:
    log = GOOD.replace("ok 2 b", "# wait.c:41: Expected 0 (0) == rc (-1)\nnot ok 2 b")
    verdict = judged(log, replace(FACTS, exit_status=1))
    assert (verdict.outcome, verdict.fault) == (FAIL, Fault.PATCH)
    assert outcomes(verdict) == [PASS, FAIL]
    assert verdict.tests[1].first == "wait.c:41: Expected 0 (0) == rc (-1)"
    assert problems(verdict) == []


@pytest.mark.parametrize(
    ("change", "log", "said"),
    [
        ({"exit_status": 1}, GOOD, "exit status 1, but its output says 0"),
        ({"exit_status": 139}, GOOD, "exit status 139 (signal 11), but"),
        ({}, GOOD.replace("ok 2", "not ok 2"), "exit status 0, but its output says 1"),
        ({"exit_status": 4}, GOOD, "exit status 4, but its output says 0"),
        ({"exit_status": 127}, "", "exit status 127"),
        ({"exit_status": None}, GOOD, "no exit status"),
        ({"exit_status": None, "lost": True}, GOOD, "the guest was lost after 1.0 s"),
        (
            {"exit_status": None, "timed_out": True, "stuck": ("umcg_wait",)},
            GOOD,
            "no end within 1 s; the guest was in umcg_wait",
        ),
        ({}, GOOD.replace("1..2", "1..3"), "plan of 3, 2 reported"),
        ({}, "", "no test reported"),
    ],
)
def test_words_alone_do_not_pass(
    change: dict[str, object], log: str, said: str
) -> None:
    verdict = judged(log, replace(FACTS, **change))  # type: ignore[arg-type]
    assert (verdict.outcome, verdict.fault) == (FAIL, Fault.PATCH)
    assert any(text.startswith(said) for text in problems(verdict))


def test_a_test_that_did_not_report_is_missing() -> None:
    verdict = judged("KTAP version 1\n1..1\nok 1 a\n")
    assert outcomes(verdict) == [PASS, MISSING]
    assert (verdict.outcome, verdict.fault) == (FAIL, Fault.PATCH)


def test_the_test_that_ran_when_the_guest_died_is_named() -> None:
    log = "KTAP version 1\n1..2\n# RUN a\nok 1 a\n# RUN b\nwaiting\n"
    verdict = judged(log, replace(FACTS, exit_status=None, lost=True))
    assert outcomes(verdict) == [PASS, MISSING]
    assert verdict.tests[1].reason == "was running when the output stopped"
    assert verdict.tests[1].diagnostics == ("waiting",)


def test_a_test_outside_of_the_plan_is_the_labs_error() -> None:
    log = GOOD.replace("1..2", "1..3") + "ok 3 c\n"
    verdict = judged(log)
    assert (verdict.outcome, verdict.fault) == (FAIL, Fault.LAB)
    assert problems(verdict) == ["c: ran, but is not in the plan"]
    assert not verdict.tests[2].planned


def test_an_empty_plan_is_no_pass() -> None:
    verdict = judged(plan=replace(PLAN, tests=()), log="KTAP version 1\n1..0\n")
    assert verdict.outcome is FAIL


def test_a_test_that_reports_twice_fails() -> None:
    verdict = judged("KTAP version 1\n1..3\nok 1 a\nok 2 b\nok 3 a\n")
    assert outcomes(verdict) == [FAIL, PASS]


def test_enosys_on_a_patched_kernel_is_no_skip() -> None:
    verdict = judged(SKIPPED, replace(FACTS, exit_status=4), plan=NEEDS)
    assert (verdict.outcome, verdict.fault) == (FAIL, Fault.PATCH)
    assert outcomes(verdict) == [FAIL, FAIL]
    assert "skipped (ENOSYS)" in verdict.tests[0].reason


def test_the_control_skips_what_needs_umcg_and_nothing_else() -> None:
    facts = replace(FACTS, exit_status=4)
    verdict = judged(SKIPPED, facts, context=CONTROL, plan=NEEDS)
    assert (verdict.outcome, verdict.fault) == (SKIP, 0)
    assert verdict.tests[0].reason == "ENOSYS"
    verdict = judged(
        SKIPPED, facts, context=CONTROL, plan=replace(PLAN, needs_umcg=("a",))
    )
    assert outcomes(verdict) == [SKIP, FAIL]


def test_a_test_that_passes_without_umcg_tests_nothing() -> None:
    verdict = judged(context=CONTROL, plan=NEEDS)
    assert (verdict.outcome, verdict.fault) == (FAIL, Fault.LAB)
    assert "tests nothing" in verdict.tests[0].reason


def test_no_failure_on_the_control_is_the_patchs() -> None:
    log = GOOD.replace("ok 1", "not ok 1")
    verdict = judged(log, replace(FACTS, exit_status=1), context=CONTROL)
    assert (verdict.outcome, verdict.fault) == (FAIL, Fault.LAB)


@pytest.mark.parametrize("uname", [None, "6.12-control"])
def test_a_pass_on_another_kernel_is_none(uname: str | None) -> None:
    verdict = judged(context=replace(PATCHED, uname=uname))
    assert (verdict.outcome, verdict.fault) == (FAIL, Fault.LAB)
    assert "not 6.12-umcg" in problems(verdict)[0]


def test_a_skip_on_a_kernel_that_is_not_the_control_is_none() -> None:
    context = replace(CONTROL, uname="6.12-umcg")
    facts = replace(FACTS, exit_status=4)
    assert judged(SKIPPED, facts, context=context, plan=NEEDS).outcome is FAIL


def test_what_an_abi_lacks_skips_for_that_reason_on_every_kernel() -> None:
    plan = replace(NEEDS, absent="no locks")
    facts = replace(FACTS, exit_status=4)
    said = SKIPPED.replace("ENOSYS", "no locks")
    for context in (PATCHED, CONTROL):
        assert judged(said, facts, context=context, plan=plan).outcome is SKIP
    assert judged(SKIPPED, facts, plan=plan).outcome is FAIL
    passed = judged(plan=plan)
    assert passed.outcome is FAIL
    assert "said to lack that: no locks" in str(passed.tests[0].reason)


def test_a_splat_after_the_last_ok_fails_a_passing_program() -> None:
    text = (DATA / "splat/warning-arm64.log").read_text()
    verdict = judged(console=(text, 100))
    assert (verdict.outcome, verdict.fault) == (FAIL, Fault.PATCH)
    assert outcomes(verdict) == [PASS, PASS]
    assert [s.kind for s in verdict.splats] == ["warning"]
    assert verdict.splats[0].line == 101


def test_evidence_that_is_not_there_proves_nothing() -> None:
    verdict = judged(console=None)
    assert (verdict.outcome, verdict.fault) == (FAIL, Fault.LAB)
    assert "was not scanned" in problems(verdict)[0]
    assert "was not kept" in problems(judged(log=None))[0]


BENCHES = (
    BenchPlanFacts("futex", "yard/futex", "fair"),
    BenchPlanFacts("switch", "switch/s", "fair", needs_umcg=True),
)
LINE = (
    '{"schema":1,"bench":"%s","version":1,"sched":"fair","unit":"ns","clock":"tsc",'
    '"clock_overhead":30,"warmup":1,"batches":1,"ops_per_batch":2,"min":10,"max":10,'
    '"sum":10,"hist":[[10,1]],"op":"x"}'
)
FUTEX = f"@@ begin futex\n{LINE % 'yard/futex'}\n@@ end futex 0\n"
SWITCH = f"@@ begin switch\n{LINE % 'switch/s'}\n@@ end switch 0\n"
NO_SWITCH = (
    '@@ begin switch\n{"schema":1,"bench":"switch/s","sched":"fair","skip":"no"}\n'
    "@@ end switch 4\n"
)
DONE = "@@ done\n"


def exact_lane(
    *outputs: str | None,
    context: Context = PATCHED,
    difference: Difference | None = None,
    console: str | None = "",
) -> ExactVerdict:
    consoles = [console] * len(outputs)
    return exact.judge(BENCHES, outputs, consoles, difference, context)


def test_two_equal_sound_outputs() -> None:
    verdict = exact_lane(FUTEX + SWITCH + DONE, FUTEX + SWITCH + DONE)
    assert (verdict.identical, verdict.problems) == (True, ())
    case = Case("switch/s", 0, "fair")
    assert verdict.figures[case].per_op == 5
    verdict = exact_lane(*[FUTEX + NO_SWITCH + DONE] * 2, context=CONTROL)
    assert (verdict.identical, verdict.problems) == (True, ())
    assert list(verdict.skipped) == [case]


def test_a_bench_that_the_abi_lacks_skips_for_that_reason() -> None:
    plan = [replace(b, absent="no" if b.needs_umcg else None) for b in BENCHES]

    def said(output: str, context: Context) -> list[str]:
        both, consoles = [output + DONE] * 2, [""] * 2
        verdict = exact.judge(plan, both, consoles, None, context)
        assert {p.fault for p in verdict.problems} <= {Fault.LAB, context.fault}
        return [p.text for p in verdict.problems]

    for context in (PATCHED, CONTROL):
        assert said(FUTEX + NO_SWITCH, context) == []
    other = NO_SWITCH.replace('"skip":"no"', '"skip":"tired"')
    assert said(FUTEX + other, CONTROL) == []
    assert said(FUTEX + other, PATCHED) == ["switch/s fair: skipped (tired)"]
    assert said(FUTEX + SWITCH, PATCHED) == [
        "switch/s fair: measured, and its ABI is said to lack that: no"
    ]


def test_a_difference_is_the_labs_error() -> None:
    verdict = exact_lane(
        *[FUTEX + SWITCH + DONE] * 2, difference=Difference(2, "futex", "a", "b")
    )
    assert verdict.identical is False
    assert [(p.fault, p.text) for p in verdict.problems] == [
        (Fault.LAB, "two exact guests differ in line 2 (futex)")
    ]


def test_a_guest_that_did_not_end_is_not_said_to_differ() -> None:
    cut = exact_lane(
        FUTEX + SWITCH + DONE,
        FUTEX + "@@ begin switch\n",
        difference=Difference(4, "switch", "a", "(end)"),
    )
    assert cut.identical is None
    said = [p.text for p in cut.problems]
    assert said[0] == "exact guest 2: switch: did not end"
    assert not [text for text in said if "differ" in text]


@pytest.mark.parametrize(
    ("verdict", "fault", "said"),
    [
        (
            exact_lane(FUTEX + SWITCH + DONE, None),
            Fault.LAB,
            "exact guest 2: left no output",
        ),
        (
            exact_lane(*[FUTEX] * 2),
            Fault.PATCH,
            "exact guest 1: switch: not measured",
        ),
        (
            exact_lane(*[FUTEX + NO_SWITCH + DONE] * 2),
            Fault.PATCH,
            "switch/s fair: skipped (no)",
        ),
        (
            exact_lane(*[FUTEX + SWITCH + DONE] * 2, context=CONTROL),
            Fault.LAB,
            "switch/s fair: measured without UMCG",
        ),
        (
            exact_lane(*[FUTEX + SWITCH + DONE] * 2, console=None),
            Fault.LAB,
            "exact guest 1: its console was not kept",
        ),
        (
            exact_lane(
                *[FUTEX + SWITCH + DONE] * 2,
                console="[    0.000000] Linux version 6.12-other (a@b)\n",
            ),
            Fault.LAB,
            "exact guest 1: ran 6.12-other, not 6.12-umcg",
        ),
        (
            exact_lane(
                *[FUTEX + SWITCH + DONE] * 2,
                console=(DATA / "splat/hung-task.log").read_text(),
            ),
            Fault.PATCH,
            "exact guest 1: kernel hung-task: INFO: task wait:97 blocked for more "
            "than 120 seconds.",
        ),
    ],
)
def test_what_is_wrong_in_the_exact_lane_is_said(
    verdict: ExactVerdict, fault: int, said: str
) -> None:
    assert (fault, said) in [(p.fault, p.text) for p in verdict.problems]


def test_one_output_is_not_called_identical() -> None:
    assert exact_lane(FUTEX + SWITCH + DONE, None).identical is None


def test_what_repeats_a_test_that_was_asked_for_alone() -> None:
    one = replace(FACTS, reproduce="umcglab run --only t --tests umcg/ctl:b")
    again = judged(facts=one).tests[1].reproduce
    assert again == "umcglab run --only t --tests umcg/ctl:b"


def test_what_repeats_a_program_that_runs_after_all_others() -> None:
    whole = replace(FACTS, reproduce="umcglab run --only t")
    assert judged(facts=whole).tests[0].reproduce == "umcglab run --only t"


@pytest.mark.parametrize(
    ("faults", "status"),
    [([], 0), ([3], 3), ([3, 2], 2), ([3, 1, 2], 1), ([Fault.LAB, Fault.PATCH], 1)],
)
def test_the_patchs_fault_outranks_the_users_and_that_the_labs(
    faults: list[int], status: int
) -> None:
    assert worst(faults) == status
