# SPDX-License-Identifier: MIT
"""The places that a splat names: `function+0x1/0x2`, and source lines behind them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

# A name begins where no name goes on: else a line of letters, which has none, is
# looked through from each of them. No address has more than 16 digits.
PLACE = re.compile(
    r"(?<![\w.])(?P<name>[A-Za-z_][\w.]*)"
    r"\+0x(?P<at>[0-9a-f]{1,16})/0x(?P<size>[0-9a-f]{1,16})(?![0-9a-f])"
)
# What these lines name is what the program counter was. A WARNING's place is that of
# its trapping instruction; `(P)` ends the frame of a trace that is an exception's.
_AT_PC = re.compile(r"(?:RIP: [0-9a-f]+:|pc : |WARNING: )|.*\(P[A-Z]*\)$")


def find(excerpts: Iterable[str]) -> dict[str, bool]:
    """Return the places that splats name, and whether each is a program counter."""
    seen: dict[str, bool] = {}
    for excerpt in excerpts:
        for line in excerpt.splitlines():
            is_pc = bool(_AT_PC.match(line))
            for match in PLACE.finditer(line):
                # The first frame of an arm64 trace says its `pc` again.
                seen[match[0]] = seen.get(match[0], False) or is_pc
    return seen


def annotate(text: str, lines: Mapping[str, str]) -> str:
    """Return a splat with the source line behind each place in it."""
    return PLACE.sub(lambda m: f"{m[0]} {lines[m[0]]}" if m[0] in lines else m[0], text)
