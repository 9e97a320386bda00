# SPDX-License-Identifier: MIT
"""Patch series: `<part>/<base>.series` orders patches of `any/` and `<base>/`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from umcglab.errors import PatchError, UserError
from umcglab.host import textfile
from umcglab.host.cache import Cache
from umcglab.host.progress import Progress
from umcglab.kernel import gitrepo, patchfile
from umcglab.kernel.patchfile import Patch
from umcglab.lab.config import Lab, Target

ANY = "any"
"""The folder of patches that are the same for every base."""


@dataclass(frozen=True)
class Series:
    """Patches in order."""

    name: str
    """Such as `umcg-v0.5/6.12`."""
    patches: tuple[Patch, ...]


def load(part: Path, base: str, cache: Cache | None = None) -> Series:
    """Read `<part>/<base>.series`, and refuse patches that no series names.

    In `cache` it is noted what is in these files.
    """
    listing = part / f"{base}.series"
    order: dict[str, int] = {}
    for number, name in _names(listing):
        where = f"{listing}:{number}"
        if name in order:
            raise UserError(
                f"{name} is there twice, first in line {order[name]}", where=where
            )
        if not re.fullmatch(rf"({ANY}|{re.escape(base)})/[^/]+", name):
            raise UserError(
                f"{name}: a patch of this series is {ANY}/NAME or {base}/NAME",
                where=where,
                hint=f"move what other bases need as well to {ANY}/",
            )
        if not _is_file(part / name):
            raise UserError(f"{name} is listed but not there", where=where)
        order[name] = number
    named = set(order)
    for other in part.glob("*.series"):
        if other != listing:
            named |= {name for _, name in _names(other)}
    if extra := sorted(in_folders(part, ANY, base) - named):
        raise UserError(
            f"{', '.join(extra)} in the folder but not listed",
            where=str(listing),
            hint="list it, or remove it",
        )
    note = patchfile.note(cache, listing) if cache else None
    patches = patchfile.read_all([part / name for name in order], note)
    return Series(f"{part.name}/{base}", patches)


def bases(part: Path) -> list[str]:
    """Return the bases that have a series in a folder of kernel-patches."""
    return sorted(p.stem for p in part.glob("*.series"))


def in_folders(part: Path, *folders: str) -> set[str]:
    """Return the patches in folders of `part`, as a series names them."""
    return {
        f"{folder}/{path.name}"
        for folder in folders
        for path in (part / folder).glob("*")
        if path.suffix in (".patch", ".diff")
    }


def _names(listing: Path) -> list[tuple[int, str]]:
    """Return the names in a listing, each with the number of its line."""
    try:
        lines = textfile.lines(listing)
    except OSError as e:
        raise UserError(f"cannot read the series: {e}") from e
    names = [
        (number, line.split("#")[0].strip()) for number, line in enumerate(lines, 1)
    ]
    return [(number, name) for number, name in names if name]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # A name that is too long, say.
        return False


def of(target: Target, lab: Lab) -> tuple[Series, ...]:
    """Return a target's series: plumbing, what it is built with, its ABI's, its flavor's.

    A control's kernel has none, and a source may have its ABI already
    (`patches: none`), or bring it as a range of commits, which is fetched if need be.
    """
    if target.is_control or target.patched:
        return ()
    found: list[Series] = []
    parts = [lab.patches / "plumbing", *own_parts(target, lab)]
    if target.source.until:
        files = gitrepo.series(target.source, lab.cache)
        found = [Series(target.source.name, patchfile.read_all(files))]
        parts = []
    if target.traits.patches:
        # They only help to test the lab: a base may go without.
        more = lab.patches / target.traits.patches
        parts += [more] if target.base in bases(more) else []
    return (*found, *(load(part, target.base, lab.cache) for part in parts))


def own_parts(target: Target, lab: Lab) -> list[Path]:
    """Return the folders of the series that a target has on top of plumbing."""
    if not target.extra:
        return [lab.patches / target.abi]
    # What the ABI has of it, on its base: it may have nothing.
    both = lab.patches / f"{target.extra}-{target.abi}"
    return [
        lab.patches / target.extra,
        lab.patches / target.abi,
        *([both] if target.base in bases(both) else []),
    ]


def apply(parts: Sequence[Series], tree: Path, progress: Progress) -> None:
    """Apply series to a tree, one after the other, without fuzz.

    Where one does not fit, each that does not is told, on top of what fits of those
    before it: what somebody who brings a series to a newer Linux has to know. The tree
    is good for nothing then.
    """
    failed: list[PatchError] = []
    for series in parts:
        progress.phase(f"apply {series.name}", len(series.patches))
        for number, patch in enumerate(series.patches, 1):
            try:
                patchfile.apply(patch, tree)
            except PatchError as e:
                failed.append(patchfile.apply_what_fits(patch, tree) or e)
            progress.advance(number)
    if len(failed) > 1:
        tried = sum(len(series.patches) for series in parts)
        said = (e.message.replace(" does not apply", "") for e in failed)
        first = failed[0]
        raise PatchError(
            f"{len(failed)} of {tried} patches do not apply, each on top of what fits "
            "of those before it:\n    " + "\n    ".join(said),
            where=first.where,
            hint=first.hint,
        )
    if failed:
        raise failed[0]
