# SPDX-License-Identifier: MIT
"""Mutation operators: every small mistake that one edit makes of a piece of C.

The text is parsed by tree-sitter, which needs neither a configuration nor a compiler
and knows of each node where it is. Whether an edit compiles, and whether it changes
anything, is for the compiler to say. An edit leaves every line where it was, so that
line numbers, in the debug information and in macros, stay what they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache

import tree_sitter
import tree_sitter_c
from tree_sitter import Node

_NOISE = re.compile(
    rb"\b(?:__user|__force|__always_inline|noinline|notrace|asmlinkage|__visible|"
    rb"__sched|__init|__must_check|__percpu|__rcu)\b"
)
"""What Linux writes among declarations and C does not know: to the parser, spaces."""

_HEAD = re.compile(r"(?:SYSCALL_DEFINE\d\((\w+)|(\w+)\s*\()")

_ERRNO = re.compile(r"E[A-Z]{3,}")
_CONSTANTS = {
    "true": ("false",),
    "false": ("true",),
    "GFP_KERNEL_ACCOUNT": ("GFP_KERNEL",),
    "UMCG_TASK_NONE": ("UMCG_TASK_RUNNING",),
    "UMCG_TASK_RUNNING": ("UMCG_TASK_IDLE", "UMCG_TASK_BLOCKED"),
    "UMCG_TASK_IDLE": ("UMCG_TASK_BLOCKED", "UMCG_TASK_RUNNING"),
    "UMCG_TASK_BLOCKED": ("UMCG_TASK_IDLE", "UMCG_TASK_RUNNING"),
}
_FLAG = re.compile(r"(?:WF|PF|TIF|JOBCTL|UMCG_TF|UMCG_DUTY)_\w+")
_RELATIONS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}

_CALLS = (
    ("skip-barrier", re.compile(r"smp_(?:mb|rmb|wmb)\w*")),
    ("skip-unlock", re.compile(r"\w*(?:unlock|pagefault_enable|access_end)\w*")),
    ("skip-lock", re.compile(r"(?:\w*_lock\w*|guard|scoped_guard|pagefault_disable)")),
    ("skip-put", re.compile(r"\w*(?:put\w*|refcount_dec\w*|kfree|cancel)")),
)
"""What a statement that is left out was, by the function it calls."""


@dataclass(frozen=True, order=True)
class Edit:
    """One mistake: `before`, at a place in a file's text, is `after` instead."""

    start: int
    """In bytes from the beginning."""
    line: int
    """From 1; where it begins."""
    last_line: int
    operator: str
    before: str
    after: str
    function: str

    def apply(self, text: bytes) -> bytes:
        """Return `text` with the edit, in as many lines as before."""
        before, after = self.before.encode(), self.after.encode()
        end = self.start + len(before)
        if text[self.start : end] != before:
            raise ValueError(f"line {self.line} does not have {self.before!r}")
        lines = before.count(b"\n") - after.count(b"\n")
        return text[: self.start] + after + b"\n" * lines + text[end:]


def edits(text: bytes, ours: Collection[int]) -> list[Edit]:
    """Return all edits of lines that are `ours`, by place; no two are the same."""
    tree = _parser().parse(_NOISE.sub(lambda m: b" " * len(m[0]), text))
    found: dict[Edit, None] = {}
    for body, head in _bodies(tree.root_node, text):
        for edit in _Function(text, body, head).edits():
            if all(n in ours for n in range(edit.line, edit.last_line + 1)):
                found.setdefault(edit)
    return sorted(found)


@cache
def _parser() -> tree_sitter.Parser:
    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_c.language()))


def _bodies(node: Node, text: bytes) -> Iterator[tuple[Node, str]]:
    """Return each body of a function below `node`, with the words before it.

    SYSCALL_DEFINE is no definition to the parser: its body stands there by itself.
    """
    for child in node.named_children:
        if child.type == "function_definition":
            body = child.child_by_field_name("body")
            if body:
                yield body, text[child.start_byte : body.start_byte].decode()
        elif child.type == "compound_statement":
            before = child.prev_named_sibling
            start = before.start_byte if before else child.start_byte
            yield child, text[start : child.start_byte].decode()
        elif child.type.startswith("preproc_") or child.type == "ERROR":
            yield from _bodies(child, text)


