# SPDX-License-Identifier: MIT
"""Artifacts in folders named by the digest of their inputs.

A folder that exists is right: it is filled under a temporary name and then
renamed, under a lock per digest so that two runs (or two clones, or two
threads) that want the same artifact build it once and never hurt each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from umcglab.errors import InfraError


def digest(*parts: object) -> str:
    """Return 16 hex digits that name `parts`; each must survive `json.dumps`."""
    data = json.dumps(parts, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def tree_digest(root: Path, pattern: str = "**/*") -> str:
    """Return the digest of the names, modes and bytes of the files under `root`."""
    parts = [
        (str(p.relative_to(root)), p.stat().st_mode & 0o111, file_digest(p))
        for p in sorted(root.glob(pattern))
        if p.is_file() and "__pycache__" not in p.parts
    ]
    return digest(parts)


@dataclass(frozen=True)
class Cache:
    """The cache folder: `<root>/<kind>/<digest>/` for artifacts."""

    root: Path

    def find(self, kind: str, key: str) -> Path | None:
        """Return the artifact's folder if it exists, marking it as used."""
        path = self.root / kind / key
        try:
            os.utime(path)
        except FileNotFoundError:
            return None
        return path

    def make(self, kind: str, key: str, fill: Callable[[Path], None]) -> Path:
        """Return the artifact's folder, calling `fill(tmp)` first if it is missing.

        `tmp` is an empty folder on the same file system. If `fill` raises, the
        folder is removed and the exception passes through. Raise InfraError when
        the cache itself cannot be written.
        """
        if found := self.find(kind, key):
            return found
        path = self.root / kind / key
        with self.lock(f"{kind}-{key}"):
            if found := self.find(kind, key):
                return found
            tmp = path.with_name(f".{key}.{os.getpid()}.{time.monotonic_ns()}")
            try:
                tmp.mkdir(parents=True)
            except OSError as e:
                raise InfraError(
                    f"cannot write the cache: {e}",
                    hint="set UMCGLAB_CACHE to a folder you can write to",
                ) from e
            try:
                fill(tmp)
                tmp.rename(path)
            except BaseException:
                shutil.rmtree(tmp, ignore_errors=True)
                raise
        return path

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the lock `name` against other threads, processes and clones."""
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("w") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            yield
