# SPDX-License-Identifier: MIT
from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from junitparser import JUnitXml

from umcglab.report import html, junit, plots
from umcglab.report import text as mail
from umcglab.results import codec, facts
from umcglab.results.case import Case
from umcglab.results.rundir import RunDir
from umcglab.run import session
from umcglab.tests import golden
from umcglab.tests.conftest import DRAWN
from umcglab.tests.golden import ARM, SCENARIOS, X86, Golden
from umcglab.verdict import runs
from umcglab.verdict.ktap import Outcome

VOID = {"meta", "br", "link", "hr", "img", "input"}


class Page(HTMLParser):
    """A page's ids, links, text and whether its elements nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("href", "xlink:href") and tag == "a":
                self.links.append(value or "")
            elif name == "src" or (name == "href" and tag == "link"):
                self.sources.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += data


Make = Callable[[Path], None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Make], Path]:
    """Return the folder of a scenario, rendered once."""
    root = tmp_path_factory.mktemp("runs")

    def rendered(make: Make) -> Path:
        path = root / make.__name__
        if not path.exists():
            make(path)
            session.render(RunDir(path))
        return path

    return rendered


def page(path: Path) -> str:
    return (path / "report.html").read_text()


def words(path: Path) -> str:
    """Return a page's text, each run of white space a space."""
    return " ".join(Page(page(path)).words.split())


@pytest.mark.parametrize("make", SCENARIOS.values(), ids=lambda make: make.__name__)
def test_every_scenario_renders_to_a_page_of_its_own(
    folder: Callable[[Make], Path], make: Make
) -> None:
    path = folder(make)
    text = page(path)
    seen = Page(text)
    assert seen.open == []
    assert len(seen.ids) == len(set(seen.ids))
    for link in seen.links:
        if link.startswith("#"):
            assert link[1:] in seen.ids
        else:
            assert (path / link).exists(), link
    # Nothing is fetched from anywhere.
    assert seen.sources == []
    assert "url(http" not in text and "@import" not in text
    run = runs.collect(path)
    assert str(run.verdict) in seen.words
    said = words(path)
    for finding in run.findings:
        assert " ".join(finding.headline.split()) in said
        for command in finding.commands:
            assert command in seen.words
        for _, splat in finding.splats:
            assert splat.excerpt.splitlines()[0] in seen.words
        for test in finding.tests:
            assert test.reproduce in seen.words


def test_what_was_repeated_is_one_row_and_a_count_of_each_test(
    folder: Callable[[Make], Path],
) -> None:
    path = folder(golden.repeated)
    said = words(path)
    assert "2 of 3 runs" in said
    assert "umcg/wait:wait_wake passed 2 of 3 (1 failed)" in said
    assert "umcg/wait:wake_before_wait passed 3 of 3" in said
    (target,) = (t for t in runs.collect(path).targets if t.name == X86)
    (row,) = (row for row in html.rows(target, ()) if "wait" in row.name)
    assert (row.name, len(row.programs)) == ("umcg/wait", 3)
    seen = cases(path)
    kinds = [seen[f"{X86}.umcg/wait@{n}", "wait_wake"] for n in (1, 2, 3)]
    assert kinds == [[], ["Failure"], []]


