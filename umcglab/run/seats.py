# SPDX-License-Identifier: MIT
"""Several guests of one boot at a time, for as many programs that want one each."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from umcglab.guest.ssh import Snapshot
from umcglab.host.display import Event
from umcglab.host.progress import Progress

MOST = 8
"""Guests of a target that are run at once, at most."""


@dataclass(frozen=True)
class Seat:
    """Where one guest after the other goes on from the boot."""

    n: int
    """What its console's log is called by, as that of a boot is."""
    snapshot: Snapshot
    lock: Path
    """Held by the process whose guest it is."""


def count(cores: int, targets: int) -> int:
    """Return how many guests of a target to run at once, for so many on so many cores.

    Programs wait for a third of their time or more: three guests on two cores. With one
    alone a target would be as slow as its programs are together.
    """
    return max(2, min(MOST, cores * 3 // 2 // targets))


def cores(seats: int) -> int:
    """Return how many cores so many guests keep busy."""
    return max(1, seats * 2 // 3)


def make(snapshot: Snapshot, consoles: Mapping[int, Path], folder: Path) -> list[Seat]:
    """Return a seat for each of `consoles`, by number; the first has that of the boot.

    Their locks are in `folder`.
    """
    made = []
    for at, (n, console) in enumerate(consoles.items()):
        lock = folder / f"{n}.lock"
        lock.touch()
        own = snapshot.beside(console) if at else snapshot
        made.append(Seat(n, own, lock))
    return made


@contextlib.contextmanager
def taken(seats: Sequence[Seat]) -> Iterator[Seat]:
    """Yield a seat that is nobody else's meanwhile."""
    for seat in itertools.cycle(seats):
        with seat.lock.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.01)
                continue
            yield seat
            return


class Phases:
    """Shows the programs that run as the phase of the job whose they are."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._begun: dict[str, float] = {}

    def start(self, job: str, expected: float | None) -> None:
        self._begun[job] = time.monotonic()
        self._progress.phase(", ".join(self._begun))

    def event(self, job: str, event: Event) -> None:
        if event.kind == "say":
            self._progress.say(f"{job}: {event.text}")

    def finish(self, job: str, text: str) -> float:
        return time.monotonic() - self._begun.pop(job)

    def refresh(self) -> None:
        pass
