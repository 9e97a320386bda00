# SPDX-License-Identifier: MIT
"""Tests for kernels that are built already, made here of the toy's objects."""

from __future__ import annotations

import gzip
import shutil
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
  objects: {build: obj}
targets:
  objects: {arch: x86_64, source: objects, abi: umcg-toy}
  objects-arm: {arch: arm64, source: objects, abi: umcg-toy}
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
    made = tmp_path / "obj"
    (made / "arch/x86/boot").mkdir(parents=True)
    shutil.copy(tmp_path / "vmlinux", made)
    shutil.copy(tmp_path / "bzImage", made / "arch/x86/boot")
    (made / ".config").write_text("CONFIG_MINE=y\n")
    (made / "source").symlink_to(lab.tree)
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


def test_an_object_folder_is_taken_as_it_is(toy: ToyLab) -> None:
    folder = toy.root / "obj"
    before = {path: path.stat().st_mtime_ns for path in toy.tree.rglob("*")}
    kernel = build(toy, "objects")
    assert kernel.release == RELEASE
    assert kernel.image.name == "bzImage"
    assert kernel.vmlinux.read_bytes() == (folder / "vmlinux").read_bytes()
    assert kernel.config.read_text() == "CONFIG_MINE=y\n"
    assert kernel.identity["patches"] == []
    exported = kernel.headers / "linux/unistd.h"
    unistd = toy.tree / "include/uapi/linux/unistd.h"
    assert exported.read_text() == unistd.read_text()
    # Neither the folder nor its source is written to.
    assert {path: path.stat().st_mtime_ns for path in toy.tree.rglob("*")} == before
    assert len(list(folder.iterdir())) == 4
    assert not (kernel.dir / "headers").exists()
    assert build(toy, "objects") == kernel


@pytest.mark.parametrize(
    "name",
    [
        "obj/.config",
        "obj/vmlinux",
        "obj/arch/x86/boot/bzImage",
        "linux/include/uapi/linux/unistd.h",
    ],
)
def test_an_object_folder_that_was_built_again_is_another(
    toy: ToyLab, name: str
) -> None:
    kernel = build(toy, "objects")
    path = toy.root / name
    path.write_bytes(path.read_bytes() + b"\n")
    assert build(toy, "objects").dir != kernel.dir


def no_source(toy: ToyLab) -> str:
    (toy.root / "obj/source").unlink()
    return "obj has no link `source`, so it is not the object folder of a kernel"


def not_built(toy: ToyLab) -> str:
    (toy.root / "obj/vmlinux").unlink()
    return "cannot read it: .*obj/vmlinux"


def no_elf(toy: ToyLab) -> str:
    (toy.root / "obj/vmlinux").write_bytes(b"x")
    return "vmlinux is no kernel of x86_64 or arm64"


def no_headers_goal(toy: ToyLab) -> str:
    makefile = toy.tree / "Makefile"
    makefile.write_text(makefile.read_text().replace("-r include/uapi", "gone"))
    return "its source exports no headers: cp: .*gone"


def half_built(toy: ToyLab) -> str:
    (toy.root / "obj/arch/x86/boot/bzImage").write_bytes(image("6.99.2"))
    return f"bzImage is 6.99.2, and .* is {RELEASE[:6]}"


@pytest.mark.parametrize(
    "spoil", [no_source, not_built, no_elf, no_headers_goal, half_built]
)
def test_an_object_folder_that_does_not_fit_is_told(
    toy: ToyLab, spoil: Callable[[ToyLab], str]
) -> None:
    said = spoil(toy)
    with pytest.raises(UserError, match=said) as caught:
        build(toy, "objects")
    assert caught.value.where == "{}:4:12".format(toy.root / "lab.yaml")


def test_an_object_folder_is_of_one_architecture(toy: ToyLab) -> None:
    with pytest.raises(UserError, match="is no kernel of arm64"):
        build(toy, "objects-arm")
