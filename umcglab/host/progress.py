# SPDX-License-Identifier: MIT
"""How long-running steps tell how far they are."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """One job's line in the progress display; safe to call from any thread."""

    def phase(self, name: str, total: int | None = None) -> None:
        """Start a phase (`configure`, `compile`, ...) of `total` units, if known."""

    def advance(self, done: int, total: int | None = None) -> None:
        """Say that `done` units (not a delta) of the phase are finished."""

    def say(self, text: str) -> None:
        """Print one line that stays, such as a fallback a person must know of."""


class Silent:
    """A `Progress` that shows nothing, for callers with nobody watching."""

    def phase(self, name: str, total: int | None = None) -> None:
        pass

    def advance(self, done: int, total: int | None = None) -> None:
        pass

    def say(self, text: str) -> None:
        pass
