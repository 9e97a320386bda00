# SPDX-License-Identifier: MIT
"""Kernel sources: fetched once, kept unpacked in the cache, never edited.

A debian, tarball or git source becomes a pristine tree in the cache, and a
build gets a hard-linked copy of it in seconds: git apply makes a changed file
anew, and kbuild writes only to its object folder, so the pristine files
stay as they are. A developer's tree is copied, since they may write to it
at any moment.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from umcglab.errors import InfraError, UserError
from umcglab.host import command
from umcglab.host.cache import Cache, digest, file_digest
from umcglab.host.progress import Progress
from umcglab.kernel import checkout, gitrepo, prebuilt, version
from umcglab.lab.config import SourceSpec

_KIND = "sources"
_SAID = 5
"""Files that are left out to name; of more it is said how many."""
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_AS_ROOT = ("-q", "-o", "APT::Sandbox::User=root")
"""apt as root warns when its sandbox user cannot write to our folder."""


@dataclass(frozen=True)
class Source:
    """A kernel tree that is here and will not change."""

    spec: SourceSpec
    version: str
    """From its Makefile, such as `6.12.117`."""
    digest: str
    """Names the content, not the way it came."""
    path: Path
    is_tree: bool
    """Whether it is a developer's own tree."""
    entries: Sequence[checkout.Entry] = field(default=(), repr=False, compare=False)
    """The files of a developer's tree, which `digest` is the digest of."""


def fetch(spec: SourceSpec, cache: Cache, progress: Progress) -> Source:
    """Return the source, downloading and unpacking it first if need be."""
    if found := find(spec, cache):
        if found.is_tree and (names := checkout.left_out(found.path)):
            more = f" and {len(names) - _SAID} more" if len(names) > _SAID else ""
            progress.say(
                f"source {spec.name!r}: left out, since git ignores it in {found.path}: "
                f"{', '.join(names[:_SAID])}{more} (`git add -f` takes it in)"
            )
        return found
    if spec.kind == "debian":
        return _debian(spec, cache, progress)
    if spec.kind == "tarball":
        return _tarball(spec, cache, progress)
    return _git(spec, cache, progress)


def find(spec: SourceSpec, cache: Cache) -> Source | None:
    """Return the source if it is here already; download nothing."""
    if spec.kind == "tree":
        return _tree(spec, cache)
    if spec.is_built:
        found = prebuilt.of(spec)
        return Source(spec, found.release(), found.digest(), found.image, is_tree=False)
    key = gitrepo.commit(spec, spec.ref) if spec.kind == "git" else spec.sha256
    assert key is not None
    path = cache.find(_KIND, digest(spec.kind, key))
    if path is None:
        return None
    try:
        return _read(spec, path)
    except (OSError, ValueError, UserError):
        cache.drop(path)
        return None


def unpack(source: Source, cache: Cache, dest: Path) -> None:
    """Make `dest` (on the cache's file system) a tree of the source to patch."""
    if not source.is_tree:
        kept = source.path.parent
        if damage := cache.damage(kept, deep=True):
            cache.drop(kept)
            raise InfraError(
                f"source {source.spec.name!r}: its tree in the cache was damaged "
                f"({damage}), and is dropped",
                where=source.spec.where,
                hint="run again, and it is fetched again",
            )
        command.output(["cp", "-al", str(source.path), str(dest)])
        return
    dest.mkdir(parents=True)
    names = checkout.names(source.path)
    command.output(
        ["rsync", "-a", "--from0", "--files-from=-", str(source.path), str(dest)],
        stdin="\0".join(names),
    )
    # The copy is looked at, not the tree: it is the copy that is compiled.
    if checkout.copied(dest, names) != source.digest:
        raise _moved(source)


def _moved(source: Source) -> UserError:
    return UserError(
        f"{source.path} changed while it was copied",
        where=source.spec.where,
        hint="run again when the tree is at rest",
    )


# Archives, each unpacked into <cache>/sources/<digest>/linux.


def _store(
    spec: SourceSpec,
    cache: Cache,
    key: str,
    fill: Callable[[Path], None],
    progress: Progress,
) -> Source:
    """Keep the tree that `fill(tmp)` puts under tmp/linux; `key` is its content's."""

    def complete(tmp: Path) -> None:
        fill(tmp)
        stated = version.of(tmp / "linux", spec)
        facts = {"kind": spec.kind, "location": spec.location, "key": key}
        (tmp / "source.json").write_text(json.dumps({**facts, "version": stated}))

    return _read(
        spec, cache.make(_KIND, digest(spec.kind, key), complete, progress.say)
    )


