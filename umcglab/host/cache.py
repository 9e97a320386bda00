# SPDX-License-Identifier: MIT
"""Artifacts in folders named by the digest of their inputs.

A folder that exists is right: it is filled under a temporary name and then
renamed, under a lock per digest so that two runs (or two clones, or two
threads) that want the same artifact build it once and never hurt each other.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from umcglab.errors import InfraError, LabError
from umcglab.host import command, files, uses


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


CCACHE = "ccache"
"""The one folder in the cache that is not an artifact's: ccache trims it itself."""

KINDS = (
    "accel", "bundles", "checks", "coverage", "headers", "images", "init", "kernels",
    "keys", "models", "mutants", "plugins", "sources", "trees",
)  # fmt: skip
"""The kinds of artifacts. Nothing is removed that is of no kind."""

MEMORIES = ("seen", "steps")
"""Folders of small files that only save time."""

_MARK = ".umcglab-cache"
_KEPT = ("keys",)
"""What trimming leaves alone: small, and not found again by its digest."""
_MANY = 4000
"""Files from which on an artifact is a tree: they are not looked at one by one."""
_KEY = re.compile(r"[0-9a-f]{16}")
_HALF = re.compile(r"\.([0-9a-f]{16})\.(?:gone\.)?\d+(?:\.\d+)?")
"""A folder that is being made or removed: .<key>.<pid>.<time> or .<key>.gone.<pid>"""
_LOG = re.compile(r".+-[0-9a-f]{16}\.log")
_IN_USE = 3600.0
"""Seconds since its last use for which an artifact may be at work in some run."""
_LOG_AGE = 30 * 86400.0


def _size(root: Path) -> int:
    """Return the bytes that the files under `root` take on disk."""
    total = 0
    # Hundreds of thousands, at each trim: no Path for each.
    for folder, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(f"{folder}/{name}").st_blocks * 512
    return total


def _ccache_size(root: Path) -> int:
    """Return the bytes that ccache takes, which it counts itself, or else the files do."""
    with contextlib.suppress(LabError, ValueError):
        argv = ["ccache", "--print-stats"]
        said = command.output(argv, env={"CCACHE_DIR": str(root)})
        rows = dict(line.split("\t") for line in said.splitlines())
        if counted := int(rows.get("cache_size_kibibyte", 0)):
            return counted * 1024
    return _size(root)


def _count(root: Path) -> list[int]:
    """Return how many files are under `root`, and their bytes together."""
    sizes = [
        (Path(folder) / name).lstat().st_size
        for folder, _, names in os.walk(root)
        for name in names
    ]
    return [len(sizes), sum(sizes)]


def _recorded(root: Path) -> dict[str, object]:
    """Return what is remembered of an artifact, to trim it and to see it is whole."""
    many = _count(root)
    found = root.iterdir() if many[0] > _MANY else root.rglob("*")
    sizes = {
        str(path.relative_to(root)): path.lstat().st_size
        for path in found
        if path.is_file() and not path.is_symlink()
    }
    return {
        "size": _size(root),
        "files": sizes,
        "many": many if many[0] > _MANY else None,
    }


def _ours(path: Path) -> bool:
    """Whether a file or folder in the root of a cache is the lab's, by all it holds."""
    name = path.name
    if name in KINDS:
        key = re.compile(rf"{_KEY.pattern}|\.{_KEY.pattern}\.size|{_HALF.pattern}")
        return _holds_only(path, key)
    if name == "logs":
        return _holds_only(path, _LOG)
    if name == "locks":
        return _holds_only(path, re.compile(rf"(?:{'|'.join(KINDS)})-.+|{uses.NAMES}"))
    if name == CCACHE:
        return _holds_only(
            path, re.compile(r"[0-9a-f]|tmp|lock|ccache\.conf|.*TAG|stats")
        )
    return name in MEMORIES or name.startswith("durations.")


def _holds_only(folder: Path, pattern: re.Pattern[str]) -> bool:
    return folder.is_dir() and all(
        pattern.fullmatch(path.name) for path in folder.iterdir()
    )


