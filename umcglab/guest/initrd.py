# SPDX-License-Identifier: MIT
"""Initial RAM disks, made without root: newc archives and static init programs.

An initrd is written anew for each guest, since it holds what only that guest
may see (keys) or needs (a plan and its programs). It is not compressed:
unpacking costs an emulated guest more than loading does.
"""

from __future__ import annotations

import shutil
import stat
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from umcglab.errors import InfraError
from umcglab.host.cache import Cache, digest, file_digest
from umcglab.lab.arch import Arch
from umcglab.lab.config import ROOT

SOURCES = ROOT / "rootfs" / "init"

_CFLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-s")
_TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class File:
    """One file of an archive, owned by root."""

    data: bytes
    mode: int = 0o644


def archive(files: Mapping[str, File]) -> bytes:
    """Return `files`, by path without a leading slash, as a newc cpio archive.

    Folders on the way are added. The bytes depend on nothing but `files`.
    """
    entries: dict[str, tuple[int, bytes]] = {}
    for name, file in files.items():
        for folder in reversed(Path(name).parents):
            if folder != Path():
                entries.setdefault(str(folder), (stat.S_IFDIR | 0o755, b""))
        entries[name] = (stat.S_IFREG | file.mode, file.data)
    parts = [
        _entry(number, name, mode, data)
        for number, (name, (mode, data)) in enumerate(entries.items(), 1)
    ]
    return b"".join([*parts, _entry(0, _TRAILER, 0, b"")])


def tree(
    folders: Sequence[Path], place: str, skip: Collection[str] = ()
) -> dict[str, File]:
    """Return the files of `folders` but `skip`, by their paths below `place`.

    What several folders have is that of the last.
    """
    found = {}
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            name = path.relative_to(folder).as_posix()
            if name not in skip:
                mode = stat.S_IMODE(path.stat().st_mode)
                found[f"{place}/{name}"] = File(path.read_bytes(), mode)
    return found


def _entry(number: int, name: str, mode: int, data: bytes) -> bytes:
    links = 2 if stat.S_ISDIR(mode) else 1
    path = name.encode() + b"\0"
    # ino, mode, uid, gid, nlink, mtime, size, 4 x device, name size, checksum
    fields = (number, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(path), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + path
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def program(name: str, arch: Arch, cache: Cache) -> File:
    """Return the static init program `rootfs/init/<name>.c`, compiled for `arch`."""
    compiler = f"{arch.cross_compile}gcc"
    source, header = SOURCES / f"{name}.c", SOURCES / "init.h"
    key = digest(
        [file_digest(source), file_digest(header)],
        _CFLAGS,
        _version(compiler),
        arch.name,
    )

    def fill(folder: Path) -> None:
        argv = [compiler, *_CFLAGS, "-o", str(folder / name), str(source)]
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode:
            raise InfraError(f"{compiler} cannot build {source}: {done.stderr.strip()}")

    folder = cache.make("init", key, fill)
    return File((folder / name).read_bytes(), 0o755)


def _version(compiler: str) -> str:
    if not shutil.which(compiler):
        raise InfraError(f"{compiler} is not installed", hint="make setup")
    return subprocess.run(
        [compiler, "--version"], capture_output=True, text=True, check=True
    ).stdout.partition("\n")[0]
