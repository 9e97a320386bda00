# SPDX-License-Identifier: MIT
"""Source lines of splats, from a program that stands for vmlinux."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from umcglab.kernel import addr2line
from umcglab.kernel.kernels import Kernel
from umcglab.report import html, junit
from umcglab.results import rundir
from umcglab.tests import golden
from umcglab.tests.golden import X86
from umcglab.verdict import places, runs, splat

DATA = Path(__file__).parent / "data"
SAMPLES = DATA / "splat"
SOURCE = """\
void other(void);
static inline __attribute__((always_inline)) void inlined(void)
{
	__asm__ volatile("nop");
}
__attribute__((noipa)) void outer(void)
{
	inlined();
	other();
	__asm__ volatile("");
}
__attribute__((noipa)) void other(void)
{
	__asm__ volatile("nop");
}
"""
TWIN = """\
__attribute__((noipa, used)) static void twin(void)
{
	__asm__ volatile("nop%s");
}
"""


@pytest.fixture
def built(tmp_path: Path, kernel: Kernel) -> Kernel:
    """A kernel whose vmlinux has line tables, and a static function twice."""
    tree = tmp_path / "linux"
    (tree / "build").mkdir(parents=True)
    (tree / "umcg.c").write_text(SOURCE)
    (tree / "a.c").write_text(TWIN % "")
    (tree / "b.c").write_text(TWIN % ("; nop" * 40))
    flags = ["-O2", "-g1", "-nostdlib", "-static", "-no-pie", "-fcf-protection=none"]
    prefix = f"-fdebug-prefix-map={tree}/build=."
    names = ["../umcg.c", "../a.c", "../b.c"]
    subprocess.run(
        ["gcc", *flags, prefix, "-Wl,-e,outer", "-o", kernel.vmlinux, *names],
        cwd=tree / "build",
        check=True,
    )
    rows = [line.split() for line in said("nm", "-n", kernel.vmlinux).splitlines()]
    text = [row for row in rows if row[1] in "tT" and row[2][0] != "_"]
    end = int(text[-1][0], 16) + 0x100
    text.append([f"{end:x}", "T", "_etext"])
    kernel.system_map.write_text("".join(f"{' '.join(row)}\n" for row in text))
    return kernel


def said(*argv: str | Path) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def sizes(kernel: Kernel, name: str) -> list[int]:
    """Return how far it is from each `name` to the next symbol."""
    rows = [line.split() for line in kernel.system_map.read_text().splitlines()]
    at = [int(row[0], 16) for row in rows]
    return [at[n + 1] - at[n] for n, row in enumerate(rows) if row[2] == name]


def place(kernel: Kernel, instruction: str, after: int = 0) -> str:
    """Return the place in outer() of an instruction, or of the one `after` it."""
    shown = said("objdump", "-d", "--disassemble=outer", kernel.vmlinux)
    rows = re.findall(r"^ *([0-9a-f]+):\t[0-9a-f ]+\t(\w+)", shown, re.M)
    at = next(n for n, row in enumerate(rows) if row[1] == instruction)
    offset = int(rows[at + after][0], 16) - int(rows[0][0], 16)
    return f"outer+{offset:#x}/{sizes(kernel, 'outer')[0]:#x}"


def test_a_place_is_a_line_and_what_it_was_inlined_into(built: Kernel) -> None:
    where = place(built, "nop")
    assert addr2line.resolve(built, {where: True}) == {where: "umcg.c:4 < umcg.c:8"}


def test_a_trace_names_where_a_call_returns_to(built: Kernel) -> None:
    where = place(built, "call", after=1)
    lines = {pc: addr2line.resolve(built, {where: pc})[where] for pc in (True, False)}
    assert lines[False] == "umcg.c:9"
    assert lines[True] != "umcg.c:9"


def test_of_two_functions_the_one_of_that_size(built: Kernel) -> None:
    found = set()
    for size in sizes(built, "twin"):
        where = f"twin+0x0/{size:#x}"
        found.add(addr2line.resolve(built, {where: True})[where])
    assert found == {"a.c:3", "b.c:3"}
    assert addr2line.resolve(built, {"twin+0x0/0xfff": True}) == {}


def test_what_is_not_known_is_left_out(built: Kernel) -> None:
    assert addr2line.resolve(built, {"nobody+0x1/0x2": False}) == {}
    built.vmlinux.unlink()
    assert addr2line.resolve(built, {"outer+0x0/0x10": True}) == {}


def test_program_counters_are_told_from_return_addresses() -> None:
    text = "RIP: 0010:here+0x1/0x2\n there+0x3/0x4\n ? here+0x1/0x2\npc : arm+0x5/0x6"
    assert places.find([text]) == {
        "here+0x1/0x2": True,
        "there+0x3/0x4": False,
        "arm+0x5/0x6": True,
    }


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("warning-6.12-pc-x86_64", "umcg_wake+0x1d/0x90"),
        ("warning-6.18-x86_64", "umcg_wake+0x1d/0x90"),
        ("warning-6.18-arm64", "umcg_wake+0x88/0x210"),
        ("oops-null-6.12-arm64", "umcg_switch_to+0x88/0x210"),
        ("rcu-stall-preempted", "umcg_find+0x1d/0x90"),
    ],
)
def test_only_where_a_report_says_so_it_is_the_program_counter(
    name: str, place: str
) -> None:
    (found,) = splat.scan((SAMPLES / f"{name}.log").read_text())
    named = places.find([found.excerpt])
    assert [p for p, is_pc in named.items() if is_pc] == [place]
    assert len(named) > 1


@pytest.mark.parametrize(
    ("line", "is_pc"),
    [
        ("WARNING: kernel/a.c:1 at f+0x1/0x2, CPU#0: a/97", True),
        ("WARNING: CPU: 0 PID: 97 at kernel/a.c:1 f+0x1/0x2", True),
        ("RIP: e030:f+0x1/0x2", True),
        (" f+0x1/0x2 (P)", True),
        (" f+0x1/0x2 (PL)", True),
        (" f+0x1/0x2 (L)", False),
        ("lr : f+0x1/0x2", False),
        (" ? f+0x1/0x2", False),
        ("BUG: KASAN: wild-access in f+0x1/0x2", False),
    ],
)
def test_what_a_line_names(line: str, is_pc: bool) -> None:
    assert places.find([line]) == {"f+0x1/0x2": is_pc}


def test_a_place_is_looked_for_once_in_a_line() -> None:
    assert places.find([(DATA / "decode/letters.log").read_text()]) == {}
    # Each of these is a minute's work if every letter is begun at.
    for letter in ("a", "_", ".", "a.", "1a", "+0x1/0x", "a+0x"):
        text = letter * (400_000 // len(letter))
        assert places.find([text]) == {}


def test_a_number_that_is_no_address_is_no_place() -> None:
    assert places.find([" f+0x" + "1" * 17 + "/0x2", " f+0x1/0x" + "2" * 17]) == {}


def test_the_report_has_the_lines_also_without_the_kernel(
    tmp_path: Path, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    golden.splat(path)
    run_dir = rundir.RunDir(path)

    def resolve(_: Kernel, wanted: dict[str, bool]) -> dict[str, str]:
        return dict.fromkeys(wanted, "kernel/sched/umcg.c:412")

    monkeypatch.setattr(addr2line, "resolve", resolve)
    addr2line.write(kernel, run_dir, X86)
    run = runs.collect(path)
    (finding,) = run.findings
    (_, splat) = finding.splats[0]
    places = re.findall(r"\+0x\w+/0x\w+( kernel/sched/umcg.c:412)?", splat.excerpt)
    assert places and all(places)
    assert " kernel/sched/umcg.c:412" in html.render(run).decode()
    assert " kernel/sched/umcg.c:412" in junit.render(run).decode()


def test_no_splat_no_file(tmp_path: Path, kernel: Kernel) -> None:
    golden.passing(tmp_path / "run")
    run_dir = rundir.RunDir(tmp_path / "run")
    addr2line.write(kernel, run_dir, X86)
    assert not run_dir.lines(X86).exists()
