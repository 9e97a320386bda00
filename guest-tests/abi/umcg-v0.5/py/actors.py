# SPDX-License-Identifier: GPL-2.0
"""Servers in processes of their own, commanded through pipes."""

from __future__ import annotations

import mmap
import os
import struct
import sys
from pathlib import Path

from child import Child
from patience import PATIENCE, until

HERE = Path(__file__).resolve().parent
ACTOR = HERE.parent.parent / "bin" / "helpers" / HERE.name / "actor"

RUNNING, IDLE, BLOCKED = 1, 2, 3
WAKE_ONLY = 1

SLOTS = 64
TASK_SIZE = 64


class Actor:
    """One process, and the slot its `umcg_task` lies in."""

    def __init__(self, stage: Stage, slot: int) -> None:
        self.stage = stage
        self.slot = slot
        self.child = Child(ACTOR, stage.path, str(slot))
        self.pid = self.child.pid

    @property
    def word(self) -> int:
        at = self.slot * TASK_SIZE
        return int.from_bytes(self.stage.memory[at : at + 4], sys.byteorder)

    @word.setter
    def word(self, value: int) -> None:
        struct.pack_into("=I", self.stage.memory, self.slot * TASK_SIZE, value)

    def tell(self, command: str) -> None:
        """Send a command; `answer()` has what comes of it."""
        self.child.tell(command)

    def answer(self, patience: float = PATIENCE) -> int:
        silent = self.is_silent(patience)
        assert not silent, f"actor {self.pid} does not answer: {self.state}"
        return int(self.child.answer(0.0))

    def ask(self, command: str) -> int:
        self.tell(command)
        return self.answer()

    def is_silent(self, seconds: float = 0.05) -> bool:
        return self.child.is_silent(seconds)

    def wake(self, other: Actor) -> int:
        """Make `other` RUNNING and wake it; return what the kernel says."""
        other.word = RUNNING
        return self.ask(f"wait {WAKE_ONLY} {other.pid} 0")

    def go_idle(self, ms: int = 0) -> None:
        """Register, and be asleep in umcg_wait() when this returns."""
        assert self.ask("register") == 0
        assert self.ask(f"word {IDLE}") == 0
        self.tell(f"wait 0 0 {ms}")
        # It may sleep at its pipe before, so look where it does. Or its time is over.
        until(
            lambda: "umcg" in self.wchan or (ms > 0 and not self.is_silent(0.0)),
            f"{self.pid} idle",
        )

    def proc(self, name: str) -> str:
        return Path(f"/proc/{self.pid}/{name}").read_text()

    @property
    def wchan(self) -> str:
        return self.proc("wchan")

    @property
    def is_off_cpu(self) -> bool:
        return not self.proc("syscall").startswith("running")

    @property
    def state(self) -> str:
        return self.proc("stat").rpartition(")")[2].split()[0]

    def is_in(self, state: str) -> bool:
        return self.state == state

    @property
    def cpu_ticks(self) -> int:
        user, system = self.proc("stat").rpartition(")")[2].split()[11:13]
        return int(user) + int(system)

    @property
    def switches(self) -> int:
        """How often it has been switched away from."""
        lines = self.proc("status").splitlines()
        return sum(int(x.split()[1]) for x in lines if "ctxt_switches" in x)


class Stage:
    """The shared file, and everyone on it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "tasks"
        self.path.write_bytes(bytes(SLOTS * TASK_SIZE))
        fd = os.open(self.path, os.O_RDWR)
        self.memory = mmap.mmap(fd, SLOTS * TASK_SIZE)
        os.close(fd)
        self.actors: list[Actor] = []

    def actor(self) -> Actor:
        self.actors.append(Actor(self, len(self.actors)))
        return self.actors[-1]

    def server(self) -> Actor:
        """Return an actor that is a server, awake."""
        actor = self.actor()
        assert actor.ask("register") == 0
        return actor

    def close(self) -> None:
        for actor in self.actors:
            actor.child.kill()
        for actor in self.actors:
            actor.child.bury()
