# SPDX-License-Identifier: MIT
"""Models: what they cite is there, they hold, and find each fault put into them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet
from pytest import mark

from umcglab import cli
from umcglab.errors import InfraError, UserError
from umcglab.host.cache import Cache
from umcglab.kernel import series
from umcglab.lab import config
from umcglab.lab.manifest import load_plan
from umcglab.study import models, mutants
from umcglab.study.models import Cited, Configuration, Index, Search, Switch
from umcglab.tests.conftest import CACHED
from umcglab.tests.test_patches import unfold

ABI = "umcg-v0.5"
PATCHES = config.ROOT / "kernel-patches"
FOLDER = PATCHES / ABI / "model"
SHARED = PATCHES / models.SHARED
MANIFEST = load_plan(config.ROOT / "guest-tests", ABI)
INDEX = models.load(FOLDER, config.ROOT / "guest-tests")
INDEXES = {
    path.parent.parent.name: models.load(path.parent, config.ROOT / "guest-tests")
    for path in sorted(PATCHES.glob("*/model/index.yaml"))
}
"""Of each ABI that has models, and of the hand-over."""

USUAL = list(models.planned(INDEX, [], nightly=False))


def searches() -> Iterator[ParameterSet]:
    for abi, index in INDEXES.items():
        usual = list(models.planned(index, [], nightly=False))
        for configuration, switch in models.planned(index, [], nightly=True):
            name = (
                f"{switch.name}-{configuration.name}" if switch else configuration.name
            )
            nightly = (configuration, switch) not in usual
            marks = [mark.nightly, mark.lab] if nightly else []
            yield pytest.param(
                index, configuration, switch, id=f"{abi}-{name}", marks=marks
            )


@pytest.fixture(params=INDEXES)
def abi(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def index(abi: str) -> Index:
    return INDEXES[abi]


def files(index: Index) -> set[Path]:
    """Return all that the models of an ABI are made of."""
    named = {models.path(index.folder, c.model) for c in index.configurations}
    return {part.resolve() for model in named for part in models.parts(model)}


TOY = """\
#ifndef WAKE
#define WAKE 0
#endif
bit word, slept, bad;
// stands for kernel/a.c: sleep()
active proctype sleeper() { slept = 1; word }
// stands for no function: the world
active proctype waker() { if :: WAKE -> word = 1 :: else fi; bad = (WAKE == 2); assert(!bad) }
"""
TOY_INDEX = """\
abi: umcg-v0.5
configurations:
  all: {model: toy, with: WAKE=1, shows: a wake}
switches:
  LOST: {takes: it, races: R1, found-in: all, finds: invalid end state, tests: {w: t}}
