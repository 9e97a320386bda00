# SPDX-License-Identifier: MIT
"""Configurations that a series must compile in, and what of a tree to compile."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from umcglab.errors import PatchError
from umcglab.kernel import kconfig, kernels
from umcglab.kernel.kbuild import Build
from umcglab.kernel.kconfig import Option
from umcglab.lab.arch import Arch
from umcglab.lab.config import Lab, Target


class NotHereError(Exception):
    """What was asked for cannot be had of this kernel or host: no fault, but said."""


@dataclass(frozen=True)
class Variant:
    """One way to configure a kernel."""

    name: str
    goal: str = "allnoconfig"
    """What kbuild calls the configuration that `options` change."""
    own: bool = False
    """Whether the target's own fragments come before `options`."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What it is about: the value of each option, `n` for `is not set`."""
    with_abi: Mapping[str, str] = field(default_factory=dict)
    """What an ABI needs beside its fragment."""
    must: bool = True
    """Whether an ABI must be possible in it."""
    only: tuple[str, ...] = ("x86_64", "arm64")
    """The architectures that can be so."""
    user_mode: bool = False
    """Whether it is a kernel that is a program of the host."""
    quick: bool = False
    """Whether `--quick` has it too."""


OWN = Variant("own configuration", own=True, quick=True)
UM = Variant(
    "ARCH=um",
    # Without 64BIT it would be a 32-bit program, which few hosts have the headers for.
    options={
        "CONFIG_64BIT": "y",
        "CONFIG_KUNIT": "y",
        "CONFIG_UMCG_KUNIT_TEST": "y",
    },
    must=False,
    only=("x86_64",),
    user_mode=True,
)
VARIANTS = (
    OWN,
    Variant(
        "SMP=n",
        own=True,
        options={"CONFIG_SMP": "n"},
        must=False,
        only=("x86_64",),
        quick=True,
    ),
    Variant(
        "PREEMPT_RT=y",
        own=True,
        options={"CONFIG_PREEMPT_RT": "y", "CONFIG_PREEMPT_NONE": "n"},
    ),
    Variant("allnoconfig", with_abi={"CONFIG_SMP": "y"}),
    Variant("allmodconfig", goal="allmodconfig"),
    UM,
)


def machine(variant: Variant, target: Target) -> Arch:
    """Return what to build for; NotHereError if this host cannot."""
    if not variant.user_mode:
        return target.arch
    if target.arch.cross_compile:
        raise NotHereError("user-mode Linux is a program of an x86_64 host")
    return replace(target.arch, kernel_arch="um")


def abi_options(target: Target, lab: Lab) -> dict[str, Option]:
    """Return what the fragments of the target's ABI ask for."""
    return kconfig.read(kernels.abi_fragments(target, lab))


def configure(
    variant: Variant, target: Target, lab: Lab, built: Build, *, with_abi: bool
) -> None:
    """Configure a patched tree, with the ABI on or off.

    NotHereError if the kernel does not have it so, PatchError if that is the series'
    doing.
    """
    files = kernels.plain_fragments(target, lab) if variant.own else ()
    wanted = kconfig.read(files)
    about = _options(variant.options, variant.name)
    abi = abi_options(target, lab)
    if with_abi:
        abi |= _options(variant.with_abi, variant.name)
    else:
        abi = {name: replace(option, value="n") for name, option in abi.items()}
    kernels.configure(built, {**wanted, **about, **abi}, variant.goal)
    final = built.objects / ".config"
    if wrong := _said(about, final):
        raise NotHereError(f"not in this base: {wrong}")
    if wrong := _said(abi, final):
        if with_abi and not variant.must:
            raise NotHereError(f"the ABI cannot be on here: {wrong}")
        raise PatchError(f"{built.name}: {wrong}", where=next(iter(abi.values())).where)
    if variant == OWN and (wrong := _said(wanted, final)):
        raise PatchError(f"{built.name}: {wrong}")


def _options(values: Mapping[str, str], where: str) -> dict[str, Option]:
    return {name: Option(name, value, where) for name, value in values.items()}


def _said(wanted: Mapping[str, Option], final: Path) -> str:
    missing = kconfig.missing(wanted, final)
    return "; ".join(f"{option} is {actual}" for option, actual in missing)


# Of Linux, what may be compiled; what else a series touches is no part of a kernel.
_NO_CODE = ("Documentation", "LICENSES", "samples", "scripts", "tools", "usr")
_TABLES = {
    "x86_64": "arch/x86/entry/syscall_64.o",
    "arm64": "arch/arm64/kernel/sys.o",
}
"""Where the tables of system calls are compiled."""


def goals(names: Iterable[str], built: Build) -> list[str]:
    """Return what to make, so that files of a tree are compiled as it is configured.

    A folder below `kernel/` and its like is made whole: a header there is used by all
    that is in it. No object is named that the configuration does not have, for make
    would try to compile it all the same.
    """
    kernel_arch = built.arch.kernel_arch
    folder = "x86" if kernel_arch == "x86_64" else kernel_arch
    config = (built.objects / ".config").read_text()
    found: dict[str, None] = {}
    for name in names:
        path = Path(name)
        top = path.parts[0]
        if name.endswith((".tbl", "asm-generic/unistd.h")) and kernel_arch in _TABLES:
            found[_TABLES[kernel_arch]] = None
        if top in (*_NO_CODE, "include") or not (built.tree / name).exists():
            continue
        is_code = path.suffix in (".c", ".S")
        if top == "arch" and path.parts[1] != folder:
            continue
        if top != "arch" and len(path.parts) > 2:
            if is_code or path.suffix == ".h":
                goal = path.parent
                if _is_on(goal, "/", built.tree, config):
                    found[f"{goal}/"] = None
        elif is_code and _is_on(path.with_suffix(".o"), "", built.tree, config):
            found[str(path.with_suffix(".o"))] = None
    return list(found)


def _is_on(path: Path, mark: str, tree: Path, config: str) -> bool:
    """Whether the Makefiles around `path`, an object or a folder, have it made."""
    while len(path.parts) > 1 and path.parts[0] != "arch":
        makefile = tree / path.parent / "Makefile"
        text = makefile.read_text() if makefile.exists() else ""
        word = re.escape(f"{path.name}{mark}")
        rules = re.findall(
            rf"^obj-(\S+?)\s*[+:]?=(?:.*\s)?{word}(?!\S)",
            text.replace("\\\n", " "),
            re.MULTILINE,
        )
        # One that no rule names is part of another.
        if rules and not any(_holds(rule, config) for rule in rules):
            return False
        path, mark = path.parent, "/"
    return True


def _holds(rule: str, config: str) -> bool:
    if rule in ("y", "m"):
        return True
    name = re.escape(rule.removeprefix("$(").removesuffix(")"))
    return re.search(rf"^{name}=[ym]$", config, re.MULTILINE) is not None
