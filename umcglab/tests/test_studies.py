# SPDX-License-Identifier: MIT
"""What studies have found out, from where they leave it to the report of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from umcglab.report import html
from umcglab.results import codec, studies
from umcglab.results.facts import TargetFacts
from umcglab.results.rundir import RunDir
from umcglab.results.studies import (
    KILLED,
    SURVIVED,
    CodeFacts,
    CoverageFacts,
    MutantFacts,
    Subject,
)  # fmt: skip
from umcglab.run import session
from umcglab.tests import golden
from umcglab.tests.golden import X86

COVERAGE = CoverageFacts(
    "2026-11-30",
    ("umcg/ctl:register", "umcg/wait:wait_wake"),
    (
        CodeFacts("kernel/sched/umcg.c", 10, "umcg_find", "if (a < b)", (1, 0)),
        CodeFacts("kernel/sched/umcg.c", 11, "umcg_find", "return <-1>;"),
        CodeFacts("kernel/sched/umcg.c", 12, "umcg_find", "BUG();", (), "none is to"),
        CodeFacts(
            "kernel/sched/umcg.c", 13, "umcg_put", "if (c)", (0,), never_to=("a.h:5",)
        ),
    ),
    ("umcg/ctl:register",),
)


def mutant(line: int, word: str, change: str = "negate", why: str = "") -> MutantFacts:
    return MutantFacts(
        "kernel/sched/umcg.c", line, "umcg_find", "x = <0>;", change, word, why=why
    )


MUTANTS = (
    mutant(1, KILLED),
    mutant(2, KILLED),
    mutant(3, SURVIVED),
    mutant(4, SURVIVED, why="nobody sees it"),
)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """The run of a target whose kernel was studied, in its results folder."""
    run_dir = RunDir(tmp_path / "runs" / "1")
    golden.passing(run_dir.path)
    return run_dir


def subject(run: RunDir, suite: str = "5417e") -> Subject:
    facts = codec.read(run.target(X86), TargetFacts)
    assert facts.kernel
    return Subject(run.path.parent.parent, X86, facts.kernel.digest, suite)


def test_mutants_of_several_hunts_add_up(run: RunDir) -> None:
    of = subject(run)
    studies.keep_mutants(of, MUTANTS[:2], "2026-11-29")
    # One that is tried again counts once, and as it came out last.
    again = (replace(MUTANTS[1], word=SURVIVED), *MUTANTS[2:])
    known = studies.keep_mutants(of, again, "2026-11-30")
    assert [m.word for m in known.mutants] == [KILLED, SURVIVED, SURVIVED, SURVIVED]
    assert known.mutants_when == "2026-11-30"
    assert studies.load(of) == known


def test_nothing_is_known_of_another_kernel_or_suite(run: RunDir) -> None:
    of = subject(run)
    studies.keep_coverage(of, COVERAGE)
    for other in (replace(of, kernel="07e4"), replace(of, suite="07e4")):
        assert studies.load(other).coverage is None
    studies.keep_mutants(replace(of, suite="07e4"), MUTANTS, "2026-11-30")
    assert studies.load(of).coverage is None


def test_a_score_is_of_what_a_program_can_see() -> None:
    study = replace(studies.StudyFacts("k", "s"), mutants=MUTANTS)
    score = study.score()
    assert (score.killed, score.listed, score.tried) == (2, 1, 4)
    assert score.fraction == pytest.approx(2 / 3)
    other = replace(MUTANTS[0], file="kernel/a.c", function="a")
    both = replace(study, mutants=(*MUTANTS, other))
    assert [(f.file, [g.function for g in inner]) for f, inner in both.scores()] == [
        ("kernel/a.c", ["a"]),
        ("kernel/sched/umcg.c", ["umcg_find"]),
    ]
    assert study.score("none").fraction == 1.0


def test_a_report_has_what_is_known_of_its_kernels(run: RunDir) -> None:
    session.render(run)
    page = run.path / "report.html"
    assert "How well the tests test" not in page.read_text()
    of = subject(run)
    studies.keep_coverage(of, COVERAGE)
    session.render(run)
    text = page.read_text()
    assert "How well the tests test" in text
    assert f"umcglab mutants --generate --only {X86}" in text
    studies.keep_mutants(of, MUTANTS, "2026-11-30")
    session.render(run)
    text = page.read_text()
    # Lines, those that run, those without a reason; the score.
    for said in ("50.0%", "66.7%", "2 lines never run, 1 that branch one way only",
                 "return &lt;-1&gt;;", "none is to", "never goes to", "a.h:5",
                 "nobody sees it", "no reason given", "1 of 2 tests run nothing"):  # fmt: skip
        assert said in text, said
    # What comes later of another kernel is not of this run.
    studies.keep_coverage(replace(of, kernel="07e4"), replace(COVERAGE, when="later"))
    before = page.read_bytes()
    session.render(run)
    assert page.read_bytes() == before


def test_a_file_of_another_lab_is_left(run: RunDir) -> None:
    path = run.path.parent.parent / "studies" / f"{X86}.json"
    path.parent.mkdir()
    path.write_text('{"schema": 99}')
    session.render(run)
    assert not run.study(X86).exists()
    assert studies.load(subject(run)).coverage is None


def test_a_study_has_a_page_of_its_own() -> None:
    study = replace(studies.StudyFacts("k", "s"), mutants=MUTANTS)
    text = html.render_studies("a-hunt", [(X86, study)]).decode()
    assert "a-hunt" in text and "66.7%" in text
    assert f"umcglab coverage {X86}" in text
