# SPDX-License-Identifier: MIT
"""The patches of the lab: one text where bases do not differ, and one date."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from umcglab.errors import PatchError
from umcglab.host.cache import Cache
from umcglab.kernel import patchfile, series
from umcglab.kernel.patchfile import Patch
from umcglab.lab import config
from umcglab.tests import toylab

DATE = "Date: Sat, 21 Nov 2026 12:00:00 +0000\n"
"""Of every patch, so that a patch made again differs only if it is different."""

PATCHES = config.ROOT / "kernel-patches"
PARTS = sorted(p for p in PATCHES.iterdir() if p.is_dir())


def normal(patch: Path) -> str:
    """Return a patch without what differs by base although the change does not."""
    text = patch.read_text()
    text = re.sub(r"^(?:index|Date:) .*\n", "", text, flags=re.M)
    return re.sub(r"^@@ -\d+(\S*) \+\d+(\S*) @@.*", r"@@ \1 \2 @@", text, flags=re.M)


def copies(part: Path) -> Iterator[tuple[str, str]]:
    """Yield pairs of patches that should be one, in `any/`."""
    names = sorted(f"{p.parent.name}/{p.name}" for p in part.glob("*/*.patch"))
    texts = {name: normal(part / name) for name in names}
    for one, two in itertools.combinations(names, 2):
        if texts[one] == texts[two]:
            yield one, two


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_no_patch_is_there_twice(part: Path) -> None:
    assert list(copies(part)) == []


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_every_patch_has_the_one_date(part: Path, kept: Cache) -> None:
    for base in series.bases(part):
        for patch in series.load(part, base, kept).patches:
            dates = re.findall(r"^Date: .*\n", patch.path.read_text(), re.M)
            assert dates == [DATE], patch.name


def test_a_copy_is_found_at_another_offset_and_date(tmp_path: Path) -> None:
    change = toylab.patch("x", {"a.c": ("1\n2\n3\n", "1\n2\n4\n")})
    for base, line, date in (("6.98", "-1,3 +1,3", "1"), ("6.99", "-7,3 +9,3", "2")):
        moved = change.replace("-1,3 +1,3", line)
        text = f"Date: {date}\nindex {date}..a 100644\n{moved}"
        (tmp_path / base).mkdir()
        (tmp_path / base / "0001-x.patch").write_text(text)
    assert list(copies(tmp_path)) == [("6.98/0001-x.patch", "6.99/0001-x.patch")]
    file = tmp_path / "6.98/0001-x.patch"
    file.write_text(file.read_text().replace("+4", "+5"))
    assert list(copies(tmp_path)) == []


def unfold(patches: Iterable[Patch], name: str, tree: Path) -> None:
    """Make in `tree` what patches leave of one file, without the kernel's source.

    What no patch shows of a file of the kernel is lines that nothing can match. One
    that a patch makes is known whole, to its end.
    """
    file = tree / name
    whole = False
    file.parent.mkdir(parents=True, exist_ok=True)
    for diff in (d.decode() for p in patches if name in p.files for d in p.diffs):
        _, *sections = re.split(r"^diff --git .*\n", diff, flags=re.M)
        (section,) = (s for s in sections if f"+++ b/{name}\n" in s)
        whole = whole or "new file mode" in section
        if not whole:
            lines = file.read_text().split("\n") if file.exists() else []
            lines += [f"line {n} of {name}" for n in range(len(lines), 20000)]
            for start, hunk in re.findall(
                r"^@@ -(\d+).*\n((?:[-+ ].*\n)+)", section, re.M
            ):
                old = [line[1:] for line in hunk.splitlines() if line[0] != "+"]
                here = slice(int(start) - 1, int(start) - 1 + len(old))
                if "\n".join(old) not in "\n".join(lines):
                    lines[here] = old
            file.write_text("\n".join(lines))
        alone = f"diff --git a/{name} b/{name}\n{section}".encode()
        patchfile.apply(Patch(file, "", "", (name,), (), (), (alone,)), tree)


def made(abi: Path, base: str, tree: Path, cache: Cache) -> dict[str, str]:
    """Return the files that a kernel with this ABI has and Linux has not."""
    parts = (abi.parent / "plumbing", abi)
    patches = [p for part in parts for p in series.load(part, base, cache).patches]
    names = sorted({name for patch in patches for name in patch.added})
    for name in names:
        unfold(patches, name, tree / base)
    return {name: (tree / base / name).read_text() for name in names}


@pytest.mark.parametrize(
    "abi", [p for p in PARTS if (p / "ABI.md").exists()], ids=lambda part: part.name
)
def test_what_a_series_makes_is_one_text_on_all_bases(
    abi: Path, tmp_path: Path, kept: Cache
) -> None:
    """Hooks differ by base, and system call numbers; UMCG itself does not."""
    first, *others = (made(abi, base, tmp_path, kept) for base in series.bases(abi))
    assert {"kernel/sched/umcg.c", "kernel/sched/umcg_core.c"} <= first.keys()
    for other in others:
        assert other.keys() == first.keys()
        assert [name for name in first if other[name] != first[name]] == []


def beneath(part: Path) -> list[Path]:
    """Return what a series is on top of."""
    others = {p.name: p for p in PARTS}
    pairs = [(one, two) for one in others for two in others]
    found = [pair for pair in pairs if "-".join(pair) == part.name]
    return [others["plumbing"], *(others[name] for pair in found for name in pair)]


MUTANTS = [
    pytest.param(part, base, id=f"{part.name}-{base}")
    for part in PARTS
    if (part / "mutants").exists()
    for base in series.bases(part)
]


@pytest.mark.parametrize(("part", "base"), MUTANTS)
def test_every_mutant_applies_on_every_base(
    part: Path, base: str, tmp_path: Path, kept: Cache
) -> None:
    loaded = [series.load(below, base, kept) for below in (*beneath(part), part)]
    patches = [patch for one in loaded for patch in one.patches]
    note = patchfile.note(kept, part / "mutants")
    mutants = patchfile.read_all(sorted(part.glob("mutants/*.patch")), note)
    assert mutants
    for name in {name for mutant in mutants for name in mutant.files}:
        unfold(patches, name, tmp_path)
    for mutant in mutants:
        (name,) = mutant.files
        before = (tmp_path / name).read_text()
        patchfile.apply(mutant, tmp_path)
        assert (tmp_path / name).read_text() != before
        (tmp_path / name).write_text(before)


def test_a_mutant_that_does_not_apply_is_found(tmp_path: Path) -> None:
    old = "".join(f"{n}\n" for n in range(100))
    new = old.replace("50\n", "50\n50a\n")
    git = "diff --git a/k.c b/k.c\n--- a/k.c"
    text = toylab.patch("x", {"k.c": (old, new)}).replace("--- a/k.c", git)
    (tmp_path / "1.patch").write_text(text)
    unfold([patchfile.read(tmp_path / "1.patch")], "k.c", tmp_path)
    assert (tmp_path / "k.c").read_text().splitlines()[48:54] == new.split()[48:54]
    for line, fits in (("50a", True), ("60", False)):
        wrong = toylab.patch("x", {"k.c": (new, new.replace(f"{line}\n", "-\n"))})
        (tmp_path / f"{line}.patch").write_text(wrong)
        mutant = patchfile.read(tmp_path / f"{line}.patch")
        if fits:
            patchfile.apply(mutant, tmp_path)
        else:
            with pytest.raises(PatchError, match="does not fit"):
                patchfile.apply(mutant, tmp_path)
