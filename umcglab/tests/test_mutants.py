# SPDX-License-Identifier: MIT
"""Mutants: their index, the tree they are made in, and what counts as noticed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from junitparser import JUnitXml

from umcglab import cli
from umcglab.errors import PatchError, UserError
from umcglab.guest.image import Image
from umcglab.guest.suite import Bundle
from umcglab.host import cache
from umcglab.host.display import Display
from umcglab.host.progress import Progress
from umcglab.kernel import kconfig, kernels, trees
from umcglab.lab import config
from umcglab.lab.config import Lab, Target
from umcglab.lab.manifest import Manifest, Program, load_plan
from umcglab.results import codec
from umcglab.results.facts import BootFacts, ErrorFacts, ProgramFacts, TargetFacts
from umcglab.results.rundir import RunDir
from umcglab.run import artifacts, lanes
from umcglab.run.artifacts import Built
from umcglab.run.lanes import Ready
from umcglab.study import mutants
from umcglab.tests import toylab
from umcglab.tests.conftest import slow
from umcglab.tests.toylab import UMCG_C, ToyLab

UMCG = "kernel/umcg.c"
MANIFEST = """\
umcg-toy/wait:
  kind: test
  tests:
    wakes:
    sleeps:
"""
INDEX = """\
lost-wake:
  breaks: a wake is lost
  killed-by:
    umcg-toy/wait: wakes
no-barrier:
  breaks: a barrier is missing
  unseen: no CPU here reorders that
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToyLab:
    """A lab with two mutants of its toy series."""
    monkeypatch.delenv("UMCGLAB_CACHE", raising=False)
    lab = toylab.make(tmp_path)
    lab.write(
        "guest-tests/harness/manifest.yaml", "harness/h: {kind: test, tests: {h: }}"
    )
    lab.write("guest-tests/bench/manifest.yaml", "yard/futex: {kind: bench}")
    lab.write("guest-tests/abi/umcg-toy/manifest.yaml", MANIFEST)
    mutant(lab, "lost-wake", "return flags", "return 7")
    mutant(lab, "no-barrier", "return flags", "return 8")
    write_index(lab, INDEX)
    return lab


def mutant(lab: ToyLab, name: str, old: str, new: str) -> None:
    text = toylab.patch(f"{name}: wrong", {UMCG: (UMCG_C, UMCG_C.replace(old, new))})
    lab.write(f"kernel-patches/umcg-toy/mutants/{name}.patch", text)


def write_index(lab: ToyLab, text: str) -> None:
    lab.write("kernel-patches/umcg-toy/mutants/index.yaml", text)


def patched(lab: Lab) -> Target:
    return next(target for target in lab.targets if target.abi == "umcg-toy")


def test_the_index_is_read(toy: ToyLab) -> None:
    lab = toy.load()
    lost, barrier = mutants.of(lab, patched(lab))
    assert (lost.name, lost.breaks) == ("lost-wake", "a wake is lost")
    assert lost.tests == {"umcg-toy/wait": ("wakes",)}
    assert lost.patch.files == (UMCG,)
    assert barrier.unseen == "no CPU here reorders that"
    control = next(target for target in lab.targets if target.is_control)
    assert mutants.of(lab, control) == ()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "umcg-toy/wait: wakes",
            "umcg-toy/wiat: wakes",
            "did you mean 'umcg-toy/wait'?",
        ),
        (
            "umcg-toy/wait: wakes",
            "umcg-toy/wait: waken",
            "has no test 'waken'; did you mean",
        ),
        ("  breaks: a wake is lost\n", "", "'breaks' is missing"),
        ("lost-wake:", "last-wake:", "there is no last-wake.patch"),
        ("  unseen: no CPU here reorders that\n", "", "`killed-by` or `unseen`"),
        ("  killed-by:", "  model: X\n  killed-by:", "`model` is for what is unseen"),
        (INDEX[INDEX.index("no-barrier") :], "", "no-barrier: not in the index"),
        (INDEX, "", "it has no mutants"),
    ],
)
def test_a_mistake_in_the_index(toy: ToyLab, old: str, new: str, said: str) -> None:
    assert old in INDEX
    write_index(toy, INDEX.replace(old, new))
    lab = toy.load()
    with pytest.raises(UserError, match=said.replace("?", r"\?")) as e:
        mutants.of(lab, patched(lab))
    assert "index.yaml" in str(e.value.where)


