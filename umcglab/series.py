# SPDX-License-Identifier: MIT
"""Patch series: `<part>/<base>.series` orders patches of `any/` and `<base>/`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from umcglab import tool
from umcglab.cache import file_digest
from umcglab.config import Lab, Target
from umcglab.errors import PatchError, UserError
from umcglab.progress import Progress

ANY = "any"
"""The folder of patches that are the same for every base."""


@dataclass(frozen=True)
class Patch:
    """One patch file."""

    path: Path
    subject: str
    sha256: str
    files: tuple[str, ...]
    """What it changes, relative to the kernel tree."""
    added: tuple[str, ...]
    """Those of `files` that it creates."""

    @property
    def name(self) -> str:
        """Its path within kernel-patches."""
        return "/".join(self.path.parts[-3:])


@dataclass(frozen=True)
class Series:
    """Patches in order."""

    name: str
    """Such as `umcg-v0.5/6.12`."""
    dir: Path
    patches: tuple[Patch, ...]


def load(part: Path, base: str) -> Series:
    """Read `<part>/<base>.series`, and refuse patches that no series names."""
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
    patches = tuple(read_patch(part / name) for name in order)
    return Series(f"{part.name}/{base}", part, patches)


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
        lines = listing.read_text().splitlines()
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
    """Return the series of the target's kernel: plumbing, its ABI's, its flavor's."""
    if target.is_control:
        return ()
    parts = [lab.patches / "plumbing", lab.patches / target.abi]
    if target.traits.patches:
        # They only help to test the lab: a base may go without.
        more = lab.patches / target.traits.patches
        parts += [more] if target.base in bases(more) else []
    return tuple(load(part, target.base) for part in parts)


def apply(series: Series, tree: Path, progress: Progress) -> None:
    """Apply a series to a tree, without fuzz; raise PatchError where it does not fit."""
    progress.phase(f"apply {series.name}", len(series.patches))
    for number, patch in enumerate(series.patches, 1):
        _apply(patch, tree)
        progress.advance(number)


def _apply(patch: Patch, tree: Path) -> None:
    """Apply one patch. Offsets are allowed, since they are told from nothing else."""
    argv = [
        "patch",
        "--strip=1",
        "--fuzz=0",
        "--force",
        "--no-backup-if-mismatch",
        "--reject-file=-",
        f"--directory={tree}",
        f"--input={patch.path}",
    ]
    done = tool.run(argv)
    if done.returncode == 0:
        return
    fault = _fault(done.stdout + done.stderr)
    raise PatchError(
        f"{patch.name} does not apply: {fault}",
        where=str(patch.path),
        hint=f"in a tree with the patches before it: patch -p1 --fuzz=0 < {patch.path}",
    )


def _fault(said: str) -> str:
    """Return the first thing that patch(1) could not do, with file, line and hunk."""
    file = ""
    for line in said.splitlines():
        if match := re.match(r"(?:patching|checking) file '?(.*?)'?$", line):
            file = match[1]
        elif match := re.match(r"Hunk #(\d+) FAILED at (\d+)", line):
            return f"{file}:{match[2]}: hunk {match[1]} does not fit"
        elif line.startswith("can't find file to patch"):
            return "it changes a file that is not there"
        elif line.startswith("patch: ****"):
            return line.removeprefix("patch: **** ")
        elif "already exists!" in line or "which does not exist" in line:
            return line
    return said.strip().splitlines()[-1] if said.strip() else "patch(1) failed"


def read_patch(path: Path) -> Patch:
    """Return one patch file, and what it says it changes."""
    text = path.read_text(errors="replace")
    subject = re.search(r"^Subject: (?:\[[^]]*\] *)?(.*(?:\n[ \t].*)*)", text, re.M)
    pairs = re.findall(r"^--- (\S+).*\n\+\+\+ (\S+)", text, re.M)
    files = [(old, new.split("/", 1)[-1]) for old, new in pairs if new != "/dev/null"]
    return Patch(
        path=path,
        subject=re.sub(r"\s+", " ", subject[1]).strip() if subject else path.name,
        sha256=file_digest(path),
        files=tuple(name for _, name in files),
        added=tuple(name for old, name in files if old == "/dev/null"),
    )
