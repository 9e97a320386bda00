# SPDX-License-Identifier: MIT
"""Files of the lab's own: written whole or not at all, in folders marked as its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from umcglab.errors import InfraError, UserError


def write(path: Path, data: str | bytes) -> None:
    """Write a file in one step: whatever happens, it is the old one or the new one."""
    tmp = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tmp.write_bytes(data.encode() if isinstance(data, str) else data)
        tmp.replace(path)
    except BaseException as e:
        with contextlib.suppress(OSError):
            tmp.unlink()
        if isinstance(e, OSError):
            raise unwritten(path, e) from e
        raise


def read_json(path: Path) -> Any:
    """Return what a file of JSON has in it; ValueError if it has none."""
    try:
        return json.loads(path.read_text())
    except RecursionError as e:
        raise ValueError("nested too deep to be read") from e


_LEFT = 64 << 10
"""Bytes, with less of which a disk is full: programs do not always say so."""
_FULL = re.compile(r".*(?:No space left on device|Disk quota exceeded).*")


def full(said: str) -> str | None:
    """Return the line of what a program said that tells of a full disk."""
    found = _FULL.search(said)
    return found[0].strip() if found else None


def room(folder: Path | None = None) -> str:
    """Return what to try when there is no room, in `folder` if that is known."""
    where = f" {folder}" if folder else ""
    return f"make room: df -h{where}; umcglab clean empties the cache"


def check_room(*folders: Path) -> None:
    """Raise InfraError if the disk of one of `folders` is full.

    For what fails then is no fault of what was to be written.
    """
    for folder in folders:
        with contextlib.suppress(OSError):
            disk = os.statvfs(folder)
            if disk.f_bavail * disk.f_frsize < _LEFT:
                raise InfraError(
                    f"{folder}: No space left on device", hint=room(folder)
                )


def unwritten(path: Path, error: OSError) -> InfraError:
    """Return the error for a file that the host does not take."""
    return InfraError(
        f"cannot write {path}: {error.strerror or error}",
        hint=f"make room: df -h {path.parent}",
    )


def claim(
    folder: Path, mark: str, what: str, ours: Callable[[Path], bool], hint: str
) -> None:
    """Make sure that `folder` is the lab's own and marked as such, made if need be.

    One that holds nothing but what is `ours` is marked: it was made before there
    were marks. Any other is refused, for what is in it is somebody's.
    """
    if (folder / mark).exists():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A mark that another process is writing at this moment is one as well.
        found = (p for p in sorted(folder.iterdir()) if mark not in p.name)
        strange = next((p.name for p in found if not ours(p)), None)
    except OSError as e:
        raise InfraError(f"cannot write {what}: {e}", hint=hint) from e
    if strange is not None:
        raise UserError(
            f"{folder}: not empty, and not made by umcglab (it has {strange!r}), so it "
            f"is not taken as {what}",
            hint=hint,
        )
    write(folder / mark, f"umcglab keeps {what} in this folder, and removes files.\n")
