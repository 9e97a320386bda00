# SPDX-License-Identifier: MIT
"""Which lines of a patched tree its series have added."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path

from umcglab.kernel import patchfile
from umcglab.kernel.patchfile import Patch


def lines(
    patched: Mapping[str, Path], patches: Sequence[Patch]
) -> dict[str, frozenset[int]]:
    """Return, for each patched file by its name in the tree, its lines that are new.

    Lines are numbered from 1. The patches are taken back in a copy: it is told from
    nothing but what they left.
    """
    with tempfile.TemporaryDirectory(prefix="umcglab-") as folder:
        before = Path(folder)
        for name, file in patched.items():
            (before / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, before / name)
        for patch in reversed(patches):
            patchfile.take_back(patch, before)
        return {
            name: _added(_lines(before / name), _lines(file))
            for name, file in patched.items()
        }


def _lines(file: Path) -> list[str]:
    # Not splitlines(), to which a form feed ends a line, too.
    return file.read_text(errors="replace").split("\n") if file.exists() else []


def _added(old: list[str], new: list[str]) -> frozenset[int]:
    # What is alike at both ends is most of a large file.
    head = next(
        (n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b),
        min(len(old), len(new)),
    )
    room = min(len(old), len(new)) - head
    ends = zip(reversed(old), reversed(new), strict=False)
    tail = min(next((n for n, (a, b) in enumerate(ends) if a != b), room), room)
    found: set[int] = set()
    differ = SequenceMatcher(
        None, old[head : len(old) - tail], new[head : len(new) - tail], autojunk=False
    )
    for tag, _, _, start, end in differ.get_opcodes():
        if tag in ("insert", "replace"):
            found.update(range(head + start + 1, head + end + 1))
    return frozenset(found)
