# SPDX-License-Identifier: MIT
"""YAML files that people write, read so that every complaint can say where.

They are read as nodes, not values: nodes know their line and column, and scalars
keep their spelling, so that the source `6.10` does not become the number 6.1.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer

from umcglab.errors import UserError

_BOOL = {"true": True, "false": False}
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")


def _quickly(text: str) -> yaml.Node | None:
    """Return the top node of a text, read by libyaml, which takes a sixth of the time."""

    class Loader(Composer, yaml.CSafeLoader):
        """Composes in Python: what libyaml has for that dies of deep nesting."""

        def __init__(self, stream: str) -> None:
            yaml.CSafeLoader.__init__(self, stream)
            Composer.__init__(self)

        def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
            """Compose one; one that is left out has its place behind the colon."""
            node = Composer.compose_scalar_node(self, anchor)
            at = node.start_mark.index
            end = len(text[:at].rstrip())
            if not node.value and end < at and text[end - 1] == ":":
                line, start = text.count("\n", 0, end), text.rfind("\n", 0, end) + 1
                node.start_mark = yaml.Mark("", end, line, end - start, None, 0)
            return node

    return yaml.compose(text, Loader=Loader)


def _read(text: str) -> yaml.Node | None:
    # PyYAML can be built without libyaml.
    if yaml.__with_libyaml__:
        try:
            return _quickly(text)
        except yaml.YAMLError:
            pass  # The other one says better what is wrong.
    return yaml.compose(text, Loader=yaml.SafeLoader)


def compose(file: Path, hint: str | None = None) -> yaml.Node | None:
    """Return the file's top node, None if it is empty; UserError if it is not YAML.

    `hint` is for a file that cannot be read.
    """
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as e:
        raise UserError(f"cannot read {file}: {e}", hint=hint) from e
    try:
        return _read(text)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        where = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else str(file)
        raise UserError(f"not YAML: {e.problem or e.context}", where=where) from e
    except yaml.YAMLError as e:
        raise UserError(f"not YAML: {' '.join(str(e).split())}", where=str(file)) from e
    except RecursionError as e:
        raise UserError("nested too deep to be read", where=str(file)) from e


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return what to add to a complaint about `word`, if it looks like a slip."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


@dataclass(frozen=True)
class Reader:
    """Turns nodes into values, complaining with their place in the file."""

    file: Path

    def at(self, node: yaml.Node) -> str:
        mark = node.start_mark
        return f"{self.file}:{mark.line + 1}:{mark.column + 1}"

    def error(
        self, node: yaml.Node, message: str, hint: str | None = None
    ) -> UserError:
        return UserError(message, where=self.at(node), hint=hint)

    def one_of(self, node: yaml.Node, what: str, known: Iterable[str]) -> str:
        """Return the scalar `node`, which must be one of `known`."""
        known = tuple(known)
        word = self.text(node, what)
        if word not in known:
            raise self.error(
                node,
                f"unknown {what} {word!r}{did_you_mean(word, known)}",
                f"known are {', '.join(known) or 'none'}",
            )
        return word

    def mapping(
        self, node: yaml.Node, what: str, known: Sequence[str] | None = None
    ) -> dict[str, yaml.Node]:
        """Return the pairs of `node`; keys must be unique, and among `known`."""
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, f"{what} must be a mapping (`key: value` pairs)")
        pairs: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if key.tag.endswith(":merge"):
                raise self.error(
                    key,
                    f"{what}: merge keys (`<<`) are not read",
                    "write the pairs out, or name the whole value with an alias",
                )
            name = self.text(key, f"a key of {what}")
            if name in pairs:
                raise self.error(key, f"{what}: {name!r} is there twice")
            if known is not None and name not in known:
                raise self.error(
                    key,
                    f"{what}: unknown key {name!r}{did_you_mean(name, known)}",
                    f"known are {', '.join(known)}",
                )
            pairs[name] = value
        return pairs

    def need(
        self, node: yaml.Node, pairs: Mapping[str, yaml.Node], what: str, key: str
    ) -> yaml.Node:
        if key not in pairs:
            raise self.error(node, f"{what}: {key!r} is missing")
        return pairs[key]

    def text(self, node: yaml.Node, what: str) -> str:
        """Return a scalar as it is spelt."""
        plain = isinstance(node, yaml.ScalarNode)
        if plain and (found := _CONTROL.search(node.value)):
            raise self.error(node, f"{what} must not have {found[0]!r} in it")
        if not plain or node.tag.endswith((":null", ":bool")) or not node.value:
            raise self.error(node, f"{what} must be a word")
        return str(node.value)

    def yes(self, node: yaml.Node) -> bool:
        """Return what `true` or `false` says."""
        if not isinstance(node, yaml.ScalarNode) or node.value not in _BOOL:
            raise self.error(node, "this can only be `true` or `false`")
        return _BOOL[node.value]

    def number(self, node: yaml.Node, what: str, low: int, high: int) -> int:
        is_int = isinstance(node, yaml.ScalarNode) and node.tag.endswith(":int")
        if not is_int or not re.fullmatch(r"[0-9]+", node.value):
            raise self.error(node, f"{what} must be a whole number")
        # No number of more digits is one that anything here can be.
        number = int(node.value) if len(node.value) < 20 else high + 1
        if not low <= number <= high:
            raise self.error(node, f"{what} must be from {low} to {high}")
        return number