def test_a_mutant_of_another_abi_is_left_out(toy: ToyLab) -> None:
    toy.write("guest-tests/abi/umcg-new/manifest.yaml", MANIFEST)
    write_index(toy, INDEX.replace("umcg-toy/wait: wakes", "umcg-new/wait: wakes"))
    lab = toy.load()
    assert [m.name for m in mutants.of(lab, patched(lab))] == ["no-barrier"]
    with pytest.raises(UserError, match="has mutants that its tests notice"):
        mutants.targets(lab, lab.targets, False)


def test_a_mutant_has_one_hunk(toy: ToyLab) -> None:
    padded = UMCG_C.replace("return", "\n" * 9 + "return")
    changed = padded.replace("flags;", "f;").replace("SPDX", "")
    text = toylab.patch("two", {UMCG: (padded, changed)})
    toy.write("kernel-patches/umcg-toy/mutants/lost-wake.patch", text)
    lab = toy.load()
    with pytest.raises(UserError, match="lost-wake: 2 hunks, a mutant has one"):
        mutants.of(lab, patched(lab))


def test_which_mutants(toy: ToyLab) -> None:
    lab = toy.load()
    both = mutants.of(lab, patched(lab))
    assert mutants.pick(both, []) == both
    assert [m.name for m in mutants.pick(both, ["no-barrier"])] == ["no-barrier"]
    with pytest.raises(UserError, match="did you mean 'lost-wake'"):
        mutants.pick(both, ["lost-wkae"])
    assert mutants.targets(lab, lab.targets, False) == [patched(lab)]
    debug = replace(patched(lab), flavor="debug")
    with pytest.raises(UserError, match="no target of flavor bench"):
        mutants.targets(lab, [debug], True)


def test_a_tree_is_changed_and_made_again(toy: ToyLab, tmp_path: Path) -> None:
    lab = toy.load()
    lost, barrier = mutants.of(lab, patched(lab))
    with trees.hold(patched(lab), lab, toylab.Progress(), 1) as tree:
        source = tree.built.tree / UMCG
        for one, line in ((lost, "return 7;"), (barrier, "return 8;")):
            kernel = tree.remake(one.patch, tmp_path / "log", toylab.Progress())
            assert line in source.read_text()
            assert kernel.image.exists()
            assert kernel.release == tree.kernel.release
            assert kernel.digest != tree.kernel.digest
        made = tree.built.objects.stat().st_ino
    # Kept, and as the series leave it, whatever ended the one before.
    source.write_text("cut short")
    with trees.hold(patched(lab), lab, toylab.Progress(), 1) as tree:
        assert tree.built.objects.stat().st_ino == made
        tree.remake(lost.patch, tmp_path / "log", toylab.Progress())
        assert source.read_text() == UMCG_C.replace("flags;", "7;", 1)


def test_a_series_that_takes_away_what_it_added(toy: ToyLab) -> None:
    add = {"kernel/umcg.c": ("", UMCG_C), "kernel/old.c": ("", "int x;\n")}
    gone = toylab.patch("old: remove", {"kernel/old.c": ("int x;\n", "")})
    gone = gone.replace("+++ b/kernel/old.c", "+++ /dev/null")
    toy.series("umcg-toy/6.99", toylab.patch("umcg: add", add), gone)
    lab = toy.load()
    with trees.hold(patched(lab), lab, toylab.Progress(), 1) as tree:
        assert set(tree.originals) == {"kernel/fork.c", "kernel/umcg.c"}


def test_a_tree_that_was_not_finished_is_made_anew(toy: ToyLab) -> None:
    lab = toy.load()
    with trees.hold(patched(lab), lab, toylab.Progress(), 1) as tree:
        folder = tree.built.tree.parent
    (folder / "complete").unlink()
    (folder / "linux" / "left").touch()
    with trees.hold(patched(lab), lab, toylab.Progress(), 1) as tree:
        assert not (tree.built.tree / "left").exists()


