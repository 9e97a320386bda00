# SPDX-License-Identifier: MIT
"""Series: complete lists, and patches that fit to the letter."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from umcglab.errors import PatchError, UserError
from umcglab.host import command
from umcglab.host.cache import Cache
from umcglab.kernel import series
from umcglab.lab import config
from umcglab.tests import toylab
from umcglab.tests.toylab import UMCG_C, Progress, ToyLab

FORK = "kernel/fork.c"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToyLab:
    monkeypatch.delenv("UMCGLAB_CACHE", raising=False)
    return toylab.make(tmp_path)


@pytest.fixture
def change(toy: ToyLab) -> str:
    """A patch with two hunks in fork.c."""
    old = toy.old(FORK)
    padded = old.replace("\treturn pid;", "\t/* pad */\n" * 8 + "\treturn pid;")
    toy.write(f"linux/{FORK}", padded)
    new = padded.replace("pid = 100", "pid = 200").replace("return pid", "return -pid")
    return toylab.patch("fork: twice", {FORK: (padded, new)})


def load(toy: ToyLab) -> series.Series:
    return series.load(toy.patches / "umcg-toy", "6.99")


def apply(toy: ToyLab, *patches: str) -> str:
    """Apply a series of `patches` to the toy tree; return fork.c."""
    toy.series("umcg-toy/6.99", *patches)
    series.apply((load(toy),), toy.tree, Progress())
    return (toy.tree / FORK).read_text()


def edit(toy: ToyLab, old: str, new: str) -> None:
    text = (toy.tree / FORK).read_text()
    assert old in text
    (toy.tree / FORK).write_text(text.replace(old, new))


def test_patches_come_in_the_order_of_the_series(toy: ToyLab) -> None:
    texts = [toylab.patch(s, {f"{s}.c": ("", "x\n")}) for s in ("one", "two", "three")]
    toy.series("umcg-toy/6.99", *texts)
    folder = toy.patches / "umcg-toy"
    (folder / "any").mkdir()
    (folder / "6.99/0003-toy.patch").rename(folder / "any/0003-toy.patch")
    (folder / "6.99.series").write_text(
        "any/0003-toy.patch\n# no\n\n6.99/0001-toy.patch # yes\n6.99/0002-toy.patch\n"
    )
    loaded = load(toy)
    assert loaded.name == "umcg-toy/6.99"
    assert [p.subject for p in loaded.patches] == ["three", "one", "two"]
    assert loaded.patches[0].name == "umcg-toy/any/0003-toy.patch"


def test_what_a_patch_says_of_itself(toy: ToyLab) -> None:
    text = toylab.patch(
        "umcg: add\n the system calls",
        {FORK: ("a\n", "b\n"), "kernel/umcg.c": ("", UMCG_C)},
    )
    toy.series("umcg-toy/6.99", text)
    (patch,) = load(toy).patches
    assert patch.subject == "umcg: add the system calls"
    assert patch.files == (FORK, "kernel/umcg.c")
    assert patch.added == ("kernel/umcg.c",)
    assert len(patch.sha256) == 64


def test_the_series_of_a_target(toy: ToyLab) -> None:
    lab = toy.load()
    control, patched, _ = lab.targets
    assert series.of(control, lab) == ()
    names = [one.name for one in series.of(patched, lab)]
    assert names == ["plumbing/6.99", "umcg-toy/6.99"]


def test_a_series_between_plumbing_and_abi(toy: ToyLab) -> None:
    toy.series("more/6.99", toylab.patch("more", {"x.c": ("", "x\n")}))
    lab = toy.load()
    target = replace(lab.targets[1], extra="more")
    names = [one.name for one in series.of(target, lab)]
    assert names == ["plumbing/6.99", "more/6.99", "umcg-toy/6.99"]
    assert series.of(replace(target, abi="control"), lab) == ()


def test_what_an_abi_alone_has_of_it_comes_after_the_abi(toy: ToyLab) -> None:
    toy.series("more/6.99", toylab.patch("more", {"x.c": ("", "x\n")}))
    toy.series("more-umcg-toy/6.98", toylab.patch("of both", {"y.c": ("", "y\n")}))
    lab = toy.load()
    plain, target = lab.targets[1], replace(lab.targets[1], extra="more")
    names = [one.name for one in series.of(target, lab)]
    assert names == ["plumbing/6.99", "more/6.99", "umcg-toy/6.99"], "a base without"
    toy.series("more-umcg-toy/6.99", toylab.patch("of both", {"y.c": ("", "y\n")}))
    names = [one.name for one in series.of(target, lab)]
    assert names[2:] == ["umcg-toy/6.99", "more-umcg-toy/6.99"]
    assert [one.name for one in series.of(plain, lab)] == [names[0], names[2]]


def test_the_series_of_a_flavor_with_detectors(toy: ToyLab) -> None:
    lab = toy.load()
    target = replace(lab.targets[1], flavor="debug")
    plain = series.of(lab.targets[1], lab)
    assert series.of(target, lab) == plain, "a base may go without"
    toy.series("debug/6.99", toylab.patch("lkdtm: more", {"x.c": ("", "x\n")}))
    assert [s.name for s in series.of(target, lab)[2:]] == ["debug/6.99"]
    assert series.of(lab.targets[1], lab) == plain
    assert series.of(replace(target, abi="control"), lab) == ()


def listing(toy: ToyLab, text: str) -> Path:
    return toy.write("kernel-patches/umcg-toy/6.99.series", text)


def test_a_listed_patch_that_is_not_there(toy: ToyLab) -> None:
    file = listing(toy, "# toy\n6.99/0001-toy.patch\n6.99/0002-gone.patch\n")
    with pytest.raises(UserError, match=r"6\.99/0002-gone\.patch is listed") as caught:
        load(toy)
    assert caught.value.where == f"{file}:3"


@pytest.mark.parametrize("folder", ["any", "6.99"])
def test_a_patch_that_is_not_listed(toy: ToyLab, folder: str) -> None:
    toy.write(f"kernel-patches/umcg-toy/{folder}/0002-more.patch", "")
    with pytest.raises(
        UserError, match=rf"{folder}/0002-more\.patch in the folder but"
    ):
        load(toy)


def test_a_patch_that_another_base_lists(toy: ToyLab) -> None:
    more = toylab.patch("more", {"more.c": ("", "x\n")})
    toy.write("kernel-patches/umcg-toy/any/0002-more.patch", more)
    toy.write("kernel-patches/umcg-toy/6.98.series", "any/0002-more.patch\n")
    assert len(load(toy).patches) == 1
    assert series.bases(toy.patches / "umcg-toy") == ["6.98", "6.99"]


def test_a_patch_listed_twice(toy: ToyLab) -> None:
    file = listing(toy, "6.99/0001-toy.patch\n6.99/0001-toy.patch\n")
    with pytest.raises(UserError, match="twice, first in line 1") as caught:
        load(toy)
    assert caught.value.where == f"{file}:2"


@pytest.mark.parametrize("name", ["0001-toy.patch", "6.98/0001-toy.patch", "any/../x"])
def test_a_listed_patch_of_elsewhere(toy: ToyLab, name: str) -> None:
    toy.write("kernel-patches/umcg-toy/6.98/0001-toy.patch", "")
    file = listing(toy, f"6.99/0001-toy.patch\n{name}\n")
    with pytest.raises(UserError, match=r"is any/NAME or 6\.99/NAME") as caught:
        load(toy)
    assert caught.value.where == f"{file}:2"


def test_no_series(toy: ToyLab) -> None:
    with pytest.raises(UserError, match="cannot read the series"):
        series.load(toy.patches / "umcg-toy", "6.98")


def test_patches_build_on_each_other(toy: ToyLab, change: str) -> None:
    padded = (toy.tree / FORK).read_text()
    new = padded.replace("pid = 100", "pid = 200").replace("return pid", "return -pid")
    second = toylab.patch(
        "fork: again", {FORK: (new, new.replace("pid = 200", "pid = 300"))}
    )
    assert "pid = 300" in apply(toy, change, second)


def test_progress_counts_patches(toy: ToyLab) -> None:
    progress = Progress()
    series.apply((series.load(toy.patches / "plumbing", "6.99"),), toy.tree, progress)
    assert progress.totals == {"apply plumbing/6.99": 1}
    assert progress.done == 1


def test_an_offset_is_fine(toy: ToyLab, change: str) -> None:
    edit(toy, "int fork_idle(int cpu);\n", "/* more */\n" * 5)
    fork = apply(toy, change)
    assert "pid = 200" in fork
    assert "return -pid" in fork


def test_fuzz_is_not(toy: ToyLab, change: str) -> None:
    edit(toy, ")\n{\n", ")\n{ /* the outermost context of hunk 1 */\n")
    with_fuzz = ["patch", "--dry-run", "--strip=1", f"--directory={toy.tree}"]
    assert command.run(with_fuzz, stdin=change).returncode == 0
    with pytest.raises(PatchError) as caught:
        apply(toy, change)
    file = toy.patches / "umcg-toy/6.99/0001-toy.patch"
    assert caught.value.message == (
        "umcg-toy/6.99/0001-toy.patch does not apply: kernel/fork.c:10: hunk 1 does "
        "not fit"
    )
    assert caught.value.where == str(file)
    assert f"git apply {file}" in (caught.value.hint or "")


def test_the_hunk_that_does_not_fit_is_named(toy: ToyLab, change: str) -> None:
    edit(toy, "return pid", "return pid + 1")
    with pytest.raises(PatchError, match=r"kernel/fork\.c:2\d: hunk 2 does not fit"):
        apply(toy, change)
    assert not list(toy.tree.rglob("*.rej"))
    assert not list(toy.tree.rglob("*.orig"))


def test_each_patch_and_hunk_that_does_not_fit_is_told(
    toy: ToyLab, change: str
) -> None:
    edit(toy, "return pid", "return pid + 1")
    edit(toy, "pid = 100", "pid = 101")
    other = toylab.patch("other", {"kernel/other.c": ("", "int other;\n")})
    more = toylab.patch("more", {"kernel/other.c": ("int other;\n", "int more;\n")})
    gone = toylab.patch("gone", {"kernel/gone.c": ("a\n", "b\n")})
    with pytest.raises(PatchError) as caught:
        apply(toy, change, other, more, gone)
    assert caught.value.message.splitlines() == [
        "2 of 4 patches do not apply, each on top of what fits of those before it:",
        "    umcg-toy/6.99/0001-toy.patch: kernel/fork.c:10: hunk 1 does not fit; "
        "kernel/fork.c:21: hunk 2 does not fit",
        "    umcg-toy/6.99/0004-toy.patch: it changes kernel/gone.c, which is not there",
    ]
    assert (toy.tree / "kernel/other.c").read_text() == "int more;\n"
    assert not list(toy.tree.rglob("*.rej"))


def test_a_patch_applied_already(toy: ToyLab, change: str) -> None:
    with pytest.raises(PatchError, match=r"0002-toy\.patch does not apply"):
        apply(toy, change, change)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            toylab.patch("x", {"no/such.c": ("a\n", "b\n")}),
            "no/such.c, which is not there",
        ),
        (toylab.patch("x", {FORK: ("", "int x;\n")}), "already exists"),
        ("Subject: [PATCH] x\n\nno diff\n", "it has no diff"),
        (
            "--- a/kernel/fork.c\n+++ b/kernel/fork.c\n@@ -1,9 +1,9 @@\n int\n",
            "corrupt patch at line 5",
        ),
    ],
)
def test_patches_that_cannot_be(toy: ToyLab, text: str, said: str) -> None:
    with pytest.raises(PatchError, match=said):
        apply(toy, text)


PARTS = sorted(p for p in (config.ROOT / "kernel-patches").iterdir() if p.is_dir())


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_every_series_of_the_lab_is_whole(part: Path, kept: Cache) -> None:
    loaded = [series.load(part, base, kept) for base in series.bases(part)]
    assert all(one.patches for one in loaded)
    folders = {p.parent.name for p in part.glob("*/*.patch")} - {"mutants"}
    listed = {"/".join(p.path.parts[-2:]) for one in loaded for p in one.patches}
    assert listed == series.in_folders(part, *folders)


def test_a_hard_linked_tree_keeps_the_original(toy: ToyLab, change: str) -> None:
    """Builds link the pristine source instead of copying it; git must not write
    through the links."""
    pristine = toy.root / "pristine"
    toy.tree.rename(pristine)
    before = (pristine / FORK).read_text()
    shutil.copytree(
        pristine, toy.tree, copy_function=lambda a, b: Path(b).hardlink_to(a)
    )
    assert (toy.tree / FORK).stat().st_ino == (pristine / FORK).stat().st_ino
    assert apply(toy, change) != before
    assert (pristine / FORK).read_text() == before
