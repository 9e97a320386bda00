# SPDX-License-Identifier: MIT
"""The SSH guest's root disk, and the lab's SSH keys.

The disk is Debian, unpacked by mmdebstrap and never run: no package script
runs, so neither root nor an emulator is needed, and both architectures are
made alike. rootfs/README.md tells what goes in and what stays out.
"""

from __future__ import annotations

import compileall
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from umcglab.errors import InfraError
from umcglab.host import command, files
from umcglab.host.cache import digest, file_digest, tree_digest
from umcglab.host.progress import Progress
from umcglab.lab.arch import Arch
from umcglab.lab.config import Lab

SUITE = "bookworm"
DISK = "root.erofs"
HOST_ALIAS = "umcglab-guest"
"""What guests are called in known_hosts: their ports change, their key does not."""

_UUID = "756d6367-6c61-4000-8000-726f6f746673"
_FOLDERS = ("dev", "home", "mnt", "proc", "root", "run", "sys", "tmp", "var/tmp")
# Where init puts the lab's keys: a tmpfs, so that no folder is copied up for them.
_SSH = ("root/.ssh", "/run/ssh")
# Documentation, translations, package scripts' helpers: nothing a test reads.
_DROP = ("dev", "usr/share", "usr/lib/systemd", "var/cache", "var/lib/apt", "var/log")
_ARCHIVES = "var/cache/apt/archives"


@dataclass(frozen=True)
class Image:
    """A read-only root disk; `identity` has the packages as they were resolved."""

    dir: Path
    digest: str
    arch: Arch
    identity: Mapping[str, Any]

    @property
    def disk(self) -> Path:
        return self.dir / DISK


@dataclass(frozen=True)
class Keys:
    """The lab's SSH identity: one key for the client, one for every guest."""

    client: Path
    """Private key, in OpenSSH's format."""
    client_public: str
    host: bytes = field(repr=False)
    """The guests' private key, in dropbear's format."""
    host_public: str
    known_hosts: Path


