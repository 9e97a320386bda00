# SPDX-License-Identifier: MIT
"""Source lines for what a splat says: `function+0x1/0x2` to `file:line`.

A splat names a function and an offset; the kernel's own vmlinux has the line
tables. They are asked as soon as a target is done, for the cache that has the
vmlinux may be emptied, while results stay.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping

from umcglab.errors import LabError
from umcglab.host import command
from umcglab.kernel.kernels import Kernel
from umcglab.results import codec
from umcglab.results.facts import LineFacts
from umcglab.results.rundir import RunDir
from umcglab.verdict import places, splat
from umcglab.verdict.places import PLACE


def write(kernel: Kernel, run_dir: RunDir, target: str) -> None:
    """Write down the source lines of every place that the target's splats name."""
    folder = run_dir.target(target).parent
    consoles = [*folder.glob("console-*.log"), *folder.glob("exact/console-*.log")]
    found = [s for log in consoles for s in splat.scan(log.read_text(errors="replace"))]
    if wanted := places.find(s.excerpt for s in found):
        codec.write(run_dir.lines(target), LineFacts(resolve(kernel, wanted)))


def resolve(kernel: Kernel, wanted: Mapping[str, bool]) -> dict[str, str]:
    """Return the source line of each place that has one.

    What a trace names is where a call returns to: the call is just before.
    """
    symbols = _Symbols(kernel.system_map.read_text())
    asked = {}
    for place, is_pc in wanted.items():
        match = PLACE.fullmatch(place)
        assert match
        at, size = int(match["at"], 16), int(match["size"], 16)
        start = symbols.find(match["name"], size)
        if start is not None:
            asked[place] = start + at - (at > 0 and not is_pc)
    if not asked:
        return {}
    addr2line = f"{kernel.arch.cross_compile}addr2line"
    addresses = [f"{address:#x}" for address in asked.values()]
    try:
        said = command.output([addr2line, "-ai", "-e", str(kernel.vmlinux), *addresses])
    except LabError:
        return {}
    # `-a` puts the address before the lines of each answer, `-i` makes it several.
    answers = re.split(r"^0x.*\n", said, flags=re.M)[1:]
    lines = {p: _chain(answer) for p, answer in zip(asked, answers, strict=True)}
    return {place: line for place, line in lines.items() if line}


def _chain(answer: str) -> str:
    """Return where an address is, and into what that was inlined; or nothing.

    Paths are relative to the kernel's tree, as builds are in a folder of it.
    """
    lines = (line.partition(" ")[0] for line in answer.splitlines())
    known = (line.removeprefix("./../") for line in lines if "?" not in line)
    return " < ".join(known)


class _Symbols:
    """System.map, asked as kallsyms is: a symbol reaches to the next address."""

    def __init__(self, system_map: str) -> None:
        rows = [line.split() for line in system_map.splitlines()]
        text = [(int(row[0], 16), row[2]) for row in rows if row[1] in "tTwW"]
        self._ends = sorted({address for address, _ in text})
        self._starts: dict[str, list[int]] = {}
        for address, name in text:
            self._starts.setdefault(name, []).append(address)

    def find(self, name: str, size: int) -> int | None:
        """Return where `name` is; of several, the one that is `size` long."""
        starts = self._starts.get(name, [])
        if len(starts) > 1:
            starts = [start for start in starts if self._size(start) == size]
        return starts[0] if len(starts) == 1 else None

    def _size(self, start: int) -> int:
        after = bisect_right(self._ends, start)
        return self._ends[after] - start if after < len(self._ends) else 0
