# SPDX-License-Identifier: MIT
"""Where each fact and raw log of one run lies, as results/README.md documents it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


def program_stem(program: str) -> str:
    """Return the file name, without suffix, of a program's log and facts."""
    return program.replace("/", ".")


@dataclass(frozen=True)
class RunDir:
    """Where each fact and raw log of one run lies."""

    path: Path

    @property
    def run(self) -> Path:
        return self.path / "run.json"

    def target(self, target: str) -> Path:
        return self.path / target / "target.json"

    def build_log(self, target: str) -> Path:
        return self.path / target / "build.log"

    def console(self, target: str, boot: int) -> Path:
        return self.path / target / f"console-{boot}.log"

    def lines(self, target: str) -> Path:
        return self.path / target / "lines.json"

    def study(self, target: str) -> Path:
        return self.path / target / "study.json"

    def floor(self, target: str) -> Path:
        return self.path / target / "floor.log"

    def program(self, target: str, program: str) -> Path:
        return self.path / target / "programs" / f"{program_stem(program)}.json"

    def program_log(self, target: str, program: str) -> Path:
        return self.program(target, program).with_suffix(".log")

    def again_log(self, target: str, program: str) -> Path:
        """Return the log of a program that failed and was run once more."""
        return self.program(target, program).with_suffix(".again.log")

    def exact(self, target: str) -> Path:
        return self.path / target / "exact" / "exact.json"

    def exact_output(self, target: str, n: int) -> Path:
        return self.path / target / "exact" / f"{n}.out"

    def exact_console(self, target: str, n: int) -> Path:
        return self.path / target / "exact" / f"console-{n}.log"
