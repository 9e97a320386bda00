# SPDX-License-Identifier: MIT
"""Sources of every kind, on the toy kernel: fetched, checked, never written to."""

from __future__ import annotations

import hashlib
import http.server
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from umcglab.errors import InfraError, LabError, UserError
from umcglab.host.cache import Cache, file_digest, tree_digest
from umcglab.kernel import checkout, source
from umcglab.lab.config import SourceSpec
from umcglab.run.session import lab_git
from umcglab.tests.toylab import TOY, Progress


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def command(*argv: str | Path, cwd: Path) -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def fetch(spec: SourceSpec, cache: Cache) -> source.Source:
    """Fetch twice: the second time must find it; and find it without fetching."""
    first = source.fetch(spec, cache, Progress())
    progress = Progress()
    assert source.fetch(spec, cache, progress) == first
    assert progress.phases == []
    assert source.find(spec, cache) == first
    return first


def fails(spec: SourceSpec, cache: Cache, kind: type[LabError], said: str) -> LabError:
    spec = replace(spec, where="lab.yaml:3:9")
    with pytest.raises(kind, match=re.escape(said)) as caught:
        source.fetch(spec, cache, Progress())
    assert caught.value.where == "lab.yaml:3:9"
    kept = [p for p in (cache.root / "sources").glob("*") if p.is_dir()]
    assert kept == [], "a failure leaves nothing"
    return caught.value


def unpacked(fetched: source.Source, cache: Cache) -> Path:
    dest = cache.root / "work" / "linux"
    dest.parent.mkdir(parents=True)
    source.unpack(fetched, cache, dest)
    return dest


def same(tree: Path) -> bool:
    """Return whether `tree` is the toy kernel, modes included."""
    return tree_digest(tree) == tree_digest(TOY)


# Tarballs


@pytest.fixture
def tarball(tmp_path: Path) -> SourceSpec:
    path = tmp_path / "linux-6.99.1.tar.gz"
    command("tar", "-czf", path, "--transform=s,^\\.,linux-6.99.1,", "-C", TOY, ".",
            cwd=tmp_path)  # fmt: skip
    return SourceSpec("6.99", "tarball", str(path), sha256=file_digest(path))


def test_a_tarball_by_path(tarball: SourceSpec, cache: Cache) -> None:
    fetched = fetch(tarball, cache)
    assert fetched.version == "6.99.1"
    assert not fetched.is_tree
    assert same(unpacked(fetched, cache))


def test_a_tarball_by_url(tarball: SourceSpec, cache: Cache) -> None:
    fetched = fetch(replace(tarball, location=f"file://{tarball.location}"), cache)
    assert same(fetched.path)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def translate_path(self, path: str) -> str:
            return str(tmp_path / path.lstrip("/"))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as httpd:
        threading.Thread(target=httpd.serve_forever).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def test_a_tarball_over_http(tarball: SourceSpec, cache: Cache, server: str) -> None:
    url = f"{server}/{Path(tarball.location).name}"
    progress = Progress()
    fetched = source.fetch(replace(tarball, location=url), cache, progress)
    assert progress.phases == ["download", "unpack"]
    assert progress.totals["download"] == 0, "megabytes, from Content-Length"
    assert same(fetched.path)


def test_a_url_that_is_not_there(
    tarball: SourceSpec, cache: Cache, server: str
) -> None:
    spec = replace(tarball, location=f"{server}/gone.tar.gz")
    fails(spec, cache, InfraError, "gone.tar.gz: HTTP Error 404")


def test_a_server_that_is_not_there(tarball: SourceSpec, cache: Cache) -> None:
    spec = replace(tarball, location="http://127.0.0.1:1/linux.tar.gz")
    fails(spec, cache, InfraError, "cannot download http://127.0.0.1:1/linux.tar.gz")


def test_a_checksum_that_differs(tarball: SourceSpec, cache: Cache) -> None:
    spec = replace(tarball, sha256="0" * 64)
    error = fails(spec, cache, UserError, "linux-6.99.1.tar.gz is not what lab.yaml")
    assert str(tarball.sha256) in error.message


