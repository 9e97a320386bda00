# SPDX-License-Identifier: MIT
"""Ranges of commits as series: of the toy kernel, in a repository of its own."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from umcglab.errors import PatchError, UserError
from umcglab.host.display import Display
from umcglab.kernel import kernels
from umcglab.kernel.kernels import Kernel
from umcglab.lab import config
from umcglab.study import check
from umcglab.tests import toylab
from umcglab.tests.toylab import UMCG_C, ToyLab

LAB = """\
cache: cache
sources:
  mine: {git: repo, ref: RANGE}
targets:
  mine: {arch: x86_64, source: mine, abi: umcg-toy}
  control: {arch: x86_64, source: mine, abi: control}
"""


def git(toy: ToyLab, *argv: str) -> str:
    return subprocess.run(
        ["git", "-C", toy.root / "repo", *argv],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def commit(toy: ToyLab, name: str, text: str, subject: str) -> None:
    toy.write(f"repo/{name}", text)
    git(toy, "add", "-f", ".")
    git(toy, "commit", "-qm", subject)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToyLab:
    """A lab whose source is v1..mine: two commits, of which the second adds UMCG."""
    monkeypatch.delenv("UMCGLAB_CACHE", raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "a")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "a@example.org")
    toy = toylab.make(tmp_path)
    shutil.copytree(toy.tree, toy.root / "repo")
    subprocess.run(["git", "init", "-q", "-b", "main", toy.root / "repo"], check=True)
    commit(toy, "old", "", "older")
    commit(toy, "old", "1", "toy")
    git(toy, "tag", "v1")
    git(toy, "checkout", "-qb", "mine")
    fork = toy.old("kernel/fork.c")
    commit(toy, "kernel/fork.c", fork.replace("pid += cpu;", "pid += cpu + 1;"), "fork")
    commit(toy, "kernel/umcg.c", UMCG_C, "umcg: add")
    use(toy, "v1..mine")
    return toy


def use(toy: ToyLab, ref: str) -> None:
    toy.write("lab.yaml", LAB.replace("RANGE", ref))


def build(toy: ToyLab, name: str = "mine") -> Kernel:
    lab = toy.load()
    (target,) = config.select(lab, [name])
    return kernels.build(target, lab, toylab.Progress(), jobs=1)


def patches(kernel: Kernel) -> list[str]:
    listed = kernel.identity["patches"]
    assert isinstance(listed, list)
    return [patch["subject"] for patch in listed]


def test_the_commits_of_a_range_are_the_series(toy: ToyLab) -> None:
    kernel = build(toy)
    assert patches(kernel) == ["fork", "umcg: add"]
    assert kernel.identity["touched"] == ["kernel/fork.c", "kernel/umcg.c"]
    assert "umcg_wait" in kernel.system_map.read_text()
    assert build(toy) == kernel
    # The repository is only read.
    assert git(toy, "status", "--short") == ""
    assert git(toy, "log", "--format=%s", "-1") == "umcg: add"


def test_the_control_is_what_is_before_a_range(toy: ToyLab) -> None:
    before = build(toy, "control")
    assert patches(before) == []
    assert "umcg" not in before.system_map.read_text()
    kernel = build(toy)
    commit(toy, "kernel/umcg.c", UMCG_C + "int more;\n", "more")
    assert build(toy, "control") == before
    assert patches(build(toy)) == ["fork", "umcg: add", "more"]
    assert build(toy) != kernel


@pytest.mark.parametrize("ends", ["commits", "tags"])
def test_a_range_may_end_at_a_commit_or_a_tag(toy: ToyLab, ends: str) -> None:
    first, last = git(toy, "rev-parse", "v1"), git(toy, "rev-parse", "mine")
    commit(toy, "kernel/umcg.c", UMCG_C + "int more;\n", "more")
    if ends == "tags":
        git(toy, "tag", "-am", "x", "end", last)
        first, last = "v1", "end"
    use(toy, f"{first}..{last}")
    assert patches(build(toy)) == ["fork", "umcg: add"]


def test_a_range_can_be_checked(toy: ToyLab) -> None:
    kconfig = "config UMCG\n\tdepends SMP\n"
    text = toy.old("Kconfig")
    git(toy, "checkout", "-q", "v1")
    commit(toy, "Kconfig", text.replace(kconfig, ""), "without")
    git(toy, "tag", "v2")
    commit(toy, "kernel/umcg.c", UMCG_C, "umcg: add")
    commit(toy, "Kconfig", text, "umcg: choose")
    git(toy, "branch", "-f", "mine")
    use(toy, "v2..mine")
    lab = toy.load()
    (target,) = config.select(lab, ["mine"])
    out = io.StringIO()
    with Display(Console(file=out, width=200)) as display:
        check.execute(lab, target, 2, display, only=["style", "each*"])
    said = out.getvalue()
    assert "style: checkpatch git 0001-umcg-add: ok" in said
    assert "each patch, ABI off: git 0001-umcg-add: ok" in said
    assert "each patch, ABI on: git 0002-umcg-choose: ok, kernel/umcg.o" in said


def test_a_commit_that_does_not_build_is_the_series_fault(toy: ToyLab) -> None:
    commit(toy, "kernel/umcg.c", UMCG_C + "int more\n", "more")
    with pytest.raises(PatchError, match=r"mine does not build: kernel/umcg\.c"):
        build(toy)


def test_a_history_is_fetched_as_far_as_it_takes(
    toy: ToyLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("umcglab.kernel.gitrepo._DEPTHS", (1, 3))
    url = f"git: file://{toy.root}/repo"
    toy.write("lab.yaml", LAB.replace("RANGE", "v1..mine").replace("git: repo", url))
    assert patches(build(toy)) == ["fork", "umcg: add"]
    commit(toy, "kernel/umcg.c", UMCG_C + "int more;\n", "more")
    with pytest.raises(
        UserError, match=r"does not begin at v1, which is not among the 3"
    ):
        build(toy)


def test_a_range_that_is_no_series_is_told(toy: ToyLab) -> None:
    said = {
        "v1..v1": r"the range v1\.\.v1 has no commit in it",
        "mine..v1": r"the range mine\.\.v1 does not begin at mine, which is not before",
        "v1..none": "repo has no branch or tag 'none'",
    }
    for ref, why in said.items():
        use(toy, ref)
        with pytest.raises(UserError, match=why) as caught:
            build(toy)
        assert caught.value.where == "{}:3:9".format(toy.root / "lab.yaml")
    git(toy, "checkout", "-qb", "side", "v1")
    commit(toy, "side", "", "side")
    git(toy, "merge", "-q", "-m", "merge", "mine")
    use(toy, "v1..side")
    merge = re.escape(git(toy, "rev-parse", "side")[:12])
    with pytest.raises(UserError, match=f"has a merge, {merge}"):
        build(toy)


@pytest.mark.parametrize("ref", ["v1..", "..mine", "v1...mine", "a..b..c"])
def test_what_is_no_range_is_told(toy: ToyLab, ref: str) -> None:
    use(toy, ref)
    with pytest.raises(UserError, match="or a range like"):
        toy.load()


def test_a_range_is_a_series_and_has_to_be_applied(toy: ToyLab) -> None:
    text = (toy.root / "lab.yaml").read_text()
    toy.write(
        "lab.yaml", text.replace("abi: umcg-toy}", "abi: umcg-toy, patches: none}")
    )
    with pytest.raises(UserError, match="source 'mine' is a range"):
        toy.load()
