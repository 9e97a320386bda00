# SPDX-License-Identifier: MIT
"""Kconfig fragments: read, merged, and compared with what kbuild made of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from umcglab.errors import UserError
from umcglab.host import textfile

_SET = re.compile(r"(CONFIG_\w+)=(.+)")
_UNSET = re.compile(r"# (CONFIG_\w+) is not set")


@dataclass(frozen=True)
class Option:
    """A requested option; `n` stands for `is not set`."""

    name: str
    value: str
    where: str

    def __str__(self) -> str:
        return _line(self.name, self.value)


def read(fragments: Sequence[Path]) -> dict[str, Option]:
    """Return what the fragments together ask for; a later one wins."""
    merged: dict[str, Option] = {}
    for fragment in fragments:
        merged |= _read(fragment)
    return merged


def text(options: Mapping[str, Option]) -> str:
    """Return options as a .config."""
    return "".join(f"{option}\n" for option in options.values())


def missing(wanted: Mapping[str, Option], config: Path) -> list[tuple[Option, str]]:
    """Return the requested options that are otherwise in `config`, and how."""
    final = {}
    for line in config.read_text().splitlines():
        if pair := _pair(line):
            final[pair[0]] = pair[1]
    wrong = []
    for option in wanted.values():
        if final.get(option.name, "n") != option.value:
            actual = final.get(option.name)
            wrong.append((option, _line(option.name, actual) if actual else "absent"))
    return wrong


def _read(fragment: Path) -> dict[str, Option]:
    options: dict[str, Option] = {}
    for number, line in enumerate(textfile.lines(fragment), 1):
        where = f"{fragment}:{number}"
        pair = _pair(line)
        if pair is None:
            if line.strip() and not line.startswith("#"):
                raise UserError(f"not a line of a .config: {line!r}", where=where)
            continue
        name, value = pair
        if name in options:
            raise UserError(
                f"{name} is there twice, first at {options[name].where}", where=where
            )
        options[name] = Option(name, value, where)
    return options


def _pair(line: str) -> tuple[str, str] | None:
    line = line.rstrip()
    if match := _SET.fullmatch(line):
        return match[1], match[2]
    if match := _UNSET.fullmatch(line):
        return match[1], "n"
    return None


def _line(name: str, value: str) -> str:
    return f"# {name} is not set" if value == "n" else f"{name}={value}"