def _unwritable(e: OSError) -> InfraError:
    return InfraError(
        f"cannot write the cache: {e}",
        hint="set UMCGLAB_CACHE to a folder you can write to",
    )


def _unfilled(root: Path, e: OSError) -> InfraError:
    full = e.errno in (errno.ENOSPC, errno.EDQUOT)
    return InfraError(
        f"cannot fill the cache {root}: {e}",
        hint="make room: umcglab clean, or a smaller cache-size in lab.yaml"
        if full
        else None,
    )


@dataclass(frozen=True)
class _Artifact:
    path: Path
    used: float
    size: int


@dataclass(frozen=True)
class Cache:
    """The cache folder: `<root>/<kind>/<digest>/` for artifacts."""

    root: Path

    def claim(self) -> None:
        """Make sure that the folder is the lab's own, so that it may remove there.

        Raise UserError if somebody else's files are in it.
        """
        files.claim(
            self.root,
            _MARK,
            "the cache",
            _ours,
            "set UMCGLAB_CACHE, or `cache` in lab.yaml, to a folder of its own",
        )
        if os.statvfs(self.root).f_flag & os.ST_NOEXEC:
            raise InfraError(
                f"{self.root}: on a file system that is mounted noexec, and building a "
                "kernel runs programs of its tree",
                hint="set UMCGLAB_CACHE to a folder where programs can run",
            )

    def memory(self, kind: str, name: str) -> Path | None:
        """Return a file to remember something in, that no loss of it hurts.

        None where the folder is not marked as ours.
        """
        assert kind in MEMORIES, kind
        return self.root / kind / name if (self.root / _MARK).exists() else None

    def find(self, kind: str, key: str) -> Path | None:
        """Return the artifact's folder if it exists, marking it as used."""
        path = self.root / kind / key
        try:
            with uses.use(self.root / "locks", f"{kind}/{key}"):
                os.utime(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as e:
            raise _unwritable(e) from e
        return None if self.damage(path) else path

    def hold(self) -> None:
        """Keep what this process finds here, for as long as it and its jobs run."""
        self._lock_file("uses").close()
        uses.hold(self.root / "locks")

    def damage(self, path: Path, *, deep: bool = False) -> str | None:
        """Return what is wrong with an artifact, by the sizes of its files.

        Of one with thousands of files these are looked at only if `deep`.
        """
        try:
            record = files.read_json(self._record(path))
            if not isinstance(record, dict):
                return None  # an older lab's, which has but the sum
            for name, size in record["files"].items():
                # Of a thousand files: no Path for each.
                actual = os.lstat(f"{path}/{name}").st_size
                if actual != size:
                    return f"{name} has {actual} bytes, not {size}"
            if deep and record["many"] and _count(path) != record["many"]:
                return "files are missing or cut short"
        except FileNotFoundError as e:
            # Without a record, which is written first, it is an older lab's too.
            gone = Path(e.filename)
            return None if gone == self._record(path) else f"{gone.name} is gone"
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
            return f"its record cannot be read: {e}"
        return None

    def drop(self, path: Path) -> None:
        """Remove an artifact, for it is of no use."""
        self._remove(_Artifact(path, 0, 0))

    def make(
        self,
        kind: str,
        key: str,
        fill: Callable[[Path], None],
        say: Callable[[str], None] | None = None,
    ) -> Path:
        """Return the artifact's folder, calling `fill(tmp)` first if it is missing.

        One that is damaged is dropped, and `say` is told.

        `tmp` is an empty folder on the same file system. If `fill` raises, the
        folder is removed and the exception passes through. Raise InfraError when
        the cache itself cannot be written.
        """
        assert kind in KINDS, kind
        assert _KEY.fullmatch(key), key
        if found := self.find(kind, key):
            return found
        path = self.root / kind / key
        with self.lock(f"{kind}-{key}"):
            if found := self.find(kind, key):
                return found
            if path.exists():
                if say:
                    said = self.damage(path)
                    say(f"cache: {kind}/{key} is damaged ({said}), so it is made again")
                self.drop(path)
            tmp = path.with_name(f".{key}.{os.getpid()}.{time.monotonic_ns()}")
            try:
                tmp.mkdir(parents=True)
            except OSError as e:
                raise _unwritable(e) from e
            try:
                fill(tmp)
                files.write(self._record(path), json.dumps(_recorded(tmp)))
                with uses.use(self.root / "locks", f"{kind}/{key}"):
                    tmp.rename(path)
            except BaseException as e:
                shutil.rmtree(tmp, ignore_errors=True)
                if isinstance(e, OSError):
                    raise _unfilled(self.root, e) from e
                raise
        return path

    @contextlib.contextmanager
    def keep(self, kind: str, key: str) -> Iterator[Path | None]:
        """Yield a folder of work that only saves time; None if somebody else has it.

        It is trimmed like an artifact, but not while it is held.
        """
        assert kind in KINDS, kind
        assert _KEY.fullmatch(key), key
        with self._try_lock(f"{kind}-{key}") as locked:
            if not locked:
                yield None
                return
            path = self.root / kind / key
            try:
                path.mkdir(parents=True, exist_ok=True)
                os.utime(path)
            except OSError as e:
                raise _unwritable(e) from e
            with self.counted(path):
                yield path

    @contextlib.contextmanager
    def counted(self, path: Path) -> Iterator[None]:
        """Record the size of an artifact that is changed meanwhile, for `trim`."""
        # Without one it is counted by each trim, which is slow and right.
        self._forget_size(path)
        try:
            yield
        finally:
            record = {"size": _size(path), "files": {}, "many": None}
            # It may not have come to be there.
            with contextlib.suppress(InfraError, FileNotFoundError):
                os.utime(path)
                files.write(self._record(path), json.dumps(record))

    @contextlib.contextmanager
    def scratch(self, kind: str, key: str) -> Iterator[Path]:
        """Yield an empty folder beside the artifacts, which is gone afterwards.

        Whoever asks for the same one waits. Raise InfraError when the cache itself
        cannot be written.
        """
        assert kind in KINDS, kind
        assert _KEY.fullmatch(key), key
        tmp = self.root / kind / f".{key}.{os.getpid()}.{time.monotonic_ns()}"
        with self.lock(f"{kind}-{key}"):
            try:
                tmp.mkdir(parents=True)
            except OSError as e:
                raise _unwritable(e) from e
            try:
                yield tmp
            except OSError as e:
                raise _unfilled(self.root, e) from e
            finally:
                shutil.rmtree(tmp, ignore_errors=True)

    def trim(self, limit: int) -> int:
        """Remove what was not used for longest, so that `limit` bytes suffice.

        Return the bytes freed. What is being made or used, or was a moment
        ago, stays whatever the limit.
        """
        self.claim()
        freed = self._remove_abandoned()
        artifacts = sorted(self._artifacts(_KEPT), key=lambda a: a.used)
        total = sum(a.size for a in artifacts) + _ccache_size(self.root / CCACHE)
        for artifact in artifacts:
            if total <= limit or artifact.used > time.time() - _IN_USE:
                break
            if self._remove_unused(artifact):
                total -= artifact.size
                freed += artifact.size
        for log in self._logs():
            with contextlib.suppress(FileNotFoundError):
                if log.stat().st_mtime < time.time() - _LOG_AGE:
                    log.unlink()
        return freed

    def clean(self, say: Callable[[str], None] | None = None) -> int:
        """Remove everything but what is being made or used; return the bytes freed.

        `say` is told what of each kind is removed, and what is left.
        """
        if not self.root.exists():
            return 0
        self.claim()
        freed = Counter({"half made": self._remove_abandoned()})
        left = Counter[str]()
        for artifact in self._artifacts(()):
            kind = artifact.path.parent.name
            if self._remove_unused(artifact):
                freed[kind] += artifact.size
            else:
                left[kind] += 1
        with self._at_rest() as used:
            # A compiler may be at work with it.
            if used is None:
                freed[CCACHE] = _size(self.root / CCACHE)
                shutil.rmtree(self.root / CCACHE, ignore_errors=True)
            elif (self.root / CCACHE).exists():
                left[CCACHE] = 1
        # What a link leads to is not known to be ours.
        memories = (self.root / kind for kind in MEMORIES)
        ours = (folder for folder in memories if not folder.is_symlink())
        for path in (
            *self._logs(),
            *(path for folder in ours for path in folder.glob("*")),
            self.root / "durations.json",
        ):
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                size = path.lstat().st_blocks * 512
                path.unlink()
                freed["logs and notes"] += size
        for kind in sorted({*+freed, *left} if say else ()):
            assert say
            in_use = f", {left[kind]} left that a run is using" if left[kind] else ""
            say(f"{kind}: {freed[kind] / 2**20:.0f} MiB{in_use}")
        return freed.total()

    def _logs(self) -> list[Path]:
        return [p for p in self.root.glob("logs/*.log") if _LOG.fullmatch(p.name)]

    def _artifacts(self, kept: Sequence[str]) -> list[_Artifact]:
        """Return the artifacts of all kinds but `kept`."""
        found = []
        for kind in KINDS:
            for path in self.root.glob(f"{kind}/*/") if kind not in kept else ():
                if _KEY.fullmatch(path.name):
                    with contextlib.suppress(FileNotFoundError):
                        used = path.stat().st_mtime
                        found.append(_Artifact(path, used, self._recorded_size(path)))
        return found

    def _recorded_size(self, path: Path) -> int:
        """Return an artifact's size without walking it: a kernel tree is 80,000 files."""
        try:
            record = files.read_json(self._record(path))
            return int(record["size"] if isinstance(record, dict) else record)
        except (OSError, ValueError, KeyError, TypeError):
            return _size(path)

    def _forget_size(self, path: Path) -> None:
        try:
            self._record(path).unlink(missing_ok=True)
        except OSError as e:
            raise _unwritable(e) from e

    def _record(self, path: Path) -> Path:
        return path.with_name(f".{path.name}.size")

    def _remove_unused(self, artifact: _Artifact) -> bool:
        """Remove an artifact unless some run is at work with it."""
        name = f"{artifact.path.parent.name}/{artifact.path.name}"
        with self._try_lock(name.replace("/", "-")) as locked:
            if not locked:
                return False
            with self._at_rest() as used:
                if name in (used or ()):
                    return False
                self._remove(artifact)
        return True

    def _remove(self, artifact: _Artifact) -> None:
        # Renamed first, so that no reader ever meets half an artifact.
        path = artifact.path
        gone = path.with_name(f".{path.name}.gone.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
        self._forget_size(path)

    def _remove_abandoned(self) -> int:
        """Remove what a killed process left half made."""
        freed = 0
        for path in (p for kind in KINDS for p in self.root.glob(f"{kind}/.*/")):
            if not (half := _HALF.fullmatch(path.name)):
                continue
            with self._try_lock(f"{path.parent.name}-{half[1]}") as locked:
                if locked and path.is_dir():
                    freed += _size(path)
                    shutil.rmtree(path, ignore_errors=True)
        return freed

    @contextlib.contextmanager
    def _try_lock(self, name: str) -> Iterator[bool]:
        """Hold the lock `name`, if nobody else does."""
        with self._lock_file(name) as f:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the lock `name` against other threads, processes and clones."""
        with self._lock_file(name) as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def _at_rest(self) -> Iterator[frozenset[str] | None]:
        """Yield what is in use, as `uses.at_rest` does."""
        self._lock_file("uses").close()
        with uses.at_rest(self.root / "locks") as used:
            yield used

    def _lock_file(self, name: str) -> TextIO:
        self.claim()
        path = self.root / "locks" / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return path.open("w")
        except OSError as e:
            raise _unwritable(e) from e
