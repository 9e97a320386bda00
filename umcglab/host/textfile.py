# SPDX-License-Identifier: MIT
"""Text files that users write."""

from __future__ import annotations

from pathlib import Path

from umcglab.errors import UserError


def lines(file: Path) -> list[str]:
    """Return the lines of a file in UTF-8, and of a byte order mark nothing."""
    found = []
    for number, line in enumerate(file.read_bytes().split(b"\n"), 1):
        try:
            found.append(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as e:
            raise UserError(f"not UTF-8: {e.reason}", where=f"{file}:{number}") from e
    return found
