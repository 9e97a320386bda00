# SPDX-License-Identifier: MIT
"""`umcglab check`, on a toy kernel: each fault is told, with where, and once."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from umcglab.errors import InfraError, PatchError, UserError
from umcglab.host.display import Display
from umcglab.kernel.kbuild import Build
from umcglab.lab import config
from umcglab.lab.arch import ARM64, X86_64, Arch
from umcglab.study import check, variants
from umcglab.tests import toylab
from umcglab.tests.toylab import UMCG_C, ToyLab

OWN = variants.OWN.name
ON_X86_64 = pytest.mark.skipif(
    bool(X86_64.cross_compile), reason="user-mode Linux is for x86_64 hosts"
)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToyLab:
    monkeypatch.delenv("UMCGLAB_CACHE", raising=False)
    tool = tmp_path / "bin" / "sparse"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\nexit 0\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=":")
    toy = toylab.make(tmp_path / "lab")
    # A series that can be without its ABI, as the real ones: the last patch adds it.
    kconfig = toy.old("Kconfig")
    toy.write("linux/Kconfig", kconfig.replace("config UMCG\n\tdepends SMP\n", ""))
    add_abi(toy, UMCG_C)
    return toy


def add_abi(toy: ToyLab, code: str) -> None:
    old = (toy.tree / "Kconfig").read_text()
    new = f"{old}config UMCG\n\tdepends SMP\n"
    files = {"kernel/umcg.c": ("", code), "Kconfig": (old, new)}
    toy.series("umcg-toy/6.99", toylab.patch("umcg: add", files))


def fork(toy: ToyLab, *changes: tuple[str, str]) -> None:
    """Replace the plumbing by a patch of kernel/fork.c for each change."""
    text = toy.old("kernel/fork.c")
    patches = []
    for old, new in changes:
        assert old in text
        then = text.replace(old, new)
        patches.append(toylab.patch("fork", {"kernel/fork.c": (text, then)}))
        text = then
    toy.series("plumbing/6.99", *patches)


def run(
    toy: ToyLab, *, quick: bool = False, only: Sequence[str] = ()
) -> tuple[int, str]:
    """Check the toy's series; return the status and all that was said."""
    lab = toy.load()
    (target,) = config.select(lab, ["x86_64-umcg-toy"])
    out = io.StringIO()
    with Display(Console(file=out, width=200)) as display:
        status = check.execute(lab, target, 2, display, quick=quick, only=only)
    assert not list((toy.root / "cache" / "checks").glob("*/"))
    assert not list((toy.root / "cache" / "checks").glob(".*/"))
    return status, out.getvalue()


def lines(said: str, word: str) -> list[str]:
    """Return the lines of steps with a verdict, without the target's name."""
    found = [line for line in said.splitlines() if f": {word}" in line]
    return [line.removeprefix("x86_64-umcg-toy ") for line in found]


@ON_X86_64
def test_all_is_well_and_what_cannot_be_is_said(toy: ToyLab) -> None:
    status, said = run(toy)
    assert status == 0, said
    assert lines(said, "FAILED") == []
    assert set(lines(said, "ok")) == {
        "style: checkpatch plumbing 0001-toy: ok",
        "style: checkpatch umcg-toy 0001-toy: ok",
        "own configuration: ABI off: ok, kernel/fork.o",
        "own configuration: ABI on: ok, kernel/fork.o, kernel/umcg.o",
        "own configuration: sparse: ok, kernel/umcg.o",
        "SMP=n: ABI off: ok, kernel/fork.o",
        "allnoconfig: ABI off: ok, kernel/fork.o",
        "allnoconfig: ABI on: ok, kernel/fork.o, kernel/umcg.o",
        "allmodconfig: ABI off: ok, kernel/fork.o",
        "allmodconfig: ABI on: ok, kernel/fork.o, kernel/umcg.o",
        "ARCH=um: ABI off: ok, kernel/fork.o",
        "ARCH=um: link: ok",
        "ARCH=um: KUnit: ok, 2 tests passed",
        "each patch, ABI off: plumbing 0001-toy: ok, kernel/fork.o",
        "each patch, ABI off: umcg-toy 0001-toy: ok, kernel/fork.o",
        "each patch, ABI on: umcg-toy 0001-toy: ok, kernel/fork.o, kernel/umcg.o",
    }
    assert said.splitlines()[-1] == "check x86_64-umcg-toy: 16 ok, 4 skipped"
    assert set(lines(said, "skipped")) == {
        "PREEMPT_RT=y: ABI off: skipped, not in this base: CONFIG_PREEMPT_RT=y is absent",
        "PREEMPT_RT=y: ABI on: skipped, not in this base: CONFIG_PREEMPT_RT=y is absent",
        "SMP=n: ABI on: skipped, the ABI cannot be on here: CONFIG_UMCG=y is absent",
        "ARCH=um: ABI on: skipped, the ABI cannot be on here: CONFIG_UMCG=y is absent",
    }


