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
from umcglab.lab.arch import Arch
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
    headers: Path
    """A folder with `linux/version.h`, as headers_install makes it."""

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
            return _digest(self.image, self.vmlinux, self.headers)

    def take(self, arch: Arch, tmp: Path, expected: str) -> None:
        """Copy all of it into `tmp`, as a build of the lab leaves it there.

        Raise UserError if its digest is not `expected`, or its parts do not fit.
        """
        image = tmp / Path(arch.image).name
        with _readable(self.spec):
            shutil.copyfile(self.image, image)
            shutil.copyfile(self.vmlinux, tmp / "vmlinux")
            shutil.copytree(self.headers, tmp / "include")
        if _digest(image, tmp / "vmlinux", tmp / "include") != expected:
            raise self._fault(
                f"{self.image} changed while it was copied", "run again when it is done"
            )
        elf = (tmp / "vmlinux").read_bytes()
        machine = int.from_bytes(elf[18:20], "little")
        if elf[:4] != b"\x7fELF" or _MACHINES.get(machine) != arch.name:
            raise self._fault(f"{self.vmlinux} is no kernel of {arch.name}")
        release = self.release()
        if (said := _stated(image.read_bytes(), arch)) not in (None, release):
            raise self._fault(
                f"{self.image} is {said}, and {self.vmlinux} is {release}",
                "take both from one build",
            )
        nm = command.output([f"{arch.cross_compile}nm", "-n", str(tmp / "vmlinux")])
        (tmp / "System.map").write_text(nm)
        found = _CONFIG.search(elf)
        # Without CONFIG_IKCONFIG nothing is known of it.
        config = gzip.decompress(found[1]) if found else b""
        (tmp / "config").write_bytes(config)
        (tmp / "build.log").write_text(f"taken as it is: {self.image}\n")

    def _fault(self, what: str, hint: str | None = None) -> UserError:
        return UserError(
            f"source {self.spec.name!r}: {what}", where=self.spec.where, hint=hint
        )


def of(spec: SourceSpec) -> Prebuilt:
    """Return what `spec` names; raise UserError if it has no headers in it."""
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


def _digest(image: Path, vmlinux: Path, headers: Path) -> str:
    return digest(
        "image", file_digest(image), file_digest(vmlinux), tree_digest(headers)
    )


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
