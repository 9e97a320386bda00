# SPDX-License-Identifier: MIT
"""Run kbuild: a clean environment, ccache, progress, and the first error."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from umcglab.errors import InfraError, LabError
from umcglab.host import command, files
from umcglab.host.progress import Progress, Silent
from umcglab.lab.arch import Arch

_BIN = Path(__file__).parent / "bin"
"""The folder of `umcglab-cc`, first in the PATH of a build."""

_STEP = re.compile(r"  [A-Z][A-Z0-9_]* +(?:\[M\] )?\S")
"""A line of kbuild that says it made a file: `  CC      kernel/fork.o`."""

# The first of these that a log has, in this order of preference, is the error.
_ERRORS = (
    re.compile(r"^(?:\.\.?/)*(?P<error>\S+?:\d+:(?:\d+:)? (?:fatal )?error: .*)", re.M),
    re.compile(r"^(?:\.\.?/)*(?P<error>\S+?:\d+: Error: .*)", re.M),
    re.compile(r"^(?:\.\.?/)*(?P<error>(?:\S+/)?Kconfig\S*:\d+: .*)", re.M),
    re.compile(
        r"^(?P<error>.*(?:undefined reference to|multiple definition of).*)", re.M
    ),
    re.compile(r"^(?P<error>(?:ERROR|FAILED|\S+: error): .*)", re.M),
    re.compile(r"^make\S* \*\*\* (?P<error>.*)", re.M),
)
_COMPILER_ERROR = _ERRORS[0]
_WARNING = re.compile(
    r"^(?:\.\.?/)*(?P<file>\S+?):\d+:(?:\d+:)? warning: .*", re.MULTILINE
)
# Not what the code is to blame for, whatever code it was.
_HOST = re.compile(
    r".*(?:No space left on device|Killed signal terminated program|virtual memory "
    r"exhausted|internal compiler error|Cannot allocate memory|sh: .*: not found$|"
    r"Input/output error|Disk quota exceeded).*",
    re.MULTILINE,
)


def compiler(arch: Arch) -> str:
    """Return what identifies the toolchain of `arch` on this host."""
    return _compiler(arch.cross_compile)


@functools.cache
def _compiler(prefix: str) -> str:
    command.need("ccache")
    versions = (
        command.output([f"{prefix}{name}", "--version"]).splitlines()[0]
        for name in ("gcc", "ld")
    )
    return ", ".join(versions)


def first_error(said: str) -> str | None:
    """Return the line of make's output that says what is wrong."""
    found = (regex.search(said) for regex in _ERRORS)
    return next((match["error"] for match in found if match), None)


def _warnings(log: str, about: Collection[str]) -> list[tuple[str, str]]:
    """Return each warning about these files, with the name of the file."""
    found = (m for m in _WARNING.finditer(log) if m["file"] in about)
    return [(match["file"], match[0].lstrip("./")) for match in found]


@dataclass(frozen=True)
class Ccache:
    """How one build fared with ccache."""

    hits: int
    misses: int

    def __str__(self) -> str:
        total = self.hits + self.misses
        percent = 100 * self.hits // total if total else 0
        return f"{self.hits} of {total} objects from ccache ({percent} %)"


class Reads(StrEnum):
    """What gcc reads of the kernel; the code is the same."""

    PREPROCESSED = "preprocessed"
    """The text that ccache has preprocessed for its key, which many kernels share.

    What a macro wrote gcc takes for what the author wrote: columns are wrong, and it
    warns of comparisons that only a macro made.
    """
    ONCE = "once"
    """The source, whose key is that of all headers: a fifth faster.

    Another kernel has the same object only if all its headers are the same. What a
    macro wrote has no place of its own, and is taken for the author's as above.
    """
    SOURCE = "source"
    """The source, with all that helps gcc to say what is wrong with it."""