elsewhere: {}
"""


@pytest.mark.parametrize(("index", "configuration", "switch"), list(searches()))
def test_search(
    index: Index,
    configuration: Configuration,
    switch: Switch | None,
    kept: Cache,
    record_property: Callable[[str, object], None],
) -> None:
    result = models.run(index, configuration, switch, kept)
    record_property(CACHED, result.search.cached)
    assert result.good, models.words(result)


def test_every_mutant_that_no_guest_shows_is_found_by_a_model(kept: Cache) -> None:
    unseen = {
        m.name: m.model
        for m in mutants.load(PATCHES / ABI / "mutants", MANIFEST, kept)
        if m.unseen
    }
    assert unseen
    standing = {mutant: s.name for s in INDEX.switches for mutant in s.mutants}
    assert unseen == {name: standing.get(name) for name in unseen}
    for name in unseen:
        found = models.kills(INDEX, name, kept)
        assert found
        assert all(r.good and r.search.found for r in found), name


def test_mutants_of_the_index_are_there(abi: str, index: Index, kept: Cache) -> None:
    plan = load_plan(config.ROOT / "guest-tests", index.abi)
    known = {m.name for m in mutants.load(PATCHES / abi / "mutants", plan, kept)}
    assert {m for s in index.switches for m in s.mutants} <= known


@pytest.mark.parametrize("abi", [a for a, i in INDEXES.items() if a == i.abi])
def test_every_race_has_a_switch_or_a_reason(abi: str, index: Index) -> None:
    races = (PATCHES / abi / "ABI.md").read_text().split("\n## Races\n")[1]
    rows = dict(re.findall(r"^\| (R\d+) \| [^|]+ \| ([^|]+) \|", races, re.M))
    apply = {r for r, here in rows.items() if not here.startswith("does not apply")}
    switched = {race for s in index.switches for race in s.races}
    assert switched | index.elsewhere.keys() == apply
    assert not switched & index.elsewhere.keys()


def test_every_switch_is_in_its_model(index: Index) -> None:
    """And every condition of a model is something that the index knows.

    What is in a shared part may be there for another ABI.
    """
    for path in files(index):
        known = INDEXES.values() if path.is_relative_to(SHARED.resolve()) else [index]
        text = path.read_text()
        used = set(re.findall(r"^#if(?:n?def)? (\w+)", text, re.M))
        # With a value that holds where none is given.
        used -= set(re.findall(r"^#ifndef (\w+)\n#define \1\s", text, re.M))
        bounds = {
            d.split("=")[0] for i in known for c in i.configurations for d in c.defines
        }
        switches = {s.name for i in known for s in i.switches}
        assert used <= bounds | switches, path.name
    for switch in index.switches:
        for configuration in switch.found_in:
            model = models.path(index.folder, configuration.model)
            text = "".join(part.read_text() for part in models.parts(model))
            assert re.search(rf"\b{switch.name}\b", text), switch.name


def test_every_model_has_a_configuration() -> None:
    there = {p.resolve() for p in PATCHES.glob("*/model/*.[ph]*")}
    assert there == {path for index in INDEXES.values() for path in files(index)}


@pytest.mark.parametrize(
    ("abi", "base"),
    [(abi, base) for abi in INDEXES for base in series.bases(PATCHES / abi)],
)
def test_what_models_cite_is_in_the_series(
    abi: str, base: str, tmp_path: Path, kept: Cache
) -> None:
    index = INDEXES[abi]
    parts = [series.load(PATCHES / part, base, kept) for part in ("plumbing", abi)]
    patches = [patch for part in parts for patch in part.patches]
    named = {models.path(index.folder, c.model) for c in index.configurations}
    found = [one for path in sorted(named) for one in models.cited(path)]
    assert found
    for file in {one.file for one in found}:
        unfold(patches, file, tmp_path)
    gone = {
        one.where: models.missing(one, (tmp_path / one.file).read_text())
        for one in found
    }
    assert {where: what for where, what in gone.items() if what} == {}


SOURCE = """\
static int wake(int a);

/* wake(now) */
static __always_inline int wake(int a,
				int b)
{
	if (a)
		call(wake(b));
	/* The one, then the other. */
	smp_mb();
	return 0;
}

