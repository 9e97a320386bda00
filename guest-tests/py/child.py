# SPDX-License-Identifier: GPL-2.0
"""A program that is spoken to, and answers, line by line."""

from __future__ import annotations

import select
import subprocess
from collections.abc import Sequence
from pathlib import Path

from patience import PATIENCE


class Child:
    """A process, its standard input and output."""

    def __init__(self, *argv: str | Path) -> None:
        self.argv: Sequence[str | Path] = argv
        self.process = subprocess.Popen(
            argv, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdin and self.process.stdout
        self.input, self.output = self.process.stdin, self.process.stdout
        self.pid = self.process.pid

    def tell(self, line: str) -> None:
        """Send a line; `answer()` has what comes of it."""
        self.input.write(line.encode() + b"\n")

    def answer(self, patience: float = PATIENCE) -> str:
        assert not self.is_silent(patience), f"{self.argv} does not answer"
        line = self.output.readline()
        assert line, f"{self.argv} is gone: {self.process.wait()}"
        return line.decode().strip()

    def ask(self, line: str = "") -> str:
        self.tell(line)
        return self.answer()

    def is_silent(self, seconds: float) -> bool:
        return not select.select([self.output], [], [], seconds)[0]

    def end(self) -> int:
        """Let it come to its end; return its exit status."""
        self.input.close()
        status = self.process.wait(PATIENCE)
        self.output.close()
        return status

    def kill(self) -> None:
        self.process.kill()

    def bury(self) -> None:
        """Wait for the end of one that was killed, or is about to end."""
        self.process.wait(PATIENCE)
        self.input.close()
        self.output.close()
