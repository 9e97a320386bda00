# SPDX-License-Identifier: MIT
"""One object and a link, in the tree of the toy kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from umcglab.errors import PatchError
from umcglab.kernel import objects, trees
from umcglab.kernel.objects import Compiled, Objects
from umcglab.lab.config import Lab, Target
from umcglab.tests import toylab
from umcglab.tests.toylab import UMCG_C

UMCG, OBJECT = "kernel/umcg.c", "kernel/umcg.o"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.delenv("UMCGLAB_CACHE", raising=False)
    return toylab.make(tmp_path).load()


def patched(lab: Lab) -> Target:
    return next(target for target in lab.targets if target.abi == "umcg-toy")


@pytest.fixture
def known(lab: Lab) -> Iterator[Objects]:
    with trees.hold(patched(lab), lab, toylab.Progress(), 1) as tree:
        yield objects.of(tree)


def text(old: str, new: str) -> bytes:
    assert old in UMCG_C
    return UMCG_C.replace(old, new, 1).encode()


def test_an_object_is_compiled_beside_the_tree(known: Objects) -> None:
    tree = known.tree.built.tree
    at, source = tree / "build" / OBJECT, tree / UMCG
    users = known.users(UMCG, ())
    assert users == (OBJECT,)
    before = known.original(users)
    object_before, when = at.read_bytes(), source.stat().st_mtime_ns
    with known.compile(UMCG, text("flags;", "7;"), users) as made:
        assert isinstance(made, Compiled)
        assert made.code.keys() == before.keys() and made.code != before
    # Neither the source nor the object nor its age is another.
    assert source.read_text() == UMCG_C
    assert source.stat().st_mtime_ns == when
    assert at.read_bytes() == object_before


def test_what_changes_no_instruction_is_equal(known: Objects) -> None:
    before = known.original((OBJECT,))
    with known.compile(UMCG, text("flags;", "(flags + 0);"), (OBJECT,)) as made:
        assert isinstance(made, Compiled) and dict(made.code) == before


def test_what_does_not_compile_says_why(known: Objects) -> None:
    with known.compile(UMCG, text("flags;", "wrong;"), (OBJECT,)) as made:
        assert isinstance(made, str) and "error: 'wrong' undeclared" in made.replace(
            "\u2018", "'"
        ).replace("\u2019", "'")
    with known.compile(UMCG, text("flags;", "7;"), (OBJECT,)) as made:
        assert isinstance(made, Compiled)


def test_a_link_has_the_mistake_and_the_next_has_not(
    known: Objects, tmp_path: Path
) -> None:
    vmlinux = known.tree.built.objects / "vmlinux"
    known.original((OBJECT,))
    first = vmlinux.read_bytes()
    with known.compile(UMCG, text("flags;", "7;"), (OBJECT,)) as made:
        assert isinstance(made, Compiled)
        kernel = known.link(made, tmp_path / "make.log")
    assert kernel.vmlinux.read_bytes() != first
    assert kernel.digest != known.tree.kernel.digest
    assert kernel.release == known.tree.kernel.release
    # make compiled nothing: the source is what it was.
    assert "  CC " not in (tmp_path / "make.log").read_text()
    known.restore()
    with known.compile(UMCG, UMCG_C.encode(), (OBJECT,)) as made:
        assert isinstance(made, Compiled)
        known.link(made, tmp_path / "make.log")
    assert vmlinux.read_bytes() == first


def test_a_hunt_that_was_cut_short_leaves_nothing(lab: Lab, tmp_path: Path) -> None:
    with trees.hold(patched(lab), lab, toylab.Progress(), 1) as tree:
        known = objects.of(tree)
        before = known.original((OBJECT,))
        source, at = tree.built.tree / UMCG, tree.built.objects / OBJECT
        with known.compile(UMCG, text("flags;", "7;"), (OBJECT,)) as made:
            assert isinstance(made, Compiled)
            known.link(made, tmp_path / "make.log")
        assert known.code(at) != before[OBJECT]
    with trees.hold(patched(lab), lab, toylab.Progress(), 1) as tree:
        # There is nothing that make would see: the source is what it was.
        assert not tree.restore()
        assert known.code(at) == before[OBJECT]
        # Killed in the middle of a compilation, say.
        source.write_bytes(text("flags;", "8;"))
    with trees.hold(patched(lab), lab, toylab.Progress(), 1) as tree:
        known = objects.of(tree)
        assert source.read_text() == UMCG_C
        assert known.code(at) == before[OBJECT]


def test_a_mutant_by_hand_is_not_taken_for_the_series(lab: Lab) -> None:
    with trees.hold(patched(lab), lab, toylab.Progress(), 1) as tree:
        right = objects.of(tree).code(tree.built.objects / OBJECT)
        # As `umcglab mutants` leaves a tree: its last mutant, compiled.
        (tree.built.tree / UMCG).write_bytes(text("flags;", "7;"))
        tree.built.make("bzImage", LOCALVERSION=tree.localversion())
    with trees.hold(patched(lab), lab, toylab.Progress(), 1) as tree:
        assert objects.of(tree).original((OBJECT,)) == {OBJECT: right}


def test_a_kernel_that_does_not_link(known: Objects, tmp_path: Path) -> None:
    other = text("return flags;", "extern int other; return other;")
    with known.compile(UMCG, other, (OBJECT,)) as made:
        assert isinstance(made, Compiled)
        made.folder.joinpath(OBJECT).write_bytes(b"no object")
        with pytest.raises(PatchError, match="does not build"):
            known.link(made, tmp_path / "make.log")