MANY = {
    f"{arch}-{abi}-{base}" + (f"-{more}" if more else ""): (arch, abi, base, flavor)
    for arch in ("x86_64", "arm64")
    for abi in ("control", "umcg-v0.1", "umcg-v0.5", "umcg-v0.9.1")
    for base in ("6.1", "6.12", "7.3")
    for flavor, more in (("bench", ""), ("debug", "debug"), ("debug", "smp8"))
}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of 72 targets, of which one could not be read."""
    path = tmp_path_factory.mktemp("many") / "run"
    made = Golden(path, ["x86_64-control"])
    made.change_run(plan=(*MANY, "arm64-lost"))
    for name, (arch, abi, base, flavor) in MANY.items():
        plan = facts.PlanFacts("umcg/wait", "test", ("wakes", "sleeps"))
        about = facts.TargetFacts(name, arch, abi, base, flavor, programs=(plan,))
        codec.write(made.dir.target(name), about)
    session.render(RunDir(path))
    return path


def test_the_grid_is_abi_and_base_by_arch_and_flavor(many: Path) -> None:
    grid = html.grid(runs.collect(many))
    assert grid.arches == (("x86_64", 2), ("arm64", 2), ("", 1))
    assert grid.flavors == ("bench", "debug", "bench", "debug", "")
    assert [(row.abi, row.base) for row in grid.rows] == [
        *(
            (abi, base)
            for abi in ("control", "umcg-v0.1", "umcg-v0.5", "umcg-v0.9.1")
            for base in ("6.1", "6.12", "7.3")
        ),
        ("", ""),
    ]
    row = grid.rows[7]
    said = [[(one.name, one.variant) for one in cell] for cell in row.cells]
    assert said == [
        [("x86_64-umcg-v0.5-6.12", "")],
        [("x86_64-umcg-v0.5-6.12-debug", ""), ("x86_64-umcg-v0.5-6.12-smp8", "smp8")],
        [("arm64-umcg-v0.5-6.12", "")],
        [("arm64-umcg-v0.5-6.12-debug", ""), ("arm64-umcg-v0.5-6.12-smp8", "smp8")],
        [],
    ]
    assert [one.variant for one in grid.rows[-1].cells[-1]] == ["arm64-lost"]
    every = [one.name for row in grid.rows for cell in row.cells for one in cell]
    assert sorted(every) == sorted([*MANY, "arm64-lost"])


def test_no_table_is_wider_with_more_targets(many: Path) -> None:
    """Of those that every run has; a cell of the grid opens a list of programs."""
    text = page(many)
    seen = Page(text)
    assert seen.open == []
    for name in MANY:
        assert f"#{name}--tests" in seen.links
        assert f"{name}--tests" in seen.ids
    widest = max(
        len(re.findall(r"<t[hd]\b", row))
        for row in re.findall(r"<tr.*?</tr>", text, re.S)
    )
    assert widest <= 8


def test_a_clause_names_the_few_targets_that_it_fails_on(tmp_path: Path) -> None:
    golden.failing(tmp_path)
    run = runs.collect(tmp_path)
    (table,) = run.clauses
    (row,) = (row for row in table.rows if row.clause.id == "WAIT-1")
    found = html.by_outcome(table, row)
    assert found == {Outcome.FAIL: [X86], Outcome.PASS: [ARM]}
    assert list(found) == [Outcome.FAIL, Outcome.PASS]
    text = html.render(run).decode()
    assert f"FAIL {X86} PASS {ARM}" in " ".join(Page(text).words.split())


def test_a_list_of_programs_has_the_stages_and_each_outcome(
    folder: Callable[[Make], Path],
) -> None:
    run = runs.collect(folder(golden.lost))
    target = run.targets[-1]
    listed = {row.name: row.cell for row in html.rows(target, run.findings)}
    assert list(listed) == ["build", "boot", *golden.TESTS, "exact lane"]
    assert (listed["umcg/ctl"].text, listed["umcg/ctl"].kind) == (
        "splat, 2 missing, 1 pass",
        "fail",
    )
    assert listed["umcg/ctl"].link
    assert (listed["umcg/wait"].text, listed["umcg/wait"].link) == ("3 pass", "")
    assert listed["boot"].text.endswith("2 boots")


def test_rendering_again_gives_the_same_bytes(
    folder: Callable[[Make], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder(golden.passing)
    before = page(path)
    for name in DRAWN:
        monkeypatch.setattr(plots, name, getattr(plots, name).__wrapped__)
    session.render(RunDir(path))
    assert page(path) == before


def test_numbers_ratios_reference_and_exactness_are_there(
    folder: Callable[[Make], Path],
) -> None:
    said = words(folder(golden.passing))
    assert "2,401 0.85 \u00d7" in said
    assert "2,806 +0.2%" in said
    assert "UMCG v0.9.1: 2,675" in said
    assert "bit-identical" in said
    assert "runs differ" not in said


def test_an_abi_on_two_bases_is_one_table(folder: Callable[[Make], Path]) -> None:
    said = words(folder(golden.two_bases))
    table = said[said.index("umcg-v0.5 on x86_64, by base") :]
    assert table.startswith(
        "umcg-v0.5 on x86_64, by base 6.126.1 fairFIFOfairFIFO switch/server-server "
        "2,401 0.85 \u00d7 1,874 0.68 \u00d7 3,602 0.85 \u00d7"
    )
    assert "by base" not in words(folder(golden.passing)), "one base each"


def test_abis_stand_side_by_side(folder: Callable[[Make], Path]) -> None:
    said = words(folder(golden.two_abis))
    assert "What each ABI offers umcg-v0.5umcg-v0.9.1" in said
    assert "timeouts yes of servers TIME-1 no no: none TIME-1" in said
    assert "umcg-v0.9.1 1 open by contract, 1 closed" in said
    assert (
        "R1waiter tests the word, then sleeps past the wake closed WAIT-2 open" in said
    )
    # Both have that posting beside them: none is known that had the contract of v0.5.
    assert said.count("UMCG v0.9.1: 2,675") == 2
    alone = words(folder(golden.passing))
    assert "What each ABI offers" not in alone and "each race" not in alone


def test_text_for_a_mail(folder: Callable[[Make], Path]) -> None:
    run = runs.collect(folder(golden.two_abis))
    said = mail.render(run).decode()
    assert max(map(len, said.splitlines())) <= mail.WIDTH
    futex = run.targets[0].figures[Case("yard/futex", 0, "fair")]
    assert re.search(rf"^yard/futex +{futex.per_op:.0f} ", said, re.M)
    assert re.search(r"^switch/server-server +2401 +\d+ +2161 +\d+$", said, re.M)
    assert re.search(r"^  x futex +0.85 ", said, re.M)
    assert re.search(r"^  posted +2675 +2029 +2675 +2029$", said, re.M)
    assert f"  (1) {X86}, posted: UMCG v0.9.1\n" in said
    assert "timeouts\n  umcg-v0.5    of servers\n  umcg-v0.9.1  no: none\n" in said
    assert re.search(r"^R1    \+   o   waiter tests the word,", said, re.M)
    assert "runs differ" not in said
    assert ": runs differ" in mail.render(runs.collect(folder(golden.inexact))).decode()


def test_text_has_what_there_is(folder: Callable[[Make], Path]) -> None:
    said = mail.render(runs.collect(folder(golden.unbuilt))).decode()
    assert "Capabilities" not in said
    assert max(map(len, said.splitlines())) <= mail.WIDTH


def test_figures_stand_beside_those_of_their_own_base(tmp_path: Path) -> None:
    golden.two_bases(tmp_path / "run")
    tables = list(html.costs(runs.collect(tmp_path / "run")))
    grid = [(t.arch, t.base) for t in tables]
    assert grid == [("x86_64", "6.12"), ("arm64", "6.12"), ("x86_64", "6.1")]
    for table in tables:
        assert {t.facts.base for t in table.targets} == {table.base}


def test_unequal_outputs_are_marked_beside_their_numbers(
    folder: Callable[[Make], Path],
) -> None:
    said = words(folder(golden.inexact))
    assert "runs differ: not to be quoted" in said
    assert '1: {"schema": 1' in said


def test_a_figure_off_its_reference_is_marked(folder: Callable[[Make], Path]) -> None:
    assert 'class="off bad"' in page(folder(golden.off_reference))
    assert 'class="off bad"' not in page(folder(golden.passing))


def test_limits_stand_beside_what_was_measured_and_posted(
    folder: Callable[[Make], Path],
) -> None:
    row = f"{X86} switch/server-server fair {{}} 2,650.0 2,675 {{}} 2,650"
    assert row.format("2,401.0", "holds") in words(folder(golden.passing))
    said = words(folder(golden.over_limit))
    assert row.format("2,881.0", "over") in said
    assert "2 over limit" in said
    assert f"{ARM} switch/server-server FIFO" in said


def test_holes_are_marked(folder: Callable[[Make], Path]) -> None:
    text = page(folder(golden.passing))
    assert re.search(r'<tr class="hole"><th class="mono">TIME-1<', text)
    assert text.count('class="hole"') == 1
    assert "6 clauses,\n  1 without a test" in text
    assert "<code>abs_timeout</code>" in text


def test_the_whole_identity_is_there(folder: Callable[[Make], Path]) -> None:
    said = words(folder(golden.passing))
    for text in (
        "6.12.117-umcg-v0.5-c0ffee5eed42",
        "sched/umcg: add umcg_wait()",
        "ab12" * 16,
        "9d3f" * 16,
        "gcc (Debian 12.2.0-14+deb12u1) 12.2.0",
        "7.2.22",
        "a probe guest did not boot under KVM",
        "qemu-system-x86_64 -machine q35 -m 1024",
        "-icount shift=0,sleep=off",
        "5a1e5a1e5a1e5a1e",
        "b0d1b0d1b0d1b0d1",
        "Debian GNU/Linux 12",
        "4e3c11b0d9a2f6c1e7b85d40a9f3c2e1d0b4a596",
        "2026-01-01T10:01:37+00:00",
    ):
        assert text in said


def test_what_a_guest_says_cannot_become_markup(tmp_path: Path) -> None:
    evil = "</pre><script>alert(1)</script>"
    made = Golden(tmp_path)
    log = golden.ktap(golden.TESTS["umcg/ctl"]).replace(
        "ok 1 register\n", f"# a.c:1: {evil}\nnot ok 1 register\n"
    )
    made.change_program(X86, "umcg/ctl", log=log, exit_status=1)
    made.change_run(clauses={"umcg-v0.5": (facts.ClauseFacts("CTL-1", f"`{evil}`"),)})
    with made.dir.console(X86, 1).open("a") as f:
        f.write(f"[    9.000000] WARNING: CPU: 0 PID: 1 at {evil}\n")
    run = runs.collect(tmp_path)
    text = html.render(run).decode()
    assert "<script" not in text
    assert evil in Page(text).words
    xml = junit.render(run).decode()
    assert evil in xml.replace("&lt;", "<").replace("&gt;", ">")


def cases(path: Path) -> dict[tuple[str, str], list[str]]:
    """Return the kinds of result of every case of a run's JUnit file."""
    xml = JUnitXml.fromfile(str(path / "junit.xml"))
    return {
        (suite.name, case.name): [type(r).__name__ for r in case.result]
        for suite in xml
        for case in suite
    }


