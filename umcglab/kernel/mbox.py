# SPDX-License-Identifier: MIT
"""The series of a target as one mailbox: a cover letter, and its patches in reply."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from umcglab.errors import UserError
from umcglab.host.cache import digest
from umcglab.kernel import series
from umcglab.kernel.patchfile import Patch
from umcglab.lab.config import Lab, Target

_FROM_LINE = b"From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001\n"
_FROM = b"From: umcglab <umcglab@example.org>\n"
_THREAD = re.compile(
    rb"^(?:message-id|in-reply-to|references):.*\n(?:[ \t].*\n)*", re.M | re.I
)


def mbox(target: Target, lab: Lab) -> bytes:
    """Return what `git am --empty=drop` makes the target's tree of, the same each time."""
    patches = [patch for one in series.of(target, lab) for patch in one.patches]
    if not patches:
        raise UserError(f"{target.name} has no patches: it is a control")
    mails = [(patch, mail) for patch in patches for mail in patch.mails]
    key = digest([patch.sha256 for patch in patches])[:16]
    ids = [f"<{key}.{n}@umcglab.example.org>" for n in range(len(mails) + 1)]
    letter = _letter(lab.patches / target.abi / "cover-letter.txt", target, patches)
    made = [_mail(letter, _number(0, len(mails)), ids[0], "")]
    for n, (patch, mail) in enumerate(mails, 1):
        text = _headed(mail, patch)
        made.append(_mail(text, _number(n, len(mails)), ids[n], ids[0]))
    return b"".join(made)


def _letter(file: Path, target: Target, patches: Sequence[Patch]) -> bytes:
    """Return the cover letter of an ABI as a mail, with the patches it is about."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise UserError(
            f"{target.abi} has no cover letter: {e}",
            hint=f"{file}: a line `Subject: ...`, an empty one, and the letter",
        ) from e
    subject, _, body = text.partition("\n\n")
    if not re.fullmatch(r"Subject: \S.*", subject):
        raise UserError("it must begin with `Subject: ...`", where=f"{file}:1")
    listed = "\n".join(f"  {patch.subject}" for patch in patches)
    # Of the newest patch, so that what is sent has one date and not today's.
    dates = [d for p in patches for d in re.findall(rb"^Date: .*\n", p.mails[0], re.M)]
    head = (
        _FROM
        + (dates[-1] if dates else b"")
        + f"{subject}, for Linux {target.base}\n".encode()
    )
    kind = (
        b"MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n"
        b"Content-Transfer-Encoding: 8bit\n"
    )
    return (
        head
        + kind
        + f"\n{body.rstrip()}\n\nOn Linux {target.base}, in this order:\n\n{listed}\n".encode()
    )


def _headed(mail: bytes, patch: Patch) -> bytes:
    """Return a mail without its first line `From `, and with the headers it needs."""
    mail = re.sub(rb"\AFrom .*\n", b"", mail)
    head = mail.partition(b"\n\n")[0] + b"\n"
    if not re.match(rb"[\w-]+:", head):
        head, mail = b"", b"\n" + mail
    if not re.search(rb"^Subject:", head, re.M | re.I):
        mail = f"Subject: {patch.subject}\n".encode() + mail
    return mail if re.search(rb"^From:", head, re.M | re.I) else _FROM + mail


def _mail(text: bytes, number: str, its_id: str, reply_to: str) -> bytes:
    """Return a mail as part of a mailbox and of a thread."""
    head, _, body = text.partition(b"\n\n")
    head = _THREAD.sub(b"", head + b"\n")
    head = re.sub(
        rb"^Subject:[ \t]*(?:\[[^]]*\][ \t]*)?",
        f"Subject: {number} ".encode(),
        head,
        count=1,
        flags=re.M | re.I,
    )
    head += f"Message-ID: {its_id}\n".encode()
    if reply_to:
        head += f"In-Reply-To: {reply_to}\nReferences: {reply_to}\n".encode()
    # Not stripped: an empty line may be the last of a hunk.
    return (
        _FROM_LINE + head + b"\n" + body + (b"\n" if body.endswith(b"\n") else b"\n\n")
    )


def _number(n: int, total: int) -> str:
    return f"[PATCH {n:0{len(str(total))}}/{total}]"
