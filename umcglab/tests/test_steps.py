# SPDX-License-Identifier: MIT
"""Tests one by one in an exact guest: the plan, what comes back, and init itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from umcglab.guest import steps
from umcglab.guest.initrd import SOURCES
from umcglab.guest.steps import Ended, Ran

SAID = """\
@@ begin umcg-toy/wait:wakes
ok 1 wakes
@@ end umcg-toy/wait:wakes 0
@@ begin umcg-toy/wait:sleeps
not ok 1 sleeps
@@ end umcg-toy/wait:sleeps 1
"""
WAKES = Ended("umcg-toy/wait:wakes", 0, "ok 1 wakes")
SLEEPS = Ended("umcg-toy/wait:sleeps", 1, "not ok 1 sleeps")


def test_what_a_guest_printed() -> None:
    assert steps.parse(SAID) == ((WAKES, SLEEPS), "")
    assert steps.parse(SAID + "@@ begin a:b\nnoise\n") == ((WAKES, SLEEPS), "a:b")
    assert steps.parse("") == ((), "")


def ran(**changes: object) -> Ran:
    facts: dict[str, object] = {
        "ended": (WAKES,),
        "current": "",
        "died": "",
        "splats": (),
        "duration": 1.0,
        "cpu": 1.0,
    }
    return Ran(**{**facts, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({}, ()),
        ({"ended": (WAKES, SLEEPS)}, (SLEEPS.name,)),
        # To skip is not to pass.
        ({"ended": (Ended("a:b", 4, ""),)}, ("a:b",)),
        ({"current": "a:b", "died": "Kernel panic"}, ("a:b",)),
        ({"ended": (), "died": "it ended without a word"}, ("the boot",)),
        # The test has passed; the kernel has complained.
        ({"splats": ("BUG: something",)}, (WAKES.name,)),
        ({"ended": (), "splats": ("BUG: something",)}, ("the boot",)),
    ],
)
def test_what_failed(changes: dict[str, object], failed: tuple[str, ...]) -> None:
    assert ran(**changes).failed == failed


def test_init_runs_its_plan(tmp_path: Path) -> None:
    """The loop of init, as a program of the host: without mounts, in a terminal."""
    source = (SOURCES / "steps.c").read_text()
    for old, new in (
        ('mount_on("', 'if (0) mount_on("'),
        ("setdomainname(", "marked("),
        ('"/plan"', f'"{tmp_path}/plan"'),
        ('chdir("/bundle")', f'chdir("{tmp_path}")'),
        ('open_uart(strsep(&rest, "\\t"))', '(strsep(&rest, "\\t"), dup(1))'),
        ("tcdrain(uart)", "(void)uart"),
        ('reboot(RB_POWER_OFF);\n\tfatal("power off");', "return 0;"),
        ("kill(-1, SIGKILL)", "kill(pid, SIGKILL)"),
    ):
        assert old in source, old
        source = source.replace(old, new)
    marked = 'static int marked(const char *n, int l) { (void)n, (void)l; return puts("mark") < 0 || fflush(stdout); }\n'
    source = source.replace("#define MAX_ARGS", f"{marked}#define MAX_ARGS")
    (tmp_path / "init.c").write_text(source)
    argv = [
        "gcc",
        f"-I{SOURCES}",
        "-o",
        str(tmp_path / "init"),
        str(tmp_path / "init.c"),
    ]
    subprocess.run(argv, check=True)
    rows = [
        "a\t5\t/bin/echo\tx y",
        "b\t1\t/bin/sleep\t60",
        "c\t5\t/bin/false",
        "d\t5\t/bin/true",
    ]

    def run(first: str) -> str:
        (tmp_path / "plan").write_text("\n".join([first, *rows, ""]))
        return subprocess.run(
            [tmp_path / "init"], capture_output=True, text=True, check=True
        ).stdout

    ended, current = steps.parse(run("tty\tgo"))
    assert [(e.name, e.status) for e in ended] == [
        ("a", 0), ("b", steps.LATE), ("c", 1), ("d", 0),
    ]  # fmt: skip
    assert ended[0].said == "mark\nx y" and not current
    stopped = run("tty\tstop")
    assert [e.name for e in steps.parse(stopped)[0]] == ["a", "b"]
    # A mark before each, and one at the end.
    assert stopped.count("mark\n") == 3 and stopped.endswith("mark\n@@ done\n")