def _read(spec: SourceSpec, path: Path) -> Source:
    stated = version.of(path / "linux", spec)
    return Source(spec, stated, path.name, path / "linux", is_tree=False)


def _unpack_archive(archive: Path, tmp: Path, progress: Progress) -> None:
    progress.phase("unpack")
    (tmp / "linux").mkdir()
    command.output(
        [
            "tar",
            "-xf",
            str(archive),
            "-C",
            str(tmp / "linux"),
            "--strip-components=1",
            "--no-same-owner",
        ]
    )


def _debian(spec: SourceSpec, cache: Cache, progress: Progress) -> Source:
    if spec.suite is None:
        return _package(spec, cache, progress, ())
    with cache.scratch(_KIND, digest("suite", spec.suite)) as folder:
        return _package(spec, cache, progress, _private_apt(spec, folder, progress))


def _package(
    spec: SourceSpec, cache: Cache, progress: Progress, apt: Sequence[str]
) -> Source:
    """Take a package from the apt that the options `apt` make of apt."""
    assert spec.version is not None
    assert spec.sha256 is not None
    offered = _offered(spec.location, apt)
    if not offered:
        raise InfraError(
            f"source {spec.name!r}: apt knows no package {spec.location}"
            + (f" in {spec.suite}" if spec.suite else ""),
            where=spec.where,
            hint="see packages.debian.org for the suites that have it"
            if spec.suite
            else "apt-get update (6.12 comes from bookworm-security)",
        )
    version, sha256 = spec.version, spec.sha256
    if version not in offered:
        version = next(iter(offered))
        sha256 = offered[version]
        progress.say(
            f"source {spec.name!r}: apt no longer has {spec.location} {spec.version}; "
            f"taking {version} instead, so these are OTHER KERNELS than lab.yaml names"
            f" (sha256 {sha256})"
        )

    def fill(tmp: Path) -> None:
        deb = _apt_download(f"{spec.location}={version}", tmp, apt, progress)
        _check(deb, sha256, spec)
        command.output(["dpkg-deb", "-x", str(deb), str(tmp / "deb")])
        deb.unlink()
        found = sorted(tmp.glob("deb/usr/src/linux-source-*.tar.*"))
        if len(found) != 1:
            raise InfraError(f"{deb.name} holds {len(found)} kernel tarballs, not one")
        _unpack_archive(found[0], tmp, progress)
        shutil.rmtree(tmp / "deb")

    return _store(spec, cache, sha256, fill, progress)


def _private_apt(spec: SourceSpec, folder: Path, progress: Progress) -> Sequence[str]:
    """Read the lists of the spec's suite into `folder`; return the options to use them.

    The machine's apt, its sources and its lists stay as they are. The mirror is
    the one it uses for Debian, what comes from there is checked as ever: the suite's
    signature by Debian's keys, the list by the suite, the package by the list.
    """
    mirror = _mirror(spec)
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    sources = folder / "sources.list"
    sources.write_text(f"deb [signed-by={_KEYRING}] {mirror} {spec.suite} main\n")
    settings = {
        "Dir::Etc::sourcelist": str(sources),
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State": str(folder / "state"),
        "Dir::Cache": str(folder / "cache"),
    }
    options = [x for key, value in settings.items() for x in ("-o", f"{key}={value}")]
    progress.phase("apt lists")
    done = command.run(["apt-get", *_AS_ROOT, "--error-on=any", *options, "update"])
    if done.returncode:
        if "does not have a Release file" in done.stderr:
            raise UserError(
                f"source {spec.name!r}: {mirror} has no suite {spec.suite!r}",
                where=spec.where,
                hint="suites are the folders of its dists/, like trixie-backports",
            )
        said = [x for x in done.stderr.splitlines() if x.startswith(("E:", "W:"))]
        raise InfraError(
            f"source {spec.name!r}: cannot read the lists of {spec.suite}: "
            f"{said[0][3:] if said else 'apt-get update failed'}",
            where=spec.where,
            hint="see whether the network is up, and the package "
            "debian-archive-keyring as new as the suite",
        )
    return options