@dataclass(frozen=True)
class Build:
    """One kernel tree and its object folder, to run make in."""

    name: str
    """Whose build it is, for messages."""
    arch: Arch
    tree: Path
    log: Path
    cache: Path
    """Root of the lab's cache: ccache, remembered counts."""
    ccache_size: int
    """Bytes that ccache may take."""
    jobs: int
    blame: type[LabError]
    """Whose fault a compile error is."""
    reads: Reads = Reads.PREPROCESSED

    @property
    def objects(self) -> Path:
        """The object folder. Inside the tree, since kbuild then uses relative paths
        throughout, and ccache hits whatever folder the next build is in."""
        return self.tree / "build"

    def make(
        self,
        *goals: str,
        progress: Progress | None = None,
        expected: int | None = None,
        **variables: str,
    ) -> int:
        """Make `goals`; return the number of steps. A failure is raised, explained.

        What fails is made again from source, for what gcc says then.
        """
        # Line tables, so that a splat can be decoded; they cost 1 % of the time and
        # nothing in the image. No path of this build may be in them.
        debug = "-g" if self._describes_types() else "-g1"
        flags = f"{debug} -fdebug-prefix-map={self.objects}=. "
        flags += variables.pop("KCFLAGS", "")
        argv = [
            "make",
            f"-j{self.jobs}",
            f"--directory={self.tree}",
            f"O={self.objects}",
            f"ARCH={self.arch.kernel_arch}",
            f"CROSS_COMPILE={self.arch.cross_compile}",
            f"CC=umcglab-cc {self.arch.cross_compile}gcc",
            "HOSTCC=ccache gcc",
            f"KCFLAGS={flags.strip()}",
            *(f"{name}={value}" for name, value in variables.items()),
            *goals,
        ]
        self.objects.mkdir(exist_ok=True)
        steps, status, said = self._run(argv, progress, expected)
        if status and self.reads != Reads.SOURCE and _COMPILER_ERROR.search(said):
            source = replace(self, reads=Reads.SOURCE)
            more, status, said = source._run(argv, progress, expected)
            steps += more
        if status:
            raise self._failed(goals, status, said)
        return steps

    def _run(
        self, argv: list[str], progress: Progress | None, expected: int | None
    ) -> tuple[int, int, str]:
        """Run make; return steps, status and what it said."""
        start = self._log_size()
        steps, status = self._stream(argv, progress or Silent(), expected)
        return steps, status, self._log_since(start) if status else ""

    def _log_size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def _log_since(self, start: int) -> str:
        with self.log.open(errors="replace") as f:
            f.seek(start)
            return f.read()

    def _describes_types(self) -> bool:
        """Whether the kernel is to have a description of its types, made from DWARF."""
        config = self.objects / ".config"
        return config.exists() and "CONFIG_DEBUG_INFO_BTF=y\n" in config.read_text()

    def _stream(
        self, argv: list[str], progress: Progress, expected: int | None
    ) -> tuple[int, int]:
        """Run make, its output into the log as it comes; return steps and status."""
        steps = 0
        with (
            self.log.open("a", buffering=1) as log,
            subprocess.Popen(
                [*command.DIE_WITH_PARENT, *argv],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            ) as made,
        ):
            log.write(f"+ {' '.join(argv)}\n")
            assert made.stdout is not None
            try:
                for line in made.stdout:
                    log.write(line)
                    if _STEP.match(line):
                        steps += 1
                        # The expectation is from another series: never say 101 %.
                        progress.advance(steps, expected and max(expected, steps))
            except BaseException:
                made.terminate()
                raise
        return steps, made.returncode

    def environment(self) -> dict[str, str]:
        # Not the caller's: `make lab` has MAKEFLAGS with a jobserver of its own, and
        # ARCH, LOCALVERSION, KCFLAGS or a ccache.conf would change what is built.
        keep = ("HOME", "TMPDIR", "USER", "LOGNAME")
        ccache = self.cache / "ccache"
        path = f"{_BIN}:{os.environ.get('PATH', os.defpath)}"
        return {
            **{name: os.environ[name] for name in keep if name in os.environ},
            "PATH": path,
            "UMCGLAB_CC": self.reads,
            "LC_ALL": "C.UTF-8",
            "KBUILD_BUILD_USER": "umcglab",
            "KBUILD_BUILD_HOST": "umcglab",
            "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 2026",
            "KBUILD_BUILD_VERSION": "1",
            "CCACHE_DIR": str(ccache),
            "CCACHE_CONFIGPATH": str(ccache / "ccache.conf"),
            "CCACHE_MAXSIZE": f"{self.ccache_size >> 20}M",
            "CCACHE_BASEDIR": str(self.tree),
            "CCACHE_NOHASHDIR": "1",
            "CCACHE_COMPILERCHECK": "content",
            "CCACHE_STATSLOG": str(self._statslog),
        }

    @property
    def _statslog(self) -> Path:
        return self.log.with_name("ccache.log")

    def _failed(self, goals: tuple[str, ...], status: int, said: str) -> LabError:
        goal = " ".join(goals)
        if status < 0:
            return InfraError(
                f"{self.name}: make {goal} was killed by signal {-status}"
            )
        if host := _HOST.search(said):
            return InfraError(
                f"{self.name}: make {goal}: {host[0].strip()}",
                hint=files.room(self.cache) if files.full(host[0]) else None,
            )
        # What a full disk stops does not always say that it was one.
        files.check_room(self.cache, Path(tempfile.gettempdir()))
        why = first_error(said) or f"make {goal} failed with status {status}"
        return self.blame(f"{self.name} does not build: {why}")

    def warnings(
        self, files: Iterable[str], *goals: str, localversion: str = ""
    ) -> list[str]:
        """Return the warnings about `files` in the log of making `goals`.

        They are those of `Reads.SOURCE`: what gcc says otherwise only tells which
        files to compile again.
        """
        about = set(files)
        found = _warnings(self.log.read_text(errors="replace"), about)
        if found and self.reads != Reads.SOURCE:
            for name in {name for name, _ in found}:
                (self.tree / name).touch()
            start = self._log_size()
            source = replace(self, reads=Reads.SOURCE)
            source.make(*goals, LOCALVERSION=localversion)
            found = _warnings(self._log_since(start), about)
        return [said for _, said in found]

    def ccache(self) -> Ccache:
        """Return how the build fared with ccache."""
        text = self._statslog.read_text() if self._statslog.exists() else ""
        counts = text.split()
        return Ccache(
            hits=counts.count("direct_cache_hit")
            + counts.count("preprocessed_cache_hit"),
            misses=counts.count("cache_miss"),
        )
