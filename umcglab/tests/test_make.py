# SPDX-License-Identifier: MIT
"""What make says when it fails, as kbuild of 6.12 has been seen to say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from umcglab.errors import UserError
from umcglab.kernel import kbuild, kconfig


@pytest.mark.parametrize(
    ("log", "error"),
    [
        (
            "  CC      kernel/fork.o\n"
            "In file included from ../kernel/fork.c:16:\n"
            "../include/linux/umcg.h: In function 'umcg_fork':\n"
            "../include/linux/umcg.h:41:9: warning: unused variable 'x'\n"
            "../include/linux/umcg.h:42:16: error: 'y' undeclared\n"
            "../kernel/fork.c:99:1: error: later\n"
            "make[4]: *** [../scripts/Makefile.build:229: kernel/fork.o] Error 1\n"
            "make[3]: *** Waiting for unfinished jobs....\n",
            "include/linux/umcg.h:42:16: error: 'y' undeclared",
        ),
        (
            "../kernel/sched/umcg.c:9:10: fatal error: linux/none.h: No such file\n"
            "compilation terminated.\n",
            "kernel/sched/umcg.c:9:10: fatal error: linux/none.h: No such file",
        ),
        (
            "./arch/x86/include/generated/asm/x.h:3:2: error: #error no\n",
            "arch/x86/include/generated/asm/x.h:3:2: error: #error no",
        ),
        (
            "../arch/x86/entry/entry_64.S: Assembler messages:\n"
            "../arch/x86/entry/entry_64.S:81: Error: no such instruction: `swapg'\n",
            "arch/x86/entry/entry_64.S:81: Error: no such instruction: `swapg'",
        ),
        (
            "init/Kconfig:1790: syntax error\nmake[2]: *** [allnoconfig] Error 1\n",
            "init/Kconfig:1790: syntax error",
        ),
        (
            "ld: vmlinux.o: in function `__schedule':\n"
            "core.c:(.text+0x1f3): undefined reference to `umcg_sched_in'\n"
            "make[2]: *** [../scripts/Makefile.vmlinux:34: vmlinux] Error 1\n",
            "core.c:(.text+0x1f3): undefined reference to `umcg_sched_in'",
        ),
        (
            "vmlinux.o: error: objtool: umcg_wait+0x3: unreachable\n"
            "make[2]: *** [vmlinux.o] Error 255\n",
            "vmlinux.o: error: objtool: umcg_wait+0x3: unreachable",
        ),
        (
            "make[3]: *** No rule to make target 'kernel/sched/umcg.o'.  Stop.\n"
            "make: *** [Makefile:224: __sub-make] Error 2\n",
            "No rule to make target 'kernel/sched/umcg.o'.  Stop.",
        ),
        ("nothing to see\n", None),
    ],
)
def test_first_error(log: str, error: str | None) -> None:
    assert kbuild.first_error(log) == error


def test_a_fragment_is_read_to_the_letter(tmp_path: Path) -> None:
    first, second = tmp_path / "a.config", tmp_path / "b.config"
    first.write_text('# why\n\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C="x y"\n')
    second.write_text("CONFIG_B=8\n# CONFIG_A is not set\n")
    merged = kconfig.read([first, second])
    assert kconfig.text(merged).splitlines() == [
        "# CONFIG_A is not set",
        "CONFIG_B=8",
        'CONFIG_C="x y"',
    ]
    assert merged["CONFIG_B"].where == f"{second}:1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CONFIG_A=y\nCONFIG_B\n", "not a line of a .config: 'CONFIG_B'"),
        ("CONFIG_A=y\n# CONFIG_A is not set\n", "CONFIG_A is there twice"),
    ],
)
def test_a_fragment_with_a_mistake(tmp_path: Path, text: str, said: str) -> None:
    fragment = tmp_path / "a.config"
    fragment.write_text(text)
    with pytest.raises(UserError, match=said) as caught:
        kconfig.read([fragment])
    assert caught.value.where == f"{fragment}:2"


def test_missing_says_what_is_there_instead(tmp_path: Path) -> None:
    fragment, config = tmp_path / "a.config", tmp_path / ".config"
    fragment.write_text("CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=8\n# CONFIG_D is not set\n"
                        "# CONFIG_E is not set\nCONFIG_F=y\n")  # fmt: skip
    config.write_text("CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=4\nCONFIG_D=y\n")
    wrong = kconfig.missing(kconfig.read([fragment]), config)
    assert [(str(option), actual) for option, actual in wrong] == [
        ("CONFIG_B=y", "# CONFIG_B is not set"),
        ("CONFIG_C=8", "CONFIG_C=4"),
        ("# CONFIG_D is not set", "CONFIG_D=y"),
        ("CONFIG_F=y", "absent"),
    ]
