# SPDX-License-Identifier: MIT
"""Progress a person can watch on a terminal, and plain lines elsewhere.

One process draws: jobs send `Event`s (pool.py), so nothing here is shared
between threads or processes.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.live import Live
from rich.table import Table

PLAIN_EVERY = 30.0
"""Seconds between lines about one job where there is no terminal."""


@dataclass(frozen=True)
class Event:
    """One step of a job: see `progress.Progress` for what each kind means."""

    kind: Literal["phase", "advance", "say"]
    text: str = ""
    done: int = 0
    total: int | None = None


@dataclass
class _Row:
    """What is known of one running job."""

    started: float
    expected: float | None
    phase: str = "starting"
    done: int = 0
    total: int | None = None
    printed: float = field(default=0.0)

    def status(self, now: float) -> str:
        text = self.phase
        if self.total:
            text += f" {self.done}/{self.total}, {100 * self.done // self.total} %"
        elif self.done:
            text += f" {self.done}"
        text += f", {clock(now - self.started)}"
        if self.expected:
            text += f" of about {clock(self.expected)}"
        return text


def clock(seconds: float) -> str:
    """Return a duration as people say it: `7s`, `2m05s`, `1h02m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"


class _Console(Console):
    """A console that falls silent when whoever read it is gone; rich would exit."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Display:
    """Shows running jobs; `console` decides whether that is a live table."""

    def __init__(
        self,
        console: Console | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        # Said, for FORCE_COLOR in the environment would make any file a terminal.
        self._console = console or _Console(
            stderr=True, highlight=False, force_terminal=sys.stderr.isatty()
        )
        self._now = now
        self._rows: dict[str, _Row] = {}
        self._log: Path | None = None
        # Drawn only from refresh(): a refreshing thread of Live's own would be
        # alive while the pool forks.
        self._live = (
            Live(console=self._console, auto_refresh=False, transient=True)
            if self._console.is_terminal and not self._console.is_dumb_terminal
            else None
        )

    def __enter__(self) -> Display:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.update(Table.grid(), refresh=True)
            self._live.stop()

    def tee(self, log: Path) -> None:
        """From now on append every line that stays to `log` too."""
        self._log = log

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if self._log:
            with self._log.open("a") as f:
                f.write(f"{text}\n")
        # A run goes on when nobody can read it: what it finds is in its folder.
        with contextlib.suppress(OSError):
            self._console.print(text, markup=False, soft_wrap=True)

    def start(self, job: str, expected: float | None) -> None:
        """Show `job`, which took `expected` seconds the last time, if known."""
        self._rows[job] = _Row(self._now(), expected)

    def event(self, job: str, event: Event) -> None:
        """Show what a job says of itself."""
        row = self._rows[job]
        if event.kind == "say":
            self.say(f"{job}: {event.text}")
        elif event.kind == "phase":
            row.phase, row.done, row.total = event.text, 0, event.total
            if not self._live:
                self._print(job, row)
        else:
            row.done, row.total = event.done, event.total or row.total

    def finish(self, job: str, text: str) -> float:
        """Take `job` off the display, print its last line, return its seconds."""
        row = self._rows.pop(job)
        took = self._now() - row.started
        self.say(f"{job}: {text} ({clock(took)})")
        return took

    def refresh(self) -> None:
        """Draw; call often."""
        if self._live:
            grid = Table.grid(padding=(0, 2))
            now = self._now()
            for job, row in self._rows.items():
                grid.add_row(job, row.status(now))
            self._live.update(grid, refresh=True)
            return
        for job, row in self._rows.items():
            if self._now() - max(row.printed, row.started) > PLAIN_EVERY:
                self._print(job, row)

    def _print(self, job: str, row: _Row) -> None:
        row.printed = self._now()
        self.say(f"{job}: {row.status(row.printed)}")
