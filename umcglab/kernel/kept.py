# SPDX-License-Identifier: MIT
"""The compiled copy of a developer's tree, kept so that an edit costs only itself.

It only saves time: what the source is, is decided by the digests of its files. A
copy that is not surely the same tree, but for the text of some source files, is
made anew. A copy is used by one build at a time, and has a state only while make
ended by itself: what a killed make leaves half written is never built upon.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from umcglab.errors import UserError
from umcglab.host import files
from umcglab.host.cache import file_digest
from umcglab.kernel.checkout import Entry
from umcglab.kernel.source import Source

KIND = "trees"

_EDIT = re.compile(r"(?!(?:.*/)?(?:scripts|tools)/).*\.[chS]")
"""What make compiles again, and all that depends on it, when its time is newer.

Not what the build itself is made by, whose users kbuild need not know.
"""


@dataclass(frozen=True)
class Kept:
    """A folder with a compiled tree, ours for as long as it is held."""

    folder: Path

    @property
    def _state(self) -> Path:
        return self.folder / "state.json"

    def update(
        self, source: Source, entries: Sequence[Entry], patched: Collection[str]
    ) -> list[str] | None:
        """Bring the copy up to date; return the files that changed.

        None if there is no copy or more changed than text: it is removed, to be
        made anew. `patched` are the files that patches change in the copy.
        """
        state = self._load()
        self._state.unlink(missing_ok=True)
        new = {name: [mode, sha256] for name, mode, sha256 in entries}
        changed = _edits(state, new, patched)
        if changed is None:
            self._remove_copy()
            return None
        for name in changed:
            # Its time is now, whatever the original's: make goes by times alone.
            copy = self.folder / "linux" / name
            try:
                shutil.copyfile(source.path / name, copy)
            except FileNotFoundError:
                copy.unlink()
            if not copy.exists() or file_digest(copy) != new[name][1]:
                raise UserError(
                    f"{source.path} changed while it was copied",
                    where=source.spec.where,
                    hint="run again when the tree is at rest",
                )
        return changed

    def settle(self, entries: Sequence[Entry]) -> None:
        """Write down of what files the copy is, now that make has ended by itself."""
        new = {name: [mode, sha256] for name, mode, sha256 in entries}
        files.write(self._state, json.dumps({"when": time.time(), "files": new}))

    def _load(self) -> object:
        try:
            return files.read_json(self._state)
        except (OSError, ValueError):
            return None

    def _remove_copy(self) -> None:
        # Renamed first: what a killed make left running may still write there.
        gone = self.folder / f"gone.{time.monotonic_ns()}"
        if (tree := self.folder / "linux").exists():
            tree.rename(gone)
        for path in self.folder.glob("gone.*"):
            shutil.rmtree(path, ignore_errors=True)


def _edits(
    state: object, new: Mapping[str, list[str]], patched: Collection[str]
) -> list[str] | None:
    """Return the names of files whose text changed; None if anything else did."""
    if not isinstance(state, dict):
        return None
    old, when = state.get("files"), state.get("when")
    # A clock that was set back would make an edit older than its object.
    if not isinstance(old, dict) or not isinstance(when, float) or when >= time.time():
        return None
    if old.keys() != new.keys():
        return None
    changed = [name for name in new if new[name] != old[name]]
    if all(
        _EDIT.fullmatch(name) and new[name][0] == old[name][0] and name not in patched
        for name in changed
    ):
        return changed
    return None