def _mirror(spec: SourceSpec) -> str:
    """Return where the machine gets Debian from."""
    wanted = ["Created-By: Packages", "Label: Debian", "Component: main"]
    done = command.run(["apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted])
    if found := done.stdout.split():
        return found[0]
    raise InfraError(
        f"source {spec.name!r}: apt has no lists of Debian, so it is not known which "
        f"mirror has {spec.suite}",
        where=spec.where,
        hint="apt-get update",
    )


def _offered(package: str, apt: Sequence[str]) -> dict[str, str]:
    """Return the versions apt can download now, newest first, with their sha256."""
    done = command.run(["apt-cache", *apt, "show", "--", package])
    offered = {}
    for stanza in done.stdout.split("\n\n"):
        fields = dict(re.findall(r"^(Version|SHA256): (\S+)$", stanza, re.MULTILINE))
        # An installed package that no repository has any more has no SHA256.
        if "Version" in fields and "SHA256" in fields:
            offered[fields["Version"]] = fields["SHA256"]
    return offered


def _apt_download(
    package: str, folder: Path, apt: Sequence[str], progress: Progress
) -> Path:
    """Download a .deb into `folder`."""
    argv = ["apt-get", *_AS_ROOT, *apt, "download", package]
    command.need(argv[0])
    progress.phase("download")
    with subprocess.Popen(
        [*command.DIE_WITH_PARENT, *argv],
        cwd=folder,
        env=command.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            while process.poll() is None:
                progress.advance(_megabytes(folder))
                time.sleep(0.2)
        finally:
            process.kill()
        assert process.stdout is not None
        said = process.stdout.read().strip().splitlines()
    found = sorted(folder.glob("*.deb"))
    if process.returncode or not found:
        raise InfraError(
            f"cannot download {package}: {said[-1] if said else 'apt-get failed'}",
            hint="apt-get update, and see whether the network is up",
        )
    return found[0]


def _megabytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # apt renames when done
            total += path.stat().st_size
    return total // 1_000_000


def _tarball(spec: SourceSpec, cache: Cache, progress: Progress) -> Source:
    assert spec.sha256 is not None

    def fill(tmp: Path) -> None:
        if "://" in spec.location:
            archive = tmp / Path(spec.location).name
            _download(spec, archive, progress)
        else:
            archive = Path(spec.location)
        _check(archive, spec.sha256, spec)
        _unpack_archive(archive, tmp, progress)
        if archive.parent == tmp:
            archive.unlink()

    return _store(spec, cache, spec.sha256, fill, progress)


def _download(spec: SourceSpec, dest: Path, progress: Progress) -> None:
    try:
        with (
            urllib.request.urlopen(spec.location, timeout=60) as answer,
            dest.open("wb") as f,
        ):
            size = answer.headers.get("Content-Length")
            progress.phase("download", int(size) // 1_000_000 if size else None)
            while block := answer.read(1 << 20):
                f.write(block)
                progress.advance(f.tell() // 1_000_000)
    except urllib.error.HTTPError as e:
        raise InfraError(
            f"source {spec.name!r}: {spec.location}: {e}", where=spec.where
        ) from e
    except (OSError, ValueError) as e:
        reason = getattr(e, "reason", e)
        raise InfraError(
            f"source {spec.name!r}: cannot download {spec.location}: {reason}",
            where=spec.where,
        ) from e


def _check(archive: Path, sha256: str | None, spec: SourceSpec) -> None:
    try:
        actual = file_digest(archive)
    except OSError as e:
        raise UserError(
            f"source {spec.name!r}: cannot read {archive}: {e.strerror}",
            where=spec.where,
        ) from e
    if actual != sha256:
        raise UserError(
            f"source {spec.name!r}: {archive.name} is not what lab.yaml names: its "
            f"sha256 is {actual}, not {sha256}",
            where=spec.where,
            hint="correct the sha256 if you trust this file",
        )


def _git(spec: SourceSpec, cache: Cache, progress: Progress) -> Source:
    commit = gitrepo.commit(spec, spec.ref)

    def fill(tmp: Path) -> None:
        progress.phase("git fetch")
        repo = gitrepo.fetch(spec, tmp / "repo", commit, spec.ref)
        archive = tmp / "linux.tar"
        command.output(
            ["git", "-C", str(repo), "archive", "--format=tar", "--prefix=linux/",
             f"--output={archive}", commit]
        )  # fmt: skip
        _unpack_archive(archive, tmp, progress)
        archive.unlink()
        shutil.rmtree(tmp / "repo", ignore_errors=True)

    return _store(spec, cache, commit, fill, progress)


def _tree(spec: SourceSpec, cache: Cache) -> Source:
    path = Path(spec.location)
    stated = version.of(path, spec)
    found = checkout.entries(path, cache.memory("seen", digest(str(path))))
    named = checkout.entries_digest(found)
    return Source(spec, stated, named, path, is_tree=True, entries=found)