@dataclass(frozen=True)
class _Function:
    text: bytes
    body: Node
    head: str

    @property
    def name(self) -> str:
        found = _HEAD.search(self.head)
        return (found[1] or found[2]) if found else "?"

    def edits(self) -> Iterator[Edit]:
        yield from self.returns_at_once()
        yield from self.below(self.body)

    def below(self, node: Node) -> Iterator[Edit]:
        for child in node.named_children:
            yield from self.of(child)
            yield from self.below(child)

    def of(self, node: Node) -> Iterator[Edit]:
        """Return the edits of one node, without those within it."""
        kind = node.type
        if kind in ("expression_statement", "break_statement", "continue_statement",
                    "goto_statement", "return_statement"):  # fmt: skip
            yield from self.statement(node)
        elif kind in ("if_statement", "while_statement", "do_statement",
                      "for_statement", "conditional_expression"):  # fmt: skip
            yield from self.condition(node)
        elif kind == "function_definition":
            # C has none within another: it is a macro, such as scoped_guard().
            if body := node.child_by_field_name("body"):
                start, end = node.start_byte, body.start_byte
                said = self.text[start:end].decode().rstrip()
                yield self.span(_operator(said), start, start + len(said.encode()), "")
        elif kind == "case_statement":
            yield from self.case(node)
        elif kind == "binary_expression":
            yield from self.binary(node)
        elif kind == "assignment_expression":
            yield from self.assignment(node)
        elif kind == "unary_expression":
            yield from self.unary(node)
        elif kind == "update_expression":
            swap = {"++": "--", "--": "++"}
            said = self.said(node)
            for old, new in swap.items():
                if old in said:
                    yield self.edit("off-by-one", node, said.replace(old, new))
        elif kind in ("identifier", "true", "false", "number_literal"):
            yield from self.constant(node)

    def statement(self, node: Node) -> Iterator[Edit]:
        said = self.said(node)
        is_call = node.type == "expression_statement"
        operator = _operator(said) if is_call else "delete"
        # What has no semicolon of its own is a macro ahead of a block.
        yield self.edit(operator, node, ";" if said.endswith(";") else "")
        if node.type == "return_statement" and (value := _first(node)):
            if self.said(value) not in ("0", "1", "true", "false", "NULL"):
                yield self.edit("return-zero", value, "0")

    def condition(self, node: Node) -> Iterator[Edit]:
        node_of = node.child_by_field_name("condition")
        if node_of is None:
            return
        if node_of.type == "parenthesized_expression" and (inner := _first(node_of)):
            node_of = inner
        said = self.said(node_of)
        if said in ("0", "1", "true", "false"):
            return
        # What it does by the way is still done.
        yield self.edit("negate", node_of, f"!({said})")
        yield self.edit("always", node_of, f"(({said}) || 1)")
        yield self.edit("never", node_of, f"(({said}) && 0)")

    def case(self, node: Node) -> Iterator[Edit]:
        """Leave out a label: what it stands for goes by the default."""
        value = node.child_by_field_name("value")
        colon = next((c for c in node.children if c.type == ":"), None)
        if value and colon:
            yield self.span("drop-case", node.start_byte, colon.end_byte, "")

    def binary(self, node: Node) -> Iterator[Edit]:
        left, right = (node.child_by_field_name(n) for n in ("left", "right"))
        sign = node.child_by_field_name("operator")
        if not left or not right or not sign:
            return
        word = self.said(sign)
        if word in ("&&", "||", "|"):
            yield self.edit("drop-side", node, self.said(right))
            yield self.edit("drop-side", node, self.said(left))
        elif word == "&":
            yield self.edit("drop-mask", node, self.said(left))
        elif word in _RELATIONS:
            yield self.edit("relation", sign, _RELATIONS[word])
        elif word in "+-*/%":
            yield self.edit("drop-term", node, self.said(left))

    def assignment(self, node: Node) -> Iterator[Edit]:
        sign = node.child_by_field_name("operator")
        if sign and self.said(sign) in ("|=", "&="):
            yield self.edit("overwrite", sign, "=")

    def unary(self, node: Node) -> Iterator[Edit]:
        value = node.child_by_field_name("argument")
        said = self.said(node)
        if value is None:
            return
        if said[0] in "!~":
            yield self.edit("drop-not", node, self.said(value))
        elif said[0] == "-" and _ERRNO.fullmatch(self.said(value)):
            other = "EFAULT" if self.said(value) == "EINVAL" else "EINVAL"
            yield self.edit("errno", value, other)
            yield self.edit("no-error", node, "0")

    def constant(self, node: Node) -> Iterator[Edit]:
        said = self.said(node)
        for other in _CONSTANTS.get(said, ()):
            yield self.edit("constant", node, other)
        if _FLAG.fullmatch(said):
            yield self.edit("no-flag", node, "0")
        if node.type == "number_literal" and (
            n := re.fullmatch(r"(-?\d+)(U?L*)", said)
        ):
            yield self.edit("off-by-one", node, f"{int(n[1]) + 1}{n[2]}")
            if int(n[1]):
                yield self.edit("off-by-one", node, f"{int(n[1]) - 1}{n[2]}")

    def returns_at_once(self) -> Iterator[Edit]:
        """Return before the first statement that is not a declaration."""
        first = next(
            (c for c in self.body.named_children
             if c.type not in ("declaration", "comment")),
            None,
        )  # fmt: skip
        if first is None:
            return
        head = self.head[: self.head.rfind(self.name)]
        if "SYSCALL_DEFINE" in self.head or not re.search(r"\bvoid\s+$|void$", head):
            values: tuple[str, ...] = (
                ("NULL",) if head.rstrip().endswith("*") else ("0",)
            )
            if re.search(r"\bbool\b", head):
                values = ("false", "true")
        else:
            values = ("",)
        said = self.said(first)
        for value in values:
            early = f"return {value};" if value else "return;"
            if said.split() == early.split():
                continue
            yield self.span(
                "return-early", first.start_byte, first.start_byte, f"{early} "
            )

    def edit(self, operator: str, node: Node, after: str) -> Edit:
        return self.span(operator, node.start_byte, node.end_byte, after)

    def span(self, operator: str, start: int, end: int, after: str) -> Edit:
        line = self.text.count(b"\n", 0, start) + 1
        before = self.text[start:end].decode()
        last = line + before.count("\n")
        return Edit(start, line, last, operator, before, after, self.name)

    def said(self, node: Node) -> str:
        return self.text[node.start_byte : node.end_byte].decode()


def _operator(said: str) -> str:
    """Return what it is to leave out a statement that calls a function or macro."""
    called = re.match(r"\w+", said)
    if called:
        for name, pattern in _CALLS:
            if pattern.fullmatch(called[0]):
                return name
    return "delete"


def _first(node: Node) -> Node | None:
    """Return the first child that is no comment."""
    return next((c for c in node.named_children if c.type != "comment"), None)
