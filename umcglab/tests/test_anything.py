# SPDX-License-Identifier: MIT
"""The command line with whatever people have: no traceback reaches a user.

Files, trees, environments and words are made wrong at random, by a seed; outputs
are closed or full. Each command must end by itself with a status that is documented
and, where that is not 0, a line that says why.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from umcglab import __main__
from umcglab.errors import LabError
from umcglab.host import cache
from umcglab.kernel import kernels
from umcglab.lab import config
from umcglab.tests import golden, toylab
from umcglab.tests.conftest import slow
from umcglab.tests.toylab import ToyLab

_DAY = 160
"""Cases of a unit test, a quarter of which `make check` has."""
_NIGHT = 6000
STATUSES = (0, 1, 2, 3)

JUNK = [
    b"", b"\0", b"\n", b"\t", b"\xff\xfe", b"\xef\xbb\xbf", b"[" * 3000, b"{" * 3000,
    b"9" * 5000, b"a" * 5000, b"&a [*a]", b"*a", b"<<: {a: b}", b"? [a]\n: b\n",
    b"!!python/object/apply:os.system [x]", b"!!binary x", b"---\n---\n", b"%YAML 9\n",
    b"'", b'"', b": ", b"- ", b"|", b"null", b"true", b"1e999", b"-1", b".nan", b"~",
    b"../..", b"/dev/null", b"~nobody-is-this/x", b"\xed\xa0\x80", b"\\ud800", b"#",
    b"{tree: linux}", b"diff --git a/x b/x\n", b"@@ -1 +1 @@\n", b"--- a/../../x\n",
    b"CONFIG_X=y\n", b"# CONFIG_X is not set\n", b"Subject: x\n\n", "\u0661".encode(),
]  # fmt: skip
WORDS = [
    "list", "clean", "series", "report", "--lab", "lab.yaml", "--only", "--mbox", "-o",
    "x86_64-control", "x86_64-umcg-toy", "", "*", "[", "x" * 300, "\udcff", "--", "-h",
    "--version", "results/latest", ".", "/dev/null", "a\nb", "--tests", "'", "-j", "0",
]  # fmt: skip


def spoil(rng: random.Random, path: Path) -> None:
    """Make a file other than it should be, in its bytes or its kind."""
    data = path.read_bytes() if path.is_file() else b""
    kind = rng.randrange(12)
    if kind == 0:
        remove(path)
        path.mkdir(parents=True)
    elif kind == 1:
        remove(path)
        # Never out of the test's folder: git and the lab write through links.
        path.symlink_to(rng.choice([path.name, "nowhere", "."]))
    elif kind == 2:
        remove(path)
    elif kind == 3:
        path.write_bytes(data[: rng.randrange(len(data) + 1)])
    elif kind == 4:
        path.write_bytes(rng.choice(JUNK))
    else:
        text = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(text) + 1)
            piece = rng.choice([*JUNK, rng.randbytes(2), data[at : at + 40]])
            text[at : at + rng.choice([0, 1, len(piece)])] = piece
        path.write_bytes(text)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def bad_file(rng: random.Random, toy: ToyLab) -> None:
    """Spoil lab.yaml most often, or a file of the patches or the cache."""
    files = [p for p in sorted(toy.patches.rglob("*")) if p.is_file()]
    spoil(rng, rng.choice([toy.root / "lab.yaml"] * len(files) + files))


def bad_tree(rng: random.Random, toy: ToyLab) -> None:
    """Make the tree of the kernel a strange one."""
    tree = toy.tree
    odd: list[Callable[[], object]] = [
        lambda: spoil(rng, tree / "Makefile"),
        lambda: spoil(rng, tree / ".git"),
        lambda: spoil(rng, tree / ".gitignore"),
        lambda: spoil(rng, tree / "localversion-next"),
        lambda: spoil(rng, tree / "localversion"),
        lambda: subprocess.run(["git", "init", "-q", tree], check=True),
        lambda: os.mkfifo(tree / "pipe"),
        lambda: Path(os.fsdecode(os.fsencode(tree) + b"/\xff\n")).write_text("x"),
        lambda: (tree / "loop").symlink_to("loop"),
        lambda: (tree / ("x" * 255)).write_text("x"),
        lambda: remove(tree),
        lambda: spoil(rng, tree),
    ]
    for change in rng.sample(odd, 2):
        # What one has done may be in the way of another.
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            change()


def bad_cache(rng: random.Random, toy: ToyLab) -> None:
    """Make a cache with something in it, and spoil that."""
    made = toy.load().cache
    made.claim()
    key = cache.digest(rng.random())
    kind = rng.choice(cache.KINDS)
    made.make(kind, key, lambda tmp: bad_kernel(tmp))
    names = [
        f"{kind}/{key}/kernel.json", f"{kind}/.{key}.size", f"{kind}/{key}", kind,
        "durations.json", "locks", f"locks/{kind}-{key}", "locks/uses", ".umcglab-cache",
        "seen", "steps", "logs", "ccache", "strange",
        f"seen/{cache.digest(str(toy.tree))}",
    ]  # fmt: skip
    path = made.root / rng.choice(names)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        spoil(rng, path)


def bad_kernel(tmp: Path) -> None:
    (tmp / "kernel.json").write_text("{}")


def bad_environment(rng: random.Random, env: dict[str, str]) -> None:
    """Set variables that the lab, or what it runs, looks at."""
    values = {
        "UMCGLAB_CACHE": ["", "x", "lab.yaml", "/proc/x", "/dev/null/x", "~nobody/x",
                          "a b", "a:b", "/" + "x" * 300, "\udcff", "~", "linux"],
        "XDG_CACHE_HOME": ["", "lab.yaml", "/proc/x", "~nobody"],
        "HOME": ["/nowhere", "lab.yaml", "/proc/x"],
        "TMPDIR": ["/nowhere", "lab.yaml"],
        "PATH": ["", "/nowhere"],
        "LC_ALL": ["C", "xx_YY.UTF-8", "POSIX"],
        "TERM": ["", "dumb", "strange"],
        "COLUMNS": ["0", "-1", "x"],
        "FORCE_COLOR": ["1"],
        "GIT_DIR": ["/nowhere", "lab.yaml"],
        "GIT_CONFIG_COUNT": ["x", "99999"],
    }  # fmt: skip
    for name in rng.sample(sorted(values), 2):
        env[name] = rng.choice(values[name])


def bad_run(rng: random.Random, toy: ToyLab) -> list[str]:
    """Make a run as the lab leaves it, and spoil some of it; ask for its report."""
    folder = toy.root / "results" / "runs" / "r"
    # One without figures, which take seconds to draw.
    golden.unbuilt(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    json = [path for path in files if path.suffix == ".json"]
    for _ in range(rng.randint(1, 2)):
        path = rng.choice([*json, *json, *files])
        if rng.random() < 0.3:
            text = [b"{}", b"[]", b"null", b"[" * 9000, b'"x"', b"", b"1" * 5000]
            path.write_bytes(rng.choice(text))
        else:
            spoil(rng, path)
    return ["report", str(folder)]


def case(rng: random.Random, toy: ToyLab, env: dict[str, str]) -> list[str]:
    """Make one or two things wrong; return a command line."""
    lab = str(toy.root / "lab.yaml")
    argv = rng.choice([
        ["list", "--lab", lab],
        ["clean", "--lab", lab],
        ["series", "--lab", lab, "x86_64-umcg-toy"],
        ["series", "--lab", lab, "x86_64-umcg-toy", "--mbox"],
        ["series", "--lab", lab, "x86_64-umcg-toy", "-o", rng.choice(["/", "/proc/x"])],
        ["list", "--lab", lab, "--only", rng.choice(WORDS)],
        ["run", "--lab", lab, "--tests", "no/such"],
        ["shell", "--lab", lab],
    ])  # fmt: skip
    kinds: list[Callable[[], object]] = [
        lambda: bad_file(rng, toy),
        lambda: bad_file(rng, toy),
        lambda: bad_tree(rng, toy),
        lambda: bad_cache(rng, toy),
        lambda: bad_environment(rng, env),
    ]
    kind = rng.randrange(10)
    if kind == 0:
        argv = rng.choices(WORDS, k=rng.randint(0, 5))
        # These would begin a build.
        argv = [word for word in argv if word not in ("run", "build", "shell")]
    elif kind == 1:
        argv = bad_run(rng, toy)
    else:
        for change in rng.sample(kinds, rng.randint(1, 2)):
            # A lab that is wrong already has no cache to spoil.
            with contextlib.suppress(OSError, LabError):
                change()
    return argv


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, and one for what the lab writes to TMPDIR."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path
    tempfile.tempdir = None


def attempt(
    seed: int,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Run one case in this process; assert that it ends as documented."""
    rng = random.Random(seed)
    toy = toylab.make(folder)
    toylab.plan(toy, "a/b: {kind: test, tests: {c: }}\n")
    env: dict[str, str] = {}
    argv = case(rng, toy, env)
    told = f"seed {seed}: {env} {argv}"
    with monkeypatch.context() as patch:
        patch.delenv("UMCGLAB_CACHE", raising=False)
        patch.chdir(folder)
        patch.setattr(config.load, "__defaults__", (toy.root,))
        patch.setattr(config, "ROOT", toy.root)
        patch.setattr(tempfile, "tempdir", None)
        patch.setenv("HOME", str(folder))
        for name, value in env.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["umcglab", *argv])
        status = __main__.main()
    err = capsys.readouterr().err
    told += f"\n{err}"
    assert status in STATUSES, told
    assert "Traceback" not in err, told
    assert "traceback is in" not in err, told
    assert "a bug in" not in err, told
    assert "\x1b" not in err, told
    # What a report is of is in the report.
    if status and argv[:1] != ["report"]:
        assert re.search(r"^umcglab[ \w]*: ", err, re.M), told


