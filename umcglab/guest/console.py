# SPDX-License-Identifier: MIT
"""A guest's console: wait on it while it boots, read its log afterwards.

QEMU writes the log itself, byte for byte, whoever listens. pexpect reads the
socket beside it during boot only: a client that stops reading freezes the
guest, so it is closed as soon as the guest is up (`Qemu.detach`).
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pexpect
from pexpect.socket_pexpect import SocketSpawn

from umcglab.errors import InfraError, LabError, PatchError
from umcglab.verdict import splat

MARK = "umcglab-init: "
"""What our init programs begin their lines with."""
READY = f"{MARK}ready"
"""What that of a guest with SSH says when it listens."""

POWER_OFF = "reboot: Power down"
"""The kernel's last line when init asked it to power off."""

_FAILED = re.compile(rf"{MARK}failed: ([^\r\n]*)")
_PANIC = re.compile(rf"{splat.PANIC}[^\r\n]*")
_EXCERPT = 40  # lines
_WINDOW = 4096  # bytes; longer than any line that is waited for

Outcome = Literal["ready", "failed", "panic", "exit", "silence"]

_OUTCOMES: tuple[Outcome, ...] = ("ready", "failed", "panic", "exit", "silence")
_NEWS: list[re.Pattern[str] | re.Pattern[bytes] | str | bytes | type] = [
    re.compile(READY.encode()),
    re.compile(rf"{MARK}failed: [^\r\n]*[\r\n]".encode()),
    re.compile(rf"{splat.PANIC}[^\r\n]*[\r\n]".encode()),
    pexpect.EOF,
    pexpect.TIMEOUT,
]
_BAD_NEWS = re.compile(splat.BAD_NEWS.encode())
_LOOK = 0.5
"""Seconds between looks at a log that nobody listens to."""
_GRACE = 10.0
"""Seconds without a word, after bad news, until the boot is taken to hang."""


class GuestError(PatchError):
    """The kernel ended or stopped when it should have run; `excerpt` is its last words."""

    def __init__(self, message: str, *, log: Path | None = None, excerpt: str = ""):
        super().__init__(message, log=log)
        self.excerpt = excerpt

    def lines(self) -> list[str]:
        """Return the error's lines and then, indented, the console's."""
        return [*super().lines(), *(f"    {x}" for x in self.excerpt.splitlines())]


class KernelPanic(GuestError):
    """The kernel said that it cannot go on."""


class GuestExit(GuestError):
    """The guest reset or powered off, and no panic says why."""


class GuestHang(GuestError):
    """The guest runs, or stands still, and does not get on."""


@dataclass(frozen=True)
class Console:
    """The log of one console."""

    path: Path

    def size(self) -> int:
        """Return how many bytes the guest has printed."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def text(self, start: int = 0) -> str:
        """Return what was printed from byte `start` on."""
        try:
            with self.path.open("rb") as log:
                log.seek(start)
                return log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def powered_off(self) -> bool:
        return POWER_OFF in self.text()

    def await_end(
        self,
        ended: Callable[[float], bool],
        timeout: float,
        is_up: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Wait until `ended(seconds)` is true, for so many at most; return whether it is.

        For guests whose console nobody listens to. While it is not up, silence after
        bad news ends the wait.
        """
        deadline = time.monotonic() + timeout
        seen, heard, bad = 0, time.monotonic(), False
        while (now := time.monotonic()) < deadline:
            if ended(min(_LOOK, deadline - now)):
                return True
            if (size := self.size()) > seen:
                bad = bad or _BAD_NEWS.search(self.text().encode()) is not None
                seen, heard = size, time.monotonic()
            elif bad and time.monotonic() > heard + _GRACE and not is_up():
                return False
        return ended(0)

    def init_failure(self) -> str | None:
        """Return what our init could not do, if it said so."""
        match = _FAILED.search(self.text())
        return match[1] if match else None

    def tail(self) -> str:
        return "\n".join(self.text().splitlines()[-_EXCERPT:])

    def death(
        self, doing: str, stuck: Sequence[str] = (), starved: InfraError | None = None
    ) -> LabError:
        """Return the error for a guest that is gone, or that hangs in `stuck`.

        It is `starved`, if that is an error and the kernel itself complained of nothing.
        """
        text = self.text()
        found = splat.scan(text)
        excerpt = found[0].excerpt if found else self.tail()
        if panic := _PANIC.search(text):
            cause = f", after: {found[0].text}" if found[0].kind != "panic" else ""
            return KernelPanic(
                f"{panic[0]}{cause} ({doing})", log=self.path, excerpt=excerpt
            )
        after = f"; it said: {found[0].text}" if found else ""
        if starved and not found:
            starved.log = self.path
            return starved
        if stuck:
            return GuestHang(
                f"the guest hangs in {', '.join(stuck)} ({doing}){after}",
                log=self.path,
                excerpt=excerpt,
            )
        return GuestExit(
            f"the guest reset or powered off by itself ({doing}){after}",
            log=self.path,
            excerpt=excerpt,
        )


def wait_for_init(sock: socket.socket, deadline: float) -> Outcome:
    """Read the console until init is ready or there is bad news; say which.

    `deadline` is on the monotonic clock. After a panic go on reading until QEMU
    ends, for a moment: what the kernel says last is worth having in the log. Any
    other splat need not stop the boot. It is silence only if nothing follows.
    """
    # Bytes: SocketSpawn does not decode, whatever encoding it is given.
    spawn = SocketSpawn(sock, searchwindowsize=_WINDOW)
    heard = spawn.expect([*_NEWS, _BAD_NEWS], timeout=_left(deadline))
    outcome = (
        _OUTCOMES[heard] if heard < len(_NEWS) else _after_bad_news(spawn, deadline)
    )
    if outcome in ("failed", "panic"):
        with contextlib.suppress(pexpect.TIMEOUT):
            spawn.expect([pexpect.EOF], timeout=5)
    return outcome


def _left(deadline: float) -> float:
    # Not 0: pexpect would then poll, and not wait for what is on the way.
    return max(0.01, deadline - time.monotonic())


def _after_bad_news(spawn: SocketSpawn[str], deadline: float) -> Outcome:
    """Wait on while the guest goes on printing; a slow boot is quiet for seconds."""
    printed = -1
    while True:
        left = _left(deadline)
        outcome = _OUTCOMES[spawn.expect(_NEWS, timeout=min(_GRACE, left))]
        if outcome != "silence" or left <= _GRACE or len(spawn.before or "") == printed:
            return outcome
        printed = len(spawn.before or "")
