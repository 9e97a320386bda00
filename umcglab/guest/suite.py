# SPDX-License-Identifier: MIT
"""The guest suite, built against a kernel's headers.

A bundle is a folder with everything a guest needs of it.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path

from umcglab.errors import InfraError, LabError, PatchError, UserError
from umcglab.host import command, files
from umcglab.host.cache import digest, tree_digest
from umcglab.host.progress import Progress
from umcglab.kernel import kbuild
from umcglab.kernel.kernels import Headers, Kernel
from umcglab.lab.arch import Arch
from umcglab.lab.config import Lab
from umcglab.lab.manifest import Manifest, load_plan

_KIND = "bundles"
_RECIPE = 2
"""Changes when the way of building does, so that old artifacts are not used."""

_PARTS = (
    "bench", "fuzz", "harness", "kit", "linux", "mn", "port", "py", "shared", "state-word",
)  # fmt: skip
"""The folders of guest-tests that every bundle is made from, beside `abi/<abi>`."""

_COMPILE_ERROR = re.compile(
    r"^(?P<where>[^\s:]+:\d+):(?:\d+:)? (?:fatal )?error: (?P<what>.*)", re.MULTILINE
)
_LINK_ERROR = re.compile(
    r"(?P<what>(?:undefined reference to|multiple definition of) [^\s;]*)"
)


@dataclass(frozen=True)
class Bundle:
    """The suite, built for one architecture and ABI, complete and in the cache."""

    dir: Path
    digest: str
    manifest: Manifest


def build(
    lab: Lab, arch: Arch, kernel: Headers | Kernel, abi: str, progress: Progress
) -> Bundle:
    """Return the suite for `abi`, built against the kernel's headers if it is not yet.

    PatchError if it does not compile: tests know the ABI from these headers alone.
    """
    sources = lab.root / "guest-tests"
    manifest = load_plan(sources, abi)
    key = _key(sources, arch, kernel, abi)

    def fill(tmp: Path) -> None:
        progress.phase("guest suite")
        with tempfile.TemporaryDirectory(prefix="umcglab-") as objects:
            _make(sources, arch, kernel.headers, abi, tmp, Path(objects))
        _check(manifest, abi, tmp)

    return Bundle(lab.cache.make(_KIND, key, fill, progress.say), key, manifest)


def find(lab: Lab, arch: Arch, kernel: Headers | Kernel, abi: str) -> Path | None:
    """Return the folder of such a bundle if it is built already."""
    return lab.cache.find(_KIND, _key(lab.root / "guest-tests", arch, kernel, abi))


def _key(sources: Path, arch: Arch, kernel: Headers | Kernel, abi: str) -> str:
    return digest(
        _RECIPE,
        abi,
        kbuild.compiler(arch),
        *inputs(sources, abi),
        tree_digest(kernel.headers),
    )


def inputs(sources: Path, abi: str) -> tuple[object, ...]:
    """Return digests of all in `sources` that the suite for `abi` is made from."""
    parts = (*_PARTS, f"abi/{abi}")
    found = [(p, tree_digest(sources / p)) for p in parts]
    return tree_digest(sources, "[Mm]*"), found


def _make(
    sources: Path, arch: Arch, headers: Path, abi: str, out: Path, objects: Path
) -> None:
    """Run guest-tests/Makefile; raise what is wrong, with the first error."""
    argv = [
        "make",
        f"-j{os.cpu_count() or 1}",
        "-C", str(sources),
        f"KHDR={headers}",
        f"ABI={abi}",
        f"CROSS_COMPILE={arch.cross_compile}",
        f"CC={arch.cross_compile}gcc",
        "CFLAGS=-O2",
        f"O={out}",
        f"OBJ={objects}",
    ]  # fmt: skip
    # Not the flags of a make that runs the lab.
    done = command.run(argv, env={"MAKEFLAGS": "", "MFLAGS": ""})
    if done.returncode:
        raise _failure(sources, arch, argv, done.stdout + done.stderr)


def _failure(sources: Path, arch: Arch, argv: list[str], said: str) -> LabError:
    hint = shlex.join(a for a in argv if not a.startswith(("O=", "OBJ=")))
    what = f"the guest suite does not build for {arch.name}"
    if line := files.full(said):
        room = files.room(Path(tempfile.gettempdir()))
        return InfraError(f"cannot build the guest suite: {line}", hint=room)
    if found := _COMPILE_ERROR.search(said):
        where = f"{sources.name}/{found['where']}"
        return PatchError(f"{what}: {found['what']}", where=where, hint=hint)
    if found := _LINK_ERROR.search(said):
        return PatchError(f"{what}: {found['what']}", hint=hint)
    lines = [line for line in said.splitlines() if "unfinished jobs" not in line]
    why = lines[-1] if lines else "make said nothing"
    return InfraError(f"cannot build the guest suite: {why}", hint=hint)


def _check(manifest: Manifest, abi: str, out: Path) -> None:
    """Raise UserError if the manifest plans what the bundle does not have."""
    for program in manifest.programs:
        file = program.argv[0]
        if program.kind == "py":
            file = f"py/{program.argv[-1]}"
        if not (out / file).exists():
            raise UserError(
                f"{program.name}: the guest suite has no {file}",
                where=f"guest-tests/abi/{abi}/manifest.yaml",
            )
