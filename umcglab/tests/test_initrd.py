# SPDX-License-Identifier: MIT
"""Archives, as cpio(1) reads them, and the init programs in them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from umcglab.errors import InfraError
from umcglab.guest import initrd
from umcglab.guest.initrd import File
from umcglab.host.cache import Cache
from umcglab.lab.arch import ARCHES, Arch

# e_machine of ELF, by architecture
MACHINES = {"x86_64": 62, "arm64": 183}


def test_cpio_unpacks_what_was_packed(tmp_path: Path) -> None:
    data = initrd.archive(
        {
            "init": File(b"\x7fELF", 0o755),
            "bundle/bench/futex": File(b"x" * 4097, 0o755),
            "keys/host_key": File(b"secret", 0o600),
            "empty": File(b""),
        }
    )
    subprocess.run(["cpio", "-id", "--quiet"], input=data, cwd=tmp_path, check=True)
    assert (tmp_path / "bundle/bench/futex").read_bytes() == b"x" * 4097
    assert (tmp_path / "init").stat().st_mode == 0o100755
    assert (tmp_path / "keys").stat().st_mode == 0o040755
    assert (tmp_path / "keys/host_key").stat().st_mode == 0o100600
    assert (tmp_path / "empty").read_bytes() == b""
    listing = subprocess.run(
        ["cpio", "-tvn", "--quiet"], input=data, capture_output=True, check=True
    ).stdout.decode()
    assert all(line.split()[2:4] == ["0", "0"] for line in listing.splitlines())


def test_equal_files_make_equal_archives() -> None:
    files = {"a/b": File(b"1"), "c": File(b"2")}
    assert initrd.archive(files) == initrd.archive(dict(files))
    assert initrd.archive(files) != initrd.archive({**files, "c": File(b"3")})


@pytest.mark.parametrize("arch", ARCHES.values(), ids=ARCHES)
@pytest.mark.parametrize("name", ["floor", "guest", "exact"])
def test_init_programs_are_static_and_for_their_architecture(
    name: str, arch: Arch, tmp_path: Path
) -> None:
    program = initrd.program(name, arch, Cache(tmp_path))
    assert program.mode == 0o755
    assert program.data[:4] == b"\x7fELF"
    assert int.from_bytes(program.data[18:20], "little") == MACHINES[arch.name]
    assert b"/lib/ld-linux" not in program.data
    assert b"/lib64/ld-linux" not in program.data
    assert initrd.program(name, arch, Cache(tmp_path)) == program


def test_a_program_that_does_not_compile_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initrd, "SOURCES", tmp_path)
    (tmp_path / "init.h").write_text("")
    (tmp_path / "guest.c").write_text("int main(void) { return nothing; }\n")
    with pytest.raises(InfraError, match=r"guest\.c.*nothing"):
        initrd.program("guest", ARCHES["x86_64"], Cache(tmp_path / "cache"))
