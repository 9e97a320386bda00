# SPDX-License-Identifier: MIT
"""The cache: made once, found again, trimmed oldest first, emptied."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from umcglab.errors import InfraError, UserError
from umcglab.host import files
from umcglab.host.cache import Cache, digest, tree_digest

DAY = 86400


def put(cache: Cache, key: str, size: int, age: float, kind: str = "kernels") -> Path:
    """Make an artifact of about `size` bytes, last used `age` seconds ago."""
    path = cache.make(kind, digest(key), lambda tmp: write(tmp, size))
    used = time.time() - age
    os.utime(path, (used, used))
    return path


def write(folder: Path, size: int) -> None:
    (folder / "data").write_bytes(b"x" * size)


def everything(root: Path) -> list[str]:
    """Return what is in the cache but for locks and its mark."""
    found = (str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())
    ours = re.compile(r"locks/uses$|locks/\w+-|\.umcglab")
    return sorted(name for name in found if not ours.match(name))


def test_digests_name_values_and_not_their_order_in_dicts() -> None:
    assert digest("a", {"x": 1, "y": 2}) == digest("a", {"y": 2, "x": 1})
    assert digest("a", "b") != digest("ab")
    assert len(digest(1)) == 16


def test_tree_digests_see_names_modes_and_bytes(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("one")
    seen = {tree_digest(tmp_path)}
    file.write_text("two")
    seen.add(tree_digest(tmp_path))
    file.chmod(0o755)
    seen.add(tree_digest(tmp_path))
    file.rename(tmp_path / "other")
    seen.add(tree_digest(tmp_path))
    assert len(seen) == 4


def test_an_artifact_is_made_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.find("kernels", digest("1")) is None
    path = put(cache, "1", 10, age=0)

    def never(_: Path) -> None:
        raise AssertionError("made again")

    assert (
        cache.make("kernels", digest("1"), never)
        == path
        == cache.find("kernels", digest("1"))
    )


def test_two_at_once_make_it_once(tmp_path: Path) -> None:
    made: list[Path] = []

    def slow(folder: Path) -> None:
        made.append(folder)
        time.sleep(0.1)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        jobs = [
            pool.submit(Cache(tmp_path).make, "kernels", digest("1"), slow)
            for _ in range(4)
        ]
        assert {job.result() for job in jobs} == {tmp_path / "kernels" / digest("1")}
    assert len(made) == 1


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (ValueError("bug"), ValueError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(28, "No space left on device"), InfraError),
    ],
)
def test_a_failure_leaves_nothing(
    tmp_path: Path, raised: BaseException, seen: type[BaseException]
) -> None:
    def fails(folder: Path) -> None:
        write(folder, 10)
        raise raised

    with pytest.raises(seen):
        Cache(tmp_path).make("kernels", digest("1"), fails)
    assert everything(tmp_path) == []


def test_a_cache_that_cannot_be_written_is_the_labs_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InfraError, match="cannot write the cache") as caught:
        Cache(tmp_path / "file").make("kernels", digest("1"), lambda _: None)
    assert "UMCGLAB_CACHE" in (caught.value.hint or "")


@pytest.mark.parametrize("lock", ["kernels-{key}", "uses"])
def test_a_lock_that_is_a_folder_is_the_labs_fault(tmp_path: Path, lock: str) -> None:
    cache = Cache(tmp_path)
    made = put(cache, "1", 1, age=0)
    path = tmp_path / "locks" / lock.format(key=made.name)
    path.unlink(missing_ok=True)
    path.mkdir()
    with pytest.raises(InfraError, match=r"cannot write the cache.*Is a directory"):
        cache.clean()
    assert made.exists()


def test_a_size_that_is_a_folder_is_the_labs_fault(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    made = put(cache, "1", 1, age=0)
    record = made.with_name(f".{made.name}.size")
    record.unlink()
    record.mkdir()
    with pytest.raises(InfraError, match=r"cannot write the cache.*Is a directory"):
        cache.clean()


def test_trimming_removes_the_oldest_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    size = 1 << 20
    old = put(cache, "old", size, age=3 * DAY)
    middle = put(cache, "middle", size, age=2 * DAY, kind="images")
    new = put(cache, "new", size, age=1 * DAY)
    freed = cache.trim(2 * size + size // 2)
    assert size <= freed < 1.1 * size
    assert not old.exists()
    assert middle.exists()
    assert new.exists()
    assert cache.trim(2 * size + size // 2) == 0


def test_finding_is_using(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    first = put(cache, "first", 1 << 20, age=2 * DAY)
    second = put(cache, "second", 1 << 20, age=1 * DAY)
    assert cache.find("kernels", digest("first")) == first
    cache.trim(0)
    assert first.exists(), "it was used a moment ago: a run may be at work with it"
    assert not second.exists()


def test_trimming_counts_ccache_and_leaves_it(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    put(cache, "old", 1 << 20, age=DAY)
    (tmp_path / "ccache" / "0").mkdir(parents=True)
    write(tmp_path / "ccache" / "0", 3 << 20)
    cache.trim(2 << 20)
    assert everything(tmp_path) == ["ccache/0/data"]


def test_ccache_is_asked_what_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has counted; its thousands of files need not be looked at."""
    said = "cache_size_kibibyte\t3072\n"
    fake = tmp_path / "bin/ccache"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\n[ "$1" = --print-stats ] && printf "{said}"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent), prepend=":")
    cache = Cache(tmp_path / "cache")
    old = put(cache, "old", 1 << 20, age=DAY)
    assert cache.trim(5 << 20) == 0
    assert cache.trim(3 << 20) > 0
    assert not old.exists()


