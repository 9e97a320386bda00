# SPDX-License-Identifier: MIT
"""`umcglab gdb`, with a gdb and a QEMU that play their parts."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from umcglab import cli
from umcglab.errors import InfraError
from umcglab.guest import accel, ssh
from umcglab.guest.image import Image
from umcglab.guest.suite import Bundle
from umcglab.kernel import kernels, source
from umcglab.kernel.kernels import Kernel
from umcglab.lab import config
from umcglab.lab.arch import ARM64, X86_64
from umcglab.lab.config import Lab
from umcglab.lab.manifest import Manifest, Program
from umcglab.run import debug
from umcglab.run.lanes import Ready
from umcglab.tests import toylab

LAB = config.load(config.ROOT / "lab.yaml")
PLAY = Callable[..., None]
PROGRAM = Program("umcg/wait", "test", ("bin/umcg/wait",), ("wakes",))
GDB = """\
#!{python}
import socket, sys, time
from pathlib import Path
if "-batch" in sys.argv:
    word = sys.argv[-1].split()[-1]
    sys.exit(word not in {knows!r})
Path({record!r}).write_text("\\n".join(sys.argv[1:]))
(target,) = (w for w in sys.argv if w.startswith("target remote "))
peer = socket.socket(socket.AF_UNIX)
peer.connect(target.removeprefix("target remote "))
time.sleep({stopped})
# As `continue`, and then until the program has said so.
peer.sendall(b"c")
end = time.monotonic() + 60
while {wait_for!r} and not Path({wait_for!r}).exists() and time.monotonic() < end:
    time.sleep(0.05)
sys.exit(7)
"""


@pytest.fixture
def gdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put a gdb first on PATH; return what it was told."""

    def put(
        name: str = "gdb",
        knows: tuple[str, ...] = ("i386:x86-64",),
        wait_for: str = "",
        stopped: float = 0.0,
    ) -> Path:
        folder, record = tmp_path / "gdbs", tmp_path / "gdb.argv"
        folder.mkdir(exist_ok=True)
        text = GDB.format(
            python=sys.executable,
            knows=knows,
            record=str(record),
            wait_for=wait_for,
            stopped=stopped,
        )
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
        monkeypatch.setattr(debug, "_COMMANDS", (str(folder / name),))
        return record

    return put


def ready(kernel: Kernel, tmp_path: Path) -> Ready:
    (target,) = config.select(LAB, ["x86_64-umcg-v0.5"])
    bundle = tmp_path / "bundle"
    (bundle / "bin/umcg").mkdir(parents=True)
    program = bundle / "bin/umcg/wait"
    done = tmp_path / "done"
    program.write_text(
        f"#!/bin/sh\necho slow=$UMCGLAB_SLOW args=$*\ntouch {done}\nexit 3\n"
    )
    program.chmod(0o755)
    image = Image(tmp_path, "1", kernel.arch, {})
    made = Bundle(bundle, "2", Manifest((PROGRAM,)))
    return Ready(target, kernel, image, made, (PROGRAM,), select=True)


@pytest.fixture
def no_kvm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(accel, "probe", lambda *_: accel.Accel("tcg", "test"))
    # The fake guest is this machine, where the bundle lies elsewhere.
    monkeypatch.setattr(ssh, "SUITE", str(tmp_path / "bundle"))