def test_junit_of_a_good_run(folder: Callable[[Make], Path]) -> None:
    path = folder(golden.passing)
    seen = cases(path)
    assert seen[f"{X86}.umcg/ctl", "register"] == []
    assert seen["x86_64-control.umcg/ctl", "register"] == ["Skipped"]
    assert seen[f"{X86}.lab", "exact lane"] == []
    assert len(seen) == 4 * (3 + sum(map(len, golden.TESTS.values())))
    xml = JUnitXml.fromfile(str(path / "junit.xml"))
    assert (xml.failures, xml.errors, xml.skipped) == (0, 0, 16)
    suite = next(iter(xml))
    properties = {p.name: p.value for p in suite.properties()}  # type: ignore[no-untyped-call]
    assert properties["kernel"] == "6.12.117-control-c0ffee5eed42"
    assert properties["accelerator"] == "tcg"


@pytest.mark.parametrize(
    ("make", "case", "kind"),
    [
        (golden.failing, (f"{X86}.umcg/wait", "wait_wake"), ["Failure"]),
        # A splat under passing tests is a case of its own.
        (golden.splat, (f"{X86}.umcg/wait", "wait_wake"), []),
        (golden.splat, (f"{X86}.umcg/wait", "(program)"), ["Failure"]),
        (golden.lost, (f"{ARM}.umcg/ctl", "register_null"), ["Error"]),
        (golden.unbuilt, (f"{X86}.lab", "build"), ["Failure"]),
        (golden.unbuilt, (f"{X86}.lab", "boot"), ["Skipped"]),
        (golden.inexact, (f"{ARM}.lab", "exact lane"), ["Error"]),
        (golden.over_limit, (f"{X86}.lab", "limits"), ["Failure"]),
        (golden.lab_error, ("arm64-control.lab", "boot"), ["Error"]),
    ],
)
def test_junit_of_what_went_wrong(
    folder: Callable[[Make], Path], make: Make, case: tuple[str, str], kind: list[str]
) -> None:
    assert cases(folder(make))[case] == kind


