# SPDX-License-Identifier: MIT
"""A developer's own kernel tree: what is in it, found out without writing to it."""

from __future__ import annotations

import fnmatch
import hashlib
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from umcglab import tool
from umcglab.cache import digest, file_digest
from umcglab.errors import UserError

_NOT_SOURCE = (
    ".git/*", "*.o", "*.a", "*/.*.cmd", ".*.cmd", ".config*", "vmlinux*", "System.map",
    "include/config/*", "include/generated/*", "arch/*/include/generated/*",
)  # fmt: skip
"""What an in-tree build leaves behind, which an out-of-tree build refuses."""


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


def content(tree: Path) -> str:
    """Return the digest of the tree's content."""
    found = _git_content(tree) if _is_git(tree) else _files(tree, names(tree))
    return digest("tree", found)


def _git_content(tree: Path) -> list[object]:
    """Return what names a git tree's content, reading only what differs from HEAD."""
    index = tree / _git_in(tree, "rev-parse", "--git-path", "index").strip()
    with tempfile.TemporaryDirectory(prefix="umcglab-") as tmp:
        # `git diff` refreshes the index, and heeds no --no-optional-locks there.
        copy = shutil.copy(index, Path(tmp) / "index")
        diff = _git_in(
            tree, "diff", "--no-ext-diff", "--no-textconv", "--binary", "HEAD",
            env={"GIT_INDEX_FILE": str(copy)},
        )  # fmt: skip
    others = _git_in(tree, "ls-files", "-z", "-o", "--exclude-standard").split("\0")
    return [
        _git_in(tree, "rev-parse", "HEAD^{tree}").strip(),
        hashlib.sha256(diff.encode(errors="surrogateescape")).hexdigest(),
        _files(tree, sorted(set(others) - {""})),
    ]


def _files(tree: Path, names: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return name, mode and content of files."""
    found = []
    for name in names:
        path = tree / name
        if path.is_symlink():
            found.append((name, "link", str(path.readlink())))
        elif path.is_file():
            mode = path.stat().st_mode & 0o111
            found.append((name, f"{mode:o}", file_digest(path)))
    return found


def _git_in(tree: Path, *argv: str, env: Mapping[str, str] | None = None) -> str:
    full = ["git", "--no-optional-locks", "-C", str(tree), *argv]
    done = tool.run(full, env=env)
    if done.returncode:
        raise UserError(f"{tree}: git: {done.stderr.strip()}", hint=shlex.join(full))
    return done.stdout