def test_quick_is_the_own_configuration_and_the_style(toy: ToyLab) -> None:
    status, said = run(toy, quick=True)
    assert status == 0
    jobs = {line.split(":")[0] for line in lines(said, "ok")}
    assert jobs == {"style", "own configuration", "SMP=n"}


def test_some_jobs_can_be_had_alone(toy: ToyLab) -> None:
    status, said = run(toy, only=["each*", "SMP=n"])
    assert status == 0
    jobs = {line.split(":")[0] for line in lines(said, "ok")}
    assert jobs == {"each patch, ABI off", "each patch, ABI on", "SMP=n"}
    with pytest.raises(UserError, match=r"no job 'SMP=no'; did you mean 'SMP=n'\?"):
        run(toy, only=["SMP=no"])


def test_a_symbol_that_waits_for_the_abi_is_not_on_before(toy: ToyLab) -> None:
    old = (toy.tree / "Kconfig").read_text()
    hidden = f"{old}config UMCG\n\tbool\n\tdepends SMP\n"
    chosen = hidden.replace("bool\n", 'bool "toy"\n')
    toy.series("plumbing/6.99", toylab.patch("umcg", {"Kconfig": (old, hidden)}))
    files = {"kernel/umcg.c": ("", UMCG_C), "Kconfig": (hidden, chosen)}
    toy.series("umcg-toy/6.99", toylab.patch("umcg: add", files))
    status, said = run(toy, only=["each patch, ABI on"])
    assert status == 0, said
    (done,) = lines(said, "ok")
    assert done == "each patch, ABI on: umcg-toy 0001-toy: ok, kernel/umcg.o"


def test_a_series_that_breaks_in_the_middle_is_told_where(toy: ToyLab) -> None:
    mended = "\tint pid, cpus;\n", "\tint pid;\n"
    fork(
        toy,
        ("pid += cpu;", "pid += cpu + 1;"),
        ("\tint pid;\n", "\tint pid, cpus;\n"),
        mended,
    )
    status, said = run(toy, only=["each*"])
    assert status == 1
    (failed,) = lines(said, "FAILED")
    assert failed.startswith("each patch, ABI off: plumbing 0002-toy: FAILED")
    end = said[said.rindex("x86_64-umcg-toy, each patch") :]
    assert "plumbing 0002-toy does not build: kernel/fork.c:11:18: error: unused" in end
    log = next(line for line in end.splitlines() if line.startswith("  log: "))
    assert "unused" in Path(log.removeprefix("  log: ")).read_text()


def test_a_warning_with_the_abi_off_is_told(toy: ToyLab) -> None:
    off = "\tint pid;\n#ifndef CONFIG_UMCG\n\tint unused;\n#endif\n"
    fork(toy, ("\tint pid;\n", off))
    status, said = run(toy, only=[OWN])
    assert status == 1
    failed = lines(said, "FAILED")
    assert any(f.startswith("own configuration: ABI off: FAILED") for f in failed)
    assert not any("ABI on: FAILED" in f for f in failed)
    assert "kernel/fork.c:13:13: error: unused variable" in said


def test_what_is_added_is_compiled_with_w1(toy: ToyLab) -> None:
    # -Wextra, which the toy has in W=1 only, minds the unused parameter.
    add_abi(toy, UMCG_C.replace("return flags", "return 0"))
    status, said = run(toy, only=[OWN])
    assert status == 1
    (failed,) = lines(said, "FAILED")
    assert "own configuration: ABI on: FAILED" in failed
    assert "kernel/umcg.c:4:19: error: unused parameter" in failed


def test_a_file_that_is_in_no_makefile_is_told(toy: ToyLab) -> None:
    makefile = toy.tree / "kernel" / "Makefile"
    makefile.write_text("obj-y += fork.o\nobj-$(CONFIG_OTHER) += umcg.o\n")
    status, said = run(toy, only=[OWN])
    assert status == 1
    assert "ABI on: kernel/umcg.c is not compiled" in said


@ON_X86_64
def test_a_kunit_suite_is_compiled_where_kunit_is(toy: ToyLab) -> None:
    makefile = toy.tree / "kernel" / "Makefile"
    text = makefile.read_text()
    makefile.write_text(f"{text}obj-$(CONFIG_OTHER) += umcg_kunit.o\n")
    old = (toy.tree / "Kconfig").read_text()
    files = {
        "kernel/umcg.c": ("", UMCG_C),
        "kernel/umcg_kunit.c": ("", UMCG_C),
        "Kconfig": (old, f"{old}config UMCG\n\tdepends SMP\n"),
    }
    toy.series("umcg-toy/6.99", toylab.patch("umcg: add", files))
    status, said = run(toy, only=[OWN])
    assert status == 0, said
    status, said = run(toy, only=["ARCH=um"])
    assert status == 1
    assert "ARCH=um, ABI off: kernel/umcg_kunit.c is not compiled" in said


