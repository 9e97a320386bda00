# SPDX-License-Identifier: MIT
"""A developer's own kernel tree: read without modifying it.

Git says which files there are, and nothing more: what is in them is read. An edit
can be hidden from git (`update-index --assume-unchanged`, filters, equal times).
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import stat
import time
from collections.abc import Iterator, Sequence
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
_IS_NOT_SOURCE = re.compile("|".join(map(fnmatch.translate, _NOT_SOURCE)))

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
        said = _git_in(tree, "ls-files", "-z", "-co", "--exclude-standard")
        listed = sorted(set(said.split("\0")) - {""})
        return [name for name in listed if _is_ours(tree, name)]
    return sorted(name for name in _walk(tree) if not _IS_NOT_SOURCE.match(name))


def _is_ours(tree: Path, name: str) -> bool:
    """Return whether it is a file or a link, and there."""
    try:
        mode = os.lstat(f"{tree}/{name}").st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def _walk(folder: Path | str, prefix: str = "") -> Iterator[str]:
    """Yield the names of files and links.

    Strings throughout: Linux has a hundred thousand, and a Path for each takes seconds.
    """
    try:
        found = os.scandir(folder)
    except (PermissionError, FileNotFoundError, NotADirectoryError):
        return
    with found:
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, f"{prefix}{entry.name}/")
            elif entry.is_symlink() or entry.is_file():
                yield prefix + entry.name


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


def entries(tree: Path, memory: Path | None = None) -> list[Entry]:
    """Return the files that make up the tree, each with what is in it.

    `memory` is a file that remembers what files were read, by all that stat() says,
    so that the next time only those are read that changed.
    """
    return _read(tree, names(tree), memory)


def copied(dest: Path, names: Sequence[str]) -> str:
    """Return the digest of a copy: of each of its files, as it is there."""
    return entries_digest(_read(dest, names, None))


def entries_digest(entries: Sequence[Entry]) -> str:
    return digest("tree", entries)


def _read(tree: Path, names: Sequence[str], memory: Path | None) -> list[Entry]:
    known = _remembered(memory)
    now = time.time_ns()
    keys: dict[str, list[int]] = {}
    found: dict[str, Entry] = {}
    for name in names:
        path = f"{tree}/{name}"
        try:
            seen = os.lstat(path)
            if stat.S_ISLNK(seen.st_mode):
                found[name] = (name, "link", str(Path(path).readlink()))
        except FileNotFoundError:
            continue
        if stat.S_ISREG(seen.st_mode):
            key = [seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino]
            old = known.get(name)
            sha256 = old[1] if old and old[0] == key else ""
            found[name] = (name, f"{seen.st_mode & 0o111:o}", sha256)
            keys[name] = key
    unread = [name for name in keys if not found[name][2]]
    with ThreadPoolExecutor() as pool:
        digests = pool.map(_sha256, (tree / name for name in unread))
        for name, digest_now in zip(unread, digests, strict=True):
            if digest_now is None:
                del found[name], keys[name]
            else:
                found[name] = (*found[name][:2], digest_now)
    fresh = {
        name: (key, found[name][2])
        for name, key in keys.items()
        if max(key[1:3]) < now - _RACY
    }
    if memory and fresh != known:
        _remember(memory, fresh)
    return list(found.values())


def _sha256(path: Path) -> str | None:
    """Return the digest of a file, or None if it is gone."""
    try:
        return file_digest(path)
    except FileNotFoundError:
        return None


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
