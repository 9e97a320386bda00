# SPDX-License-Identifier: MIT
"""Tests for the compiled copy of a developer's tree, on the toy kernel."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from umcglab.errors import PatchError
from umcglab.kernel import kernels
from umcglab.kernel.kernels import Kernel
from umcglab.lab import config
from umcglab.tests import toylab
from umcglab.tests.conftest import slow
from umcglab.tests.toylab import UMCG_C, ToyLab

NAME = "x86_64-umcg-toy"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToyLab:
    """Return a lab whose tree has UMCG in it already."""
    monkeypatch.delenv("UMCGLAB_CACHE", raising=False)
    lab = toylab.make(tmp_path)
    (lab.tree / "kernel/umcg.c").write_text(UMCG_C)
    file = lab.root / "lab.yaml"
    file.write_text(file.read_text().replace("umcg-toy}", "umcg-toy, patches: none}"))
    return lab


def build(toy: ToyLab) -> tuple[Kernel, list[str]]:
    """Build; return the kernel and the files that were compiled for it."""
    lab = toy.load()
    (target,) = config.select(lab, [NAME])
    kernel = kernels.build(target, lab, toylab.Progress(), jobs=2)
    return kernel, re.findall(r"^  CC      (\S+)\.o$", kernel.log.read_text(), re.M)


def edit(toy: ToyLab, name: str = "kernel/umcg.c", by: str = "int more;\n") -> Path:
    path = toy.tree / name
    path.write_text(path.read_text() + by)
    return path


def copies(toy: ToyLab) -> list[Path]:
    return sorted(toy.root.glob("cache/trees/*/"))


ALL = ["init/main", "kernel/fork", "kernel/umcg"]


def test_an_edit_is_one_object_and_a_link(toy: ToyLab) -> None:
    first, compiled = build(toy)
    assert sorted(compiled) == ALL
    edit(toy)
    second, compiled = build(toy)
    assert compiled == ["kernel/umcg"]
    assert second.release != first.release
    assert "more" in second.system_map.read_text()
    assert "more" not in first.system_map.read_text()


def test_it_is_the_kernel_that_a_new_folder_would_give(toy: ToyLab) -> None:
    build(toy)
    edit(toy)
    again, _ = build(toy)
    shutil.move(toy.root / "cache", toy.root / "old")
    anew, compiled = build(toy)
    assert sorted(compiled) == ALL
    old = Path(str(again.vmlinux).replace("/cache/", "/old/"))
    assert old.read_bytes() == anew.vmlinux.read_bytes()
    assert again.release == anew.release


def test_an_edit_that_looks_old_counts(toy: ToyLab) -> None:
    build(toy)
    os.utime(edit(toy), (1.0, 1.0))
    kernel, compiled = build(toy)
    assert compiled == ["kernel/umcg"]
    assert "more" in kernel.system_map.read_text()


def test_what_was_taken_back_is_gone(toy: ToyLab) -> None:
    first, _ = build(toy)
    edit(toy)
    build(toy)
    (toy.tree / "kernel/umcg.c").write_text(UMCG_C)
    shutil.rmtree(toy.root / "cache/kernels")
    third, compiled = build(toy)
    assert compiled == ["kernel/umcg"]
    assert third.release == first.release
    assert "more" not in third.system_map.read_text()


def new_file(toy: ToyLab) -> None:
    (toy.tree / "kernel/new.h").write_text("\n")


def lost_file(toy: ToyLab) -> None:
    (toy.tree / "include/uapi/linux/unistd.h").unlink()
    (toy.tree / "include/uapi/linux/other.h").write_text("\n")


def makefile(toy: ToyLab) -> None:
    edit(toy, "Makefile", "# more\n")


def script(toy: ToyLab) -> None:
    edit(toy, "scripts/conf", "# more\n")


def mode(toy: ToyLab) -> None:
    (toy.tree / "kernel/fork.c").chmod(0o755)


def fragment(toy: ToyLab) -> None:
    toy.write("kernel-patches/kconfig/base.config", "CONFIG_SMP=y\n#\n")


def clock(toy: ToyLab) -> None:
    edit(toy)
    (copy,) = copies(toy)
    state = copy / "state.json"
    later = f'"when": {time.time() + 1000}'
    state.write_text(re.sub(r'"when": [0-9.]+', later, state.read_text()))


def cut_short(toy: ToyLab) -> None:
    edit(toy)
    (copy,) = copies(toy)
    os.truncate(copy / "state.json", 100)


@pytest.mark.parametrize(
    "change",
    [
        new_file,
        *map(slow, (lost_file, makefile, script, mode, fragment, clock, cut_short)),
    ],
)
def test_all_is_made_anew_when_more_than_text_changed(
    toy: ToyLab, change: Callable[[ToyLab], None]
) -> None:
    build(toy)
    change(toy)
    assert sorted(build(toy)[1]) == ALL
    edit(toy, by="int still_more;\n")
    assert build(toy)[1] == ["kernel/umcg"]


def test_a_compile_error_and_its_cure_are_one_object_each(toy: ToyLab) -> None:
    build(toy)
    good = (toy.tree / "kernel/umcg.c").read_text()
    edit(toy, by="int x = y;\n")
    with pytest.raises(PatchError, match=r"kernel/umcg.c:\d+:9: error"):
        build(toy)
    (toy.tree / "kernel/umcg.c").write_text(good + "int cured;\n")
    kernel, compiled = build(toy)
    assert compiled == ["kernel/umcg"]
    assert "cured" in kernel.system_map.read_text()


def test_nothing_is_built_on_what_a_killed_make_left(
    toy: ToyLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(toy)
    edit(toy)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(kernels, "_compile", killed)
        with pytest.raises(KeyboardInterrupt):
            build(toy)
    assert sorted(build(toy)[1]) == ALL


def test_a_copy_that_is_in_use_is_left_to_whoever_uses_it(toy: ToyLab) -> None:
    build(toy)
    edit(toy)
    (copy,) = copies(toy)
    before = (copy / "state.json").read_text()
    cache = toy.load().cache
    with cache.keep("trees", copy.name) as held:
        assert held == copy
        assert sorted(build(toy)[1]) == ALL
    assert (copy / "state.json").read_text() == before
    assert copies(toy) == [copy]


def test_it_is_counted_and_trimmed_but_not_while_in_use(toy: ToyLab) -> None:
    build(toy)
    (copy,) = copies(toy)
    cache = toy.load().cache
    with cache.keep("trees", copy.name):
        os.utime(copy, (1.0, 1.0))
        assert cache.trim(0) == 0
    assert copies(toy) == [copy]
    os.utime(copy, (1.0, 1.0))
    assert cache.trim(0) > 0
    assert copies(toy) == []


def test_an_edit_is_not_what_the_next_whole_build_is_expected_to_take(
    toy: ToyLab,
) -> None:
    build(toy)
    steps = toy.root / "cache/steps/x86_64-bench"
    before = steps.read_text()
    edit(toy)
    build(toy)
    assert steps.read_text() == before


def test_patches_stay_applied(toy: ToyLab) -> None:
    file = toy.root / "lab.yaml"
    file.write_text(file.read_text().replace(", patches: none", ""))
    (toy.tree / "kernel/umcg.c").unlink()
    build(toy)
    edit(toy, "init/main.c")
    kernel, compiled = build(toy)
    # The file that a patch adds is compiled once more for its warnings.
    assert "init/main" in compiled
    assert "kernel/fork" not in compiled
    assert "umcg_wait" in kernel.system_map.read_text()
    # What a patch changes as well is patched anew.
    edit(toy, "kernel/fork.c", by="int forks;\n")
    assert {"init/main", "kernel/fork"} <= set(build(toy)[1])