def add_selftest(toy: ToyLab, makefile: str, code: str) -> None:
    folder = "tools/testing/selftests/umcg"
    files = {f"{folder}/Makefile": ("", makefile), f"{folder}/wait.c": ("", code)}
    fork = toy.old("kernel/fork.c")
    hooked = fork.replace("\tpid += cpu;\n", "\tpid += cpu + 1;\n")
    toy.series(
        "plumbing/6.99",
        toylab.patch("fork", {"kernel/fork.c": (fork, hooked)}),
        toylab.patch("selftests", files),
    )


SELFTEST_MAKEFILE = "all:\n\t$(CC) $(USERCFLAGS) -Wall -o $(OUTPUT)/wait wait.c\n"


def test_selftests_are_built(toy: ToyLab) -> None:
    add_selftest(toy, SELFTEST_MAKEFILE, "int main(void) { return 0; }\n")
    status, said = run(toy, only=["selftests"])
    assert status == 0, said
    assert "selftests: umcg: ok, wait" in said
    add_selftest(toy, SELFTEST_MAKEFILE, "int main(void) { int x; return 0; }\n")
    status, said = run(toy, only=["selftests"])
    assert status == 1
    assert "selftests: umcg: FAILED" in said
    assert "wait.c:1:22: error: unused variable" in said
    add_selftest(toy, "all:\n", "int main(void) { return 0; }\n")
    status, said = run(toy, only=["selftests"])
    assert status == 1
    assert "tools/testing/selftests/umcg makes no program" in said


def test_an_abi_that_cannot_be_on_where_it_must_is_told(toy: ToyLab) -> None:
    kconfig = toy.tree / "Kconfig"
    kconfig.write_text(kconfig.read_text().replace("config DEBUG\n", ""))
    toy.write("kernel-patches/umcg-toy/config", "CONFIG_UMCG=y\nCONFIG_DEBUG=y\n")
    add_abi(toy, UMCG_C)
    status, said = run(toy, only=[OWN])
    assert status == 1
    assert "own configuration, ABI on: CONFIG_DEBUG=y is absent" in said


def test_what_checkpatch_says_is_told_but_for_what_is_ignored(toy: ToyLab) -> None:
    fork(toy, ("pid += cpu;\n", "pid += cpu + 1; \n"))
    status, said = run(toy, only=["style"])
    assert status == 1
    (failed,) = lines(said, "FAILED")
    assert failed.startswith("style: checkpatch plumbing 0001-toy: FAILED")
    assert "TRAILING_WHITESPACE: trailing whitespace" in failed
    assert f"  at:  {toy.patches}/plumbing/6.99/0001-toy.patch:" in said
    assert "FILE_PATH_CHANGES" not in said


def test_a_checkpatch_that_does_not_run_is_the_labs_fault(toy: ToyLab) -> None:
    (toy.tree / "scripts" / "checkpatch.pl").write_text("die 'no modules';\n")
    status, said = run(toy, only=["style"])
    assert status == 3
    assert "perl failed: no modules" in said


def test_a_tree_without_checkpatch_is_said(toy: ToyLab) -> None:
    (toy.tree / "scripts" / "checkpatch.pl").unlink()
    status, said = run(toy, only=["style"])
    assert status == 0
    assert len(lines(said, "skipped, the tree has no scripts/checkpatch.pl")) == 2


def test_what_sparse_says_of_an_added_file_is_told(toy: ToyLab) -> None:
    sparse = toy.root.parent / "bin" / "sparse"
    sparse.write_text("#!/bin/sh\necho \"$1:3:5: warning: symbol 'x'\"\n")
    status, said = run(toy, only=[OWN])
    assert status == 1
    (failed,) = lines(said, "FAILED")
    assert "own configuration: sparse: FAILED" in failed
    assert "kernel/umcg.c:3:5: warning: symbol 'x'" in failed


def test_sparse_is_not_believed_of_locks_where_it_does_not_know_guards(
    toy: ToyLab,
) -> None:
    sparse = toy.root.parent / "bin" / "sparse"
    sparse.write_text("#!/bin/sh\necho \"$1:3:5: warning: context imbalance in 'f'\"\n")
    status, said = run(toy, only=[OWN])
    assert status == 1
    header = toy.write("linux/include/linux/rcupdate.h", "")
    status, said = run(toy, only=[OWN])
    assert status == 0
    assert "sparse: ok, kernel/umcg.o, but for locks" in said
    header.write_text("/* sparse doesn't call the cleanup function */\n")
    assert run(toy, only=[OWN])[0] == 1