def test_a_path_that_is_not_there(tarball: SourceSpec, cache: Cache) -> None:
    spec = replace(tarball, location="/no/such.tar")
    fails(spec, cache, UserError, "cannot read /no/such.tar: No such file")


def test_a_tarball_of_something_else(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "README").write_text("")
    path = tmp_path / "other.tar"
    command("tar", "-cf", path, "top", cwd=tmp_path)
    spec = SourceSpec("6.99", "tarball", str(path), sha256=file_digest(path))
    fails(spec, cache, UserError, "other.tar is not a kernel tree")


def test_the_unpacked_tree_shares_the_files(tarball: SourceSpec, cache: Cache) -> None:
    fetched = fetch(tarball, cache)
    tree = unpacked(fetched, cache)
    assert (tree / "Kconfig").samefile(fetched.path / "Kconfig")


@pytest.mark.parametrize("many", [0, 4000])
def test_a_damaged_source_is_not_compiled(
    tarball: SourceSpec, cache: Cache, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    monkeypatch.setattr("umcglab.host.cache._MANY", many)
    fetched = fetch(tarball, cache)
    os.truncate(fetched.path / "init" / "main.c", 10)
    if many:
        assert source.find(tarball, cache) is None
    else:
        with pytest.raises(InfraError, match="was damaged") as caught:
            unpacked(fetched, cache)
        assert "run again" in (caught.value.hint or "")
    progress = Progress()
    again = source.fetch(tarball, cache, progress)
    assert "unpack" in progress.phases
    assert same(again.path)


# Git


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository of the toy kernel: branch main, tag v6.99."""
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "a")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "a@example.org")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    path = tmp_path / "repo"
    shutil.copytree(TOY, path)
    command("git", "init", "-q", "-b", "main", cwd=path)
    (path / ".gitignore").write_text("*.o\n.config\n")
    command("git", "add", ".", cwd=path)
    command("git", "commit", "-qm", "toy", cwd=path)
    command("git", "tag", "-a", "-m", "toy", "v6.99", cwd=path)
    return path


def head(repo: Path) -> str:
    return command("git", "rev-parse", "HEAD", cwd=repo)


def commit(repo: Path) -> None:
    makefile = repo / "Makefile"
    text = makefile.read_text().replace("SUBLEVEL = 1", "SUBLEVEL = 2")
    makefile.write_text(text)
    command("git", "commit", "-qam", "next", cwd=repo)


@pytest.mark.parametrize("ref", ["main", "v6.99", "refs/heads/main", "HEAD"])
def test_git_by_ref(repo: Path, cache: Cache, ref: str) -> None:
    fetched = fetch(SourceSpec("6.99", "git", str(repo), ref=ref), cache)
    assert fetched.version == "6.99.1"
    assert (fetched.path / "scripts" / "conf").stat().st_mode & 0o100
    assert not (fetched.path / ".git").exists()


def test_git_by_url(repo: Path, cache: Cache) -> None:
    spec = SourceSpec("6.99", "git", f"file://{repo}", ref="main")
    assert fetch(spec, cache).version == "6.99.1"


def test_a_commit_needs_no_network_once_it_is_here(repo: Path, cache: Cache) -> None:
    spec = SourceSpec("6.99", "git", str(repo), ref=head(repo))
    fetched = fetch(spec, cache)
    shutil.rmtree(repo)
    assert fetch(spec, cache) == fetched


def test_a_branch_that_moves_is_another_source(repo: Path, cache: Cache) -> None:
    spec = SourceSpec("6.99", "git", str(repo), ref="main")
    before = fetch(spec, cache)
    old = SourceSpec("6.99", "git", str(repo), ref=head(repo))
    commit(repo)
    after = fetch(spec, cache)
    assert (before.version, after.version) == ("6.99.1", "6.99.2")
    assert before.digest != after.digest
    assert fetch(old, cache).digest == before.digest


def test_git_without_such_a_ref(repo: Path, cache: Cache) -> None:
    spec = SourceSpec("6.99", "git", str(repo), ref="v6.98")
    fails(spec, cache, UserError, "has no branch or tag 'v6.98'")


def test_git_without_such_a_repository(tmp_path: Path, cache: Cache) -> None:
    spec = SourceSpec("6.99", "git", str(tmp_path / "none"), ref="main")
    fails(spec, cache, UserError, "does not appear to be a git repository")


def test_git_without_its_server(cache: Cache) -> None:
    spec = SourceSpec("6.99", "git", "http://127.0.0.1:1/linux", ref="main")
    fails(spec, cache, InfraError, "unable to access 'http://127.0.0.1:1/linux")


# A developer's tree


def plain(tmp_path: Path) -> Path:
    path = tmp_path / "plain"
    shutil.copytree(TOY, path)
    return path


def tree(path: Path) -> SourceSpec:
    return SourceSpec("6.99", "tree", str(path))


def state(path: Path) -> list[tuple[str, int, int, str]]:
    """Return all that writing to a tree would change, .git included."""
    return [
        (str(p), p.lstat().st_mtime_ns, p.lstat().st_mode,
         file_digest(p) if p.is_file() else "")
        for p in sorted(path.rglob("*"))
    ]  # fmt: skip


def test_a_git_tree_with_its_uncommitted_changes(repo: Path, cache: Cache) -> None:
    (repo / "init" / "main.c").write_text("int edited;\n")
    (repo / "kernel" / "new.c").write_text("int untracked;\n")
    (repo / "kernel" / "new.o").write_text("ignored")
    (repo / "kernel" / "fork.c").unlink()
    (repo / "link").symlink_to("Makefile")
    # A stale index is what git likes to refresh, which is writing.
    os.utime(repo / "Kconfig", (1, 1))
    before = state(repo)
    fetched = fetch(tree(repo), cache)
    copy = unpacked(fetched, cache)
    assert state(repo) == before

    assert fetched.is_tree
    assert (copy / "init" / "main.c").read_text() == "int edited;\n"
    assert (copy / "kernel" / "new.c").exists()
    assert (copy / "link").is_symlink()
    assert (copy / "scripts" / "conf").stat().st_mode & 0o100
    for gone in ("kernel/new.o", "kernel/fork.c", ".git"):
        assert not (copy / gone).exists(), gone


def test_a_git_trees_digest_is_its_contents(repo: Path, cache: Cache) -> None:
    def now() -> str:
        return source.fetch(tree(repo), cache, Progress()).digest

    first = now()
    command("git", "commit", "-q", "--allow-empty", "-m", "no change", cwd=repo)
    assert now() == first
    seen = {first}
    (repo / "init" / "main.c").write_text("int edited;\n")
    seen.add(now())
    command("git", "add", ".", cwd=repo)
    assert now() in seen, "staged or not is the same"
    (repo / "kernel" / "new.c").write_text("int one;\n")
    seen.add(now())
    (repo / "kernel" / "new.c").write_text("int two;\n")
    seen.add(now())
    (repo / "scripts" / "conf").chmod(0o644)
    seen.add(now())
    assert len(seen) == 5
    (repo / "kernel" / "new.o").write_text("ignored")
    assert now() in seen


def now(repo: Path, cache: Cache) -> str:
    return source.fetch(tree(repo), cache, Progress()).digest


HIDDEN = {
    "assume-unchanged": ("update-index", "--assume-unchanged", "init/main.c"),
    "skip-worktree": ("update-index", "--skip-worktree", "init/main.c"),
    "no change time": ("config", "core.trustctime", "false"),
}


@pytest.mark.parametrize("how", HIDDEN)
def test_an_edit_that_git_does_not_see_is_seen(
    repo: Path, cache: Cache, how: str
) -> None:
    main = repo / "init" / "main.c"
    text, times = main.read_text(), main.stat().st_mtime_ns
    command("git", "status", cwd=repo)
    first = now(repo, cache)
    command("git", *HIDDEN[how], cwd=repo)
    main.write_text(text.upper())
    os.utime(main, ns=(times, times))
    assert command("git", "diff", cwd=repo) == ""
    edited = source.fetch(tree(repo), cache, Progress())
    assert edited.digest != first
    assert (unpacked(edited, cache) / "init" / "main.c").read_text() == text.upper()
    main.write_text(text)
    assert now(repo, cache) == first


def test_a_copy_that_differs_is_not_taken(
    repo: Path, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edit that is undone before the tree is looked at again."""
    fetched = fetch(tree(repo), cache)
    (tmp_path / "bin").mkdir()
    rsync = tmp_path / "bin" / "rsync"
    real, main = shutil.which("rsync"), repo / "init" / "main.c"
    rsync.write_text(
        f"#!/bin/sh -e\ncp {main} {tmp_path}/kept\necho edited > {main}\n"
        f'{real} "$@"\ncp {tmp_path}/kept {main}\n'
    )
    rsync.chmod(0o755)
    monkeypatch.setenv("PATH", f"{rsync.parent}:{os.environ['PATH']}")
    with pytest.raises(UserError, match="changed while it was copied"):
        unpacked(fetched, cache)


def test_files_are_read_again_only_if_they_changed(
    repo: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.claim()
    for path in repo.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    monkeypatch.setattr(checkout, "_RACY", -(10**12))
    first = now(repo, cache)
    read: list[str] = []

    def spy(path: Path) -> str:
        read.append(path.name)
        return file_digest(path)

    monkeypatch.setattr(checkout, "file_digest", spy)
    assert now(repo, cache) == first
    assert read == []
    (repo / "init" / "main.c").write_text("int edited;\n")
    assert now(repo, cache) != first
    assert read == ["main.c"]
    monkeypatch.undo()
    # On a busy host what follows takes longer than a moment.
    monkeypatch.setattr(checkout, "_RACY", 10**12)
    (memory,) = (cache.root / "seen").iterdir()
    for damaged in ("", "[1]", '{"Kconfig": 1}', '{"Kconfig": [1, 2, 3]}'):
        memory.write_text(damaged)
        assert now(repo, cache) != first
    # What was written a moment ago may change again within one tick of the clock.
    assert "main.c" not in memory.read_text()


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"])
def test_no_git_variable_reaches_a_child(
    repo: Path,
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    (repo / "kernel" / "new.c").write_text("int untracked;\n")
    first = fetch(tree(repo), cache)
    other = tmp_path / "other"
    other.mkdir()
    command("git", "init", "-q", cwd=other)
    (other / ".git" / "info" / "exclude").write_text("*.c\n")
    monkeypatch.setenv(name, str(other / ".git"))
    assert source.fetch(tree(repo), cache, Progress()) == first
    assert lab_git(repo) != lab_git(tmp_path)
    assert lab_git(tmp_path) == "unversioned"


def test_what_is_left_out_of_a_tree_is_said(repo: Path, cache: Cache) -> None:
    (repo / ".gitignore").write_text("*.o\n/kernel/umcg*\n/lib/\n.*\n!.gitignore\n")
    for name in ("kernel/umcg.c", "lib/Kconfig", "lib/x.mod.c", "kernel/umcg.o"):
        (repo / name).parent.mkdir(exist_ok=True)
        (repo / name).write_text("")
    (repo / "nested").mkdir()
    command("git", "init", "-q", cwd=repo / "nested")
    progress = Progress()
    source.fetch(tree(repo), cache, progress)
    (said,) = progress.said
    assert "kernel/umcg.c, lib/Kconfig, nested/ (`git add -f` takes it in)" in said
    command("git", "add", "-f", "kernel/umcg.c", "lib/Kconfig", cwd=repo)
    shutil.rmtree(repo / "nested")
    progress = Progress()
    copy = unpacked(source.fetch(tree(repo), cache, progress), cache)
    assert progress.said == []
    assert (copy / "kernel" / "umcg.c").exists()


def test_a_git_worktree(repo: Path, tmp_path: Path, cache: Cache) -> None:
    command("git", "worktree", "add", "-q", tmp_path / "wt", "v6.99", cwd=repo)
    fetched = fetch(tree(tmp_path / "wt"), cache)
    assert (unpacked(fetched, cache) / "Kconfig").exists()


def test_a_tree_without_git(tmp_path: Path, cache: Cache) -> None:
    path = plain(tmp_path)
    for built in ("kernel/fork.o", "vmlinux", ".config", "include/generated/x.h"):
        (path / built).parent.mkdir(parents=True, exist_ok=True)
        (path / built).write_text("built in place")
    before = state(path)
    copy = unpacked(fetch(tree(path), cache), cache)
    assert state(path) == before
    assert same(copy)
    first = source.fetch(tree(path), cache, Progress()).digest
    (path / "init" / "main.c").write_text("int edited;\n")
    assert source.fetch(tree(path), cache, Progress()).digest != first


def test_a_tree_is_copied_not_linked(tmp_path: Path, cache: Cache) -> None:
    path = plain(tmp_path)
    copy = unpacked(fetch(tree(path), cache), cache)
    assert not (copy / "Kconfig").samefile(path / "Kconfig")


def test_a_tree_that_changes_meanwhile(tmp_path: Path, cache: Cache) -> None:
    path = plain(tmp_path)
    fetched = fetch(tree(path), cache)
    (path / "init" / "main.c").write_text("int edited;\n")
    with pytest.raises(UserError, match="changed while it was copied"):
        unpacked(fetched, cache)


def test_a_tree_that_is_not_there(tmp_path: Path, cache: Cache) -> None:
    fails(tree(tmp_path / "none"), cache, UserError, "none is not a kernel tree")


@pytest.mark.parametrize("name", ["Makefile", "localversion-next"])
def test_a_tree_whose_version_cannot_be_read(
    name: str, tmp_path: Path, cache: Cache
) -> None:
    path = plain(tmp_path)
    (path / name).unlink(missing_ok=True)
    (path / name).symlink_to(name)
    said = f"is not a kernel tree: Too many levels of symbolic links: {name}"
    fails(tree(path), cache, UserError, said)


def test_a_tree_without_a_version(tmp_path: Path, cache: Cache) -> None:
    path = plain(tmp_path)
    (path / "Makefile").write_text("all:\n")
    fails(tree(path), cache, UserError, "its Makefile states no kernel version")


# Debian packages: a real .deb, from an apt that is two shell scripts.


SUITE = """\
pool="{pool}" suite=
for arg; do
\tcase $arg in
\tDir::Etc::sourcelist=*) list=${{arg#*=}};;
\tDir::State=*) lists=${{arg#*=}}/lists;;
\tesac
done
if [ -n "$list" ]; then
\tread -r _ keys mirror suite _ < "$list"
\tpool=$pool/$suite
\t[ "$keys" = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" ]
\t[ "$mirror" = http://mirror.example.org/debian/ ]
fi
broken=$(cat "{pool}/broken" 2>/dev/null || :)
"""
"""Of both scripts: where the packages of the suite are that apt was told of, if any."""


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with .deb files that `apt-get download` and `apt-cache show` serve.

    Those of a suite are in a folder of its name, once `apt-get update` was told of it.
    """
    pool = tmp_path / "pool"
    bin_ = tmp_path / "bin"
    pool.mkdir()
    bin_.mkdir()
    (bin_ / "apt-get").write_text(
        "#!/bin/sh -e\n"
        f'echo "$*" >> "{tmp_path}/asked"\n'
        f"{SUITE.format(pool=pool)}"
        'case "$*" in\n'
        "*indextargets*)\n"
        f'\tcat "{pool}/mirrors" 2>/dev/null || :; exit;;\n'
        "*update)\n"
        '\t[ -z "$broken" ] || { echo "E: $broken" >&2; exit 100; }\n'
        '\t[ -d "$pool" ] && mkdir "$lists/seen" && exit\n'
        '\techo "E: The repository does not have a Release file." >&2; exit 100;;\n'
        'esac\n'
        'for last; do :; done\n'
        f'cp "$pool/$(echo "$last" | tr = _)_all.deb" . 2>/dev/null || {{\n'
        '\techo "E: Version for $last was not found" >&2; exit 100; }\n'
    )  # fmt: skip
    (bin_ / "apt-cache").write_text(
        f"#!/bin/sh\n{SUITE.format(pool=pool)}"
        '[ -z "$suite" ] || [ -d "$lists/seen" ] || exit 100\n'
        'cat "$pool/lists" 2>/dev/null\n'
    )
    for script in bin_.iterdir():
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    return pool


def offer(pool: Path, version: str) -> SourceSpec:
    """Put a version on top of what apt offers."""
    pool.mkdir(exist_ok=True)
    folder = pool / "deb"
    tarball = folder / "usr/src/linux-source-6.99.tar.xz"
    tarball.parent.mkdir(parents=True)
    (folder / "DEBIAN").mkdir()
    (folder / "DEBIAN" / "control").write_text(
        f"Package: linux-source-6.99\nVersion: {version}\nArchitecture: all\n"
        "Maintainer: a <a@example.org>\nDescription: toy\n"
    )
    command("tar", "-cJf", tarball, "--transform=s,^\\.,linux-source-6.99,",
            "-C", TOY, ".", cwd=pool)  # fmt: skip
    deb = pool / f"linux-source-6.99_{version}_all.deb"
    command("dpkg-deb", "--root-owner-group", "-Znone", "-b", folder, deb, cwd=pool)
    shutil.rmtree(folder)
    sha256 = file_digest(deb)
    lists = pool / "lists"
    older = lists.read_text() if lists.exists() else ""
    lists.write_text(
        f"Package: linux-source-6.99\nVersion: {version}\nSHA256: {sha256}\n\n{older}"
    )
    return SourceSpec(
        "6.99", "debian", "linux-source-6.99", version=version, sha256=sha256
    )


def test_a_debian_package(apt: Path, cache: Cache) -> None:
    fetched = fetch(offer(apt, "6.99.1-1"), cache)
    assert fetched.version == "6.99.1"
    assert same(unpacked(fetched, cache))
    # Nothing but the tree is kept: the package is ten times its worth in disk.
    names = {p.name for p in fetched.path.parent.iterdir()}
    assert names == {"linux", "source.json"}


def test_a_debian_package_that_was_fetched_needs_no_apt(
    apt: Path, cache: Cache
) -> None:
    spec = offer(apt, "6.99.1-1")
    fetched = fetch(spec, cache)
    shutil.rmtree(apt)
    assert fetch(spec, cache) == fetched


def test_the_pinned_version_is_taken_even_if_there_is_a_newer(
    apt: Path, cache: Cache
) -> None:
    spec = offer(apt, "6.99.1-1")
    offer(apt, "6.99.2-1")
    progress = Progress()
    source.fetch(spec, cache, progress)
    assert progress.said == []


def test_a_version_apt_no_longer_has_is_replaced_loudly(
    apt: Path, cache: Cache
) -> None:
    old = offer(apt, "6.99.1-1")
    shutil.rmtree(apt)
    apt.mkdir()
    new = offer(apt, "6.99.2-1")
    progress = Progress()
    fetched = source.fetch(old, cache, progress)
    (said,) = progress.said
    assert "apt no longer has linux-source-6.99 6.99.1-1; taking 6.99.2-1" in said
    assert str(new.sha256) in said
    assert fetched.digest == source.fetch(new, cache, Progress()).digest
    assert source.find(old, cache) is None, "another identity"


def test_a_package_with_another_checksum(apt: Path, cache: Cache) -> None:
    spec = replace(offer(apt, "6.99.1-1"), sha256="0" * 64)
    fails(spec, cache, UserError, "is not what lab.yaml names")


def test_a_download_that_fails(apt: Path, cache: Cache) -> None:
    spec = offer(apt, "6.99.1-1")
    next(apt.glob("*.deb")).unlink()
    with pytest.raises(InfraError, match="cannot download linux-source") as e:
        source.fetch(spec, cache, Progress())
    assert "apt-get update" in (e.value.hint or "")


def test_a_package_apt_does_not_know(apt: Path, cache: Cache) -> None:
    sha256 = hashlib.sha256(b"").hexdigest()
    spec = SourceSpec("6.98", "debian", "linux-source-6.98", "6.98-1", sha256)
    error = fails(spec, cache, InfraError, "apt knows no package linux-source-6.98")
    assert "apt-get update" in (error.hint or "")


def in_suite(pool: Path, suite: str = "trixie-backports") -> SourceSpec:
    """Have a package in a suite that the machine's apt does not know."""
    (pool / "mirrors").write_text("http://mirror.example.org/debian/\n" * 2)
    return replace(offer(pool / suite, "6.99.1-1"), suite=suite)


def test_a_suite_that_the_machine_does_not_use(
    apt: Path, cache: Cache, tmp_path: Path
) -> None:
    spec = in_suite(apt)
    progress = Progress()
    fetched = source.fetch(spec, cache, progress)
    assert progress.phases == ["apt lists", "download", "unpack"]
    assert same(unpacked(fetched, cache))
    (kept,) = [p for p in (cache.root / "sources").iterdir() if p.is_dir()]
    assert kept == fetched.path.parent, "apt's lists are gone"
    # Each but the one for the mirror has sources and lists of its own.
    asked = (tmp_path / "asked").read_text().splitlines()
    assert "indextargets" in asked[0]
    for line in asked[1:]:
        assert f"Dir::State={cache.root}/" in line
        assert f"Dir::Cache={cache.root}/" in line
        assert "Dir::Etc::sourceparts=/dev/null" in line
    shutil.rmtree(apt)
    assert fetch(spec, cache) == fetched, "needs no apt any more"


def test_a_suite_is_not_another_kernel(apt: Path, cache: Cache) -> None:
    there = in_suite(apt)
    here = offer(apt, "6.99.1-1")
    spec = replace(here, sha256=there.sha256)
    assert fetch(there, cache).digest == fetch(spec, cache).digest


def test_a_version_a_suite_no_longer_has_is_replaced_loudly(
    apt: Path, cache: Cache
) -> None:
    spec = in_suite(apt)
    progress = Progress()
    source.fetch(replace(spec, version="6.99.0-1"), cache, progress)
    (said,) = progress.said
    assert "apt no longer has linux-source-6.99 6.99.0-1; taking 6.99.1-1" in said


def test_a_suite_that_is_not_there(apt: Path, cache: Cache) -> None:
    spec = replace(in_suite(apt), suite="trixie-backport")
    error = fails(spec, cache, UserError, "has no suite 'trixie-backport'")
    assert "http://mirror.example.org/debian/" in error.message
    assert "trixie-backports" in (error.hint or "")


def test_a_suite_without_the_package(apt: Path, cache: Cache) -> None:
    spec = in_suite(apt)
    (apt / "trixie-backports" / "lists").unlink()
    fails(spec, cache, InfraError, "knows no package linux-source-6.99 in trixie-")


def test_lists_that_cannot_be_read(apt: Path, cache: Cache) -> None:
    spec = in_suite(apt)
    (apt / "broken").write_text("Failed to fetch")
    said = "cannot read the lists of trixie-backports: Failed to fetch"
    error = fails(spec, cache, InfraError, said)
    assert "debian-archive-keyring" in (error.hint or "")


def test_a_machine_without_debian(apt: Path, cache: Cache) -> None:
    spec = in_suite(apt)
    (apt / "mirrors").unlink()
    fails(spec, cache, InfraError, "apt has no lists of Debian")
