# SPDX-License-Identifier: MIT
"""From instructions to lines of ours, in a program that stands for a kernel."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from umcglab.errors import InfraError
from umcglab.kernel import codemap
from umcglab.kernel.codemap import CodeMap
from umcglab.kernel.kernels import Kernel
from umcglab.lab.arch import ARCHES, Arch

HEADER = """\
static inline __attribute__((always_inline)) int looks(int word)
{
	return word ^ 0x55;
}
"""
SOURCE = """\
#include "toy.h"
int theirs(int word);
int theirs(int word)
{
	return word * 3;
}
int wait_for(int word, volatile int *where);
int wait_for(int word, volatile int *where)
{
	*where = looks(word);
	if (*where)
		*where = 7;
	return *where;
}
void _start(void);
void _start(void)
{
}
"""
OURS = {
    "kernel/toy.c": frozenset(range(7, 15)),
    "kernel/toy.h": frozenset({1, 2, 3, 4}),
}


@pytest.fixture(params=list(ARCHES.values()), ids=list(ARCHES))
def kernel(request: pytest.FixtureRequest, tmp_path: Path) -> Kernel:
    """A program with line tables, compiled as kbuild does: from a folder in the tree."""
    arch: Arch = request.param
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/toy.h").write_text(HEADER)
    (tmp_path / "kernel/toy.c").write_text(SOURCE)
    build = tmp_path / "build"
    build.mkdir()
    argv = [f"{arch.cross_compile}gcc", "-O2", "-g1", f"-fdebug-prefix-map={build}=.",
            "-fno-pie", "-no-pie", "-nostdlib", "-static", "-fno-stack-protector",
            "-fno-if-conversion", "-fno-if-conversion2",
            "-o", "vmlinux", "../kernel/toy.c"]  # fmt: skip
    subprocess.run(argv, cwd=build, check=True)
    said = subprocess.run(
        [f"{arch.cross_compile}nm", "-n", "vmlinux"],
        cwd=build, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    (build / "System.map").write_text(said)
    file = build / "System.map"
    return Kernel(
        dir=build, digest="x", release="x", arch=arch, image=file,
        vmlinux=build / "vmlinux", system_map=file, config=file, headers=build,
        log=file, identity={},
    )  # fmt: skip


def of_line(code: CodeMap, name: str, line: int) -> list[int]:
    return sorted(code.lines().get((name, line), ()))


def test_lines_are_those_of_ours_and_of_what_was_inlined(kernel: Kernel) -> None:
    code = codemap.read(kernel, OURS)
    assert {i.function for i in code.insns.values()} == {"wait_for"}
    assert {i.source for i in code.insns.values()} == {"kernel/toy.c"}
    inlined = of_line(code, "kernel/toy.h", 3)
    assert inlined and set(inlined) <= set(of_line(code, "kernel/toy.c", 10))
    assert code.sources("kernel/toy.h") == {"kernel/toy.c"}
    assert not of_line(code, "kernel/toy.c", 5)


def test_a_branch_knows_both_its_ends(kernel: Kernel) -> None:
    code = codemap.read(kernel, OURS)
    (branch,) = [i for i in code.insns.values() if i.next]
    assert branch.lines[0] == ("kernel/toy.c", 11)
    ends = {code.beyond[branch.target][1], code.beyond[branch.next][1]}
    assert ends == {12, 13}
    assert branch.next - branch.address in (2, 4, 6)


def test_a_kernel_without_our_lines(kernel: Kernel) -> None:
    with pytest.raises(InfraError, match="know no line of the series"):
        codemap.read(kernel, {"kernel/other.c": frozenset({1})})
    bare = kernel.dir / "bare"
    strip = f"{kernel.arch.cross_compile}strip"
    subprocess.run([strip, "-g", "-o", bare, kernel.vmlinux], check=True)
    with pytest.raises(InfraError, match="know no line of the series"):
        codemap.read(replace(kernel, vmlinux=bare), OURS)


def test_which_function_a_line_is_of(tmp_path: Path) -> None:
    text = "SYSCALL_DEFINE2(toy_wait, int, flags)\n{\n\tx();\n}\nstatic int toy(int a,\n\t\tint b)\n{\n}\n"
    (tmp_path / "toy.c").write_text(text)
    lines = {"toy.c": frozenset({3, 7})}
    found = codemap.names({"toy.c": tmp_path / "toy.c"}, lines)
    assert found == {("toy.c", 3): "toy_wait", ("toy.c", 7): "toy"}
