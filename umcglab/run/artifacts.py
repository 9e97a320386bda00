# SPDX-License-Identifier: MIT
"""Build what targets need, each thing once: kernels, images, guest bundles."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from umcglab.errors import LabError
from umcglab.guest import image, suite
from umcglab.guest.image import Image
from umcglab.guest.suite import Bundle
from umcglab.host import pool
from umcglab.host.display import Display
from umcglab.host.pool import Job
from umcglab.host.progress import Progress
from umcglab.kernel import kernels
from umcglab.kernel.kernels import Kernel
from umcglab.lab.arch import Arch
from umcglab.lab.config import Lab, Target
from umcglab.lab.manifest import STUB, abis


@dataclass(frozen=True)
class Built:
    """What came of each build: the artifact, or the error in its place."""

    kernels: Mapping[str, Kernel | LabError]
    """By target name."""
    images: Mapping[str, Image | LabError]
    """By architecture name."""
    bundles: Mapping[str, tuple[Bundle, ...] | LabError]
    """By target name; a control has that of every ABI of its base, and the stub's."""

    def errors(self) -> tuple[LabError, ...]:
        """Return every distinct error once."""
        found: list[object] = [*self.kernels.values(), *self.images.values()]
        found += self.bundles.values()
        return tuple({id(e): e for e in found if isinstance(e, LabError)}.values())


def width(cores: int) -> int:
    """Return how many kernels to build at once on `cores` cores.

    Two even on two cores, since unpacking, configuring and linking use only
    one; more than one for four would only compete for memory and cache.
    """
    return min(cores, max(2, cores // 4))


def build(lab: Lab, targets: Sequence[Target], cores: int, display: Display) -> Built:
    """Build all that `targets` need; failures are in the result, not raised."""
    lab.cache.hold()
    # A control runs the bundles of the patched kernels of its base.
    sources = {t.name: lab.bundle_targets(t) for t in targets}
    wanted = list(dict.fromkeys([*targets, *itertools.chain(*sources.values())]))
    # Controls first: ccache then serves what their patched kernels share with
    # them, which two at once would both compile.
    wanted.sort(key=lambda target: not target.is_control)
    at_once = width(cores)
    jobs = math.ceil(cores / at_once) + (cores < at_once * 2)
    durations = lab.cache.root / "durations.json"

    first: list[Job[Kernel | Image]] = [
        *(Job(f"kernel {t.name}", _kernel(lab, t, jobs)) for t in wanted),
        *(Job(f"image {a.name}", _image(lab, a)) for a in arches(wanted)),
    ]
    made = pool.run(first, at_once, display, durations)
    kernels = {t.name: made[f"kernel {t.name}"] for t in wanted}
    images = {a.name: made[f"image {a.name}"] for a in arches(wanted)}

    parts: dict[str, list[str]] = {t.name: [] for t in targets}
    second: dict[str, Job[Bundle]] = {}
    bundles: dict[str, Bundle | LabError] = {}
    for target in targets:
        for source, abi in _wanted(lab, target, sources[target.name]):
            job = f"bundle {source.name}" + f" {abi}" * (abi != source.abi)
            parts[target.name].append(job)
            kernel = kernels[source.name]
            if isinstance(kernel, LabError):
                bundles[job] = kernel
            else:
                assert isinstance(kernel, Kernel)
                second[job] = Job(job, _bundle(lab, source.arch, kernel, abi))
    done = pool.run(list(second.values()), cores, display, durations)
    bundles |= done
    lab.cache.trim(lab.cache_size)
    return Built(
        kernels=kernels,  # type: ignore[arg-type]
        images=images,  # type: ignore[arg-type]
        bundles={
            name: _all([bundles[job] for job in jobs]) for name, jobs in parts.items()
        },
    )


def bundles(lab: Lab, target: Target) -> Mapping[str, Path | None]:
    """Return where the bundles that `target` runs lie, by ABI; None if not built."""
    found: dict[str, Path | None] = {}
    for source, abi in _wanted(lab, target, lab.bundle_targets(target)):
        kernel = kernels.find(source, lab)
        found[abi] = suite.find(lab, source.arch, kernel, abi) if kernel else None
    return found


def _wanted(
    lab: Lab, target: Target, sources: Sequence[Target]
) -> list[tuple[Target, str]]:
    """Return whose headers the bundles of `target` are built with, and for which ABI."""
    wanted = [(source, source.abi) for source in sources]
    if target.is_control and STUB in abis(lab.root / "guest-tests"):
        wanted.append((sources[0], STUB))
    return wanted


def _all(made: Sequence[Bundle | LabError]) -> tuple[Bundle, ...] | LabError:
    """Return the bundles, or the first error in place of one."""
    for one in made:
        if isinstance(one, LabError):
            return one
    return tuple(one for one in made if isinstance(one, Bundle))


def cores(asked: int | None) -> int:
    """Return how many cores to use: as asked, or all this process may use."""
    return asked or len(os.sched_getaffinity(0))


def arches(targets: Sequence[Target]) -> tuple[Arch, ...]:
    """Return the architectures of `targets`, each once."""
    return tuple({t.arch.name: t.arch for t in targets}.values())


def _kernel(
    lab: Lab, target: Target, jobs: int
) -> Callable[[Progress], Kernel | Image]:
    return lambda progress: kernels.build(target, lab, progress, jobs)


def _image(lab: Lab, arch: Arch) -> Callable[[Progress], Kernel | Image]:
    return lambda progress: image.build(arch, lab, progress)


def _bundle(
    lab: Lab, arch: Arch, kernel: Kernel, abi: str
) -> Callable[[Progress], Bundle]:
    return lambda progress: suite.build(lab, arch, kernel, abi, progress)