def test_the_size_of_a_tree_is_recorded(
    toy: ToyLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is 80,000 files, which each run would count when it trims."""
    lab = toy.load()
    with trees.hold(patched(lab), lab, toylab.Progress(), 1) as tree:
        folder = tree.built.tree.parent
    counted: list[Path] = []

    def count(root: Path) -> int:
        counted.append(root)
        return 0

    monkeypatch.setattr(cache, "_size", count)
    lab.cache.trim(2**40)
    # Whether ccache has counted is not told here.
    assert set(counted) <= {lab.cache.root / cache.CCACHE}
    with trees.hold(patched(lab), lab, toylab.Progress(), 1):
        counted.clear()
        lab.cache.trim(2**40)
        assert folder in counted, "it may grow"


def test_a_mutant_that_does_not_fit_or_compile(toy: ToyLab, tmp_path: Path) -> None:
    mutant(toy, "lost-wake", "return flags", "return wrong")
    mutant(toy, "no-barrier", "return flags", "return 8")
    file = toy.root / "kernel-patches/umcg-toy/mutants/no-barrier.patch"
    file.write_text(file.read_text().replace(" int umcg_wait", " int umcg_wiat"))
    lab = toy.load()
    lost, barrier = mutants.of(lab, patched(lab))
    with trees.hold(patched(lab), lab, toylab.Progress(), 1) as tree:
        with pytest.raises(PatchError, match="lost-wake does not build"):
            tree.remake(lost.patch, tmp_path / "log", toylab.Progress())
        with pytest.raises(PatchError, match="does not apply"):
            tree.remake(barrier.patch, tmp_path / "log", toylab.Progress())


Play = Callable[[Mapping[str, str]], int]


@pytest.fixture
def play(
    toy: ToyLab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Play:
    """Run all mutants; the outcome of each test depends on what the kernel is."""
    lab = toy.load()
    program = Program(
        "umcg-toy/wait", "test", ("bin/umcg-toy/wait",), ("wakes", "sleeps")
    )
    parts: dict[str, str] = {}

    def test_lane(
        lab: Lab, ready: Ready, start: TargetFacts, folder: RunDir, progress: Progress
    ) -> TargetFacts:
        (made,) = ready.programs
        assert made.tests == ("wakes",)
        assert "-t wakes" in lanes.command(ready, made)
        changed = ready.kernel.identity.get("changed-by", "unchanged.patch")
        part = parts[str(changed).removesuffix(".patch")]
        name = ready.target.name
        log = folder.program_log(name, made.name)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"KTAP version 1\n1..1\n{part} 1 wakes\n")
        folder.console(name, 1).write_text("")
        if part in ("ok", "not ok"):
            ran = ProgramFacts(made.name, 1, int(part != "ok"), 1.0, 0, 0)
            codec.write(folder.program(name, made.name), ran)
        boots = (BootFacts(1, uname=ready.kernel.release),)
        done = replace(start, status="done", boots=boots)
        if part in ("lab", "panic"):
            fault, why = (3, "no QEMU") if part == "lab" else (1, "Kernel panic")
            error = ErrorFacts(fault, why, "boot")
            done = replace(start, status="error", errors=(error,))
        codec.write(folder.target(name), done)
        return done

    def built(lab: Lab, targets: list[Target], cores: int, display: Display) -> Built:
        (target,) = targets
        kernel = kernels.build(target, lab, toylab.Progress(), 1)
        bundle = Bundle(toy.root, "d1e5", Manifest((program,)))
        image = Image(toy.root / "disk", "d1e5", target.arch, {})
        return Built(
            {target.name: kernel}, {target.arch.name: image}, {target.name: (bundle,)}
        )

    monkeypatch.setattr(lanes, "test_lane", test_lane)
    monkeypatch.setattr(artifacts, "build", built)

    def run(given: Mapping[str, str]) -> int:
        parts.update({"unchanged": "ok"} | dict(given))
        with Display() as display:
            return mutants.execute(
                lab, [patched(lab)], [], "umcglab mutants", 1, display
            )

    return run


def top(toy: ToyLab) -> Path:
    (folder,) = (toy.root / "results" / "runs").iterdir()
    assert folder.name.endswith("-mutants")
    return folder


def test_a_mutant_that_a_test_notices_is_killed(
    play: Play, toy: ToyLab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert play({"lost-wake": "not ok"}) == 0
    said = capsys.readouterr().err
    assert "lost-wake: a wake is lost" in said
    assert "x86_64-umcg-toy: killed by umcg-toy/wait:wakes" in said
    assert "x86_64-umcg-toy: unseen: no CPU here reorders that" in said
    assert "mutants: 1 killed, 1 unseen" in said
    words = [v["word"] for v in json.loads((top(toy) / "mutants.json").read_text())]
    assert words == ["passes", "killed", "unseen"]
    assert not (toy.root / "results" / "latest").exists()


@pytest.mark.parametrize(
    ("parts", "status", "said"),
    [
        ({"lost-wake": "ok"}, 1, "SURVIVED"),
        slow({"lost-wake": "lab"}, 3, "not tried: no QEMU"),
        slow({"lost-wake": "panic"}, 1, "not tried: Kernel panic"),
        slow(
            {"lost-wake": "not ok", "unchanged": "not ok"}, 1, "fails without a mutant"
        ),
    ],
)
def test_whatever_else_comes_of_a_mutant_is_a_failure(
    play: Play,
    toy: ToyLab,
    capsys: pytest.CaptureFixture[str],
    parts: Mapping[str, str],
    status: int,
    said: str,
) -> None:
    assert play(parts) == status
    assert said in capsys.readouterr().err
    xml = JUnitXml.fromfile(str(top(toy) / "junit.xml"))
    assert (xml.tests, xml.failures) == (3, 1)


def test_a_mutant_that_does_not_apply_is_a_failure(
    play: Play, toy: ToyLab, capsys: pytest.CaptureFixture[str]
) -> None:
    path = toy.root / "kernel-patches/umcg-toy/mutants/lost-wake.patch"
    path.write_text(path.read_text().replace("-\treturn flags", "-\treturn fligs"))
    assert play({}) == 1
    assert "lost-wake.patch does not apply" in capsys.readouterr().err


def test_the_labs_own_mutants_name_tests_there_are() -> None:
    lab = config.load(config.ROOT / "lab.yaml")
    manifest = load_plan(config.ROOT / "guest-tests", "umcg-v0.5")
    found = mutants.load(lab.patches / "umcg-v0.5" / "mutants", manifest, lab.cache)
    assert len([m for m in found if not m.unseen]) >= 12


def test_what_an_abi_has_of_a_part_has_mutants_too() -> None:
    lab = config.load(config.ROOT / "lab.yaml")
    both = {t.name: t for t in lab.targets}["x86_64-umcg-v0.5-handover"]
    names = {m.name for m in mutants.of(lab, both)}
    assert {"pick-is-not-asked", "note-outlives-its-switch"} <= names
    plain = {m.name for m in mutants.of(lab, replace(both, extra=""))}
    assert "wrong-errno" in plain
    assert not plain & names


def test_the_kernels_of_mutants_have_what_the_tests_that_notice_need() -> None:
    lab = config.load(config.ROOT / "lab.yaml")
    for target in mutants.targets(lab, lab.targets, False):
        plan = load_plan(config.ROOT / "guest-tests", target.abi)
        needs = {p.name: p.needs_config for p in plan.programs if p.needs_config}
        probed = replace(target, flavor="probed")
        options = kconfig.read(kernels.fragments(probed, lab))
        named = {name for m in mutants.of(lab, target) for name in m.tests}
        for name in named & needs.keys():
            for option in needs[name]:
                assert options[f"CONFIG_{option}"].value == "y", name


def test_no_target_has_mutants(tmp_path: Path) -> None:
    lab = str(config.ROOT / "lab.yaml")
    with pytest.raises(UserError, match="no target of flavor bench"):
        cli.main(["mutants", "--lab", lab, "--only", "x86_64-control"])
