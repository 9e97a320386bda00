# SPDX-License-Identifier: MIT
"""Patch files, read and applied as `git am` does: by git, and without a repository."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from umcglab.errors import InfraError, PatchError, UserError
from umcglab.host import command, files
from umcglab.host.cache import Cache, digest

_ALONE = {
    "GIT_DIR": os.devnull,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
}
"""So that git finds no repository around the folder it works in, and no configuration."""

TESTS = "tools/testing/selftests/"
BESIDE = ("MAINTAINERS", TESTS)
"""What of a tree no kernel is made of."""


@dataclass(frozen=True)
class Patch:
    """One patch file."""

    path: Path
    subject: str
    sha256: str
    files: tuple[str, ...]
    """What it changes, relative to the kernel tree."""
    added: tuple[str, ...]
    """Those of `files` that it creates."""
    mails: tuple[bytes, ...] = field(repr=False)
    """The file, which may hold several."""
    diffs: tuple[bytes, ...] = field(repr=False)
    """What each of them applies, decoded."""

    @property
    def name(self) -> str:
        """Its path within kernel-patches."""
        return "/".join(self.path.parts[-3:])

    @property
    def is_of_kernel(self) -> bool:
        """Whether it changes what a kernel may be made of, not only what is beside it."""
        return not all(name.startswith(BESIDE) for name in self.files)


_read_before: dict[tuple[Path, bytes], Patch] = {}
"""What this process has read: targets share most of their patches."""
_MANY = 1024
"""Patches, from which on those read before are forgotten."""


def read(path: Path) -> Patch:
    """Return one patch file; PatchError if git finds no patch in it."""
    (patch,) = read_all([path])
    return patch


def read_all(paths: Sequence[Path], note: Path | None = None) -> tuple[Patch, ...]:
    """Return patch files, as `read` does.

    `note` is a file that says what other processes have found in them, and is told what
    this one has: git is started three times for each file, and a series has twenty.
    """
    try:
        texts = [(path, path.read_bytes()) for path in paths]
    except OSError as e:
        raise UserError(f"cannot read the patch: {e}") from e
    if len(_read_before) > _MANY:
        _read_before.clear()
    if note and any(text not in _read_before for text in texts):
        noted = _noted(note)
        for path, data in texts:
            if found := noted.get(_name(path, data)):
                _read_before[path, data] = replace(found, path=path)
    new = [text for text in texts if text not in _read_before]
    for path, data in new:
        _read_before[path, data] = _read(path, data)
    if note and new:
        _note(note, [(text, _read_before[text]) for text in texts])
    return tuple(_read_before[text] for text in texts)


def note(cache: Cache, what: Path) -> Path | None:
    """Return the file in which it is noted what is in the patches of `what`."""
    return cache.memory("seen", digest("patches", str(what.resolve())))


def _name(path: Path, data: bytes) -> str:
    # Of a patch without a subject, that is its file's name.
    return f"{hashlib.sha256(data).hexdigest()} {path.name}"


def _reader() -> list[object]:
    """Return what decides, beside a file, what is found in it."""
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    return [code, command.output(["git", "--version"])]


def _noted(note: Path) -> dict[str, Patch]:
    """Return what is in a note, as far as it is this reader's."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        said = files.read_json(note)
        if said["reader"] == _reader():
            return {name: _patch(said) for name, said in said["patches"].items()}
    return {}


def _patch(said: Mapping[str, Any]) -> Patch:
    return Patch(
        path=Path(),
        subject=str(said["subject"]),
        sha256=str(said["sha256"]),
        files=tuple(map(str, said["files"])),
        added=tuple(map(str, said["added"])),
        mails=tuple(mail.encode("latin-1") for mail in said["mails"]),
        diffs=tuple(diff.encode("latin-1") for diff in said["diffs"]),
    )


def _note(note: Path, found: Sequence[tuple[tuple[Path, bytes], Patch]]) -> None:
    patches = {
        _name(*text): {
            "subject": patch.subject,
            "sha256": patch.sha256,
            "files": patch.files,
            "added": patch.added,
            "mails": [mail.decode("latin-1") for mail in patch.mails],
            "diffs": [diff.decode("latin-1") for diff in patch.diffs],
        }
        for text, patch in found
    }
    # Without it only time is lost.
    with contextlib.suppress(InfraError):
        said = {"reader": _reader(), "patches": patches}
        files.write(note, json.dumps(said))


