# SPDX-License-Identifier: MIT
"""Which lines a series adds."""

from __future__ import annotations

from pathlib import Path

import pytest

from umcglab.errors import PatchError
from umcglab.kernel import ours, patchfile
from umcglab.tests import toylab

OLD = "".join(f"line {n}\n" for n in range(1, 60))


def files(folder: Path, texts: dict[str, str]) -> dict[str, Path]:
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return {name: folder / name for name in texts}


def test_lines_are_those_that_no_longer_are_there_without_the_series(
    tmp_path: Path,
) -> None:
    first = OLD.replace("line 20\n", "line 20\nours a\nline 21 b\n")
    second = first.replace("ours a\n", "ours c\n").replace("line 50\n", "line 50 d\n")
    one = tmp_path / "1.patch"
    one.write_text(toylab.patch("one", {"a.c": (OLD, first), "new.h": ("", "x\ny\n")}))
    two = tmp_path / "2.patch"
    two.write_text(toylab.patch("two", {"a.c": (first, second)}))
    patches = [patchfile.read(one), patchfile.read(two)]
    patched = files(tmp_path / "tree", {"a.c": second, "new.h": "x\ny\n"})
    found = ours.lines(patched, patches)
    numbered = dict(enumerate(second.split("\n"), 1))
    assert [numbered[n] for n in sorted(found["a.c"])] == [
        "ours c",
        "line 21 b",
        "line 50 d",
    ]
    assert {1, 2} <= found["new.h"]
    # It is a copy that the patches are taken back in.
    assert patched["a.c"].read_text() == second


def test_a_tree_that_is_not_what_the_series_left(tmp_path: Path) -> None:
    one = tmp_path / "1.patch"
    one.write_text(
        toylab.patch("one", {"a.c": (OLD, OLD.replace("line 9\n", "nine\n"))})
    )
    patched = files(tmp_path / "tree", {"a.c": OLD})
    with pytest.raises(PatchError, match="cannot be taken back"):
        ours.lines(patched, [patchfile.read(one)])
