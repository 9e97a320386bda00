# SPDX-License-Identifier: MIT
"""A patched kernel with its ABI off is the control kernel, instruction by instruction."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from umcglab.host import command
from umcglab.host.progress import Silent
from umcglab.kernel import kernels
from umcglab.lab import config
from umcglab.lab.arch import ARCHES, Arch

pytestmark = [pytest.mark.lab, pytest.mark.nightly, pytest.mark.timeout(3600)]

LAB = config.load(config.ROOT / "lab.yaml")
CORES = len(os.sched_getaffinity(0))

NUMBER_OF_CALLS = {
    "x86_64": {"x64_sys_call", "do_syscall_64", "do_seccomp", "__seccomp_filter"},
    # Into do_seccomp() of Linux 7.3 the compiler puts what 6.12 has apart.
    "arm64": {
        "do_el0_svc",
        "__seccomp_filter",
        "do_seccomp",
        "seccomp_set_mode_filter",
    },
}
"""Where the number of system calls is, which have theirs with the ABI off as well."""

NO_CALL = re.compile(r"__(pfx_)?(__)?\w+_sys_umcg_(ctl|wait)")
"""What answers them then."""

_FUNCTION = re.compile(r"^[0-9a-f]+ <(.+)>:$")
_ADDRESS = re.compile(r"^\s*[0-9a-f]+:\s")
_TARGET = re.compile(r"\b[0-9a-f]+ (?=<)")
# Where strings are depends on the longest of them, and the release is one.
_STRING = re.compile(r"\.rodata\.str[0-9.]+(\+0x[0-9a-f]+)?")
# The compiler goes by the numbers it has given to variables, which all the source
# before decides, in which of two registers it names first. That is all the same if
# they are compared for equality, and for nothing else after that.
_SAME = re.compile(
    r"^(cmp\s+)([%\w]+),(\s*)([%\w]+)"
    r"(\n(?:je|jne|b\.eq|b\.ne)\s.*\n(?!j(?!mp)|b\.|set|cmov|cs))",
    re.MULTILINE,
)


def functions(file: Path, arch: Arch) -> dict[str, str]:
    """Return the instructions of an object, by function, wherever it lies."""
    objdump = f"{arch.cross_compile}objdump"
    said = command.output([objdump, "-dr", "--no-show-raw-insn", str(file)])
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in said.splitlines():
        if match := _FUNCTION.match(line):
            lines = found.setdefault(match[1], [])
        elif line:
            plain = _TARGET.sub("", _ADDRESS.sub("", line))
            lines.append(_STRING.sub("string", plain))
    return {name: _SAME.sub(_in_order, "\n".join(of)) for name, of in found.items()}


def _in_order(match: re.Match[str]) -> str:
    one, other = sorted((match[2], match[4]))
    return f"{match[1]}{one},{match[3]}{other}{match[5]}"


def objects(folder: Path) -> dict[str, Path]:
    """Return what was compiled, by its place in the tree, before any link."""
    return {
        str(path.relative_to(folder)): path
        for path in folder.rglob("*.o")
        if not path.name.startswith((".", "vmlinux"))
    }


@pytest.mark.parametrize("base", ["", "-7.3", "-6.1"])
@pytest.mark.parametrize("arch", ARCHES)
def test_with_the_abi_off_nothing_is_different(
    arch: str, base: str, tmp_path: Path
) -> None:
    control, patched = config.select(
        LAB, [f"{arch}-control{base}", f"{arch}-umcg-v0.5{base}"]
    )
    theirs, ours = (
        objects(
            kernels.work_tree(
                t, LAB, tmp_path / t.abi, Silent(), CORES, with_abi=on
            ).objects
        )
        for t, on in ((control, True), (patched, False))
    )
    assert len(ours) > 900
    assert ours.keys() == theirs.keys()
    changed = set()
    for name, path in ours.items():
        if path.read_bytes() == theirs[name].read_bytes():
            continue
        one, other = (functions(p, control.arch) for p in (path, theirs[name]))
        changed |= {f for f in one | other if one.get(f) != other.get(f)}
    assert {f for f in changed if not NO_CALL.fullmatch(f)} <= NUMBER_OF_CALLS[arch]
