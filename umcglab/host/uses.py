# SPDX-License-Identifier: MIT
"""Which artifacts of a cache a run is using, so that none of them is removed.

Each process that uses a cache writes what it finds into a file of its own, which it
holds locked until it ends, however it ends; so do the jobs it forks. A file that
nobody holds is left of one that is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

NAMES = r"uses|use\.\d+\.\d+"
"""What the files are called."""

_held: dict[Path, int] = {}
"""The folder of locks of each cache that this process uses -> its file there."""


def hold(locks: Path) -> None:
    """Begin to write down what is used, until this process and its jobs end."""
    if locks in _held:
        return
    # Under the lock: nobody may take the file for a dead one's before it is locked.
    with _gate(locks, fcntl.LOCK_EX):
        path = locks / f"use.{os.getpid()}.{time.monotonic_ns()}"
        _held[locks] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        fcntl.flock(_held[locks], fcntl.LOCK_EX)


@contextlib.contextmanager
def use(locks: Path, name: str) -> Iterator[None]:
    """Write down that `name` is used; nothing is removed meanwhile."""
    if locks not in _held:
        yield
        return
    with _gate(locks, fcntl.LOCK_SH):
        os.write(_held[locks], f"{name}\n".encode())
        yield


@contextlib.contextmanager
def at_rest(locks: Path) -> Iterator[frozenset[str] | None]:
    """Yield what is in use, which does not change meanwhile; None if nobody is there."""
    with _gate(locks, fcntl.LOCK_EX):
        found: set[str] = set()
        anybody = False
        for path in locks.glob("use.*"):
            with path.open() as f:
                try:
                    fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    anybody = True
                    found.update(f.read().split())
                else:
                    path.unlink(missing_ok=True)
        yield frozenset(found) if anybody else None


@contextlib.contextmanager
def _gate(locks: Path, how: int) -> Iterator[None]:
    with (locks / "uses").open("a") as f:
        fcntl.flock(f, how)
        yield
