# SPDX-License-Identifier: MIT
"""Errors by whose fault they are: the class decides the exit code.

A `LabError` says what went wrong in one line, and where (a file and line, or
a log) and what to type next when that is known. `__main__` alone prints
them and turns them into an exit status.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path
from typing import ClassVar


class Fault(IntEnum):
    """Who has to act on a problem, as an exit status. A lower one outranks a higher."""

    PATCH = 1
    USER = 2
    LAB = 3

    @property
    def owner(self) -> str:
        return ("the patch", "lab.yaml or the command line", "the lab")[self - 1]


def worst(faults: Iterable[int]) -> int:
    """Return the exit status that these deserve together; 0 if there are none."""
    return min(faults, default=0)


class LabError(Exception):
    """A failure with an owner; use one of the three subclasses."""

    exit_code: ClassVar[Fault]

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

    exit_code = Fault.PATCH


class UserError(LabError):
    """The user's fault: lab.yaml or the command line."""

    exit_code = Fault.USER


class InfraError(LabError):
    """The lab's fault: download, disk, toolchain, QEMU. The only retryable kind."""

    exit_code = Fault.LAB
