# SPDX-License-Identifier: MIT
"""What version a kernel tree states, which is part of what its kernel calls itself."""

from __future__ import annotations

import re
from pathlib import Path

from umcglab.errors import UserError
from umcglab.lab.config import SourceSpec

_OWN = ("localversion-next", "localversion-rt")
"""Files that belong to a source, as Makefile does."""


def of(tree: Path, spec: SourceSpec) -> str:
    """Return the version that a tree states: in its Makefile, then, as linux-next and
    -rt have it, in files of its own.

    Raise UserError if it has others of these, for they would name the kernel.
    """
    own = ""
    for file in sorted(tree.glob("localversion*")):
        if file.name.endswith("~"):
            continue
        if file.name not in _OWN:
            raise UserError(
                f"source {spec.name!r}: {file.name} in its tree would change what the "
                "kernel calls itself, by which the lab knows it",
                where=spec.where,
                hint=f"remove it, or have it in EXTRAVERSION of the Makefile: rm "
                f"{Path(spec.location) / file.name if spec.kind == 'tree' else file.name}",
            )
        own += "".join(_read(file, tree, spec).split())
    return _stated(tree, spec) + own


def _read(file: Path, tree: Path, spec: SourceSpec) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError as e:
        raise UserError(
            f"source {spec.name!r}: {tree if spec.kind == 'tree' else spec.location}"
            f" is not a kernel tree: {e.strerror}: {file.name}",
            where=spec.where,
        ) from e


def _stated(tree: Path, spec: SourceSpec) -> str:
    """Return the version that the tree's Makefile states."""
    makefile = _read(tree / "Makefile", tree, spec)
    found: dict[str, str] = dict(
        re.findall(
            r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) *= *(\S*)",
            makefile,
            re.MULTILINE,
        )
    )
    if not found.get("VERSION") or not found.get("PATCHLEVEL"):
        raise UserError(
            f"source {spec.name!r}: its Makefile states no kernel version",
            where=spec.where,
        )
    numbers = [found[k] for k in ("VERSION", "PATCHLEVEL", "SUBLEVEL") if found.get(k)]
    return ".".join(numbers) + found.get("EXTRAVERSION", "")
