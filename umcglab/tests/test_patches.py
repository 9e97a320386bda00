# SPDX-License-Identifier: MIT
"""The patches of the lab: one text where bases do not differ, and one date."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from umcglab import config, series
from umcglab.tests import toylab

DATE = "Date: Sat, 21 Nov 2026 12:00:00 +0000\n"
"""Of every patch, so that a patch made again differs only if it is different."""

PARTS = sorted(p for p in (config.ROOT / "kernel-patches").iterdir() if p.is_dir())


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
def test_every_patch_has_the_one_date(part: Path) -> None:
    for base in series.bases(part):
        for patch in series.load(part, base).patches:
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
