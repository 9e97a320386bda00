# SPDX-License-Identifier: MIT
"""The root disk, from packages that a fake mmdebstrap brings, and the keys."""

from __future__ import annotations

import base64
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from umcglab.errors import InfraError
from umcglab.guest import image
from umcglab.host.cache import Cache, file_digest
from umcglab.host.progress import Silent
from umcglab.lab.arch import ARM64, X86_64
from umcglab.lab.config import Lab

PYTHON = f"usr/lib/python{sys.version_info.major}.{sys.version_info.minor}"
TREE = {
    "bin/busybox": "busybox",
    "dev/null": "not a device",
    f"{PYTHON}/os.py": "x = 1\n",
    "usr/share/doc/busybox/copyright": "text",
    "var/cache/apt/archives/busybox_1%3a1.35-4_amd64.deb": "a package",
    "var/lib/apt/lists/huge": "list",
}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a fake mmdebstrap on PATH; return the tree that it packs."""
    tree, folder = tmp_path / "tree", tmp_path / "bin"
    for name, text in TREE.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    folder.mkdir()
    command = folder / "mmdebstrap"
    command.write_text(
        "#!/bin/sh\n"
        'for last; do :; done\necho "$@"\n'
        f"[ -d {tree} ] || {{ echo 'E: no mirror'; exit 25; }}\n"
        f'tar -cf "$last" -C {tree} .\n'
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return tree


def unpack(made: image.Image, folder: Path) -> Path:
    subprocess.run(
        ["fsck.erofs", f"--extract={folder}", made.disk],
        check=True,
        capture_output=True,
    )
    return folder


def test_the_disk_has_the_packages_the_overlay_and_the_links(
    lab: Lab, packages: Path, tmp_path: Path
) -> None:
    made = image.build(X86_64, lab, Silent())
    root = unpack(made, tmp_path / "root")
    assert (root / "bin/busybox").read_text() == "busybox"
    assert (root / "bin/sh").readlink() == Path("/bin/busybox")
    assert (root / "usr/bin/env").readlink() == Path("/bin/busybox")
    assert (root / "etc/passwd").read_text().startswith("root:*:0:0:")
    assert list((root / PYTHON / "__pycache__").iterdir())
    assert (root / "proc").is_dir()
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777
    assert not (root / "usr/share/doc").exists()
    assert not (root / "dev/null").exists()
    assert not list((root / "var").rglob("*.deb"))
    assert not list(root.rglob("*host_key*")) + list(root.rglob("authorized_keys"))


def test_the_identity_names_every_package(lab: Lab, packages: Path) -> None:
    made = image.build(X86_64, lab, Silent())
    deb = next(packages.rglob("*.deb"))
    assert made.identity["packages"] == {
        "busybox": {"version": "1:1.35-4", "sha256": file_digest(deb)}
    }
    assert made.identity["arch"] == "amd64"
    assert made.identity["bytecode"] is True
    assert made.identity["sha256"] == file_digest(made.disk)


def test_equal_packages_make_equal_disks(
    lab: Lab, packages: Path, tmp_path: Path
) -> None:
    first = image.build(X86_64, lab, Silent())
    other = replace(lab, cache=Cache(tmp_path / "other"))
    second = image.build(X86_64, other, Silent())
    assert first.digest == second.digest
    assert first.identity == second.identity


def test_an_image_is_made_once_and_named_by_its_inputs(
    lab: Lab, packages: Path
) -> None:
    first = image.build(X86_64, lab, Silent())
    packages.rename(packages.with_name("gone"))
    assert image.build(X86_64, lab, Silent()) == first
    with pytest.raises(InfraError):
        image.build(ARM64, lab, Silent())


def test_a_mirror_that_fails_is_quoted_with_the_log(lab: Lab, packages: Path) -> None:
    packages.rename(packages.with_name("gone"))
    with pytest.raises(InfraError, match="mmdebstrap failed: E: no mirror") as caught:
        image.build(X86_64, lab, Silent())
    assert caught.value.log and "--architectures=amd64" in caught.value.log.read_text()
    assert not list((lab.cache.root / "images").iterdir())


def test_a_host_with_another_python_says_what_that_costs(
    lab: Lab, packages: Path
) -> None:
    (packages / PYTHON).rename(packages / "usr/lib/python2.7")
    said = []

    class Listener(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    made = image.build(X86_64, lab, Listener())
    assert made.identity["bytecode"] is False
    assert "runs from source" in said[0]


def test_lists_have_comments() -> None:
    rootfs = Path(image.__file__).parent.parent.parent / "rootfs"
    assert "python3-pytest" in image.listed(rootfs / "packages")
    assert not any("#" in word for word in image.listed(rootfs / "applets"))


def test_keys_are_the_labs_own_and_stay_secret(lab: Lab, tmp_path: Path) -> None:
    keys = image.keys(lab)
    assert image.keys(lab) == keys
    assert image.keys(replace(lab, root=tmp_path)) != keys
    folder = keys.client.parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("client", "host"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert repr(keys.host) not in repr(keys)


def test_keys_are_in_the_formats_of_their_readers(lab: Lab) -> None:
    keys = image.keys(lab)
    client = paramiko.Ed25519Key(filename=str(keys.client))
    assert keys.client_public == f"{client.get_name()} {client.get_base64()}"
    assert keys.known_hosts.read_text() == f"{image.HOST_ALIAS} {keys.host_public}\n"
    # dropbear: string "ssh-ed25519", string of private and public half
    assert keys.host[:19] == b"\0\0\0\x0bssh-ed25519\0\0\0\x40"
    assert len(keys.host) == 19 + 64
    public = base64.b64decode(keys.host_public.split()[1])
    assert public[-32:] == keys.host[-32:]