@pytest.mark.usefixtures("no_kvm")
def test_the_program_runs_when_gdb_lets_the_kernel_go(
    lab: Lab,
    kernel: Kernel,
    play: PLAY,
    gdb: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The program has said that it is done before it has ended.
    monkeypatch.setattr(debug, "_GRACE", 30)
    play(console=["umcglab-init: ready"], ssh="yes")
    record = gdb(wait_for=str(tmp_path / "done"), stopped=0.5)
    tree, logs = tmp_path / "tree", tmp_path / "logs"
    tree.mkdir()
    logs.mkdir()
    made = ready(kernel, tmp_path)
    assert debug.session(lab, made, PROGRAM, tree, logs) == 7
    argv = record.read_text().splitlines()
    assert argv[1] == str(kernel.vmlinux)
    assert f"directory {tree / 'kernel'}:{tree}" in argv
    assert not [word for word in argv if "vmlinux-gdb.py" in word]
    said = capsys.readouterr()
    assert "slow=1 args=-t wakes" in said.out
    assert "umcg/wait ended with 3" in said.out or "did not end" in said.out
    assert "first instruction" in said.err
    assert "BatchMode=yes" in said.err
    assert f"console: {logs / 'console.log'}" in said.err
    # The guest is gone with gdb.
    words = [p for p in Path("/proc").glob("[0-9]*/cmdline") if _has(p, str(logs))]
    assert words == []


def _has(path: Path, word: str) -> bool:
    try:
        return word.encode() in path.read_bytes()
    except OSError:
        return False


@pytest.mark.usefixtures("no_kvm")
def test_gdb_may_end_before_the_guest_is_up(
    lab: Lab,
    kernel: Kernel,
    play: PLAY,
    gdb: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    play(console=[], ssh="yes")
    gdb()
    before = threading.active_count()
    assert debug.session(lab, ready(kernel, tmp_path), PROGRAM, None, tmp_path) == 7
    assert "umcg/wait did not end" in capsys.readouterr().out
    assert threading.active_count() == before


def test_scripts_that_kbuild_made_are_loaded(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "vmlinux-gdb.py").touch()
    argv = debug.gdb_command("gdb", kernel, tmp_path, Path("/s"))
    assert argv[-4:-2] == ["-ex", f"source {tmp_path / 'vmlinux-gdb.py'}"]
    assert argv[-2:] == ["-ex", "target remote /s"]


def test_a_gdb_must_know_the_architecture(gdb: Callable[..., Path]) -> None:
    gdb()
    assert debug.find_gdb(X86_64).endswith("/gdb")
    with pytest.raises(InfraError, match="no gdb for arm64 is installed") as e:
        debug.find_gdb(ARM64)
    assert e.value.hint and e.value.hint.endswith(" gdb-multiarch")
    gdb(name="gdb-multiarch", knows=("i386:x86-64", "aarch64"))
    assert debug.find_gdb(ARM64).endswith("/gdb-multiarch")


def test_without_a_gdb_nothing_is_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    toy = toylab.make(tmp_path)
    monkeypatch.setenv("UMCGLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(config.load, "__defaults__", (toy.root,))
    monkeypatch.setattr(debug, "_COMMANDS", ("no-such-gdb",))
    lab = str(toy.root / "lab.yaml")
    with pytest.raises(InfraError, match="no gdb for x86_64"):
        cli.main(["gdb", "--lab", lab, "--only", "x86_64-umcg-toy"])
    assert not (tmp_path / "cache").exists()


def test_the_sources_are_those_that_were_compiled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("UMCGLAB_CACHE", raising=False)
    toy = toylab.make(tmp_path)
    lab = toy.load()
    (target,) = config.select(lab, ["x86_64-umcg-toy"])
    with kernels.source_tree(target, lab, toylab.Progress()) as tree:
        assert tree
        assert (tree / "kernel/umcg.c").exists()
        assert "pid += cpu + 1" in (tree / "kernel/fork.c").read_text()
    assert not tree.exists()
    image = replace(
        target.source, kind="image", vmlinux=str(tmp_path / "build/vmlinux")
    )
    monkeypatch.setattr(source, "fetch", lambda *_: None)
    folder = replace(target.source, kind="build", location=str(tmp_path / "build"))
    for built in (image, folder):
        with kernels.source_tree(
            replace(target, source=built), lab, toylab.Progress()
        ) as tree:
            assert tree == tmp_path / "build"


def test_interrupts_are_left_to_gdb() -> None:
    with debug._interrupts_are_gdbs():
        os.kill(os.getpid(), 2)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), 2)
