# SPDX-License-Identifier: MIT
"""A lab around the toy kernel: everything real but the size of the kernel."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from umcglab.lab import config
from umcglab.lab.config import Lab

TOY = Path(__file__).parent / "toykernel"

UMCG_C = """\
// SPDX-License-Identifier: GPL-2.0
int umcg_wait(int flags);

int umcg_wait(int flags)
{
\treturn flags;
}
"""

LAB = """\
sources:
  "6.99": {tree: linux}
targets:
  x86_64-control: {arch: x86_64, source: "6.99", abi: control}
  x86_64-umcg-toy: {arch: x86_64, source: "6.99", abi: umcg-toy}
  arm64-control: {arch: arm64, source: "6.99", abi: control}
"""


def patch(subject: str, files: Mapping[str, tuple[str, str]]) -> str:
    """Return a patch that takes each file from its first text to its second."""
    text = f"From: A\nSubject: [PATCH] {subject}\n\n---\n"
    for name, (old, new) in files.items():
        text += "".join(
            difflib.unified_diff(
                old.splitlines(keepends=True),
                new.splitlines(keepends=True),
                f"a/{name}" if old else "/dev/null",
                f"b/{name}",
            )
        )
    return text


@dataclass
class Progress:
    """Remembers what was said."""

    phases: list[str] = field(default_factory=list)
    totals: dict[str, int | None] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    done: int = 0

    def phase(self, name: str, total: int | None = None) -> None:
        self.phases.append(name)
        self.totals[name] = total

    def advance(self, done: int, total: int | None = None) -> None:
        self.done = done

    def say(self, text: str) -> None:
        self.said.append(text)


@dataclass(frozen=True)
class ToyLab:
    """A folder with a lab.yaml, kernel-patches, a cache and a tree of the kernel."""

    root: Path

    @property
    def tree(self) -> Path:
        return self.root / "linux"

    @property
    def patches(self) -> Path:
        return self.root / "kernel-patches"

    def load(self) -> Lab:
        return config.load(self.root / "lab.yaml", self.root)

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def series(self, name: str, *patches: str) -> None:
        """Replace a series, such as `plumbing/6.99`, by `patches`."""
        part, base = name.split("/")
        shutil.rmtree(self.patches / name, ignore_errors=True)
        names = [f"{base}/{n:04}-toy.patch" for n in range(1, len(patches) + 1)]
        for path, text in zip(names, patches, strict=True):
            self.write(f"kernel-patches/{part}/{path}", text)
        self.write(f"kernel-patches/{name}.series", "\n".join(["# toy", *names, ""]))

    def old(self, name: str) -> str:
        """Return a file of the toy kernel as it is unpatched."""
        return (TOY / name).read_text()


def make(root: Path) -> ToyLab:
    """Fill `root` with a lab whose series adds umcg.c and changes fork.c."""
    lab = ToyLab(root)
    shutil.copytree(TOY, lab.tree)
    lab.write("lab.yaml", f"cache: cache\n{LAB}")
    lab.write("kernel-patches/kconfig/base.config", "CONFIG_SMP=y\n")
    lab.write("kernel-patches/kconfig/arch/x86_64.config", "CONFIG_X86=y\n")
    lab.write("kernel-patches/kconfig/arch/arm64.config", "CONFIG_ARM64=y\n")
    lab.write(
        "kernel-patches/kconfig/flavor/bench.config", "# CONFIG_DEBUG is not set\n"
    )
    lab.write("kernel-patches/kconfig/flavor/probed.config", "CONFIG_SMP=y\n")
    lab.write("kernel-patches/kconfig/flavor/debug.config", "CONFIG_DEBUG=y\n")
    lab.write("kernel-patches/umcg-toy/config", "CONFIG_UMCG=y\n")
    fork = lab.old("kernel/fork.c")
    hooked = fork.replace("\tpid += cpu;\n", "\tpid += cpu + 1;\n")
    lab.series("plumbing/6.99", patch("fork: count", {"kernel/fork.c": (fork, hooked)}))
    lab.series("umcg-toy/6.99", patch("umcg: add", {"kernel/umcg.c": ("", UMCG_C)}))
    return lab


def plan(toy: ToyLab, text: str) -> None:
    """Give the toy lab a guest suite's manifests; `text` is that of the harness."""
    toy.write("guest-tests/harness/manifest.yaml", text)
    own = "umcg-toy/own: {kind: test, tests: {passes: }}\n"
    toy.write("guest-tests/abi/umcg-toy/manifest.yaml", own)
    toy.write("guest-tests/bench/manifest.yaml", "yard/toy: {kind: bench}\n")
