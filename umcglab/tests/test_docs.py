# SPDX-License-Identifier: MIT
"""What the documents name is there, and they are easy to read in a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from umcglab import verbs
from umcglab.lab.config import ROOT

WIDTH = 99
FOLDERS = ("umcglab", "guest-tests", "kernel-patches", "rootfs", "results", ".github")
MADE = ("results/latest", "results/runs", "results/fuzz-seeds.txt")
"""What is there after a run."""

NAMES = (
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "GLOSSARY.md",
    "guest-tests/README.md",
    "kernel-patches/README.md",
    "results/README.md",
    "rootfs/README.md",
)

documents = pytest.mark.parametrize("name", NAMES)


def text(name: str) -> str:
    return (ROOT / name).read_text()


def prose(name: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that are in no block of code."""
    is_code = False
    for n, line in enumerate(text(name).splitlines(), 1):
        is_code ^= line.strip().startswith("```")
        if not is_code:
            yield n, line


def test_every_document_is_looked_at() -> None:
    found = {str(p.relative_to(ROOT)) for p in ROOT.glob("*.md")}
    found |= {str(p.relative_to(ROOT)) for p in ROOT.glob("[!.]*/README.md")}
    assert found == set(NAMES)


@documents
def test_lines_are_short(name: str) -> None:
    lines = prose(name) if name == "results/README.md" else enumerate(_lines(name), 1)
    assert not [(n, line) for n, line in lines if len(line) > WIDTH]


def _lines(name: str) -> list[str]:
    return text(name).splitlines()


@documents
def test_links_lead_somewhere(name: str) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", text(name)):
        if not link.startswith("https://"):
            assert (ROOT / name).parent.joinpath(link).exists(), link


@documents
def test_paths_are_there(name: str) -> None:
    """Those in code marks that begin with a folder of the project."""
    for path in re.findall(r"`([\w.-]+/[\w./-]*)`", text(name)):
        if path.startswith(MADE) or not path.startswith(
            tuple(f"{f}/" for f in FOLDERS)
        ):
            continue
        assert (ROOT / path).exists(), path


@documents
def test_commands_are_there(name: str) -> None:
    folder = Path(str(verbs.__file__)).parent
    known = {p.stem for p in folder.glob("*.py")} - {"__init__", "common"}
    known = known - {"listing"} | {"list"}
    outside = {line for _, line in prose(name)}
    blocks = "\n".join(line for line in _lines(name) if line not in outside)
    commands = re.findall(r"^umcglab ([a-z]+)", blocks, re.M)
    for verb in [*commands, *re.findall(r"`umcglab ([a-z]+)", text(name))]:
        assert verb in known, verb
    rules = re.findall(r"^([\w .-]+):", text("Makefile"), re.M)
    goals = {goal for rule in rules for goal in rule.split()} | {"headers_install"}
    for found in re.findall(r"(?:^|`)make ([a-z_]+)", text(name), re.M):
        assert found in goals, found


def test_packages_are_described() -> None:
    said = text("ARCHITECTURE.md")
    rows = set(re.findall(r"^\| `(\w+)` \|", said, re.M))
    packages = {p.parent.name for p in (ROOT / "umcglab").glob("*/__init__.py")}
    assert rows == packages - {"tests"}
    for module in set(re.findall(rf"\b(?:{'|'.join(packages)})\.[a-z]\w+\b", said)):
        if module not in ("lab.yaml", "run.json"):
            assert find_spec(f"umcglab.{module}"), module


def test_words_are_in_order() -> None:
    """In each table of the glossary but the first, which goes from part to part."""
    _, *tables = text("GLOSSARY.md").split("\n## ")
    words = re.findall(r"^\| ([a-z ]+) \|", tables[-1], re.M)[1:]
    assert words == sorted(words)