def test_junit_has_the_words_and_the_reproducer(
    folder: Callable[[Make], Path],
) -> None:
    text = (folder(golden.failing) / "junit.xml").read_text()
    assert "tests/umcg/wait.c:88" in text
    assert f"--only {X86} --tests umcg/wait:wake_before_wait" in text
    assert "cut here" in (folder(golden.splat) / "junit.xml").read_text()


def test_junit_holds_what_xml_cannot(tmp_path: Path) -> None:
    made = Golden(tmp_path)
    log = golden.ktap(golden.TESTS["umcg/ctl"]).replace(
        "ok 1 register\n", "# \x00\x1b[1m bad \ufffe\nnot ok 1 register\n"
    )
    made.change_program(X86, "umcg/ctl", log=log, exit_status=1)
    xml = junit.render(runs.collect(tmp_path))
    assert JUnitXml.fromstring(xml).failures == 1


@pytest.mark.parametrize("given", ["--lab 'my lab.yaml'", "'--lab=my lab.yaml'"])
def test_a_line_to_type_names_the_lab_file(tmp_path: Path, given: str) -> None:
    golden.failing(tmp_path)
    made = runs.collect(tmp_path)
    command = f"umcglab run {given} --tests x"
    run = replace(made, facts=replace(made.facts, command=command))
    lines = [line for found in run.findings for line in found.commands]
    start = "umcglab shell --lab 'my lab.yaml' --only "
    assert any(line.startswith(start) for line in lines), lines
    broken = replace(made, facts=replace(made.facts, command="umcglab '"))
    assert broken.findings == made.findings