def _read(path: Path, data: bytes) -> Patch:
    mails: list[bytes] = []
    subjects: list[str] = []
    diffs: list[bytes] = []
    names: dict[str, bool] = {}
    with tempfile.TemporaryDirectory(prefix="umcglab-") as tmp:
        found = _mails(path, data, Path(tmp))
        # A mailbox may begin with a cover letter, as b4 and `umcglab series` have it.
        letters = [one for one in found if _is_letter(one[0], one[2])]
        for mail, subject, diff in found:
            if (mail, subject, diff) in letters and len(letters) < len(found):
                continue
            mails.append(mail)
            subjects.append(subject)
            diffs.append(diff)
            for name, is_new in _files(path, data, diff, Path(tmp)).items():
                names[name] = names.get(name, is_new)
    return Patch(
        path=path,
        subject=subjects[0] or path.name,
        sha256=hashlib.sha256(data).hexdigest(),
        files=tuple(names),
        added=tuple(name for name, is_new in names.items() if is_new),
        mails=tuple(mails),
        diffs=tuple(diffs),
    )


def _is_letter(mail: bytes, diff: bytes) -> bool:
    """Whether a mail is one without a patch, which says so by its number, 0."""
    subject = re.search(rb"^Subject: *\[[^]]*\b0+/\d+\]", mail, re.M)
    return bool(subject) and not re.search(rb"^(?:diff|---|@@) ", diff, re.M)


def _mails(path: Path, data: bytes, tmp: Path) -> list[tuple[bytes, str, bytes]]:
    """Return each mail of a file with its subject and its diff, encodings undone."""
    (tmp / "mbox").write_bytes(data.removeprefix(b"\xef\xbb\xbf"))
    if not data.strip():
        raise _no_patch(path, "it has no diff")
    done = _git(tmp, "mailsplit", "-b", "-o.", "mbox")
    if done.returncode:
        raise _no_patch(path, _last(done))
    mails = []
    for mail in sorted(tmp.glob("[0-9]*")):
        done = _git(tmp, "mailinfo", "--no-scissors", "message", "diff", stdin=mail)
        if done.returncode:
            raise _no_patch(path, f"as a mail: {_last(done)}")
        info = done.stdout.decode(errors="replace")
        subject = re.search(r"^Subject: (.*)", info, re.M)
        diff = (tmp / "diff").read_bytes()
        text = subject[1].strip() if subject else ""
        mails.append((mail.read_bytes(), text, diff))
    return mails


def _files(path: Path, data: bytes, diff: bytes, tmp: Path) -> dict[str, bool]:
    """Return the files that a diff leaves changed, and whether it creates them."""
    (tmp / "diff").write_bytes(diff)
    done = _git(tmp, "apply", "--numstat", "--summary", "-z", "diff")
    if done.returncode:
        said = _last(done)
        where = str(path)
        begin = data.find(diff)
        if (at := re.search(r"\bline (\d+)", said)) and begin >= 0:
            line = data[:begin].count(b"\n") + int(at[1])
            said = said.replace(at[0], f"line {line}")
            where += f":{line}"
        raise _no_patch(path, said, where)
    *stats, summary = done.stdout.decode(errors="surrogateescape").split("\0")
    names = [stat.split("\t", 2)[2] for stat in stats]
    for name in names:
        if max(map(len, os.fsencode(name).split(b"/"))) > 255 or len(name) > 4000:
            raise _no_patch(
                path, f"it has a name of {len(name)} letters, {name[:40]}..."
            )
    what = summary.splitlines()

    def is_there(action: str, name: str) -> bool:
        line = rf" {action}(?: mode \d+)? {re.escape(name)}"
        return any(re.fullmatch(line, w) for w in what)

    return {n: is_there("create", n) for n in names if not is_there("delete", n)}


def take_back(patch: Patch, tree: Path) -> None:
    """Undo one patch in a tree that has it, and nothing on top that it does not bear."""
    with tempfile.TemporaryDirectory(prefix="umcglab-") as tmp:
        file = Path(tmp) / "diff"
        for diff in reversed(patch.diffs):
            file.write_bytes(diff)
            done = _git(tree, "apply", "-R", "--whitespace=nowarn", str(file))
            if done.returncode:
                raise PatchError(f"{patch.name} cannot be taken back: {_last(done)}")


def apply(patch: Patch, tree: Path) -> None:
    """Apply one patch. Offsets are allowed, since they are told from nothing else."""
    with tempfile.TemporaryDirectory(prefix="umcglab-") as tmp:
        file = Path(tmp) / "diff"
        for diff in patch.diffs:
            file.write_bytes(diff)
            done = _git(tree, "apply", "--whitespace=nowarn", str(file))
            if done.returncode:
                files.check_room(tree, Path(tmp))
                raise _does_not_apply(patch, _faults(done, diff, tree)[:1])


