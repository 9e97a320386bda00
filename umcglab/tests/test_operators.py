# SPDX-License-Identifier: MIT
"""Mutation operators: what they make of C as Linux writes it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from umcglab.study import operators
from umcglab.study.operators import Edit

C = """\
#include <stddef.h>
static __always_inline int first(struct toy __user *toy, u32 word)
{
	int ret = 0;

	if (likely(toy) && word & ~TOY_MASK)
		return -EINVAL;
	spin_lock(&toy->lock);
	toy->word |= word;
	smp_mb();	/* and a comment */
	spin_unlock(&toy->lock);
	toy_put(toy);
	for (; ret < 4; ret++)
		toy_wake(toy, WF_SYNC);
	return ret;
}

SYSCALL_DEFINE2(toy, u32, flags, struct toy __user *, toy)
{
	switch (flags) {
	case 1:
	case 2:
		return first(toy,
			     flags);
	}
	guard(rcu)();
	toy_look();
	return 0;
}

static void last(void)
{
	scoped_guard(rcu) {
		toy_look();
	}
}

static bool is_toy(int a)
{
	return a == 1;
}
"""
LINES = range(1, C.count("\n") + 1)


def made(c: str = C, lines: range = LINES) -> list[Edit]:
    return operators.edits(c.encode(), lines)


def changes(operator: str) -> list[tuple[int, str, str]]:
    return [(e.line, e.before, e.after) for e in made() if e.operator == operator]


@pytest.mark.parametrize(
    ("operator", "wanted"),
    [
        ("skip-barrier", [(10, "smp_mb();", ";")]),
        ("skip-put", [(12, "toy_put(toy);", ";")]),
        ("skip-unlock", [(11, "spin_unlock(&toy->lock);", ";")]),
        ("skip-lock", [(8, "spin_lock(&toy->lock);", ";"), (26, "guard(rcu)();", ";"),
             (33, "scoped_guard(rcu)", "")]),
        ("relation", [(13, "<", "<="), (40, "==", "!=")]),
        ("errno", [(7, "EINVAL", "EFAULT")]),
        ("no-error", [(7, "-EINVAL", "0")]),
        ("no-flag", [(14, "WF_SYNC", "0")]),
        ("drop-not", [(6, "~TOY_MASK", "TOY_MASK")]),
        ("drop-mask", [(6, "word & ~TOY_MASK", "word")]),
        ("overwrite", [(9, "|=", "=")]),
        ("drop-case", [(21, "case 1:", ""), (22, "case 2:", "")]),
        (
            "drop-side",
            [(6, "likely(toy) && word & ~TOY_MASK", "likely(toy)"),
             (6, "likely(toy) && word & ~TOY_MASK", "word & ~TOY_MASK")],
        ),
        (
            "negate",
            [(6, "likely(toy) && word & ~TOY_MASK",
              "!(likely(toy) && word & ~TOY_MASK)"),
             (13, "ret < 4", "!(ret < 4)")],
        ),
        (
            "return-early",
            [(6, "", "return 0; "), (20, "", "return 0; "), (33, "", "return; "),
             (40, "", "return false; "), (40, "", "return true; ")],
        ),
    ],
)  # fmt: skip
def test_an_operator(operator: str, wanted: list[tuple[int, str, str]]) -> None:
    assert changes(operator) == wanted


def test_a_lock_ahead_of_a_block_is_skipped_and_the_block_stays() -> None:
    (edit,) = [e for e in made() if e.before == "scoped_guard(rcu)"]
    assert b"\t\t{\n\t\ttoy_look();" not in C.encode()
    assert b"\t {\n\t\ttoy_look();" in edit.apply(C.encode())


def test_every_edit_says_where_it_is() -> None:
    functions = {e.line: e.function for e in made()}
    assert (
        functions[6] == "first" and functions[27] == "toy" and functions[34] == "last"
    )
    assert changes("off-by-one")[:2] == [(4, "0", "1"), (13, "4", "3")]
    for edit in made():
        changed = edit.apply(C.encode())
        assert changed != C.encode()
        assert changed.count(b"\n") == C.count("\n"), edit
    two = next(e for e in made() if e.before.startswith("return first"))
    assert (two.line, two.last_line) == (23, 24)


def test_only_lines_that_are_ours_are_changed() -> None:
    assert {e.line for e in made(lines=range(10, 13))} == {10, 11, 12}
    # Half of a statement is not ours to change.
    assert not [e for e in made(lines=range(23, 24)) if "\n" in e.before]


def test_an_edit_is_of_one_text() -> None:
    edit = made()[0]
    with pytest.raises(ValueError, match="does not have"):
        edit.apply(b"x" + C.encode())


def test_what_is_plain_c_compiles(tmp_path: Path) -> None:
    c = (
        "int f(int a, int b);\n"
        "int f(int a, int b)\n{\n\tint ret = 0;\n\n"
        "\tif (a && b > 2)\n\t\tret = a ? b : 3;\n"
        "\twhile (ret < b || !a)\n\t\tret++;\n\treturn ret;\n}\n"
    )
    source = tmp_path / "f.c"
    edits = made(c, range(1, 20))
    assert len(edits) > 20
    for edit in edits:
        source.write_bytes(edit.apply(c.encode()))
        argv = ["gcc", "-fsyntax-only", str(source)]
        assert subprocess.run(argv, check=False).returncode == 0, edit
