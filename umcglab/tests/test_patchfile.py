# SPDX-License-Identifier: MIT
"""Patch files as mailers and other people write them: read as `git am` reads them."""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from umcglab.errors import LabError, PatchError, UserError
from umcglab.kernel import kconfig, patchfile, series
from umcglab.kernel.patchfile import Patch
from umcglab.tests.toylab import Progress

DATA = Path(__file__).parent / "data" / "series"
FORK = "kernel/fork.c"
WORDS = "one two three four five six seven".split()
HEAD = (DATA / "file-exists.patch").read_text().split("diff --git")[0]
EINS = """\
diff --git a/kernel/fork.c b/kernel/fork.c
--- a/kernel/fork.c
+++ b/kernel/fork.c
@@ -1,4 +1,4 @@
-one
+eins
 two
 three
 four
"""


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """A part of kernel-patches for base 6.99, beside a tree, in a repository."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    made = tmp_path / "kernel-patches" / "umcg-toy"
    (made / "6.99").mkdir(parents=True)
    kernel = tmp_path / "linux" / "kernel"
    kernel.mkdir(parents=True)
    (kernel / "fork.c").write_text("".join(f"{word}\n" for word in WORDS))
    (kernel / "gone.c").write_text("bye\n")
    return made


def apply(part: Path, patch: bytes) -> dict[str, str]:
    """Apply one patch; return the files that are other than before, or gone."""
    (part / "6.99/0001-x.patch").write_bytes(patch)
    (part / "6.99.series").write_text("6.99/0001-x.patch\n")
    tree = part.parent.parent / "linux"
    before = files(tree)
    series.apply((series.load(part, "6.99"),), tree, Progress())
    after = files(tree)
    return {
        name: after.get(name, "gone")
        for name in before | after
        if before.get(name) != after.get(name)
    }


def files(tree: Path) -> dict[str, str]:
    return {
        str(path.relative_to(tree)): path.read_text(errors="surrogateescape")
        for path in tree.rglob("*")
        if path.is_file()
    }


def words(*changed: str) -> str:
    return "".join(f"{word}\n" for word in (*changed, *WORDS[len(changed) :]))


@pytest.mark.parametrize(
    ("sample", "changed"),
    [
        ("quoted-diff-two-blanks", {FORK: words("eins")}),
        ("quoted-diff-index", {FORK: words("eins")}),
        ("quoted-printable", {FORK: words("eins = 1;")}),
        ("base64", {FORK: words("eins")}),
        ("encoded-subject", {FORK: words("eins")}),
        ("blank-in-name", {"kernel/a b.c": "x\n"}),
        ("rename-then-edit", {FORK: "gone", "kernel/spoon.c": words("eins")}),
    ],
)
def test_what_git_am_applies(part: Path, sample: str, changed: dict[str, str]) -> None:
    assert apply(part, (DATA / f"{sample}.patch").read_bytes()) == changed


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        ("binary-files-differ", "without the content of logo.bin"),
        ("rename-onto-a-file", "kernel/fork.c already exists"),
        ("file-exists", "kernel/fork.c already exists"),
        ("strip-0", "fork.c, which is not there; kernel/fork.c is: .* a/ and b/"),
    ],
)
def test_what_git_am_refuses(part: Path, sample: str, said: str) -> None:
    tree = part.parent.parent / "linux"
    file = part / "6.99/0001-x.patch"
    file.write_bytes((DATA / f"{sample}.patch").read_bytes())
    before = files(tree)
    with pytest.raises(PatchError, match=f"0001-x.patch does not apply: .*{said}"):
        patchfile.apply(patchfile.read(file), tree)
    assert files(tree) == before
    with pytest.raises(PatchError, match=f"0001-x.patch does not apply: .*{said}"):
        apply(part, file.read_bytes())


@pytest.mark.parametrize(
    ("sample", "named", "subject"),
    [
        ("blank-in-name", ("kernel/a b.c",), "fork: count in German"),
        ("encoded-subject", (FORK,), "fork: zählen"),
        ("quoted-diff-two-blanks", (FORK,), "fork: count in German"),
        ("rename-then-edit", ("kernel/spoon.c",), "fork: count in German"),
    ],
)
def test_what_a_patch_says_of_itself(
    sample: str, named: tuple[str, ...], subject: str
) -> None:
    patch = patchfile.read(DATA / f"{sample}.patch")
    assert (patch.files, patch.subject) == (named, subject)


NEW = "diff --git a/{0} b/{0}\nnew file mode 100644\n--- /dev/null\n+++ b/{0}\n"
QUOTED = r"""diff --git "a/kernel/\303\244\t.c" "b/kernel/\303\244\t.c"
new file mode 100644
--- /dev/null
+++ "b/kernel/\303\244\t.c"
@@ -0,0 +1 @@
+x
"""


@pytest.mark.parametrize(
    ("patch", "changed"),
    [
        ("\ufeff" + HEAD + EINS, {FORK: words("eins")}),
        (EINS, {FORK: words("eins")}),
        ((HEAD + EINS).replace("\n", "\r\n"), {FORK: words("eins")}),
        (HEAD + QUOTED, {"kernel/ä\t.c": "x\n"}),
        (HEAD.replace("Why", "W\xfcy") + EINS, {FORK: words("eins")}),
        (HEAD + EINS.replace("eins", "\xe9ins"), {FORK: words("\udce9ins")}),
    ],
    ids=["bom", "no mail", "crlf", "quoted name", "latin-1 message", "latin-1 line"],
)
def test_other_ways_to_write_one(
    part: Path, patch: str, changed: dict[str, str]
) -> None:
    latin = "W\xfcy" in patch or "\xe9ins" in patch
    assert apply(part, patch.encode("latin-1" if latin else "utf-8")) == changed


@pytest.mark.parametrize(
    ("patch", "said", "line"),
    [
        ("", "has no diff", ""),
        (HEAD + "-- \n2.39.0\n", "has no diff", ""),
        (HEAD + EINS.replace(" three\n", ""), "corrupt", ":18"),
        (
            HEAD + EINS.replace("@@ -1,4 +1,4 @@", "@@ -1,x @@"),
            "corrupt",
            ":13",
        ),
        (HEAD + EINS.replace(" four", "four"), "corrupt", ":18"),
        (HEAD + NEW.format("k/" * 3000) + "@@ -0,0 +1 @@\n+x\n", "6000 letters", ""),
        (HEAD + NEW.format("k" * 300) + "@@ -0,0 +1 @@\n+x\n", "300 letters", ""),
        (HEAD + NEW.format("../x.c") + "@@ -0,0 +1 @@\n+x\n", "invalid path", ""),
    ],
    ids=[
        "empty",
        "message only",
        "short",
        "no hunk",
        "no blank",
        "path",
        "name",
        "outside",
    ],
)
def test_what_is_no_patch(part: Path, patch: str, said: str, line: str) -> None:
    file = part / "6.99/0001-x.patch"
    with pytest.raises(PatchError, match=said) as caught:
        apply(part, patch.encode())
    assert caught.value.where == f"{file}{line}"
    assert "umcg-toy/6.99/0001-x.patch" in caught.value.message


def test_a_header_that_contradicts_itself(part: Path) -> None:
    names = "rename from kernel/fork.c\nrename to kernel/x.c\n---"
    text = HEAD + EINS.replace("---", names)
    with pytest.raises(PatchError, match=r"no patch: git .* on line 11") as caught:
        apply(part, text.encode())
    assert str(caught.value.where).endswith("0001-x.patch:11")


def test_whatever_the_bytes_only_errors_of_ours(part: Path) -> None:
    samples = [file.read_bytes() for file in sorted(DATA.glob("*.patch"))]
    rng = random.Random(1)
    for _ in range(40):
        text = bytearray(rng.choice(samples))
        for _ in range(rng.randint(1, 5)):
            at = rng.randrange(len(text) + 1)
            cut = rng.randrange(len(samples[0]))
            piece = rng.choice([rng.randbytes(3), rng.choice(samples)[cut : cut + 90]])
            text[at : at + rng.choice([0, len(piece)])] = piece
        with contextlib.suppress(LabError):
            apply(part, bytes(text))


def mail(subject: str, body: str) -> str:
    return (
        "From mboxrd@z Thu Jan  1 00:00:00 1970\nFrom: A <a@example.org>\n"
        "Date: Thu, 1 Jan 2026 00:00:00 +0000\nMessage-ID: <1@example.org>\n"
        f"Subject: {subject}\n\n{body}\n"
    )


def test_a_series_may_be_one_mailbox_with_its_cover_letter(part: Path) -> None:
    zwei = EINS.replace("-one\n+eins\n two", " eins\n-two\n+zwei")
    mails = (
        mail("[PATCH v2 0/2] numbers", "Why.\n\n kernel/fork.c | 4 ++--\n"),
        mail("[PATCH v2 1/2] one", f"Because.\n---\n{EINS}"),
        mail("[PATCH v2 2/2] two", f"Because.\n---\n{zwei}"),
    )
    (part / "6.99/v2.mbx").write_text("".join(mails))
    (part / "6.99.series").write_text("6.99/v2.mbx\n")
    made = series.load(part, "6.99")
    tree = part.parent.parent / "linux"
    series.apply((made,), tree, Progress())
    assert (tree / FORK).read_text() == words("eins", "zwei")
    assert [patch.subject for patch in made.patches] == ["one"]
    # A letter is no patch, and nor is a patch that lost its diff.
    for text in (mails[0], mails[1] + mail("[PATCH v2 2/2] two", "Because.")):
        with pytest.raises(PatchError, match="no diff"):
            apply(part, text.encode())


def test_a_mail_in_no_known_encoding(part: Path) -> None:
    text = (DATA / "base64.patch").read_bytes().replace(b"UTF-8", b"UTF-9")
    with pytest.raises(PatchError, match="UTF-9"):
        apply(part, text)


def test_no_repository_around_and_no_variable_of_git_interferes(
    part: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("[apply]\n\tignoreWhitespace = change\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "no.git"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "apply.ignoreWhitespace")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "change")
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".gitconfig").write_text("[apply]\n\tignoreWhitespace = change\n")
    assert apply(part, (HEAD + EINS).encode()) == {FORK: words("eins")}
    fork = part.parent.parent / "linux" / FORK
    fork.write_text(words("one", "t wo"))
    with pytest.raises(PatchError, match="hunk 1 does not fit"):
        apply(part, EINS.replace("two", "t  wo").encode())


def test_a_listing_with_a_byte_order_mark(part: Path) -> None:
    (part / "6.99/0001-x.patch").write_text(HEAD + EINS)
    text = (DATA / "bom.series").read_bytes().replace(b"0001", b"6.99/0001")
    (part / "6.99.series").write_bytes(text)
    assert len(series.load(part, "6.99").patches) == 1


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ((DATA / "many-folders.series").read_bytes(), "is any/NAME or 6.99/NAME", 1),
        (b"# x\n6.99/" + b"x" * 300 + b"\n", "listed but not there", 2),
        (b"# f\xfcr alle\n", "not UTF-8", 1),
        (b"#\n6.99/0001-\x00.patch\n", "listed but not there", 2),
    ],
)
def test_a_listing_that_names_what_cannot_be(
    part: Path, text: bytes, said: str, line: int
) -> None:
    (part / "6.99.series").write_bytes(text)
    with pytest.raises(UserError, match=said) as caught:
        series.load(part, "6.99")
    assert caught.value.where == f"{part / '6.99.series'}:{line}"


def test_a_fragment_that_is_not_utf_8() -> None:
    with pytest.raises(LabError, match="not UTF-8") as caught:
        kconfig.read([DATA / "latin1.config"])
    assert caught.value.where == f"{DATA / 'latin1.config'}:1"


def test_what_was_read_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = tmp_path / "note"
    paths = sorted(DATA.glob("*.patch"))
    read: list[Path] = []
    surely = patchfile._read

    def reading(path: Path, data: bytes) -> Patch:
        read.append(path)
        return surely(path, data)

    def as_another_process() -> list[Patch]:
        read.clear()
        monkeypatch.setattr(patchfile, "_read_before", {})
        return list(patchfile.read_all(whole, note))

    monkeypatch.setattr(patchfile, "_read", reading)
    whole = [tmp_path / path.name for path in paths]
    for path, copy in zip(paths, whole, strict=True):
        shutil.copy(path, copy)
    first = as_another_process()
    assert read == whole
    assert as_another_process() == first
    assert read == []
    # By its content: a patch that was changed is read, and only that.
    whole[1].write_bytes(whole[1].read_bytes().replace(b"Subject: ", b"Subject: x"))
    second = as_another_process()
    assert read == [whole[1]]
    assert second[0] == first[0] and second[1] != first[1]
    # A patch without a subject is called by its file.
    whole[0] = whole[0].rename(tmp_path / "other.patch")
    as_another_process()
    assert read == [whole[0]]
    for spoilt in ("", "[]", '{"reader": 1}', note.read_text().replace("subject", "x")):
        note.write_text(spoilt)
        as_another_process()
        assert read == whole
    as_another_process()
    assert read == []
    monkeypatch.setattr(patchfile, "_reader", lambda: ["another git"])
    as_another_process()
    assert read == whole


def test_a_patch_that_is_none_is_not_noted(tmp_path: Path) -> None:
    note, file = tmp_path / "note", tmp_path / "a.patch"
    file.write_text("nothing\n")
    for _ in range(2):
        with pytest.raises(PatchError, match="it has no diff"):
            patchfile.read_all([file], note)
    assert not note.exists()
