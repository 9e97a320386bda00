# SPDX-License-Identifier: MIT
"""The selftests of the series are the tests of the guest suite, and build anywhere."""

from __future__ import annotations

import re
from pathlib import Path

from umcglab.kernel import patchfile
from umcglab.lab import config
from umcglab.tests import kselftests

PATCH = config.ROOT / kselftests.PATCH


def test_the_patch_has_the_files_of_the_suite() -> None:
    text = PATCH.read_text()
    assert text == kselftests.renewed(text, kselftests.suite(config.ROOT)), (
        "python -m umcglab.tests.kselftests brings it up to date"
    )


def test_a_change_of_the_suite_is_seen_and_carried_over() -> None:
    text, suite = PATCH.read_text(), kselftests.suite(config.ROOT)
    changed = {**suite, "wait.c": suite["wait.c"] + "/* more */\n"}
    renewed = kselftests.renewed(text, changed)
    assert renewed != text
    assert kselftests.files(renewed)["wait.c"] == changed["wait.c"]
    assert kselftests.renewed(renewed, suite) == text


def test_it_is_what_git_applies(tmp_path: Path) -> None:
    patchfile.apply(patchfile.read(PATCH), tmp_path)
    folder = tmp_path / kselftests.FOLDER
    found = {path.name: path.read_text() for path in folder.iterdir()}
    assert found == kselftests.files(PATCH.read_text())


def test_it_makes_no_other_kernel() -> None:
    assert not patchfile.read(PATCH).is_of_kernel


def test_every_program_is_built_and_ignored_by_git() -> None:
    found = kselftests.files(PATCH.read_text())
    made = re.search(r"^TEST_GEN_PROGS := (.*)$", found["Makefile"], re.M)
    assert made
    programs = made[1].split()
    mains = {n for n, text in found.items() if "\nUMCG_TEST_MAIN\n" in text}
    assert mains == {f"{name}.c" for name in programs}
    ignored = found[".gitignore"].splitlines()[1:]
    assert ignored == [f"/{name}" for name in programs]
