# SPDX-License-Identifier: MIT
from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from umcglab.errors import UserError
from umcglab.report import run_json, summary
from umcglab.results import codec, facts
from umcglab.results.case import Case
from umcglab.results.facts import RunFacts
from umcglab.results.rundir import RunDir
from umcglab.run import session
from umcglab.run.session import make_folder
from umcglab.tests import golden, toylab
from umcglab.tests.golden import ARM, SCENARIOS, X86, Golden
from umcglab.verdict import baseline, contract, repeats, runs
from umcglab.verdict.figures import Posted
from umcglab.verdict.ktap import Outcome
from umcglab.verdict.runs import Run, Verdict


def collected(tmp_path: Path, make: Callable[[Path], None]) -> Run:
    make(tmp_path / "run")
    return runs.collect(tmp_path / "run")


@pytest.mark.parametrize(
    ("make", "verdict", "status", "found"),
    [
        (golden.passing, Verdict.PASS, 0, []),
        (golden.off_reference, Verdict.PASS, 0, []),
        (
            golden.failing,
            Verdict.FAIL,
            1,
            [(1, X86, "umcg/wait", "wait_wake: killed by signal 11")],
        ),
        (
            golden.splat,
            Verdict.FAIL,
            1,
            [(1, X86, "umcg/wait", "WARNING: CPU: 0 PID: 97 at kernel/sched/umcg.c")],
        ),
        (
            golden.lost,
            Verdict.FAIL,
            1,
            [(1, ARM, "umcg/ctl", "Unable to handle kernel NULL pointer")],
        ),
        (
            golden.hang,
            Verdict.FAIL,
            1,
            [
                (1, X86, "boot", "the kernel did not boot again"),
                (1, X86, "umcg/wait", "no end within 60 s; the guest was in umcg_spin"),
            ],
        ),
        (
            golden.inexact,
            Verdict.LAB_ERROR,
            3,
            [(3, ARM, "exact lane", "two exact guests differ in line 2")],
        ),
        (
            golden.unbuilt,
            Verdict.FAIL,
            1,
            [
                (1, X86, "build", "kernel/sched/umcg.c:412:9: error: implicit"),
                (1, ARM, "build", "kernel/sched/umcg.c:412:9: error: implicit"),
            ],
        ),
        (golden.interrupted, Verdict.INCOMPLETE, 3, []),
        (
            golden.lab_error,
            Verdict.LAB_ERROR,
            3,
            [(3, "arm64-control", "boot", "init said ready, but SSH did not")],
        ),
        (
            golden.over_limit,
            Verdict.FAIL,
            1,
            [(1, X86, "limits", "switch/server-server fair: 2,881.0 instructions, at")],
        ),
        (golden.two_bases, Verdict.PASS, 0, []),
        (golden.two_abis, Verdict.PASS, 0, []),
        (
            golden.repeated,
            Verdict.FAIL,
            1,
            [(1, X86, "umcg/wait@2", "wait_wake: wait.c:71: it was woken twice")],
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_scenario(
    tmp_path: Path,
    make: Callable[[Path], None],
    verdict: Verdict,
    status: int,
    found: list[tuple[int, str, str, str]],
) -> None:
    run = collected(tmp_path, make)
    assert (run.verdict, run.exit_code) == (verdict, status)
    seen = run.findings
    assert [(f.fault, f.target, f.subject) for f in seen] == [f[:3] for f in found]
    for finding, (*_, headline) in zip(seen, found, strict=True):
        assert finding.headline.startswith(headline)
        assert finding.commands
    assert summary.lines(run)[0].startswith(f"{verdict}: ")


def test_every_scenario_is_judged() -> None:
    judged = next(
        mark.args[1]
        for mark in test_scenario.pytestmark  # type: ignore[attr-defined]
    )
    assert {make for make, *_ in judged} == set(SCENARIOS.values())


def test_a_repeated_test_has_its_count_and_each_verdict(tmp_path: Path) -> None:
    run = collected(tmp_path, golden.repeated)
    assert [str(one) for one in repeats.repeats(run)] == [
        "passed 2 of 3 (1 failed)",
        "passed 3 of 3",
        "passed 3 of 3",
    ]
    said = summary.lines(run)
    assert f"{X86} umcg/wait:wait_wake passed 2 of 3 (1 failed)" in said
    assert "2 tests passed each of 3 times" in said
    (run.path / "run.json").write_bytes(run_json.render(run))
    result = json.loads((run.path / "run.json").read_text())["result"]
    assert result["repeats"][0] == {
        "target": X86,
        "program": "umcg/wait",
        "test": "wait_wake",
        "outcomes": ["PASS", "FAIL", "PASS"],
        "passed": 2,
    }


def test_a_repetition_whose_program_broke_did_not_pass(tmp_path: Path) -> None:
    golden.repeated(tmp_path / "run")
    path = RunDir(tmp_path / "run").program(X86, "umcg/wait@3")
    ran = codec.read(path, facts.ProgramFacts)
    codec.write(path, replace(ran, exit_status=None, lost=True))
    run = runs.collect(tmp_path / "run")
    last = [str(one) for one in repeats.repeats(run)][-1]
    assert last == "passed 2 of 3 (1 failed)"


def test_a_repetition_that_did_not_run_is_missing(tmp_path: Path) -> None:
    golden.repeated(tmp_path / "run")
    RunDir(tmp_path / "run").program(X86, "umcg/wait@3").unlink()
    run = runs.collect(tmp_path / "run")
    assert str(next(repeats.repeats(run))) == "passed 1 of 3 (1 failed, 1 missing)"


def test_controls_skip_and_the_patched_pass(tmp_path: Path) -> None:
    run = collected(tmp_path, golden.passing)
    counts = [target.counts() for target in run.targets]
    umcg = sum(len(t) for p, t in golden.TESTS.items() if golden.umcg(p))
    rest = sum(len(t) for t in golden.TESTS.values()) - umcg
    for target, seen in zip(run.targets, counts, strict=True):
        control = target.facts.is_control
        assert seen[Outcome.SKIP] == (umcg if control else 0)
        assert seen[Outcome.PASS] == (rest if control else rest + umcg)


def test_a_guest_lost_takes_only_its_own_program(tmp_path: Path) -> None:
    run = collected(tmp_path, golden.lost)
    target = run.targets[-1]
    assert [p.outcome for p in target.programs] == ["PASS", "FAIL", "PASS", "PASS"]
    assert [s.kind for s in target.programs[1].splats] == ["oops", "panic"]
    text = (run.path / ARM / "console-1.log").read_text().splitlines()
    for splat in target.programs[1].splats:
        assert splat.text in text[splat.line - 1]


def test_a_late_complaint_is_the_last_programs(tmp_path: Path) -> None:
    made = Golden(tmp_path / "run")
    made.splat(X86, "hung-task")
    run = runs.collect(tmp_path / "run")
    *rest, last = run.targets[1].programs
    assert last.outcome is Outcome.FAIL
    assert [s.kind for s in last.splats] == ["hung-task"]
    assert {p.outcome for p in rest} == {Outcome.PASS}


def test_a_complaint_before_the_first_program_is_the_boots(tmp_path: Path) -> None:
    made = Golden(tmp_path / "run")
    end = made.splat(X86, "lockdep-circular")
    for program in golden.TESTS:
        made.change_program(X86, program, console_from=end, console_to=end)
    run = runs.collect(tmp_path / "run")
    target = run.targets[1]
    assert {p.outcome for p in target.programs} == {Outcome.PASS}
    assert target.outcome is Outcome.FAIL
    assert run.exit_code == 1
    (finding,) = run.findings
    assert finding.headline.startswith("boot 1: kernel lockdep: WARNING: possible")
    assert finding.splats


@pytest.mark.parametrize(
    ("lose", "said"),
    [
        ("console-1.log", "console was not kept"),
        ("programs/umcg.ctl.log", "its output was not kept"),
        ("exact/2.out", "exact guest 2: left no output"),
        ("exact/console-1.log", "exact guest 1: its console was not kept"),
        ("target.json", "target.json: no such file"),
    ],
)
def test_evidence_that_is_lost_is_the_labs_error(
    tmp_path: Path, lose: str, said: str
) -> None:
    golden.passing(tmp_path / "run")
    (tmp_path / "run" / X86 / lose).unlink()
    run = runs.collect(tmp_path / "run")
    assert (run.verdict, run.exit_code) == (Verdict.LAB_ERROR, 3)
    texts = [t for f in run.findings for t in (f.headline, *f.problems)]
    assert any(said in text for text in texts)


def test_a_console_shorter_than_its_windows_is_the_labs_error(tmp_path: Path) -> None:
    golden.passing(tmp_path / "run")
    console = tmp_path / "run" / X86 / "console-1.log"
    console.write_bytes(console.read_bytes()[:-10])
    assert runs.collect(tmp_path / "run").exit_code == 3


def test_a_program_without_facts_in_a_finished_run_is_no_pass(tmp_path: Path) -> None:
    golden.passing(tmp_path / "run")
    (tmp_path / "run" / X86 / "programs/umcg.ctl.json").unlink()
    run = runs.collect(tmp_path / "run")
    assert (run.verdict, run.exit_code) == (Verdict.LAB_ERROR, 3)


def test_nothing_planned_is_no_pass(tmp_path: Path) -> None:
    made = Golden(tmp_path / "run")
    made.change(X86, programs=(), benches=())
    assert runs.collect(tmp_path / "run").exit_code == 3
    Golden(tmp_path / "none", targets=())
    assert runs.collect(tmp_path / "none").exit_code == 3


def test_the_patchs_fault_outranks_the_labs(tmp_path: Path) -> None:
    golden.inexact(tmp_path / "run")
    (tmp_path / "run" / X86 / "programs/umcg.ctl.log").write_text("")
    run = runs.collect(tmp_path / "run")
    assert (run.verdict, run.exit_code) == (Verdict.FAIL, 1)
    assert [f.fault for f in run.findings] == [1, 3]


def test_another_kernel_than_the_one_built_proves_nothing(tmp_path: Path) -> None:
    made = Golden(tmp_path / "run")
    boot = facts.BootFacts(1, (), 2.5, "6.1.0-32-amd64")
    made.change(X86, boots=(boot,))
    run = runs.collect(tmp_path / "run")
    assert {p.outcome for p in run.targets[1].programs} == {Outcome.FAIL}
    assert run.exit_code == 3


def test_numbers_stand_beside_futex_and_reference(tmp_path: Path) -> None:
    run = collected(tmp_path, golden.passing)
    control, patched = run.targets[:2]
    futex = control.figures[Case("yard/futex", 0, "fair")]
    assert futex.ratio == 1
    assert futex.reference and futex.reference.cost == 2806
    assert not futex.is_off
    case = Case("switch/server-server", 0, "fair")
    assert case not in control.figures
    switch = patched.figures[case]
    assert switch.ratio == pytest.approx(2401 / 2811)
    assert switch.posted == Posted("UMCG v0.9.1", 2675)
    assert switch.reference is None and switch.change is None
    others = run.targets[2].figures.values()
    assert not any(f.reference or f.posted for f in others)


def reference() -> baseline.Baseline:
    (known,) = (b for b in baseline.load() if "6.12" in b.name)
    return known


def test_a_figure_off_its_reference_is_noted_with_the_reason(tmp_path: Path) -> None:
    golden.off_reference(tmp_path / "run")
    run = runs.collect(tmp_path / "run")
    (note,) = [n for n in summary.notes(run) if "reference" in n]
    assert note.startswith("x86_64-control: 14 of 14 figures are more than 10% off")
    assert note.endswith("no reason is on file.")
    known = reference()
    known.why["yard/futex:fair"] = "the moon"
    run = runs.collect(tmp_path / "run", [known])
    assert any("the moon" in n for n in summary.notes(run))


def test_a_reference_of_another_point_release_says_so() -> None:
    known = reference()
    futex, none = Case("yard/futex", 0, "fair"), Case("yard/none", 0, "fair")
    seen = baseline.reference(known, futex, "6.12.99-control-0")
    assert seen and seen.why == "the reference is of 6.12.117"
    assert baseline.reference(known, none, "6.12.117-x") is None


def test_the_reference_config_lies_beside_its_figures() -> None:
    known = reference()
    config = baseline.FOLDER / known.identity["config"]
    assert "6.12.117 Kernel Configuration" in config.read_text()[:200]


def test_a_slow_boot_is_noted(tmp_path: Path) -> None:
    made = Golden(tmp_path / "run")
    made.change(X86, floor=1.0)
    run = runs.collect(tmp_path / "run")
    assert run.exit_code == 0
    assert any("2.8 times the floor" in note for note in summary.notes(run))


def test_clauses_of_an_abi() -> None:
    clauses = contract.clauses(golden.ABI)
    assert [c.id for c in clauses] == [
        "CTL-1",
        "CTL-2",
        "CTL-6",
        "WAIT-1",
        "WAIT-2",
        "TIME-1",
    ]
    assert clauses[0].text.endswith("registers the calling thread as a server and "
                                    "returns 0.")  # fmt: skip


def test_the_committed_contract_is_readable() -> None:
    root = Path(__file__).parent.parent.parent
    text = (root / "kernel-patches/umcg-v0.5/ABI.md").read_text()
    clauses = contract.clauses(text)
    assert len(clauses) == text.count("\n**")
    assert len({c.id for c in clauses}) == len(clauses) > 20


def test_a_clause_is_as_good_as_its_worst_test(tmp_path: Path) -> None:
    golden.failing(tmp_path / "run")
    run = runs.collect(tmp_path / "run")
    (table,) = run.clauses
    assert table.targets == (X86, ARM)
    rows = {row.clause.id: row for row in table.rows}
    # One of the two tests that cite WAIT-1 fails, on one target.
    assert rows["WAIT-1"].outcomes == (Outcome.FAIL, Outcome.PASS)
    assert len(rows["WAIT-1"].tests) == 2
    assert rows["TIME-1"].is_hole
    assert table.holes == ("TIME-1",)
    assert table.unknown == ()


def test_holes_are_no_news_where_a_part_was_asked_for(tmp_path: Path) -> None:
    golden.failing(tmp_path / "run")
    run = runs.collect(tmp_path / "run")
    assert any("no test cites TIME-1" in note for note in summary.notes(run))
    command = "umcglab run --tests umcg-v0.5/wait"
    part = replace(run, facts=replace(run.facts, command=command))
    assert not any("no test cites" in note for note in summary.notes(part))


def test_a_citation_of_no_clause_is_noted(tmp_path: Path) -> None:
    made = Golden(tmp_path / "run")
    plan = made.target(X86).programs
    bent = facts.PlanFacts(
        plan[0].program, "test", plan[0].tests, clauses={"x": ("R-7", "R3", "CTL-99")}
    )
    made.change(X86, programs=(bent, *plan[1:]))
    run = runs.collect(tmp_path / "run")
    assert run.clauses[0].unknown == ("CTL-99",)
    assert any("CTL-99" in note for note in summary.notes(run))


def test_finishing_keeps_the_facts_and_adds_the_result(tmp_path: Path) -> None:
    run = collected(tmp_path, golden.failing)
    (run.path / "run.json").write_bytes(run_json.render(run))
    assert codec.read(run.path / "run.json", RunFacts) == run.facts
    data = json.loads((run.path / "run.json").read_text())
    assert data["result"]["verdict"] == "FAIL"
    tests = data["result"]["targets"][1]["programs"][2]["tests"]
    assert [t["outcome"] for t in tests] == ["FAIL", "FAIL", "PASS"]
    assert runs.collect(run.path) == run


def test_a_verdict_on_file_is_not_believed(tmp_path: Path) -> None:
    run = collected(tmp_path, golden.failing)
    (run.path / "run.json").write_bytes(run_json.render(run))
    text = (run.path / "run.json").read_text()
    (run.path / "run.json").write_text(text.replace('"FAIL"', '"PASS"'))
    assert runs.collect(run.path).verdict is Verdict.FAIL


def test_a_folder_that_is_no_run_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run\.json"):
        runs.collect(tmp_path)


@pytest.mark.parametrize("name", ["thesis.txt", "runs/mine", "latest/report.html"])
def test_a_folder_of_somebody_elses_is_no_place_for_results(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("precious")
    with pytest.raises(UserError, match="not empty, and not made by umcglab"):
        make_folder(tmp_path, "20260101T000000Z-abcdef0")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / name]


def test_a_folder_in_place_of_the_latest_link_is_left(tmp_path: Path) -> None:
    lab = toylab.make(tmp_path).load()
    session.begin(lab, lab.targets, session.Options("umcglab run", 1))
    latest = lab.results / "latest"
    assert latest.is_symlink()
    latest.unlink()
    latest.mkdir()
    (latest / "mine").write_text("precious")
    with pytest.raises(UserError, match="latest: not a link to a run") as caught:
        session.begin(lab, lab.targets, session.Options("umcglab run", 1))
    assert caught.value.hint == f"move it away: mv {latest} {latest}.old"
    assert (latest / "mine").read_text() == "precious"


def test_a_folder_of_results_from_before_there_were_marks(tmp_path: Path) -> None:
    name = "20260101T000000Z-abcdef0"
    (tmp_path / "runs" / name).mkdir(parents=True)
    (tmp_path / "latest").symlink_to(f"runs/{name}")
    (tmp_path / "fuzz-seeds.txt").write_text("")
    assert make_folder(tmp_path, name).path == tmp_path / "runs" / f"{name}-2"
    (tmp_path / "thesis.txt").write_text("")
    assert make_folder(tmp_path, name).path == tmp_path / "runs" / f"{name}-3"