def test_trimming_keeps_keys_and_drops_old_logs(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    put(cache, "lab", 10, age=DAY, kind="keys")
    (tmp_path / "logs").mkdir()
    fresh, stale = f"a-{digest(1)}.log", f"a-{digest(2)}.log"
    for name, age in ((fresh, 1 * DAY), (stale, 60 * DAY), ("mine.log", 60 * DAY)):
        (tmp_path / "logs" / name).write_text("")
        os.utime(tmp_path / "logs" / name, (time.time() - age,) * 2)
    cache.trim(0)
    lab = digest("lab")
    kept = [f"keys/.{lab}.size", f"keys/{lab}/data", f"logs/{fresh}", "logs/mine.log"]
    assert everything(tmp_path) == kept


def make_and_hang(cache: Cache, ready: Path) -> None:
    def hang(folder: Path) -> None:
        write(folder, 10)
        ready.touch()
        time.sleep(60)

    cache.make("kernels", digest("1"), hang)


def test_a_scratch_folder_stays_while_it_is_used(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    with cache.scratch("checks", digest("a")) as folder:
        write(folder, 1)
        cache.clean()
        assert (folder / "data").exists()
    assert everything(cache.root) == []
    with (
        pytest.raises(InfraError, match="cannot fill the cache"),
        cache.scratch("checks", digest("a")) as folder,
    ):
        write(folder / "gone", 1)
    assert list((cache.root / "checks").iterdir()) == []


def test_what_is_being_made_stays_and_what_was_abandoned_goes(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    ready = tmp_path / "ready"
    process = multiprocessing.get_context("fork").Process(
        target=make_and_hang, args=(cache, ready)
    )
    process.start()
    try:
        deadline = time.monotonic() + 10
        while not ready.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        cache.clean()
        assert len(everything(cache.root)) == 1
    finally:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert len(everything(cache.root)) == 1
    cache.trim(1 << 40)
    assert everything(cache.root) == []


def test_clean_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    put(cache, "1", 1 << 20, age=0)
    put(cache, "lab", 1 << 20, age=0, kind="keys")
    (tmp_path / "ccache").mkdir()
    write(tmp_path / "ccache", 1 << 20)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / f"a-{digest(1)}.log").write_bytes(b"x" * (1 << 20))
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "x86_64-bench").write_text("")
    (tmp_path / "durations.json").write_text("{")
    assert 4 << 20 <= cache.clean() < 5 << 20
    assert everything(tmp_path) == []
    assert cache.clean() == 0


def test_clean_follows_no_link_out_of_the_cache(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    cache.claim()
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "letter").write_text("dear")
    for kind in ("seen", "steps"):
        (cache.root / kind).symlink_to(theirs)
    cache.clean()
    assert (theirs / "letter").read_text() == "dear"


SOMEBODYS = (
    "project/.git/HEAD",
    "kernels/.git/HEAD",
    "sources/linux/Makefile",
    "logs/mine.txt",
    "ccache/notes",
    "locks/door",
    "file",
)


@pytest.mark.parametrize("name", SOMEBODYS)
@pytest.mark.parametrize("verb", ["make", "trim", "clean", "lock"])
def test_a_folder_that_is_not_ours_is_refused_and_left(
    tmp_path: Path, name: str, verb: str
) -> None:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("precious")
    cache = Cache(tmp_path)
    with pytest.raises(UserError, match="not empty, and not made by umcglab") as caught:
        if verb == "make":
            put(cache, "1", 10, age=0)
        elif verb == "trim":
            cache.trim(0)
        elif verb == "clean":
            cache.clean()
        else:
            with cache.lock(f"kernels-{digest(1)}"):
                pass
    assert repr(name.split("/")[0]) in caught.value.message
    assert "UMCGLAB_CACHE" in (caught.value.hint or "")
    assert everything(tmp_path) == [name]


def test_what_came_into_a_cache_of_ours_stays(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    put(cache, "old", 10, age=DAY)
    theirs = (*SOMEBODYS, f"project/{digest(1)}/data", f"kernels/.{digest(1)}.git/HEAD")
    for name in theirs:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("precious")
        os.utime((tmp_path / name).parent, (1, 1))
    cache.trim(0)
    assert not (tmp_path / "kernels" / digest("old")).exists()
    cache.clean()
    gone = {name for name in theirs if not (tmp_path / name).exists()}
    assert gone == {"ccache/notes"}, "ccache's folder in a cache of ours is ccache's"


def test_a_cache_from_before_there_were_marks_is_taken(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    put(cache, "1", 10, age=DAY)
    put(cache, "2", 10, age=DAY, kind="sources")
    half = tmp_path / "kernels" / f".{digest(3)}.4711.12345"
    half.mkdir()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / f"x86_64-umcg-v0.5-{digest(1)}.log").write_text("")
    (tmp_path / "ccache" / "0").mkdir(parents=True)
    (tmp_path / "ccache" / "ccache.conf").write_text("")
    (tmp_path / "steps").mkdir()
    (tmp_path / "durations.json").write_text("{}")
    (mark,) = tmp_path.glob(".umcglab*")
    mark.unlink()
    cache.trim(0)
    assert mark.exists()
    assert not half.exists()
    assert not (tmp_path / "kernels" / digest("1")).exists()


def test_cleaning_no_cache_makes_none(tmp_path: Path) -> None:
    assert Cache(tmp_path / "none").clean() == 0
    assert not (tmp_path / "none").exists()


def damage_cut(path: Path) -> None:
    (path / "data").write_bytes(b"x")


def damage_gone(path: Path) -> None:
    (path / "data").unlink()


def damage_record(path: Path) -> None:
    path.with_name(f".{path.name}.size").write_text("")


@pytest.mark.parametrize("damage", [damage_cut, damage_gone, damage_record])
def test_what_is_damaged_is_dropped_said_and_made_again(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    cache = Cache(tmp_path)
    path = put(cache, "1", 1000, age=0)
    damage(path)
    assert cache.find("kernels", digest("1")) is None
    said: list[str] = []

    def fill(tmp: Path) -> None:
        write(tmp, 1000)

    assert cache.make("kernels", digest("1"), fill, said.append) == path
    assert (path / "data").stat().st_size == 1000
    (line,) = said
    assert f"kernels/{digest('1')} is damaged" in line
    assert cache.make("kernels", digest("1"), fill, said.append) == path
    assert len(said) == 1


def test_a_record_of_an_older_lab_is_taken(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    path = put(cache, "1", 1 << 20, age=DAY)
    path.with_name(f".{path.name}.size").write_text(str(1 << 20))
    assert cache.find("kernels", digest("1")) == path
    assert cache.clean() >= 1 << 20


def test_a_cache_where_no_program_runs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path)
    cache.claim()
    real = os.statvfs(tmp_path)
    fields = list(real)
    fields[8] |= os.ST_NOEXEC
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(fields))
    with pytest.raises(InfraError, match="mounted noexec") as caught:
        put(cache, "1", 10, age=0)
    assert "UMCGLAB_CACHE" in (caught.value.hint or "")


def test_a_full_disk_says_what_to_do(tmp_path: Path) -> None:
    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(InfraError, match="No space left on device") as caught:
        Cache(tmp_path).make("kernels", digest("1"), full)
    assert str(tmp_path) in caught.value.message
    assert "umcglab clean" in (caught.value.hint or "")


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "file"
    files.write(file, "old")
    with pytest.raises(UnicodeEncodeError):
        files.write(file, "x" * 100_000 + "\ud800")
    assert file.read_text() == "old"
    assert [p.name for p in file.parent.iterdir()] == ["file"]
    (tmp_path / "plain").write_text("")
    with pytest.raises(InfraError, match=r"cannot write .*plain/file") as caught:
        files.write(tmp_path / "plain" / "file", "new")
    assert "df -h" in (caught.value.hint or "")


def use_and_wait(cache: Cache, ready: Path, in_child: bool) -> None:
    cache.hold()
    if in_child and os.fork():
        os._exit(0)
    assert cache.find("kernels", digest("used"))
    cache.make("images", digest("made"), lambda tmp: write(tmp, 10))
    ready.touch()
    time.sleep(60)


@pytest.mark.parametrize("in_child", [False, True])
def test_what_a_run_uses_stays(tmp_path: Path, in_child: bool) -> None:
    """However long ago it was found; also when only a job of the run is left."""
    cache = Cache(tmp_path / "cache")
    used = put(cache, "used", 1 << 20, age=2 * DAY)
    other = put(cache, "other", 1 << 20, age=2 * DAY)
    (cache.root / "ccache" / "0").mkdir(parents=True)
    ready = tmp_path / "ready"
    pid = os.fork()
    if not pid:
        os.setsid()
        use_and_wait(cache, ready, in_child)
    try:
        deadline = time.monotonic() + 30
        while not ready.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        made = cache.root / "images" / digest("made")
        for path in (used, made):
            os.utime(path, (1, 1))
        cache.trim(0)
        assert (used.exists(), made.exists(), other.exists()) == (True, True, False)
        put(cache, "other", 1 << 20, age=2 * DAY)
        cache.clean()
        assert (used.exists(), made.exists(), other.exists()) == (True, True, False)
        assert (cache.root / "ccache").exists()
    finally:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    # A killed job lets go of its file a moment later.
    while cache.clean() or everything(cache.root):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert everything(cache.root) == []
    assert not (cache.root / "ccache").exists()


def test_a_tree_that_is_held_stays(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    tree = put(cache, "tree", 10, age=DAY, kind="trees")
    with cache.lock(f"trees-{digest('tree')}"):
        cache.trim(0)
        cache.clean()
        assert tree.exists()
    cache.clean()
    assert not tree.exists()
