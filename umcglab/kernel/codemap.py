# SPDX-License-Identifier: MIT
"""What a kernel's instructions come from: those that lines of ours have become.

vmlinux has line tables (`kernel.kbuild` sees to that), so the kernel whose tests and
figures count is the one that is looked at: none is built for the purpose.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from umcglab.errors import InfraError
from umcglab.host import command
from umcglab.kernel.kernels import Kernel

Line = tuple[str, int]
"""A file, by its name in the kernel's tree, and the number of a line of it."""

_HEADING = re.compile(r"^(?:CU: )?(\S+):$")
_ROW = re.compile(r"^\S+ +(\d+) +(0x[0-9a-f]+)")
_INSN = re.compile(r"^ *([0-9a-f]+):\t(.*)$", re.M)
BRANCH = re.compile(
    r"(?:j(?!mp)\w+|b\.\w+|cbn?z\s.*,|tbn?z\s.*,)\s*(?:0x)?([0-9a-f]+)(?= |$)"
)
"""A conditional branch of either architecture, and where it leads."""


@dataclass(frozen=True)
class Insn:
    """One instruction of which a line of ours is the reason."""

    address: int
    function: str
    """The symbol that it is in."""
    lines: tuple[Line, ...]
    """Of ours: its own, and those that called what was inlined; innermost first."""
    source: str
    """The file that was being compiled, as far as the debug information tells."""
    text: str
    target: int = 0
    """Where a conditional branch leads; 0 if it is none."""
    next: int = 0


@dataclass(frozen=True)
class CodeMap:
    """All instructions of ours, and the lines of what branches lead to."""

    insns: Mapping[int, Insn]
    beyond: Mapping[int, Line]
    """The line behind each address that a branch of ours leads to, ours or not."""

    def lines(self) -> dict[Line, set[int]]:
        """Return the instructions of each line that has some."""
        found: dict[Line, set[int]] = {}
        for insn in self.insns.values():
            for line in insn.lines:
                found.setdefault(line, set()).add(insn.address)
        return found

    def sources(self, name: str) -> set[str]:
        """Return the files that lines of `name` were compiled in."""
        return {
            i.source for i in self.insns.values() if any(f == name for f, _ in i.lines)
        }


def read(kernel: Kernel, ours: Mapping[str, Collection[int]]) -> CodeMap:
    """Return the instructions of a kernel that come from lines of ours."""
    vmlinux, prefix = kernel.vmlinux, kernel.arch.cross_compile
    table = command.output([f"{prefix}readelf", "--debug-dump=decodedline", "-W",
                            str(vmlinux)])  # fmt: skip
    starts = sorted(_addresses(table, ours))
    if not starts:
        raise InfraError(f"{vmlinux}: its line tables know no line of the series")
    symbols = _symbols(kernel)
    bounds = sorted(symbols)
    functions: dict[int, int] = {}
    for address in starts:
        at = bisect_right(bounds, address) - 1
        if 0 <= at < len(bounds) - 1:
            functions[bounds[at]] = bounds[at + 1]
    code: list[tuple[int, str, str, int]] = []
    for start, end in functions.items():
        said = command.output([f"{prefix}objdump", "-d", "--no-show-raw-insn",
                               f"--start-address={start}", f"--stop-address={end}",
                               str(vmlinux)])  # fmt: skip
        found = [(int(m[1], 16), m[2]) for m in _INSN.finditer(said)]
        after = [a for a, _ in found[1:]] + [end]
        code += [
            (a, t, symbols[start], n) for (a, t), n in zip(found, after, strict=True)
        ]
    chains = _chains(kernel, [address for address, *_ in code])
    insns = {}
    for address, text, function, following in code:
        chain = chains[address]
        mine = tuple(line for line in chain if line[1] in ours.get(line[0], ()))
        if mine:
            branch = BRANCH.match(text)
            insns[address] = Insn(
                address=address,
                function=function,
                lines=mine,
                source=chain[-1][0],
                text=text,
                target=int(branch[1], 16) if branch else 0,
                next=following if branch else 0,
            )
    ends = {a for i in insns.values() if i.next for a in (i.target, i.next)}
    more = _chains(kernel, sorted(ends - chains.keys()))
    every = {**more, **chains}
    beyond = {
        a: next((x for x in every[a] if x[1] in ours.get(x[0], ())), every[a][0])
        for a in ends
    }
    return CodeMap(insns, beyond)


def _addresses(table: str, ours: Mapping[str, Collection[int]]) -> Iterator[int]:
    """Return where instructions of lines of ours begin."""
    mine: Collection[int] = ()
    for line in table.splitlines():
        if line.endswith(":"):
            if heading := _HEADING.match(line):
                mine = ours.get(_in_tree(heading[1]), ())
        elif mine and (row := _ROW.match(line)) and int(row[1]) in mine:
            yield int(row[2], 16)


def _in_tree(path: str) -> str:
    return path.removeprefix("./").removeprefix("../")


def _symbols(kernel: Kernel) -> dict[int, str]:
    found: dict[int, str] = {}
    for row in map(str.split, kernel.system_map.read_text().splitlines()):
        if row[1] in "tTwW" and not row[2].startswith("__pfx_"):
            found.setdefault(int(row[0], 16), row[2])
    return found


def _chains(kernel: Kernel, addresses: list[int]) -> dict[int, tuple[Line, ...]]:
    """Return the line of each address, and those that called what was inlined there."""
    if not addresses:
        return {}
    said = command.output(
        [f"{kernel.arch.cross_compile}addr2line", "-ai", "-e", str(kernel.vmlinux)],
        stdin="".join(f"{address:#x}\n" for address in addresses),
    )
    answers = re.split(r"^0x.*\n", said, flags=re.M)[1:]
    return {
        address: _chain(answer) or (("?", 0),)
        for address, answer in zip(addresses, answers, strict=True)
    }


def _chain(answer: str) -> tuple[Line, ...]:
    rows = (line.partition(" ")[0].rpartition(":") for line in answer.splitlines())
    return tuple((_in_tree(f), int(n)) for f, _, n in rows if n.isdecimal())


def names(
    files: Mapping[str, Path], ours: Mapping[str, Collection[int]]
) -> dict[Line, str]:
    """Return the function, by its name in the source, of each line of ours."""
    found: dict[Line, str] = {}
    for name, lines in ours.items():
        function = ""
        text = files[name].read_text(errors="replace")
        for number, line in enumerate(text.split("\n"), 1):
            if head := re.match(r"(?:SYSCALL_DEFINE\d\((\w+)|[a-z_].*?(\w+)\()", line):
                function = head[1] or head[2]
            if number in lines:
                found[name, number] = function
    return found
