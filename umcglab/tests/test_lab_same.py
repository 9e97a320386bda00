# SPDX-License-Identifier: MIT
"""A patched kernel with its ABI off is the control kernel, instruction by instruction."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from umcglab import config, kbuild, tool
from umcglab.arch import ARCHES, Arch
from umcglab.progress import Silent

pytestmark = [pytest.mark.lab, pytest.mark.nightly, pytest.mark.timeout(3600)]

LAB = config.load(config.ROOT / "lab.yaml")
CORES = len(os.sched_getaffinity(0))

DISPATCH = {
    "x86_64": {"x64_sys_call", "do_syscall_64"},
    "arm64": {"el0_svc_common.constprop.0", "do_el0_svc"},
}
"""Where the number of system calls is, which have theirs with the ABI off as well."""

_FUNCTION = re.compile(r"^[0-9a-f]+ <(.+)>:$")
_ADDRESS = re.compile(r"^ *[0-9a-f]+:\t")
_TARGET = re.compile(r"\b[0-9a-f]+ (?=<)")


def functions(file: Path, arch: Arch) -> dict[str, list[str]]:
    """Return the instructions of an object, by function, wherever it lies."""
    objdump = f"{arch.cross_compile}objdump"
    said = tool.output([objdump, "-dr", "--no-show-raw-insn", str(file)])
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in said.splitlines():
        if match := _FUNCTION.match(line):
            lines = found.setdefault(match[1], [])
        elif line:
            lines.append(_TARGET.sub("", _ADDRESS.sub("", line)))
    found.pop("", None)
    return found


def objects(folder: Path) -> dict[str, Path]:
    """Return what was compiled, by its place in the tree, before any link."""
    every = (path for path in folder.rglob("*.o") if not path.name.startswith("."))
    found = {str(path.relative_to(folder)): path for path in every}
    return {
        name: path for name, path in found.items() if not name.startswith("vmlinux")
    }


@pytest.mark.parametrize("arch", ARCHES)
def test_with_the_abi_off_nothing_is_different(arch: str, tmp_path: Path) -> None:
    control, patched = config.select(LAB, [f"{arch}-control", f"{arch}-umcg-v0.5"])
    theirs, ours = (
        objects(
            kbuild.work_tree(
                t, LAB, tmp_path / t.abi, Silent(), CORES, with_abi=on
            ).objects
        )
        for t, on in ((control, True), (patched, False))
    )
    assert len(ours) > 1000
    assert ours.keys() == theirs.keys()
    changed = set()
    for name, path in ours.items():
        if path.read_bytes() == theirs[name].read_bytes():
            continue
        one, other = (functions(p, control.arch) for p in (path, theirs[name]))
        changed |= {f for f in one | other if one.get(f) != other.get(f)}
    assert changed <= DISPATCH[arch]
