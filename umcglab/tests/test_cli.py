# SPDX-License-Identifier: MIT
"""Bad input on the command line: one clear message, the right exit status."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from umcglab import __main__, build, cli, config

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
    assert build.width(cores) == at_once


def test_the_labs_own_description_is_right() -> None:
    lab = config.load(config.ROOT / "lab.yaml")
    names = [target.name for target in lab.targets]
    assert {f"{arch}-{abi}" for arch in ("x86_64", "arm64")
            for abi in ("control", "umcg-v0.5")} <= set(names)  # fmt: skip
    assert {"6.1", "6.12"} <= lab.sources.keys()