SYSCALL_DEFINE2(umcg_wait, u32, flags, u64, t)
{
	smp_rmb();
}
"""


@pytest.mark.parametrize(
    ("function", "line", "said"),
    [
        ("wake", "", ""),
        ("umcg_wait", "", ""),
        ("call", "", "call()"),
        ("walk", "", "walk()"),
        ("wake", "/* The one, then the other. */ smp_mb();", ""),
        ("wake", "/* The other. */ smp_mb();", "/* The other. */ smp_mb();"),
        ("wake", "smp_rmb();", "smp_rmb();"),
        ("umcg_wait", "smp_rmb();", ""),
    ],
)
def test_what_is_gone_is_found(function: str, line: str, said: str) -> None:
    assert models.missing(Cited("x", "a.c", function, line), SOURCE) == said


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    (tmp_path / "toy.pml").write_text(TOY)
    (tmp_path / "index.yaml").write_text(TOY_INDEX)
    return tmp_path


@pytest.mark.slow
def test_a_toy_is_searched(toy: Path) -> None:
    assert models.search(toy, "toy", ["WAKE=1"]).found == models.HOLDS
    lost = models.search(toy, "toy", [])
    assert lost.found == models.DEADLOCK
    assert "slept = 1" in lost.trail
    assert models.search(toy, "toy", ["WAKE=2"]).found == "assertion bad"


def test_a_search_is_done_once(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(toy / "cache")
    first = models.search(toy, "toy", [], cache)
    again = models.search(toy, "toy", [], cache)
    assert first.found == models.DEADLOCK
    assert (first.cached, again.cached) == (False, True)
    assert replace(again, cached=False) == first
    # What was kept is what the checker said, and not what it was taken for.
    monkeypatch.setattr(models, "judge", lambda *_: Search(models.HOLDS, 1, 1))
    assert models.search(toy, "toy", [], cache).found == models.HOLDS


def test_what_a_search_depends_on(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(toy / "cache")
    for name in ("toy.pml", "other.pml"):
        (toy / name).write_text(f'#include "part.h"\n{TOY}')
    (toy / "part.h").write_text("// nothing\n")

    def quickly(*args: Any) -> None:
        (args[-1] / "said").write_text(WHOLE)

    monkeypatch.setattr(models, "_search", quickly)

    def is_new(model: str = "toy", *defines: str, **bounds: int) -> bool:
        return not models.search(toy, model, defines, cache, **bounds).cached

    assert is_new()
    assert not is_new()
    assert is_new("other")
    assert is_new("toy", "WAKE=1")
    assert is_new(depth=999)
    assert is_new(memory=999)
    (toy / "part.h").write_text("#define WAKE 1\n")
    assert is_new()
    (toy / "toy.pml").write_text((toy / "toy.pml").read_text() + "\n")
    assert is_new()
    assert not is_new()
    monkeypatch.setattr(models, "_tools", lambda: "a newer spin")
    assert is_new()


def test_a_trail_says_where_by_the_name_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b/part.h").write_text("inline f() { x = 1 }\n")
    text = '#include "../b/part.h"\nbit x;\nactive proctype p() { f(); x == 0 }\n'
    (tmp_path / "a/m.pml").write_text(text)
    trail = models.search(tmp_path / "a", "m", []).trail
    assert " part.h:1 " in trail
    assert str(tmp_path) not in trail


def test_an_include_that_would_not_be_seen(toy: Path) -> None:
    (toy / "toy.pml").write_text(f"# include <part.h>\n{TOY}")
    with pytest.raises(UserError, match="not `#include"):
        models.parts(toy / "toy.pml")


@pytest.mark.parametrize(
    ("bounds", "said"),
    [({"depth": 3}, "max search depth too small"), ({"memory": 1}, "cut|no result")],
)
def test_a_search_that_is_cut_is_none(
    toy: Path, bounds: dict[str, int], said: str
) -> None:
    many = "byte a; active [5] proctype p() { byte i; do :: i < 9 -> i++; a++ :: i == 9 -> break od }"
    (toy / "many.pml").write_text(many)
    cache = Cache(toy / "cache")
    for _ in range(2):
        with pytest.raises(InfraError, match=said):
            models.search(toy, "many", [], cache, **bounds)
    # Nor is it kept for one.
    assert not list(cache.root.glob("models/*"))


def test_a_model_with_a_mistake_is_no_result(toy: Path) -> None:
    (toy / "toy.pml").write_text(TOY.replace("word }", "wrod }"))
    with pytest.raises(InfraError, match="spin failed"):
        models.search(toy, "toy", [])


WHOLE = """\
Full statespace search for:
	assertion violations	+
	invalid end states	+

State-vector 28 byte, depth reached 5, errors: 0
        9 states, stored
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("Full statespace", "Bit statespace", "none for Full statespace search"),
        (
            "invalid end states\t+",
            "invalid end states\t- (disabled)",
            "none for invalid",
        ),
        ("assertion violations\t+", "assertion violations\t-", "none for assertion"),
        ("errors: 0", "errors: 2", "2 errors, of which 0"),
        ("errors: 0", "errors: 1", "1 errors, of which 0"),
        ("        9 states, stored\n", "", "has no result"),
        ("Full", "Warning: Search not completed\nFull", "not completed"),
        ("Full", "pan: reached -DMEMLIM bound\nFull", "MEMLIM bound"),
        ("Full", "pan:1: invalid end state (at depth 3)\nFull", "0 errors, of which 1"),
    ],
)
def test_what_is_no_whole_search(old: str, new: str, said: str) -> None:
    assert models.judge(WHOLE, "x").found == models.HOLDS
    assert old in WHOLE
    with pytest.raises(InfraError, match=said):
        models.judge(WHOLE.replace(old, new), "x")


