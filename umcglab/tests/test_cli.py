# SPDX-License-Identifier: MIT
"""Bad input on the command line: one clear message, the right exit status."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from umcglab import __main__, cli
from umcglab.guest import suite
from umcglab.kernel import checkout, kernels, source
from umcglab.lab import config
from umcglab.run import artifacts
from umcglab.tests import toylab

LAB = """\
sources:
  "6.12": {tree: .}
targets:
  x86_64-control: {arch: x86_64, source: "6.12", abi: control}
  arm64-control: {arch: arm64, source: "6.12", abi: control}
"""


@pytest.fixture
def lab_file(tmp_path: Path) -> Path:
    path = tmp_path / "lab.yaml"
    path.write_text(LAB)
    return path


def umcglab(monkeypatch: pytest.MonkeyPatch, *argv: str | Path) -> int:
    """Run the entry point in this process; return its exit status."""
    monkeypatch.setattr(sys, "argv", ["umcglab", *map(str, argv)])
    try:
        return __main__.main()
    except SystemExit as e:
        assert isinstance(e.code, int)
        return e.code


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "abi: control}",
            "aib: control}",
            ":4:50: target 'x86_64-control': unknown key",
        ),
        ("arch: arm64", "arch: arm46", "did you mean 'arm64'?"),
        ("sources:", "sources", "lab.yaml:"),
    ],
)
def test_a_mistake_in_lab_yaml(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lab_file: Path,
    old: str,
    new: str,
    said: str,
) -> None:
    lab_file.write_text(LAB.replace(old, new, 1))
    assert umcglab(monkeypatch, "run", "--lab", lab_file) == 2
    err = capsys.readouterr().err
    where = f"{lab_file}:"
    assert where in err
    for part in said.split(": ", 1):
        assert part in err


def test_no_lab_yaml(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert umcglab(monkeypatch, "list", "--lab", tmp_path / "no.yaml") == 2
    assert "no.yaml" in capsys.readouterr().err


def test_an_unknown_target(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lab_file: Path,
) -> None:
    status = umcglab(monkeypatch, "run", "--lab", lab_file, "--only", "x86_64-contorl")
    assert status == 2
    assert "did you mean 'x86_64-control'?" in capsys.readouterr().err


def test_a_shell_needs_one_target(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lab_file: Path,
) -> None:
    assert umcglab(monkeypatch, "shell", "--lab", lab_file) == 2
    line = f"umcglab shell --lab {lab_file} --only x86_64-control"
    assert line in capsys.readouterr().err


def test_a_report_needs_a_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert umcglab(monkeypatch, "report", tmp_path) == 2
    assert "not the folder of a run" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["run", "--jobs", "0"], ["walk"], ["run", "--olny"]])
def test_a_wrong_command_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
) -> None:
    assert umcglab(monkeypatch, *argv) == 2
    assert "usage: umcglab" in capsys.readouterr().err


def test_help_tells_every_verb_and_status(capsys: pytest.CaptureFixture[str]) -> None:
    text = cli.parser().format_help()
    for word in ("build", "run", "report", "list", "check", "shell", "clean", "130"):
        assert word in text


@pytest.mark.parametrize(("cores", "at_once"), [(1, 1), (2, 2), (8, 2), (64, 16)])
def test_how_many_kernels_are_built_at_once(cores: int, at_once: int) -> None:
    assert artifacts.width(cores) == at_once


def test_the_labs_own_description_is_right() -> None:
    lab = config.load(config.ROOT / "lab.yaml")
    names = [target.name for target in lab.targets]
    assert {f"{arch}-{abi}" for arch in ("x86_64", "arm64")
            for abi in ("control", "umcg-v0.5")} <= set(names)  # fmt: skip
    assert {"6.1", "6.12"} <= lab.sources.keys()


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> toylab.ToyLab:
    """A lab whose patches and guest-tests are its own."""
    monkeypatch.delenv("UMCGLAB_CACHE", raising=False)
    made = toylab.make(tmp_path)
    monkeypatch.setattr(config.load, "__defaults__", (made.root,))
    return made


def test_a_misspelt_test_is_told_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    toy: toylab.ToyLab,
) -> None:
    text = "umcg/wait: {kind: test, tests: {wakes: }}\n"
    toylab.plan(toy, text)
    lab = toy.root / "lab.yaml"
    for tests, said in (
        ("umcg/wiat", "no program 'umcg/wiat'; did you mean 'umcg/wait'?"),
        ("umcg/wait:waeks", "no test 'waeks' in 'umcg/wait'; did you mean 'wakes'?"),
    ):
        argv = ("run", "--lab", lab, "--tests", tests, "--only", "x86_64-*")
        assert umcglab(monkeypatch, *argv) == 2
        assert said in capsys.readouterr().err
    assert not (toy.root / "cache").exists()
    assert not (toy.root / "results").exists()


@pytest.mark.parametrize(
    "argv",
    [
        ("run", "--tests", "umcg/wait", "--tests", "umcg/wake"),
        ("run", "--lab", "mine.yaml", "--lab", "yours.yaml"),
        ("mutants", "--seed", "3", "--seed", "4"),
    ],
)
def test_a_value_given_twice_is_not_lost_in_silence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argv: tuple[str, ...],
) -> None:
    assert umcglab(monkeypatch, *argv) == 2
    assert f"{argv[1]} is given twice; it takes one value" in capsys.readouterr().err


def test_list_says_what_it_reads_and_reads_it_once(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    toy: toylab.ToyLab,
) -> None:
    read, real = [], checkout.content

    def content(tree: Path, memory: Path | None = None) -> str:
        read.append(tree)
        return real(tree, memory)

    monkeypatch.setattr(checkout, "content", content)
    assert umcglab(monkeypatch, "list", "--lab", toy.root / "lab.yaml") == 0
    said = capsys.readouterr()
    assert said.err == f"reading {toy.tree}\n"
    assert len(said.out.splitlines()) == 3
    assert read == [toy.tree]


def test_a_long_list_says_where_what_was_built_lies(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    toy: toylab.ToyLab,
) -> None:
    lab = toy.load()
    name = "x86_64-umcg-toy"
    argv = ("list", "-v", "--lab", toy.root / "lab.yaml", "--only", name)
    assert umcglab(monkeypatch, *argv) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "    vmlinux: not built",
        "    .config: not built",
        "    bundle of umcg-toy: not built",
    ]
    made = kernels.build(config.select(lab, [name])[0], lab, toylab.Progress(), 1)
    bundle = toy.root / "bundle"
    monkeypatch.setattr(suite, "find", lambda *_: bundle)
    assert umcglab(monkeypatch, *argv) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        f"    vmlinux: {made.vmlinux}",
        f"    .config: {made.config}",
        f"    bundle of umcg-toy: {bundle}",
    ]
    assert made.vmlinux.exists() and made.config.exists()


def test_a_long_list_says_why_a_control_has_no_bundle(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lab_file: Path,
) -> None:
    argv = ("list", "-v", "--lab", lab_file, "--only", "arm64-control")
    monkeypatch.setattr(source, "find", lambda *_: None)
    assert umcglab(monkeypatch, *argv) == 0
    said = "bundle: arm64-control: no patched target of arm64 on 6.12"
    assert said in capsys.readouterr().out


def test_clean_says_what_it_frees_and_what_it_leaves(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    toy: toylab.ToyLab,
) -> None:
    cache = toy.load().cache
    for n, kind in enumerate(("kernels", "kernels", "images")):
        cache.make(kind, f"{n:016x}", lambda tmp: put(tmp / "x", 3 << 20))
    with cache.lock(f"kernels-{0:016x}"):
        assert umcglab(monkeypatch, "clean", "--lab", toy.root / "lab.yaml") == 0
    assert capsys.readouterr().out.splitlines() == [
        "images: 3 MiB",
        "kernels: 3 MiB, 1 left that a run is using",
        f"{cache.root}: freed 0.0 GiB",
    ]


def put(path: Path, size: int) -> None:
    path.write_bytes(b"x" * size)


def imported_by(code: str) -> set[str]:
    """Return the packages that are there when a new Python has run `code`."""
    show = "import sys; print(*{m.partition('.')[0] for m in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"],
        cwd=config.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_help_and_mistakes_wait_for_no_library() -> None:
    slow = {"jinja2", "matplotlib", "numpy", "paramiko", "pexpect", "rich", "yaml"}
    seen = imported_by("from umcglab import cli; cli.parser().format_help()")
    assert "umcglab" in seen
    assert not slow & seen


def test_a_run_begins_before_matplotlib_is_imported() -> None:
    seen = imported_by("from umcglab.run import session")
    assert "umcglab" in seen
    assert not {"matplotlib", "numpy"} & seen


def test_matplotlib_says_nothing(tmp_path: Path) -> None:
    """Neither of a folder that it cannot write nor of the fonts that it looks for."""
    code = (
        "import sys; from umcglab import __main__, cli; sys.argv = ['umcglab']\n"
        "def main(argv):\n"
        " from umcglab.report import plots; plots._axes(1, 1); return 0\n"
        "cli.main = main; sys.exit(__main__.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": "/usr/bin:/bin", "HOME": "/proc/1/x", "TMPDIR": str(tmp_path)},
        cwd=config.ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_version_is_said_and_is_the_packages(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"umcglab {metadata.version('umcglab')}\n"
