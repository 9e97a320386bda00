# SPDX-License-Identifier: MIT
"""A full disk, wherever it is, is named with what to do, and is nobody's patch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from umcglab.errors import InfraError
from umcglab.guest import suite
from umcglab.host import command, files
from umcglab.lab import config
from umcglab.lab.arch import X86_64
from umcglab.tests import toylab
from umcglab.tests.conftest import slow

BUILD = """\
import sys
from pathlib import Path
from umcglab import __main__, cli
from umcglab.host.progress import Silent
from umcglab.kernel import kernels
from umcglab.lab import config

def main(argv):
    lab = config.load(Path("lab.yaml"), Path())
    kernels.build(config.select(lab, ["x86_64-umcg-toy"])[0], lab, Silent(), 1)
    return 0

cli.main = main
sys.argv = ["umcglab"]
sys.exit(__main__.main())
"""
MOUNT = (
    "mount -t tmpfs -o size={kilobytes}k none {folder} && TMPDIR={tmp} exec {python}"
)


def build(root: Path, folder: str, kilobytes: int) -> subprocess.CompletedProcess[str]:
    """Build the toy with one of its folders, `cache` or `tmp`, on a small disk."""
    toylab.make(root)
    for name in ("cache", "tmp"):
        (root / name).mkdir()
    (root / "build.py").write_text(BUILD)
    command = MOUNT.format(
        kilobytes=kilobytes,
        folder=root / folder,
        tmp=root / "tmp",
        python=f"{sys.executable} build.py",
    )
    return subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", command],
        cwd=root,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(root),
            "PYTHONPATH": str(config.ROOT),
        },
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("folder", "kilobytes"),
    [
        ("cache", 4),
        *(slow("cache", size) for size in (32, 48, 64, 128, 200)),
        ("tmp", 4),
    ],
)
def test_a_full_disk_is_named(tmp_path: Path, folder: str, kilobytes: int) -> None:
    done = build(tmp_path, folder, kilobytes)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("this host lets nobody mount a file system")
    assert done.returncode == 3, done.stderr
    assert "No space left on device" in done.stderr
    assert "try: make room" in done.stderr
    assert "raceback" not in done.stderr


def test_a_disk_with_room_is_not_full(tmp_path: Path) -> None:
    files.check_room(tmp_path, tmp_path / "none")
    done = build(tmp_path, "cache", 10_000)
    assert "mount" in done.stderr or done.returncode == 0, done.stderr


FULL = "test.c:1:1: fatal error: error writing to /tmp/x.s: No space left on device"


def test_a_full_disk_is_no_error_of_the_suite() -> None:
    error = suite._failure(Path("guest-tests"), X86_64, ["make"], FULL)
    assert isinstance(error, InfraError)
    assert "No space left" in error.message


def test_a_program_that_meets_a_full_disk_is_quoted_with_that() -> None:
    script = "echo 'x: No space left on device (28)' >&2; echo 'code 11' >&2; exit 1"
    with pytest.raises(InfraError, match="No space left on device") as caught:
        command.output(["sh", "-c", script])
    assert caught.value.hint == files.room()
