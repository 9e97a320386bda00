# SPDX-License-Identifier: MIT
"""Errors by whose fault they are: the class decides the exit code.

A `LabError` says what went wrong in one line, and where (a file and line, or
a log) and what to type next when that is known. `__main__` alone prints
them and turns them into an exit status.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class LabError(Exception):
    """A failure with an owner; use one of the three subclasses."""

    exit_code: ClassVar[int]

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        hint: str | None = None,
        log: Path | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint
        self.log = log

    def lines(self) -> list[str]:
        """Return the message and, each on a line of its own, where, log and hint."""
        out = [self.message]
        if self.where:
            out.append(f"  at:  {self.where}")
        if self.log:
            out.append(f"  log: {self.log}")
        if self.hint:
            out.append(f"  try: {self.hint}")
        return out


class PatchError(LabError):
    """The patch's fault: does not apply or build, fails a test, kills the guest."""

    exit_code = 1


class UserError(LabError):
    """The user's fault: lab.yaml or the command line."""

    exit_code = 2


class InfraError(LabError):
    """The lab's fault: download, disk, toolchain, QEMU. The only retryable kind."""

    exit_code = 3