def apply_what_fits(patch: Patch, tree: Path) -> PatchError | None:
    """Apply of one patch what fits; return an error that names each hunk that does not."""
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="umcglab-") as tmp:
        file = Path(tmp) / "diff"
        for diff in patch.diffs:
            file.write_bytes(diff)
            done = _git(tree, "apply", "--reject", "--whitespace=nowarn", str(file))
            _drop_rejects(done, tree)
            if done.returncode:
                files.check_room(tree, Path(tmp))
                faults += _faults(done, diff, tree)
    return _does_not_apply(patch, faults) if faults else None


def _does_not_apply(patch: Patch, faults: Sequence[str]) -> PatchError:
    return PatchError(
        f"{patch.name} does not apply: {'; '.join(faults)}",
        where=str(patch.path),
        hint=f"in a tree with the patches before it: git apply {patch.path}",
    )


def _faults(
    done: subprocess.CompletedProcess[bytes], diff: bytes, tree: Path
) -> list[str]:
    """Return all that git could not do, with file, line and hunk."""
    faults = [fault for line in _said(done) if (fault := _fault(line, diff, tree))]
    if not faults:
        said = [x for x in _said(done) if re.match("error: |fatal: ", x)]
        faults = [re.sub(r"^(error|fatal): ", "", x) for x in said[:1]]
    return faults or ([_last(done)] if done.returncode else [])


def _fault(line: str, diff: bytes, tree: Path) -> str | None:
    """Return what one line of git's says of a fault, if it does."""
    said = re.sub(r"^(error|fatal): ", "", line)
    if match := re.fullmatch(r"patch failed: (.*):(\d+)", said):
        hunk = _hunk(diff, match[1], int(match[2]))
        return f"{match[1]}:{match[2]}: hunk {hunk} does not fit"
    if match := re.fullmatch(r"(.*): No such file or directory", said):
        return _not_there(match[1], diff, tree)
    if match := re.fullmatch(r"(.*): already exists in .*", said):
        return f"{match[1]} already exists"
    if match := re.fullmatch(r"cannot apply binary patch to '(.*)' without.*", said):
        return f"it is without the content of {match[1]}; `diff --binary` has it"
    return None


def _drop_rejects(done: subprocess.CompletedProcess[bytes], tree: Path) -> None:
    """Remove the hunks that git has put beside the files they do not fit."""
    for line in _said(done):
        if match := re.fullmatch(r"Applying patch (.*) with \d+ rejects?\.\.\.", line):
            (tree / f"{match[1]}.rej").unlink(missing_ok=True)


def _hunk(diff: bytes, name: str, line: int) -> int:
    """Return the number within its file of the hunk that begins at `line`."""
    hunk, here = 0, False
    for text in diff.splitlines():
        if text.startswith((b"--- ", b"diff --git ")):
            hunk, here = 0, name.encode() in text
        elif match := re.match(rb"@@ -(\d+)", text):
            hunk += 1
            if int(match[1]) == line and here:
                break
    return hunk


def _not_there(name: str, diff: bytes, tree: Path) -> str:
    fault = f"it changes {name}, which is not there"
    for match in re.finditer(rb"^--- (\S+)", diff, re.M):
        whole = match[1].decode(errors="replace")
        if whole.endswith(f"/{name}") and (tree / whole).is_file():
            return f"{fault}; {whole} is: give names in the patch a/ and b/ before them"
    return fault


def _no_patch(path: Path, why: str, where: str = "") -> PatchError:
    # git leaves an empty file on a full disk, and does not say so.
    files.check_room(Path(tempfile.gettempdir()))
    if why.startswith("No valid patches"):
        why = "it has no diff"
    name = "/".join(path.parts[-3:])
    return PatchError(f"{name} is no patch: {why}", where=where or str(path))


def _said(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    return done.stderr.decode(errors="replace").strip().splitlines()


def _last(done: subprocess.CompletedProcess[bytes]) -> str:
    said = _said(done)
    return re.sub(r"^(error|fatal): ", "", said[-1]) if said else "git failed"


def _git(
    cwd: Path, *argv: str, stdin: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    command.need("git")
    with (stdin or Path(os.devnull)).open("rb") as source:
        return subprocess.run(
            [*command.DIE_WITH_PARENT, "git", *argv],
            cwd=cwd,
            env=command.environment(_ALONE),
            stdin=source,
            capture_output=True,
            check=False,
        )