def attempts(
    seeds: range,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here = Path.cwd()
    for seed in seeds:
        made = folder / str(seed)
        made.mkdir()
        try:
            attempt(seed, made, monkeypatch, capsys)
        finally:
            os.chdir(here)
        shutil.rmtree(made)


@pytest.mark.parametrize("part", [0, *map(slow, (1, 2, 3))])
def test_no_traceback_whatever_there_is(
    part: int,
    small: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    each = _DAY // 4
    attempts(range(part * each, (part + 1) * each), small, monkeypatch, capsys)


def deep_lists(toy: ToyLab) -> str:
    toy.write("lab.yaml", "sources: " + "[" * 20_000)
    return "lab.yaml"


def long_name(toy: ToyLab) -> str:
    text = (toy.root / "lab.yaml").read_text()
    toy.write("lab.yaml", text.replace("x86_64-control", "x" * 300))
    return "a name has at most 100 characters, this has 300"


def no_commit_yet(toy: ToyLab) -> str:
    subprocess.run(["git", "init", "-q", toy.tree], check=True)
    return ""


def kernel_cut_short(toy: ToyLab) -> str:
    lab = toy.load()
    (target,) = config.select(lab, ["x86_64-umcg-toy"])
    kernel = kernels.build(target, lab, toylab.Progress(), jobs=1)
    path = kernel.dir / "kernel.json"
    path.write_text(path.read_text()[:20])
    return ""


@pytest.mark.parametrize(
    "spoil", [deep_lists, long_name, no_commit_yet, kernel_cut_short]
)
def test_inputs_that_strangers_had(
    toy: ToyLab,
    spoil: Callable[[ToyLab], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = spoil(toy)
    monkeypatch.setattr(config.load, "__defaults__", (toy.root,))
    argv = ["umcglab", "list", "--lab", str(toy.root / "lab.yaml")]
    monkeypatch.setattr(sys, "argv", argv)
    assert __main__.main() == (2 if said else 0)
    captured = capsys.readouterr()
    assert "raceback" not in captured.err
    assert said in captured.err
    assert said or "x86_64-umcg-toy" in captured.out


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToyLab:
    monkeypatch.delenv("UMCGLAB_CACHE", raising=False)
    return toylab.make(tmp_path)


OUTPUTS = {
    "closed": ">&-",
    "full": "> /dev/full",
    "both closed": ">&- 2>&-",
    "no errors": "2>&-",
    "full errors": "2> /dev/full",
    "nobody reads": "| true",
}
"""How a shell sends the output of a command."""


@pytest.mark.parametrize("unbuffered", ["", slow("1")])
@pytest.mark.parametrize("where", OUTPUTS)
def test_an_output_that_takes_nothing(
    where: str, unbuffered: str, tmp_path: Path
) -> None:
    toy = toylab.make(tmp_path)
    # The lab's own patches are for real kernels.
    lines = toylab.LAB.splitlines(keepends=True)
    toy.write("lab.yaml", "".join(line for line in lines if "umcg-toy" not in line))
    env = {"PYTHONUNBUFFERED": unbuffered} if unbuffered else {}
    lab = f"{sys.executable} -m umcglab"
    for argv in ("--help", f"list --lab {toy.root}/lab.yaml", "list --lab no.yaml"):
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {lab} {argv} {OUTPUTS[where]}"],
            cwd=config.ROOT,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        told = f"{argv} {where}: {done.stderr}"
        assert "raceback" not in done.stderr, told
        assert "Exception ignored" not in done.stderr, told
        wrong = "no.yaml" in argv
        if where == "full":
            # Of a mistake nothing is printed there.
            assert done.returncode == (2 if wrong else 3), told
            assert wrong or "cannot write the output: No space left" in done.stderr
        elif where == "nobody reads":
            assert done.returncode == 2 if wrong else done.returncode in (0, 141), told
        else:
            assert done.returncode == (2 if wrong else 0), told


@pytest.mark.lab
@pytest.mark.nightly
def test_no_traceback_in_a_night(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    attempts(range(_DAY, _DAY + _NIGHT), small, monkeypatch, capsys)