def toy_index(folder: Path) -> Index:
    return models.load(folder, config.ROOT / "guest-tests")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("model: toy", "model: tay", "there is no tay.pml"),
        ("found-in: all", "found-in: al", "did you mean 'all'"),
        ("finds: invalid end state", "finds: something", "assertion NAME"),
        ("races: R1, ", "", "`mutants`, `races` or a reason"),
        ("abi: umcg-v0.5", "abi: umcg-v0.6", "did you mean 'umcg-v0.5'"),
        ("{w: t}", "{umcg-v0.5/wiat: t}", "did you mean 'umcg-v0.5/wait'"),
        ("{w: t}", "{umcg-v0.5/wait: t}", "has no test 't'"),
        ("takes: it, ", "", "'takes' is missing"),
        (TOY_INDEX, "", "it has no models"),
    ],
)
def test_a_mistake_in_the_index(toy: Path, old: str, new: str, said: str) -> None:
    assert old in TOY_INDEX
    right = TOY_INDEX.replace(old, new)
    (toy / "index.yaml").write_text(right)
    with pytest.raises(UserError, match=re.escape(said)):
        toy_index(toy)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("// stands for no function: the world\n", "", "stands for nothing"),
        ("kernel/a.c: sleep()", "kernel/a.c: sleep", "not `stands for"),
        ("kernel/a.c: sleep()", "kernel/a.c sleep()", "not `stands for"),
        (
            "// stands for no",
            "// barrier a.c: smp_mb();\n// stands for no",
            "not `barr",
        ),
    ],
)
def test_a_mistake_in_a_comment(toy: Path, old: str, new: str, said: str) -> None:
    (toy / "toy.pml").write_text(TOY.replace(old, new))
    with pytest.raises(UserError, match=re.escape(said)):
        models.cited(toy / "toy.pml")


def test_which_searches() -> None:
    every = list(models.planned(INDEX, [], nightly=True))
    assert 0 < len(USUAL) < len(every)
    left = [(c, s) for c, s in every if (c, s) not in USUAL]
    assert all(c.nightly and (s is None or c in s.harmless_in) for c, s in left)
    assert [c.name for c, _ in models.planned(INDEX, ["bind"], False)] == ["bind"]
    with pytest.raises(UserError, match="did you mean 'wait-pair'"):
        list(models.planned(INDEX, ["wait-pare"], False))


def test_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["models", "--lab", str(config.ROOT / "lab.yaml"), ABI]
    handler = ["--search", "wait-handler"]
    assert cli.main([*argv, *handler]) == 0
    assert re.fullmatch(
        r"wait-handler: holds \(\d+ states, depth \d+(?:, cached)?\)\n",
        capsys.readouterr().out,
    )
    assert cli.main([*argv, "--trail", "--search", "HANDLER_HELD"]) == 0
    first, *trail = capsys.readouterr().out.splitlines()
    assert first.startswith("HANDLER_HELD on wait-handler: found: invalid end state")
    assert any("proc" in line for line in trail)
    with pytest.raises(UserError, match="no series that has models"):
        cli.main([*argv[:3], "umcg-v9"])


def test_a_fault_that_is_not_found_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (handler,) = (c for c in INDEX.configurations if c.name == "wait-handler")
    blunt = Switch("BLUNT", "nothing", (handler,), (), models.DEADLOCK)
    index = Index(FOLDER, ABI, (), (blunt,), {})
    monkeypatch.setattr(models, "of", lambda _lab, _abi: index)
    argv = ["models", "--lab", str(config.ROOT / "lab.yaml"), ABI]
    assert cli.main(argv) == 1
    assert "NOT FOUND: invalid end state" in capsys.readouterr().out


def test_what_the_mutants_verb_says_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = config.load(config.ROOT / "lab.yaml")
    target = next(t for t in lab.targets if t.abi == ABI)
    (mutant,) = mutants.pick(mutants.of(lab, target), ["no-barrier-at-binding"])
    killed = mutants.by_model(lab, mutant, target)
    by = ("NO_BARRIER_AT_BINDING on bind-x86", "NO_BARRIER_AT_BINDING on bind-arm64")
    assert (killed.word, killed.fault, killed.by) == ("killed by a model", 0, by)
    wrong = mutants.by_model(lab, replace(mutant, model="NO_ORPHANS"), target)
    assert (wrong.word, wrong.fault) == ("not tried", 2)
    other = replace(mutant, name="another")
    assert mutants.by_model(lab, other, target).word == "not tried"

    def blind(*_args: object) -> Search:
        return Search(models.HOLDS, 1, 1)

    monkeypatch.setattr(models, "search", blind)
    survived = mutants.by_model(lab, mutant, target)
    assert (survived.word, survived.fault) == ("SURVIVED", 1)
    assert survived.why.startswith("NO_BARRIER_AT_BINDING on bind-x86: NOT FOUND")

    def cut(*_args: object) -> Search:
        raise InfraError("cut")

    monkeypatch.setattr(models, "search", cut)
    untried = mutants.by_model(lab, mutant, target)
    assert (untried.word, untried.fault, untried.why) == ("not tried", 3, "cut")
