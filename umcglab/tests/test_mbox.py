# SPDX-License-Identifier: MIT
"""`umcglab series`: one mailbox that others can apply."""

from __future__ import annotations

import mailbox
import os
import subprocess
import sys
from pathlib import Path

import pytest

from umcglab import cli
from umcglab.errors import UserError
from umcglab.kernel import mbox, series
from umcglab.lab import config
from umcglab.lab.config import Lab, Target
from umcglab.tests import toylab
from umcglab.tests.toylab import Progress, ToyLab

DATA = Path(__file__).parent / "data" / "series"
LETTER = "Subject: toys for everybody\n\nWhy.\n"
LAB = config.load(config.ROOT / "lab.yaml")
PATCHED = [target for target in LAB.targets if not target.is_control]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToyLab:
    """A lab whose series is of three files: plain, encoded, and two mails in one."""
    monkeypatch.delenv("UMCGLAB_CACHE", raising=False)
    lab = toylab.make(tmp_path)
    words = "one two three four five six seven".split()
    lab.write("linux/kernel/fork.c", "".join(f"{word}\n" for word in words))
    new = {"kernel/new.c": ("", "x\n\n")}
    lab.series("plumbing/6.99", toylab.patch("new: add", new).partition("\n")[2])
    lab.series("umcg-toy/6.99", *(
        (DATA / f"{name}.patch").read_text() for name in ("base64", "rename-then-edit")
    ))  # fmt: skip
    file = lab.patches / "umcg-toy/6.99/0002-toy.patch"
    file.write_text(file.read_text().replace("-one\n+eins", "-eins\n+uno"))
    lab.write("kernel-patches/umcg-toy/cover-letter.txt", LETTER)
    return lab


def patched(lab: Lab) -> Target:
    return next(target for target in lab.targets if not target.is_control)


def git(tree: Path, *argv: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    return subprocess.run(
        ["git", *who, *argv],
        cwd=tree,
        env={k: v for k, v in os.environ.items() if not k.startswith("GIT_")},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def files(tree: Path) -> dict[str, str]:
    every = (path.relative_to(tree) for path in tree.rglob("*") if path.is_file())
    return {str(p): (tree / p).read_text() for p in every if p.parts[0] != ".git"}


def test_git_am_makes_the_tree_that_the_lab_builds(toy: ToyLab) -> None:
    lab = toy.load()
    file = toy.root / "series.mbox"
    file.write_bytes(mbox.mbox(patched(lab), lab))
    git(toy.root, "init", "-q", "am")
    tree = toy.root / "am"
    git(toy.root, "clone", "-q", "am", "copy")
    for name, text in files(toy.tree).items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "base")
    git(tree, "am", "-q", "--empty=drop", str(file))
    for one in series.of(patched(lab), lab):
        series.apply((one,), toy.tree, Progress())
    assert files(tree) == files(toy.tree)
    assert files(tree)["kernel/spoon.c"].startswith("uno\ntwo\n")
    assert git(tree, "log", "--format=%s", "--reverse").splitlines()[1:] == [
        "new: add", *["fork: count in German"] * 3
    ]  # fmt: skip


@pytest.mark.parametrize("target", PATCHED, ids=lambda target: target.name)
def test_the_mails_of_a_target_are_a_thread(target: Target, tmp_path: Path) -> None:
    file = tmp_path / "mbox"
    file.write_bytes(mbox.mbox(target, LAB))
    cover, *rest = mailbox.mbox(file, create=False)
    patches = [patch for one in series.of(target, LAB) for patch in one.patches]
    assert len(rest) == len(patches)
    ids = [mail["Message-ID"] for mail in (cover, *rest)]
    assert len(set(ids)) == len(ids)
    total, width = len(rest), len(str(len(rest)))
    for n, mail in enumerate((cover, *rest)):
        assert mail["Subject"].startswith(f"[PATCH {n:0{width}}/{total}] ")
        assert mail["In-Reply-To"] == (ids[0] if n else None)
        assert mail["Date"] == cover["Date"]
    assert "Signed-off-by" not in file.read_text()
    assert mbox.mbox(target, LAB) == file.read_bytes()


def test_the_command(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    name = PATCHED[0].name
    argv = ["series", "--lab", str(LAB.file), name]
    text = mbox.mbox(PATCHED[0], LAB)
    assert cli.main([*argv, "--mbox"]) == 0
    out = tmp_path / "out.mbox"
    assert cli.main([*argv, "--mbox", "-o", str(out)]) == 0
    assert out.read_bytes() == text
    sys.stdout.flush()
    assert capfdbinary.readouterr().out == text
    assert cli.main(argv) == 0
    sys.stdout.flush()
    patch = series.of(PATCHED[0], LAB)[-1].patches[0]
    listed = capfdbinary.readouterr().out.decode()
    assert f"{patch.name}\n    {patch.subject}\n" in listed
    with pytest.raises(UserError, match="cannot write the series"):
        cli.main([*argv, "-o", str(tmp_path)])


@pytest.mark.parametrize(
    ("letter", "said"),
    [("no subject\n\nx\n", "must begin with `Subject"), (None, "has no cover letter")],
)
def test_no_cover_letter(toy: ToyLab, letter: str | None, said: str) -> None:
    file = toy.patches / "umcg-toy/cover-letter.txt"
    file.write_text(letter) if letter else file.unlink()
    lab = toy.load()
    with pytest.raises(UserError, match=said):
        mbox.mbox(patched(lab), lab)


def test_a_control_has_no_series() -> None:
    control = next(target for target in LAB.targets if target.is_control)
    with pytest.raises(UserError, match="has no patches"):
        cli.main(["series", "--lab", str(LAB.file), control.name, "--mbox"])
