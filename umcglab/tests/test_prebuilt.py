# SPDX-License-Identifier: MIT
"""Tests for kernels that are built already, made here of the toy's objects."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from umcglab import cli
from umcglab.errors import UserError
from umcglab.kernel import kernels
from umcglab.kernel.kernels import Kernel
from umcglab.lab import config
from umcglab.lab.arch import X86_64
from umcglab.tests import toylab
from umcglab.tests.toylab import ToyLab

RELEASE = "6.99.1-mine+"
CODE = """\
const char linux_banner[] = "Linux version %s (me@here)";
const char config[] = "IKCFG_ST" %s "IKCFG_ED";
int umcg_wait(void) { return 0; }
"""
LAB = """\
cache: cache
sources:
  mine: {image: bzImage, vmlinux: vmlinux, headers: usr}
targets:
  mine: {arch: x86_64, source: mine, abi: umcg-toy}
  mine-arm: {arch: arm64, source: mine, abi: umcg-toy}
"""


def image(release: str) -> bytes:
    """Return the head of a bzImage."""
    data = bytearray(0x400)
    data[0x202:0x206] = b"HdrS"
    data[0x20E:0x210] = (0x100).to_bytes(2, "little")
    text = f"{release} (me@here)".encode()
    data[0x300 : 0x300 + len(text)] = text
    return bytes(data)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToyLab:
    monkeypatch.delenv("UMCGLAB_CACHE", raising=False)
    lab = toylab.make(tmp_path)
    packed = gzip.compress(b"CONFIG_UMCG=y\n")
    octal = '"' + "".join(f"\\{byte:03o}" for byte in packed) + '"'
    source = lab.write("k.c", CODE % (RELEASE, octal))
    subprocess.run(
        [f"{X86_64.cross_compile}gcc", "-c", source, "-o", tmp_path / "vmlinux"],
        check=True,
    )
    (tmp_path / "bzImage").write_bytes(image(RELEASE))
    lab.write("usr/include/linux/version.h", "#define LINUX_VERSION_CODE 1\n")
    lab.write("lab.yaml", LAB)
    return lab


def build(toy: ToyLab, name: str = "mine") -> Kernel:
    lab = toy.load()
    (target,) = config.select(lab, [name])
    return kernels.build(target, lab, toylab.Progress(), jobs=1)


def test_a_built_kernel_is_taken_as_it_is(toy: ToyLab) -> None:
    kernel = build(toy)
    assert kernel.release == RELEASE
    assert kernel.image.read_bytes() == image(RELEASE)
    assert kernel.vmlinux.read_bytes() == (toy.root / "vmlinux").read_bytes()
    assert "T umcg_wait" in kernel.system_map.read_text()
    assert kernel.config.read_text() == "CONFIG_UMCG=y\n"
    assert (kernel.headers / "linux/version.h").exists()
    assert kernel.identity["patches"] == []
    assert build(toy) == kernel
    (toy.root / "bzImage").write_bytes(image(RELEASE) + b"\0")
    assert build(toy).dir != kernel.dir


def test_it_is_listed_by_its_name(
    toy: ToyLab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(config.load, "__defaults__", (toy.root,))
    assert cli.main(["list", "--lab", str(toy.root / "lab.yaml")]) == 0
    assert f"{RELEASE}  not built" in capsys.readouterr().out


def no_headers(toy: ToyLab) -> str:
    (toy.root / "usr/include/linux/version.h").unlink()
    return "has no linux/version.h"


def no_image(toy: ToyLab) -> str:
    (toy.root / "bzImage").unlink()
    return "cannot read it: .*bzImage"


def no_kernel(toy: ToyLab) -> str:
    (toy.root / "vmlinux").write_bytes(b"")
    return "is not the vmlinux of a kernel"


def another_build(toy: ToyLab) -> str:
    (toy.root / "bzImage").write_bytes(image("6.99.2"))
    return f"bzImage is 6.99.2, and .* is {RELEASE[:6]}"


def no_bzimage(toy: ToyLab) -> str:
    (toy.root / "bzImage").write_bytes(b"x")
    return "bzImage is not a bzImage"


@pytest.mark.parametrize(
    "spoil", [no_headers, no_image, no_kernel, another_build, no_bzimage]
)
def test_what_does_not_fit_is_told(toy: ToyLab, spoil: Callable[[ToyLab], str]) -> None:
    said = spoil(toy)
    with pytest.raises(UserError, match=said) as caught:
        build(toy)
    assert caught.value.where == "{}:3:9".format(toy.root / "lab.yaml")


def test_it_is_of_one_architecture(toy: ToyLab) -> None:
    with pytest.raises(UserError, match="is no kernel of arm64"):
        build(toy, "mine-arm")