def build(arch: Arch, lab: Lab, progress: Progress) -> Image:
    """Make the root disk of `arch`, or find it in the cache."""
    rootfs = lab.root / "rootfs"
    key = digest(
        SUITE,
        arch.debian_arch,
        [file_digest(rootfs / name) for name in ("packages", "applets")],
        tree_digest(rootfs / "overlay"),
        file_digest(Path(__file__)),
        # Bytecode is made by this Python, or left out.
        sys.version_info[:3],
    )
    log = lab.cache.root / "logs" / f"image-{arch.name}-{key}.log"

    def fill(folder: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")
        _fill(folder, rootfs, arch, log, progress)

    folder = lab.cache.make("images", key, fill, progress.say)
    try:
        identity = files.read_json(folder / "identity.json")
    except (OSError, ValueError):
        lab.cache.drop(folder)
        progress.say(f"cache: images/{key} is damaged, so it is made again")
        lab.cache.make("images", key, fill)
        identity = files.read_json(folder / "identity.json")
    return Image(dir=folder, digest=key, arch=arch, identity=identity)


def _fill(
    folder: Path, rootfs: Path, arch: Arch, log: Path, progress: Progress
) -> None:
    root = folder / "root"
    tarball = folder / "root.tar"
    progress.phase("download Debian packages")
    _bootstrap(listed(rootfs / "packages"), arch, tarball, folder, log)
    progress.phase("unpack")
    root.mkdir()
    _run(
        ["tar", "-xp", "--no-same-owner", "--exclude=./dev", "-f", tarball, "-C", root],
        log,
    )
    tarball.unlink()
    packages = _packages(root / _ARCHIVES)
    for name in _DROP:
        shutil.rmtree(root / name, ignore_errors=True)
    for name in _FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    shutil.copytree(rootfs / "overlay", root, dirs_exist_ok=True, symlinks=True)
    links = dict.fromkeys(listed(rootfs / "applets"), "/bin/busybox") | dict([_SSH])
    for name, target in links.items():
        link = root / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists() and not link.is_symlink():
            link.symlink_to(target)
    progress.phase("compile Python")
    bytecode = _compile_python(root, progress)
    progress.phase("make the disk")
    disk = folder / DISK
    # Times, owners and UUID are fixed, so that equal packages make equal disks.
    # fmt: off
    _run([
        "mkfs.erofs", "--quiet", "-T0", "--all-root", "-x-1",
        "-U", _UUID, disk, root,
    ], log)
    # fmt: on
    shutil.rmtree(root)
    identity = {
        "suite": SUITE,
        "arch": arch.debian_arch,
        "packages": packages,
        "bytecode": bytecode,
        "sha256": file_digest(disk),
    }
    (folder / "identity.json").write_text(json.dumps(identity, indent=1) + "\n")


def listed(path: Path) -> tuple[str, ...]:
    """Return the lines of a list file, without comments."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return tuple(line for line in lines if line)


def _bootstrap(
    packages: Sequence[str], arch: Arch, tarball: Path, tmp: Path, log: Path
) -> None:
    # chrootless: no privilege to ask for, and `extract` runs nothing anyway.
    # fmt: off
    argv: list[str | Path] = [
        "mmdebstrap", "--mode=chrootless", "--variant=extract",
        f"--architectures={arch.debian_arch}",
        f"--include={','.join(packages)}",
        "--skip=cleanup/apt",
        "--aptopt=Acquire::Retries \"3\"",
        SUITE, tarball,
    ]
    # fmt: on
    _run(argv, log, TMPDIR=str(tmp))


def _packages(archives: Path) -> dict[str, dict[str, str]]:
    """Return version and checksum of every package, from the .deb files' names."""
    found = {}
    for deb in sorted(archives.glob("*.deb")):
        name, version, _ = deb.name.split("_")
        version = version.replace("%3a", ":")
        found[name] = {"version": version, "sha256": file_digest(deb)}
    if not found:
        raise InfraError("mmdebstrap left no packages to identify the image by")
    return found


def _compile_python(root: Path, progress: Progress) -> bool:
    """Compile the guest's Python, where the host's makes the same bytecode.

    Without, each start of Python in an emulated guest compiles what it imports.
    """
    library = f"usr/lib/python{sys.version_info.major}.{sys.version_info.minor}"
    if not (root / library).is_dir():
        progress.say(
            f"the guest's Python runs from source: this host's {sys.version.split()[0]}"
            " makes bytecode of another version"
        )
        return False
    for folder in (library, "usr/lib/python3"):
        compileall.compile_dir(
            root / folder,
            maxlevels=20,
            quiet=2,
            stripdir=str(root),
            prependdir="/",
            invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
        )
    return True


def _run(argv: Sequence[str | Path], log: Path, **env: str) -> None:
    """Run a tool with its output in the log; InfraError with its last words."""
    name = str(argv[0])
    try:
        with log.open("a") as out:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=command.environment(env),
            )
    except FileNotFoundError as e:
        raise InfraError(f"{name} is not installed", hint="make setup") from e
    if done.returncode:
        words = [line for line in log.read_text().splitlines() if line.strip()]
        errors = [line for line in words if line.startswith("E:")] or words[-1:]
        raise InfraError(f"{name} failed: {'; '.join(errors)}", log=log)


def keys(lab: Lab) -> Keys:
    """Return the lab's SSH keys, making them the first time."""
    folder = lab.cache.make("keys", digest(str(lab.root)), _make_keys)
    return Keys(
        client=folder / "client",
        client_public=(folder / "client.pub").read_text().strip(),
        host=(folder / "host").read_bytes(),
        host_public=(folder / "host.pub").read_text().strip(),
        known_hosts=folder / "known_hosts",
    )


def _make_keys(folder: Path) -> None:
    folder.chmod(0o700)
    client, host = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    _secret(
        folder / "client",
        client.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        ),
    )
    (folder / "client.pub").write_text(_public(client) + "\n")
    _secret(folder / "host", _dropbear(host))
    (folder / "host.pub").write_text(_public(host) + "\n")
    (folder / "known_hosts").write_text(f"{HOST_ALIAS} {_public(host)}\n")


def _secret(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)


def _public(key: Ed25519PrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        .decode()
    )


def _dropbear(key: Ed25519PrivateKey) -> bytes:
    """Return the key as dropbear stores it: its type, then private and public half."""
    raw = serialization.Encoding.Raw
    private = key.private_bytes(
        raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(raw, serialization.PublicFormat.Raw)
    parts = (b"ssh-ed25519", private + public)
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
