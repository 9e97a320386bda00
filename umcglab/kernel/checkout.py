# SPDX-License-Identifier: MIT
"""A developer's own kernel tree: read without modifying it.

Git says which files there are, and nothing more: what is in them is read. An edit
can be hidden from git (`update-index --assume-unchanged`, filters, equal times).
"""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import stat
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from umcglab.errors import InfraError, UserError
from umcglab.host import command, files
from umcglab.host.cache import digest, file_digest

_NOT_SOURCE = (
    ".git/*", "*.o", "*.a", "*/.*.cmd", ".*.cmd", ".config*", "vmlinux*", "System.map",
    "include/config/*", "include/generated/*", "arch/*/include/generated/*",
)  # fmt: skip
"""What an in-tree build leaves behind, which an out-of-tree build refuses."""

_SOURCE = re.compile(r"(?:.*/)?(?:[^/]+\.[chS]|[^/]+\.rs|Kconfig[^/]*|Makefile|Kbuild)")
_GENERATED = re.compile(
    r".*(?:/generated/|\.mod\.c$|\.(?:tab|lex)\.[ch]$|-asn1\.[ch]$|-asm\.S$)|"
    r"(?:.*/)?\.[^/]*$"
)
"""What a build makes of source, and git is told to ignore."""
_RACY = 2 * 10**9
"""Nanoseconds in which a file may change again and look the same."""

Entry = tuple[str, str, str]
"""A file's name, its mode or `link`, and its sha256 or where it leads."""


def _is_git(tree: Path) -> bool:
    return (tree / ".git").exists()


def names(tree: Path) -> list[str]:
    """Return the files that make up the tree: those git knows or would add, or all."""
    if _is_git(tree):
        found = _git_in(tree, "ls-files", "-z", "-co", "--exclude-standard").split("\0")
    else:
        found = [
            name
            for name in (str(path.relative_to(tree)) for path in tree.rglob("*"))
            if not any(fnmatch.fnmatchcase(name, pattern) for pattern in _NOT_SOURCE)
        ]
    paths = ((name, tree / name) for name in sorted(set(found) - {""}))
    return [name for name, path in paths if path.is_symlink() or path.is_file()]


def left_out(tree: Path) -> list[str]:
    """Return what looks like source and is not in `names`: git is told to ignore it.

    A repository of its own inside the tree is left out as well.
    """
    if not _is_git(tree):
        return []
    ignored = _git_in(tree, "ls-files", "-z", "-oi", "--exclude-standard").split("\0")
    others = _git_in(tree, "ls-files", "-z", "-o", "--exclude-standard").split("\0")
    return sorted(
        {
            name
            for name in ignored
            if _SOURCE.fullmatch(name) and not _GENERATED.match(name)
        }
        | {name for name in others if name.endswith("/")}
    )


def content(tree: Path, memory: Path | None = None) -> str:
    """Return the digest of the files that make up the tree.

    `memory` is a file that remembers what files were read, by all that stat() says,
    so that the next time only those are read that changed.
    """
    return entries_digest(entries(tree, memory))


def entries(tree: Path, memory: Path | None = None) -> list[Entry]:
    """Return what `content` is the digest of."""
    return _read(tree, names(tree), memory)


def copied(dest: Path, names: Sequence[str]) -> str:
    """Return the digest of a copy: of each of its files, as it is there."""
    return entries_digest(_read(dest, names, None))


def entries_digest(entries: Sequence[Entry]) -> str:
    return digest("tree", entries)


def _read(tree: Path, names: Sequence[str], memory: Path | None) -> list[Entry]:
    known = _remembered(memory)
    now = time.time_ns()
    fresh: dict[str, tuple[list[int], str]] = {}

    def entry(name: str) -> Entry | None:
        path = tree / name
        try:
            seen = path.lstat()
            if stat.S_ISLNK(seen.st_mode):
                return name, "link", str(path.readlink())
            if not stat.S_ISREG(seen.st_mode):
                return None
            key = [seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino]
            old = known.get(name)
            sha256 = old[1] if old and old[0] == key else file_digest(path)
        except FileNotFoundError:
            return None
        if max(seen.st_mtime_ns, seen.st_ctime_ns) < now - _RACY:
            fresh[name] = (key, sha256)
        return name, f"{seen.st_mode & 0o111:o}", sha256

    with ThreadPoolExecutor() as pool:
        found = [e for e in pool.map(entry, names) if e]
    if memory and fresh != known:
        _remember(memory, fresh)
    return found


def _remembered(memory: Path | None) -> dict[str, tuple[list[int], str]]:
    if memory is None:
        return {}
    try:
        found = files.read_json(memory)
        return {name: (list(key), str(sha256)) for name, (key, sha256) in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _remember(memory: Path, fresh: dict[str, tuple[list[int], str]]) -> None:
    try:
        files.write(memory, json.dumps(fresh))
    except InfraError:
        # Without it all is read again, which is slow and right.
        return


def _git_in(tree: Path, *argv: str) -> str:
    full = ["git", "--no-optional-locks", "-C", str(tree), *argv]
    done = command.run(full)
    if done.returncode:
        raise UserError(f"{tree}: git: {done.stderr.strip()}", hint=shlex.join(full))
    return done.stdout
