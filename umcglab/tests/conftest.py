# SPDX-License-Identifier: MIT
"""Fixtures that more than one test module uses."""

from __future__ import annotations

import functools
import gc
import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from umcglab.host import files
from umcglab.host.cache import Cache
from umcglab.kernel.kernels import Kernel
from umcglab.lab import config as lab_config
from umcglab.lab.arch import X86_64
from umcglab.lab.config import Lab
from umcglab.report import plots
from umcglab.run.artifacts import Built
from umcglab.tests import reallab, scope
from umcglab.verdict.figures import Figure

CACHED = "cached"
"""Property of a test whose result may have been kept: whether it was."""

FAKE_QEMU = Path(__file__).with_name("fake_qemu.py")
SYSTEM_MAP = """\
0000000000000000 D __per_cpu_start
ffffffff81000000 T _stext
ffffffff81001000 t umcg_spin
ffffffff81002000 T umcg_wait
ffffffff82000000 T _etext
"""


MARKS = {
    "nightly": "a lab test that is too long for `make test`; run by `make nightly`",
    "slow": "more of what `make check` has some of; run by `make test`",
}


def slow(*values: object) -> object:
    """Return values of a parametrized test that are too much for `make check`."""
    return pytest.param(*values, marks=pytest.mark.slow)


MEMORY = Path("/dev/shm")
ROOM = 4 << 30
"""Bytes that a file system in memory has to have free for the files of the tests."""


def pytest_configure(config: pytest.Config) -> None:
    for name, text in MARKS.items():
        config.addinivalue_line("markers", f"{name}: {text}")
    # Tests write many small files, and a disk takes a third longer for them.
    if MEMORY.is_dir():
        there = os.statvfs(MEMORY)
        if there.f_bavail * there.f_frsize > ROOM and not there.f_flag & os.ST_NOEXEC:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


LONGEST = ("test_lab_run.py", "test_lab_detectors.py", "test_lab_faults.py")
"""Files that are begun with, so that none is left to run alone at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: at for at, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))


def pytest_collection_finish() -> None:
    """Have the garbage collector leave alone what was imported and collected."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many model searches were not done, since nothing about them has changed."""
    reports = (r for some in terminalreporter.stats.values() for r in some)
    kept = [
        was
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, was in report.user_properties
        if name == CACHED
    ]
    if kept:
        terminalreporter.line(
            f"models: {sum(kept)} of {len(kept)} searches were cached"
        )


@pytest.fixture(autouse=True)
def signals() -> None:
    """Begin each test with the signals that end a lab as a program has them at first.

    A shell starts what runs in the background with some of them ignored, and the lab
    leaves them so. A verb that an earlier test has called in this process has handlers,
    which ignore all of them once one has come; what a test starts would inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_DFL)


DRAWN = ("costs", "spreads")
"""Functions of `plots` that `draw_once` stands before."""
Draw = Callable[[Sequence[Figure], str], str]


@pytest.fixture(scope="session", autouse=True)
def draw_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Draw what is the same in several tests once: that is most of what a report costs.

    The processes that share the tests share the drawings.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-") else base) / "drawn"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        for name in DRAWN:
            patch.setattr(plots, name, _once(getattr(plots, name), folder))
        yield


def _once(draw: Draw, folder: Path) -> Draw:
    @functools.wraps(draw)
    def drawn(benches: Sequence[Figure], name: str) -> str:
        what = repr((draw.__name__, *benches, name))
        path = folder / hashlib.sha256(what.encode()).hexdigest()
        if not path.exists():
            files.write(path, draw(benches, name).encode())
        return path.read_text()

    return drawn


@pytest.fixture(scope="session")
def kept() -> Cache:
    """The lab's own cache, for what has its place there under a digest of its inputs."""
    cache = lab_config.load(lab_config.ROOT / "lab.yaml").cache
    cache.claim()
    cache.hold()
    return cache


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A lab without targets, with a cache of its own."""
    return Lab(
        file=tmp_path / "lab.yaml",
        root=lab_config.ROOT,
        cache=Cache(tmp_path / "cache"),
        results=tmp_path / "results",
        cache_size=1 << 30,
        sources={},
        targets=(),
    )


@pytest.fixture(scope="module")
def lab_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a lab like the project's, with results of its own."""
    return reallab.make(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def built(lab_file: Path) -> Built:
    """The targets of `make test`, built."""
    lab = lab_config.load(lab_file)
    return reallab.build(lab, scope.targets(lab))


@pytest.fixture
def no_qemu_left(lab_file: Path) -> Iterator[None]:
    """Fail a test that leaves a QEMU of that lab behind."""
    yield
    assert reallab.qemus_of(lab_config.load(lab_file).results) == []


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """A kernel that only a fake QEMU would boot."""
    folder = tmp_path / "kernel"
    folder.mkdir()
    (folder / "System.map").write_text(SYSTEM_MAP)
    return Kernel(
        dir=folder,
        digest="d1e5",
        release="6.99-fake",
        arch=X86_64,
        image=folder / "bzImage",
        vmlinux=folder / "vmlinux",
        system_map=folder / "System.map",
        config=folder / "config",
        headers=folder / "include",
        log=folder / "log",
        identity={},
    )


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a fake QEMU first on PATH; call with the part it shall play."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / X86_64.qemu
    command.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE_QEMU} "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")

    def set_part(**part: object) -> None:
        monkeypatch.setenv("FAKE_QEMU", json.dumps(part))

    return set_part
