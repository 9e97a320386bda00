# SPDX-License-Identifier: MIT
"""Kernels that somebody else built: checked, and copied into the cache."""

from __future__ import annotations

import contextlib
import gzip
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from umcglab.errors import UserError
from umcglab.host import command
from umcglab.host.cache import digest, file_digest, tree_digest
from umcglab.lab.arch import ARCHES, Arch
from umcglab.lab.config import SourceSpec

_BANNER = re.compile(rb"Linux version ([!-~]{1,64}) ")
_CONFIG = re.compile(rb"IKCFG_ST(\x1f\x8b.*?)IKCFG_ED", re.S)
_MACHINES = {62: "x86_64", 183: "arm64"}
"""By the number that an ELF file has for it."""
_X86_VERSION = 0x20E
"""Where a bzImage says where its version is, counted from its second sector."""


@dataclass(frozen=True)
class Prebuilt:
    """What lab.yaml names: an image, its ELF file and its headers."""

    spec: SourceSpec
    image: Path
    vmlinux: Path
    headers: Path | None
    """A folder with `linux/version.h`, as headers_install makes it, or None:"""
    built: Path | None = None
    """the object folder (`O=`) that the kernel is in, and that knows its source."""

    def release(self) -> str:
        """Return what the kernel calls itself."""
        with _readable(self.spec):
            banner = _BANNER.search(self.vmlinux.read_bytes())
        if not banner:
            raise self._fault(f"{self.vmlinux} is not the vmlinux of a kernel")
        return banner[1].decode()

    def digest(self) -> str:
        """Return what names the content."""
        with _readable(self.spec):
            return self._digest(self.image, self.vmlinux, self.headers)

    def take(self, arch: Arch, tmp: Path, expected: str) -> None:
        """Copy all of it into `tmp`, as a build of the lab leaves it there.

        Raise UserError if its digest is not `expected`, or its parts do not fit.
        """
        image = tmp / Path(arch.image).name
        with _readable(self.spec):
            shutil.copyfile(self.image, image)
            shutil.copyfile(self.vmlinux, tmp / "vmlinux")
            if self.headers:
                shutil.copytree(self.headers, tmp / "include")
        if _machine(tmp / "vmlinux") != arch.name:
            raise self._fault(f"{self.vmlinux} is no kernel of {arch.name}")
        release = self.release()
        if (said := _stated(image.read_bytes(), arch)) not in (None, release):
            raise self._fault(
                f"{self.image} is {said}, and {self.vmlinux} is {release}",
                "take both from one build",
            )
        if self.built:
            self._install_headers(self.built, arch, tmp)
        with _readable(self.spec):
            found = self._digest(
                image, tmp / "vmlinux", self.headers and tmp / "include"
            )
        if found != expected:
            raise self._fault(
                f"{self.image} changed while it was copied", "run again when it is done"
            )
        nm = command.output([f"{arch.cross_compile}nm", "-n", str(tmp / "vmlinux")])
        (tmp / "System.map").write_text(nm)
        (tmp / "config").write_bytes(self._config(tmp / "vmlinux"))
        (tmp / "build.log").write_text(f"taken as it is: {self.image}\n")

    def _digest(self, image: Path, vmlinux: Path, headers: Path | None) -> str:
        parts = [file_digest(image), file_digest(vmlinux)]
        if headers:
            return digest("image", *parts, tree_digest(headers))
        assert self.built
        # What headers_install makes them of.
        source = self.built / "source"
        folder = f"arch/{Path(ARCHES[_machine(vmlinux)].image).parts[1]}/include/uapi"
        uapi = [tree_digest(source / name) for name in ("include/uapi", folder)]
        return digest("build", *parts, file_digest(self.built / ".config"), uapi)

    def _install_headers(self, built: Path, arch: Arch, tmp: Path) -> None:
        """Have the source of an object folder export its headers, and write to neither."""
        objects = tmp / "headers"
        argv = [
            "make",
            "-s",
            f"--directory={built / 'source'}",
            f"O={objects}",
            f"ARCH={arch.kernel_arch}",
            f"INSTALL_HDR_PATH={tmp}",
            "headers_install",
        ]
        objects.mkdir()
        done = command.run(argv)
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["?"]
            raise self._fault(f"its source exports no headers: {said[0]}")
        shutil.rmtree(objects)

    def _config(self, vmlinux: Path) -> bytes:
        if self.built:
            return (self.built / ".config").read_bytes()
        found = _CONFIG.search(vmlinux.read_bytes())
        # Without CONFIG_IKCONFIG nothing is known of it.
        return gzip.decompress(found[1]) if found else b""

    def _fault(self, what: str, hint: str | None = None) -> UserError:
        return UserError(
            f"source {self.spec.name!r}: {what}", where=self.spec.where, hint=hint
        )


def of(spec: SourceSpec) -> Prebuilt:
    """Return what `spec` names; raise UserError if something of it is not there."""
    return _of_build(spec) if spec.kind == "build" else _of_image(spec)


def _of_image(spec: SourceSpec) -> Prebuilt:
    assert spec.vmlinux is not None
    assert spec.headers is not None
    headers = Path(spec.headers)
    for folder in (headers, headers / "include"):
        if (folder / "linux" / "version.h").is_file():
            return Prebuilt(spec, Path(spec.location), Path(spec.vmlinux), folder)
    raise UserError(
        f"source {spec.name!r}: {headers} has no linux/version.h",
        where=spec.where,
        hint="in the kernel's tree: make headers_install INSTALL_HDR_PATH=FOLDER",
    )


def _of_build(spec: SourceSpec) -> Prebuilt:
    folder = Path(spec.location)
    if not (folder / "source").is_dir():
        raise UserError(
            f"source {spec.name!r}: {folder} has no link `source`, so it is not the "
            "object folder of a kernel",
            where=spec.where,
            hint="`make O=FOLDER` makes one; {tree: ...} is for a tree, {image: ...} "
            "for what was built within one",
        )
    vmlinux = folder / "vmlinux"
    with _readable(spec):
        machine = _machine(vmlinux)
    if machine not in ARCHES:
        raise UserError(
            f"source {spec.name!r}: {vmlinux} is no kernel of {' or '.join(ARCHES)}",
            where=spec.where,
        )
    return Prebuilt(spec, folder / ARCHES[machine].image, vmlinux, None, folder)


def _machine(vmlinux: Path) -> str:
    """Return which architecture an ELF file is of; empty if it is none of ours."""
    with vmlinux.open("rb") as f:
        head = f.read(20)
    if head[:4] != b"\x7fELF":
        return ""
    return _MACHINES.get(int.from_bytes(head[18:20], "little"), "")


def _stated(image: bytes, arch: Arch) -> str | None:
    """Return the version that an image states, if it is where it can be read."""
    if arch.name == "x86_64":
        if image[0x202:0x206] != b"HdrS":
            return "not a bzImage"
        at = 0x200 + int.from_bytes(image[_X86_VERSION : _X86_VERSION + 2], "little")
        return image[at : at + 64].split(b" ")[0].decode(errors="replace")
    banner = _BANNER.search(image)
    return banner[1].decode() if banner else None


@contextlib.contextmanager
def _readable(spec: SourceSpec) -> Iterator[None]:
    try:
        yield
    except (OSError, shutil.Error) as e:
        raise UserError(
            f"source {spec.name!r}: cannot read it: {e}", where=spec.where
        ) from e
