# SPDX-License-Identifier: MIT
"""A kernel tree that is kept with its objects, to be changed and made again."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from umcglab.host.progress import Progress
from umcglab.kernel import kernels, series
from umcglab.kernel.kbuild import Build
from umcglab.kernel.kernels import Kernel
from umcglab.kernel.patchfile import Patch
from umcglab.kernel.series import Series
from umcglab.lab.config import Lab, Target

_KIND = "trees"


@dataclass(frozen=True)
class Tree:
    """The tree of a kernel, ours for as long as it is held."""

    built: Build
    kernel: Kernel
    """As it is without a change."""
    originals: Mapping[str, Path]
    """The files that the series touch, and a copy of each as the series leave it."""

    def remake(self, patch: Patch, log: Path, progress: Progress) -> Kernel:
        """Return the kernel with one more patch, good until the next is made."""
        progress.phase("make")
        os.utime(self.built.tree.parent)
        self.restore()
        one = Series(patch.path.parent.name, (patch,))
        series.apply((one,), self.built.tree, progress)
        objects = self.built.objects
        image = self.kernel.arch.image
        built = replace(self.built, log=log, name=patch.path.stem)
        built.make(Path(image).name, LOCALVERSION=self.localversion())
        return replace(
            self.kernel,
            digest=f"{self.kernel.digest}-{patch.sha256[:8]}",
            image=objects / image,
            vmlinux=objects / "vmlinux",
            system_map=objects / "System.map",
            log=log,
            identity={**self.kernel.identity, "changed-by": patch.path.name},
        )

    def localversion(self) -> str:
        source = self.kernel.identity["source"]
        assert isinstance(source, dict)
        return self.kernel.release.removeprefix(source["version"])

    @property
    def kept(self) -> Path:
        """Where `kernel.objects` keeps objects of the series that it has changed."""
        return self.built.tree.parent / "objects"

    def restore(self) -> bool:
        """Take back whatever was changed last, though that was cut short.

        Return whether there is something to compile.
        """
        changed = False
        for name, original in self.originals.items():
            file = self.built.tree / name
            if not file.exists() or file.read_bytes() != original.read_bytes():
                shutil.copyfile(original, file)
                changed = True
        for copy in self.kept.rglob("*.o"):
            put(copy, self.built.objects / copy.relative_to(self.kept))
        return changed


def put(copy: Path, file: Path) -> None:
    """Have in `file` what `copy` has, and let make see it if it had something else."""
    if not file.exists() or file.read_bytes() != copy.read_bytes():
        shutil.copyfile(copy, file)


@contextlib.contextmanager
def hold(target: Target, lab: Lab, progress: Progress, jobs: int) -> Iterator[Tree]:
    """Yield the target's tree, compiled first if it is not there, and nobody else's."""
    kernel = kernels.build(target, lab, progress, jobs)
    folder = lab.cache.root / _KIND / kernel.digest
    with (
        lab.cache.lock(f"{_KIND}-{kernel.digest}"),
        lab.cache.counted(folder),
    ):
        copies = folder / "originals"
        built = kernels.work_tree(target, lab, folder, progress, jobs)
        patches = [p for one in series.of(target, lab) for p in one.patches]
        touched = dict.fromkeys(name for patch in patches for name in patch.files)
        # A later patch may have removed or renamed what an earlier one changed.
        names = [name for name in touched if (built.tree / name).exists()]
        if not copies.exists():
            half = folder / "half"
            shutil.rmtree(half, ignore_errors=True)
            for name in names:
                (half / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(built.tree / name, half / name)
            half.rename(copies)
        yield Tree(built, kernel, {name: copies / name for name in names})
