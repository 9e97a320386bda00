# SPDX-License-Identifier: MIT
"""Generated mutants: real edits of the toy kernel, compiled; only the guest is not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from umcglab.errors import InfraError, UserError
from umcglab.guest import steps
from umcglab.guest.steps import Ended, Ran, Step
from umcglab.guest.suite import Bundle
from umcglab.kernel import objects, trees
from umcglab.kernel.codemap import CodeMap, Insn
from umcglab.kernel.kernels import Kernel
from umcglab.lab.config import Lab, Target
from umcglab.lab.manifest import Manifest, Program
from umcglab.results.studies import KILLED, SURVIVED
from umcglab.study import coverage, generated
from umcglab.study.coverage import Cover, Coverage
from umcglab.study.generated import (
    BROKEN,
    EQUAL,
    Hunt,
    Mutant,
    Shard,
    Verdict,
    Wanted,
)  # fmt: skip
from umcglab.tests import toylab

UMCG = "kernel/umcg.c"
UMCG_C = """\
int umcg_wait(int flags);

int umcg_wait(int flags)
{
	if (flags == 3 && flags > 2)
		return -1;
	return flags + 0;
}
"""
DEAR, CHEAP, OTHER = "umcg-toy/wait:dear", "umcg-toy/wait:cheap", "umcg-toy/wait:other"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.delenv("UMCGLAB_CACHE", raising=False)
    toy = toylab.make(tmp_path)
    toy.series("umcg-toy/6.99", toylab.patch("umcg: add", {UMCG: ("", UMCG_C)}))
    return toy.load()


@pytest.fixture
def target(lab: Lab) -> Target:
    return next(target for target in lab.targets if target.abi == "umcg-toy")


class Guest:
    """Stands for the guests: what they fail, and what they were asked to run."""

    def __init__(self) -> None:
        self.fails: dict[str, int] = {}
        self.died = ""
        self.asked: list[list[str]] = []
        self.broken = False
        self.fails_anyway = False

    def run(
        self, lab: Lab, kernel: Kernel, bundle: Path, plan: Sequence[Step],
        *, folder: Path, stop: bool, cpu_limit: float, memory: int, smp: int,
    ) -> Ran:  # fmt: skip
        if self.broken:
            raise InfraError("no QEMU")
        assert stop and kernel.image.exists()
        names = [step.name for step in plan]
        if "-" not in kernel.digest:
            # There is no mistake in it.
            status = int(self.fails_anyway)
            return Ran(tuple(Ended(n, status, "") for n in names), "", "", (), 1.0, 1.0)
        self.asked.append(names)
        program, test = names[0].split(":")
        assert plan[0].argv == (f"bin/{program}", "-t", test)
        assert smp == (3 if program == "umcg-toy/exact" else 1)
        ended = [Ended(n, self.fails.get(n, 0), "") for n in names]
        bad = next((n for n, e in enumerate(ended) if e.status), len(ended))
        if self.died:
            return Ran((), names[0], self.died, (), 1.0, 1.0)
        return Ran(tuple(ended[: bad + 1]), "", "", (), 1.0, 1.0)


@pytest.fixture
def guest(monkeypatch: pytest.MonkeyPatch) -> Guest:
    made = Guest()
    monkeypatch.setattr(steps, "run", made.run)
    return made


def covered() -> Coverage:
    def insn(address: int, line: int) -> Insn:
        return Insn(address, "umcg_wait", ((UMCG, line),), UMCG, "")

    return Coverage(
        CodeMap({n: insn(n, n) for n in (5, 6, 7)}, {}),
        {UMCG: frozenset(range(1, 9))},
        {(UMCG, n): "umcg_wait" for n in range(3, 9)},
        {(UMCG, n): text.strip() for n, text in enumerate(UMCG_C.split("\n"), 1)},
        {
            DEAR: Cover(0, 500, frozenset({5, 7}), frozenset()),
            CHEAP: Cover(0, 5, frozenset({5, 7}), frozenset()),
            OTHER: Cover(1, 5, frozenset({5, 6, 7}), frozenset()),
        },
    )


@pytest.fixture
def hunting(
    lab: Lab, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Bundle:
    monkeypatch.setattr(coverage, "measure", lambda *_: covered())
    program = Program(
        "umcg-toy/wait", "test", ("bin/umcg-toy/wait",), ("dear", "cheap", "other")
    )
    write_program(tmp_path, "wait", "as it is")
    return Bundle(tmp_path, "d1e5", Manifest((program,)))


def write_program(suite: Path, name: str, text: str) -> None:
    file = suite / "bin" / "umcg-toy" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def try_all(
    lab: Lab, target: Target, bundle: Bundle, wanted: Wanted, folder: Path
) -> list[Verdict]:
    folder.mkdir(exist_ok=True)
    generated.hunt_all(lab, target, bundle, wanted, folder, 1, toylab.Progress())
    return generated.read(folder)


def test_every_edit_gets_a_verdict(
    lab: Lab, target: Target, hunting: Bundle, guest: Guest, tmp_path: Path
) -> None:
    guest.fails = {CHEAP: 1}
    found = try_all(lab, target, hunting, Wanted(), tmp_path / "1")
    words = {(v.line, v.change): v.word for v in found}
    assert words[5, "relation: == -> !="] == KILLED
    # Of two conditions of which one says it all, the other is not missed.
    assert words[5, "drop-side: flags == 3 && flags > 2 -> flags == 3"] == EQUAL
    assert words[7, "drop-term: flags + 0 -> flags"] == EQUAL
    assert words[7, "delete: return flags + 0; -> ;"] in (BROKEN, KILLED)
    # No test runs it that passes; those of its function are asked all the same.
    assert words[6, "off-by-one: -1 -> -2"] == KILLED
    killed = next(v for v in found if v.word == KILLED)
    assert killed.by == CHEAP and killed.function == "umcg_wait"
    assert killed.text == "if (flags == 3 && flags > 2)"
    # Two edits that make the same object are tried once.
    twins = {v.change: v.twin for v in found if v.line == 6}
    assert not twins["off-by-one: -1 -> 0"] and twins["return-zero: -1 -> 0"]
    assert len(guest.asked) == sum(v.counts and not v.twin for v in found)
    # Cheapest first, and none after the one that noticed.
    assert guest.asked and all(names == [CHEAP, DEAR] for names in guest.asked)
    assert killed.ran == 1
    # The tree is as the series leave it.
    with trees.hold(target, lab, toylab.Progress(), 1) as tree:
        assert (tree.built.tree / UMCG).read_text() == UMCG_C
        assert not objects.of(tree).tree.restore()


@pytest.mark.slow
def test_those_that_run_the_line_are_asked_first(
    lab: Lab, target: Target, hunting: Bundle, guest: Guest, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    known = covered()
    tests = {**known.tests, CHEAP: replace(known.tests[CHEAP], insns=frozenset({5}))}
    monkeypatch.setattr(coverage, "measure", lambda *_: replace(known, tests=tests))
    found = try_all(lab, target, hunting, Wanted(), tmp_path / "1")
    assert [DEAR, CHEAP] in guest.asked and [CHEAP, DEAR] in guest.asked
    assert {v.word for v in found if v.ran} == {SURVIVED}
    nobody = replace(known, tests={})
    monkeypatch.setattr(coverage, "measure", lambda *_: nobody)
    other = Bundle(hunting.dir, "0ther", hunting.manifest)
    found = try_all(lab, target, other, Wanted(), tmp_path / "2")
    survivor = next(v for v in found if v.word == SURVIVED)
    assert survivor.why == "no test runs its function" and not survivor.ran


@pytest.mark.slow
def test_those_that_want_cpus_are_asked_where_all_others_pass(
    lab: Lab, target: Target, hunting: Bundle, guest: Guest, tmp_path: Path
) -> None:
    exact = "umcg-toy/exact"
    programs = (
        *hunting.manifest.programs,
        Program(exact, "test", (f"bin/{exact}",), ("a", "b"), exact_cpus=3),
    )
    bundle = replace(hunting, manifest=Manifest(programs))
    write_program(tmp_path, "exact", "as it is")
    line = Wanted(sample=1)
    guest.fails = {f"{exact}:b": 1}
    found = try_all(lab, target, bundle, line, tmp_path / "1")
    killed = next(v for v in found if v.counts)
    assert guest.asked == [[CHEAP, DEAR], [f"{exact}:a", f"{exact}:b"]]
    assert (killed.word, killed.by, killed.ran) == (KILLED, f"{exact}:b", 4)
    guest.fails = {CHEAP: 1}
    write_program(tmp_path, "exact", "another")
    try_all(lab, target, bundle, line, tmp_path / "2")
    assert guest.asked[2:] == [[CHEAP, DEAR]]


@pytest.mark.slow
def test_what_fails_without_a_mistake_kills_nobody(
    lab: Lab, target: Target, hunting: Bundle, guest: Guest, tmp_path: Path
) -> None:
    exact = "umcg-toy/exact"
    write_program(tmp_path, "exact", "as it is")
    program = Program(exact, "test", (f"bin/{exact}",), ("a",), exact_cpus=3)
    bundle = replace(hunting, manifest=Manifest((program,)))
    guest.fails_anyway = True
    with pytest.raises(
        InfraError, match=f"{exact}:a fails on the kernel without a mis"
    ):
        try_all(lab, target, bundle, Wanted(), tmp_path / "1")
    assert not guest.asked


@pytest.mark.slow
def test_a_hunt_goes_on_where_it_was(
    lab: Lab, target: Target, hunting: Bundle, guest: Guest, tmp_path: Path
) -> None:
    guest.fails = {DEAR: 1}
    wanted = Wanted(sample=3, seed=5)
    first = try_all(lab, target, hunting, wanted, tmp_path / "1")
    assert sum(v.counts for v in first) == 3
    tried = len(guest.asked)
    assert try_all(lab, target, hunting, wanted, tmp_path / "2") == first
    assert len(guest.asked) == tried
    # Interrupted, or without QEMU: nothing is remembered of what was not tried.
    guest.broken = True
    with pytest.raises(InfraError):
        try_all(lab, target, hunting, Wanted(), tmp_path / "3")
    guest.broken = False
    assert try_all(lab, target, hunting, Wanted(), tmp_path / "4")


@pytest.mark.slow
def test_a_kill_holds_until_its_program_changes(
    lab: Lab, target: Target, hunting: Bundle, guest: Guest, tmp_path: Path
) -> None:
    wanted = Wanted(sample=3, seed=5)
    guest.fails = {DEAR: 1}
    first = try_all(lab, target, hunting, wanted, tmp_path / "1")
    tried = len(guest.asked)
    # Other programs of the suite may have changed.
    other = Bundle(hunting.dir, "0ther", hunting.manifest)
    assert try_all(lab, target, other, wanted, tmp_path / "2") == first
    assert len(guest.asked) == tried
    write_program(hunting.dir, "wait", "another")
    guest.fails = {}
    last = try_all(lab, target, other, wanted, tmp_path / "3")
    assert len(guest.asked) > tried
    assert SURVIVED in {v.word for v in last}
    # Another suite may notice what this one did not.
    tried = len(guest.asked)
    try_all(lab, target, other, wanted, tmp_path / "4")
    assert len(guest.asked) == tried
    try_all(lab, target, hunting, wanted, tmp_path / "5")
    assert len(guest.asked) > tried


@pytest.mark.slow
def test_a_guest_that_is_lost_kills(
    lab: Lab, target: Target, hunting: Bundle, guest: Guest, tmp_path: Path
) -> None:
    guest.died = "Kernel panic"
    found = try_all(lab, target, hunting, Wanted(), tmp_path / "1")
    killed = next(v for v in found if v.word == KILLED)
    assert (killed.by, killed.why) == (CHEAP, "Kernel panic")


@pytest.mark.slow
def test_a_guest_that_does_not_boot_kills(
    lab: Lab, target: Target, hunting: Bundle, guest: Guest, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    ended = Ran((), "", "it ended without a word", (), 1.0, 1.0)
    monkeypatch.setattr(steps, "run", lambda *_, **__: ended)
    first = try_all(lab, target, hunting, Wanted(), tmp_path / "1")
    assert {v.by for v in first if v.word == KILLED} == {steps.BOOT}
    # It is remembered, too.
    monkeypatch.setattr(steps, "run", guest.run)
    assert try_all(lab, target, hunting, Wanted(), tmp_path / "2") == first


def every(lab: Lab, target: Target, bundle: Bundle) -> list[Mutant]:
    with trees.hold(target, lab, toylab.Progress(), 1) as tree:
        known = objects.of(tree)
        return Hunt(lab, target, bundle, known, covered(), lab.root).mutants()


def test_shards_are_all_of_it_once(lab: Lab, target: Target, hunting: Bundle) -> None:
    mutants = every(lab, target, hunting)
    parts = [
        generated.chosen(mutants, Wanted(shard=Shard(n, 3), sample=99, seed=2))
        for n in (1, 2, 3)
    ]
    assert sorted(m.name for part in parts for m in part) == sorted(
        m.name for m in mutants
    )
    a = generated.chosen(mutants, Wanted(sample=5, seed=1))
    assert a == generated.chosen(mutants, Wanted(sample=5, seed=1))
    assert a != generated.chosen(mutants, Wanted(sample=5, seed=2))
    assert generated.chosen(mutants, Wanted(files=("umcg.c:umcg_wait",)))
    with pytest.raises(UserError, match="no line of the series"):
        generated.chosen(mutants, Wanted(files=("umcg.c:other",)))


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/2/3"])
def test_a_shard_that_is_none(text: str) -> None:
    with pytest.raises(ValueError):
        Shard.parse(text)


def verdict(word: str, change: str = "negate: x -> !(x)") -> Verdict:
    return Verdict(UMCG, 5, "umcg_wait", "if (x)", change, word)


def test_the_score(tmp_path: Path) -> None:
    found = [*(verdict(KILLED) for _ in range(3)), verdict(SURVIVED), verdict(EQUAL),
             verdict(BROKEN)]  # fmt: skip
    assert generated.score(found) == (3, 4)
    said = "\n".join(generated.table("t", found, {}))
    assert "75.0%  3 of 4 killed" in said
    assert "survived: kernel/umcg.c:5 umcg_wait: if (x)" in said
    assert "NOT LISTED" in said
    text = f'{UMCG}:\n  umcg_wait:\n    "negate: x -> !(x)": nobody can see it\n'
    (tmp_path / "survivors.yaml").write_text(text)
    listed = generated.survivors(tmp_path)
    assert "[nobody can see it]" in "\n".join(generated.table("t", found, listed))
    assert "NOT LISTED" not in "\n".join(generated.table("t", found, listed))
    assert generated.survivors(tmp_path / "none") == {}


def test_verdicts_are_lines_of_json(tmp_path: Path) -> None:
    row = vars(verdict(KILLED))
    (tmp_path / "verdicts.jsonl").write_text(json.dumps(row) + "\n")
    assert generated.read(tmp_path) == [verdict(KILLED)]
