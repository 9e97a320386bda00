# SPDX-License-Identifier: MIT
"""Build what targets need, each thing once: kernels, images, guest bundles.

Each is a job of `host.pool`, which waits for nothing but what it is made from.
"""

from __future__ import annotations

import itertools
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from umcglab.errors import LabError
from umcglab.guest import image, suite
from umcglab.guest.image import Image
from umcglab.guest.suite import Bundle
from umcglab.host.display import Display
from umcglab.host.pool import Pool, outcome
from umcglab.kernel import kernels
from umcglab.kernel.kernels import Headers, Kernel
from umcglab.lab.arch import Arch
from umcglab.lab.config import Lab, Target
from umcglab.lab.manifest import STUB, abis

_NICE = (5, 19)
"""How nice the build of the first kernel is, and of all others.

Both leave time to guests. The others have a twentieth of the time of the first.
"""

_Kind = tuple[str, str, str]
"""Architecture, source and flavor of a target."""


class Stage(IntEnum):
    """How far a job brings a target; see `Pool.submit`."""

    KERNEL = 0
    """A kernel, or its headers."""
    SUITE = 1
    """What a kernel is tested with: a guest suite, or an image."""
    GUEST = 2


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


@dataclass(frozen=True)
class Builds:
    """The jobs that were submitted, as `Built` has what comes of them."""

    kernels: Mapping[str, Future[Kernel]]
    images: Mapping[str, Future[Image]]
    bundles: Mapping[str, tuple[Future[Bundle], ...]]

    def of(self, target: Target) -> Sequence[Future[Any]]:
        """Return all that `target` needs before it can run."""
        return (
            self.kernels[target.name],
            self.images[target.arch.name],
            *self.bundles[target.name],
        )

    def built(self, targets: Sequence[Target]) -> Built:
        """Return what came of that which `targets` need; their jobs have ended."""
        kernels = {t.name: outcome(self.kernels[t.name]) for t in targets}
        images = {a.name: outcome(self.images[a.name]) for a in arches(targets)}
        bundles = {t.name: _all(self.bundles[t.name]) for t in targets}
        return Built(kernels, images, bundles)


def width(cores: int) -> int:
    """Return how many kernels to build at once on `cores` cores.

    Two even on two cores, since unpacking, configuring and linking use only
    one; more than one for four would only compete for memory and cache.
    """
    return min(cores, max(2, cores // 4))


def make_jobs(cores: int) -> int:
    """Return how many jobs the make of each of them runs."""
    at_once = width(cores)
    return math.ceil(cores / at_once) + (cores < at_once * 2)


def pool(lab: Lab, cores: int, display: Display) -> Pool:
    """Return a pool that remembers durations beside what they were spent on."""
    lab.cache.claim()
    return Pool(cores, display, lab.cache.root / "durations.json")


def build(lab: Lab, targets: Sequence[Target], cores: int, display: Display) -> Built:
    """Build all that `targets` need; failures are in the result, not raised."""
    with pool(lab, cores, display) as jobs:
        builds = submit(lab, targets, cores, jobs)
        jobs.wait()
    lab.cache.trim(lab.cache_size)
    return builds.built(targets)


def in_order(targets: Sequence[Target]) -> list[Target]:
    """Return `targets`, each once, in the order in which to build their kernels.

    Of one source, architecture and flavor the kernels with an ABI share nearly all
    objects with each other, and few with the control: the first of each kind are built
    before the next, so that ccache has what two at once would both compile. A control is
    tested with the bundles of the other kernels of its base, and comes after them.
    """
    before = Counter[_Kind]()
    place = {}
    for target in dict.fromkeys(targets):
        place[target] = (target.is_control, before[_kind(target)])
        before[_kind(target)] += not target.is_control
    return sorted(place, key=lambda target: place[target])


def sharing(targets: Iterable[Target]) -> set[Target]:
    """Return those of `targets` whose kernels share objects with another one's."""
    patched = [target for target in dict.fromkeys(targets) if not target.is_control]
    many = Counter(map(_kind, patched))
    return {target for target in patched if many[_kind(target)] > 1}


def _kind(target: Target) -> _Kind:
    return target.arch.name, target.source.name, target.flavor


def submit(lab: Lab, targets: Sequence[Target], cores: int, jobs: Pool) -> Builds:
    """Submit the builds of all that `targets` need, each once."""
    lab.cache.hold()
    # A control runs the bundles of the patched kernels of its base, of which only
    # those are built that are targets, too.
    sources = {t.name: lab.bundle_targets(t) for t in targets}
    others = dict.fromkeys(itertools.chain(*sources.values()))
    wanted = in_order(targets)
    shared = sharing(wanted)
    share, many = max(1, cores // width(cores)), make_jobs(cores)
    # Of those that are built at once the first is to be tested while the others are
    # still being built; and guests have to go on whatever is built beside them.
    made = {
        t.name: jobs.submit(
            f"kernel {t.name}",
            kernels.build,
            t,
            lab,
            jobs=many,
            shares=t in shared,
            cores=share,
            nice=_NICE[min(number, len(_NICE) - 1)],
        )
        for number, t in enumerate(wanted)
    }
    headers: dict[str, Future[Headers | Kernel] | Future[Kernel]] = {
        t.name: made.get(t.name)
        or jobs.submit(f"headers {t.name}", kernels.headers, t, lab, jobs=many)
        for t in others
    }
    # Before the kernels but the first: no target can be tested without.
    images = {
        a.name: jobs.submit(f"image {a.name}", image.build, a, lab, stage=Stage.SUITE)
        for a in arches(wanted)
    }
    bundles: dict[str, Future[Bundle]] = {}
    parts: dict[str, list[str]] = {t.name: [] for t in targets}
    for target in targets:
        for source, abi in _wanted(lab, target, sources[target.name]):
            name = f"bundle {source.name}" + f" {abi}" * (abi != source.abi)
            parts[target.name].append(name)
            if name not in bundles:
                kernel = headers[source.name]
                bundles[name] = jobs.submit(
                    name, suite.build, lab, source.arch, kernel, abi, stage=Stage.SUITE
                )
    return Builds(
        made,
        images,
        {t: tuple(bundles[n] for n in names) for t, names in parts.items()},
    )


def bundles(lab: Lab, target: Target) -> Mapping[str, Path | None]:
    """Return where the bundles that `target` runs lie, by ABI; None if not built."""
    found: dict[str, Path | None] = {}
    for source, abi in _wanted(lab, target, lab.bundle_targets(target)):
        kernel = kernels.find_headers(source, lab)
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


def _all(futures: Sequence[Future[Bundle]]) -> tuple[Bundle, ...] | LabError:
    """Return the bundles, or the first error in place of one."""
    made = [outcome(future) for future in futures]
    errors = [one for one in made if isinstance(one, LabError)]
    return errors[0] if errors else tuple(f.result() for f in futures)


def cores(asked: int | None) -> int:
    """Return how many cores to use: as asked, or all this process may use."""
    return asked or len(os.sched_getaffinity(0))


def arches(targets: Sequence[Target]) -> tuple[Arch, ...]:
    """Return the architectures of `targets`, each once."""
    return tuple({t.arch.name: t.arch for t in targets}.values())
