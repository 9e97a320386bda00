# SPDX-License-Identifier: MIT
"""Sources that are commits of a git repository, and series that are ranges of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from umcglab.errors import InfraError, UserError
from umcglab.host import command
from umcglab.host.cache import Cache, digest
from umcglab.lab.config import SourceSpec

_SHA1 = re.compile(r"[0-9a-f]{40}")
_DEPTHS = (64, 512, 4096)
"""Commits to fetch of a history, until the start of a range is among them."""


def commit(spec: SourceSpec, ref: str | None) -> str:
    """Return the commit id that a ref stands for, now."""
    assert ref is not None
    if _SHA1.fullmatch(ref):
        return ref
    done = command.run(["git", "ls-remote", "--", spec.location])
    if done.returncode:
        raise _error(spec, done)
    refs = {}
    for line in done.stdout.splitlines():
        found, name = line.split("\t")
        refs[name] = found
    for name in (ref, f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}"):
        if name in refs:
            return refs[name]
    raise UserError(
        f"source {spec.name!r}: {spec.location} has no branch or tag {ref!r}",
        where=spec.where,
        hint="a commit must be given by all 40 digits",
    )


def fetch(
    spec: SourceSpec, repo: Path, wanted: str, ref: str | None, depth: int = 1
) -> Path:
    """Return a repository with a commit, and with those before it as deep as `depth`.

    It is the one that the spec names, if that is a folder here, or `repo`, which is made.
    """
    argv = ["git", "-C", spec.location, "cat-file", "-e", f"{wanted}^{{commit}}"]
    if Path(spec.location).is_dir() and not command.run(argv).returncode:
        return Path(spec.location)
    if not repo.exists():
        command.output(["git", "init", "-q", "--bare", str(repo)])
    argv = ["git", "-C", str(repo), "fetch", "-q", f"--depth={depth}", spec.location]
    done = command.run([*argv, wanted])
    if done.returncode:
        # Not every server gives a commit by its id; a ref it does.
        done = command.run([*argv, ref or "HEAD"])
    if done.returncode:
        raise _error(spec, done)
    return repo


def series(spec: SourceSpec, cache: Cache) -> list[Path]:
    """Return the commits of a range as patches, in order; fetched if need be."""
    first, last = commit(spec, spec.ref), commit(spec, spec.until)
    # In a folder that says in messages what they are.
    name = f"git/{first[:12]}..{last[:12]}"

    def fill(tmp: Path) -> None:
        repo = _reach(spec, tmp / "repo", first, last)
        said = f"{first}..{last}"
        merges = command.output(
            ["git", "-C", str(repo), "rev-list", "--merges", "--max-count=1", said]
        )
        if merges:
            raise _fault(spec, f"has a merge, {merges[:12]}", "rebase it first")
        command.output(
            ["git", "-C", str(repo), "format-patch", "-q", "--no-signature", "-N",
             "--zero-commit", "--no-renames", f"--output-directory={tmp / name}", said]
        )  # fmt: skip
        if not any((tmp / name).glob("*.patch")):
            raise _fault(spec, "has no commit in it")
        shutil.rmtree(tmp / "repo", ignore_errors=True)

    folder = cache.make("sources", digest("range", first, last), fill)
    return sorted((folder / name).glob("*.patch"))


def _reach(spec: SourceSpec, repo: Path, first: str, last: str) -> Path:
    """Return a repository with the history of `last` as far back as `first`."""
    for depth in _DEPTHS:
        found = fetch(spec, repo, last, spec.until, depth)
        argv = ["git", "-C", str(found), "merge-base", "--is-ancestor", first, last]
        if not command.run(argv).returncode:
            return found
        if found != repo:
            raise _fault(
                spec, f"does not begin at {spec.ref}, which is not before its end"
            )
    raise _fault(
        spec,
        f"does not begin at {spec.ref}, which is not among the {_DEPTHS[-1]} commits "
        "before its end",
    )


def _fault(spec: SourceSpec, what: str, hint: str | None = None) -> UserError:
    return UserError(
        f"source {spec.name!r}: the range {spec.ref}..{spec.until} {what}",
        where=spec.where,
        hint=hint,
    )


def _error(
    spec: SourceSpec, done: subprocess.CompletedProcess[str]
) -> InfraError | UserError:
    said = done.stderr.strip().splitlines()
    why = next((x for x in said if x.startswith("fatal:")), said[-1] if said else "?")
    message = f"source {spec.name!r}: git: {why.removeprefix('fatal: ')}"
    if "://" not in spec.location and not Path(spec.location).exists():
        return UserError(message, where=spec.where)
    return InfraError(message, where=spec.where)