def test_a_host_without_sparse_is_said(
    toy: ToyLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    which = shutil.which
    monkeypatch.setattr(
        "umcglab.study.check.shutil.which",
        lambda name: None if name == "sparse" else which(name),
    )
    status, said = run(toy, only=[OWN])
    assert status == 0
    assert lines(said, "skipped, sparse is not installed")


@ON_X86_64
def test_a_kunit_test_that_fails_is_told(toy: ToyLab) -> None:
    toy.write(
        "linux/tools/testing/kunit/kunit.py",
        "print('Testing complete. Ran 2 tests: passed: 1, failed: 1')\nexit(1)\n",
    )
    status, said = run(toy, only=["ARCH=um"])
    assert status == 1
    assert "ARCH=um, KUnit: Testing complete. Ran 2 tests: passed: 1, failed: 1" in said


def test_a_patch_that_does_not_apply_is_told_once(toy: ToyLab) -> None:
    path = toy.tree / "kernel" / "fork.c"
    path.write_text(path.read_text().replace("pid = 100", "pid = 300"))
    status, said = run(toy)
    assert status == 1
    end = [x for x in said.splitlines() if x.startswith("plumbing/6.99/0001-toy.patch")]
    assert len(end) == 1


def test_a_target_without_patches_is_refused(toy: ToyLab) -> None:
    lab = toy.load()
    (target,) = config.select(lab, ["x86_64-control"])
    with (
        Display(Console(file=io.StringIO())) as display,
        pytest.raises(UserError, match="has no patches"),
    ):
        check.execute(lab, target, 2, display)


def test_objtool_has_its_say() -> None:
    said = "  CC      a.o\nkernel/sched/umcg.o: warning: objtool: f+0x1: unreachable\n"
    assert check._OBJTOOL.search(said)


def test_the_worst_fault_decides() -> None:
    lab = InfraError("disk")
    patch = PatchError("warning")
    verdict = check.Verdict("s", "FAILED", "", patch)
    done: dict[str, list[check.Verdict] | PatchError | InfraError]
    done = {"a": [verdict, verdict], "b": lab}
    target = replace(TARGET, name="t")
    text = list(check.summary(target, done))
    assert text == ["warning", "disk", "check t: 3 FAILED"]


TARGET = config.Target(
    name="t",
    arch=X86_64,
    source=config.SourceSpec("6.99", "tree", "/nowhere"),
    base="6.99",
    abi="umcg-toy",
)

FILES = (
    "kernel/fork.c",
    "kernel/sched/sched.h",
    "kernel/sched/core.c",
    "kernel/events/uprobes.c",
    "kernel/Makefile",
    "fs/exec.c",
    "include/linux/sched.h",
    "arch/x86/entry/common.c",
    "arch/x86/include/asm/x.h",
    "arch/arm64/kernel/signal.c",
    "arch/x86/entry/syscalls/syscall_64.tbl",
    "Documentation/a/b.c",
    "kernel/gone.c",
)


@pytest.mark.parametrize(
    ("arch", "config_", "expected"),
    [
        (
            X86_64,
            "CONFIG_PERF_EVENTS=y\n",
            "kernel/fork.o kernel/sched/ kernel/events/ fs/exec.o "
            "arch/x86/entry/common.o arch/x86/entry/syscall_64.o",
        ),
        (
            ARM64,
            "# CONFIG_PERF_EVENTS is not set\n",
            "kernel/fork.o kernel/sched/ fs/exec.o arch/arm64/kernel/signal.o "
            "arch/arm64/kernel/sys.o",
        ),
        (
            replace(X86_64, kernel_arch="um"),
            "",
            "kernel/fork.o kernel/sched/ fs/exec.o",
        ),
    ],
)
def test_what_is_compiled_of_what_is_touched(
    tmp_path: Path, arch: Arch, config_: str, expected: str
) -> None:
    tree = tmp_path / "linux"
    for name in FILES[:-1]:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).touch()
    (tree / "kernel" / "Makefile").write_text(
        "obj-y = exit.o \\\n\tfork.o\nobj-y += sched/\n"
        "obj-$(CONFIG_PERF_EVENTS) += events/\n"
    )
    (tree / "build").mkdir()
    (tree / "build" / ".config").write_text(config_)
    built = Build("b", arch, tree, tmp_path / "log", tmp_path, 1, 1, PatchError)
    assert variants.goals(FILES, built) == expected.split()


def test_user_mode_linux_needs_its_own_host() -> None:
    um = variants.UM
    native = replace(TARGET, arch=replace(X86_64, machine="x86_64"))
    foreign = replace(TARGET, arch=replace(X86_64, machine="other"))
    with pytest.raises(variants.NotHereError):
        variants.machine(um, foreign)
    if not native.arch.cross_compile:
        assert variants.machine(um, native).kernel_arch == "um"
