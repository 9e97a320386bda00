# SPDX-License-Identifier: MIT
"""Dataclasses to JSON files, and back.

A file that is not such a thing is a UserError that says where; unknown keys are ignored,
so that an older lab reads what a newer one wrote.
"""

from __future__ import annotations

import enum
import functools
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from umcglab.errors import UserError
from umcglab.host import files

SCHEMA = 1

Facts = TypeVar("Facts")


def json_bytes(data: object) -> bytes:
    """Return what is in a file of JSON."""
    return f"{json.dumps(data, indent=1, ensure_ascii=False)}\n".encode()


def write_json(path: Path, data: object) -> None:
    """Write `data` to `path` in one step: readers see the old file or the new."""
    files.write(path, json_bytes(data))


def write(path: Path, facts: object) -> None:
    """Write one facts dataclass to its file, in one step."""
    write_json(path, asdict(typing.cast(Any, facts)))


def read(path: Path, kind: type[Facts]) -> Facts:
    """Read one facts dataclass; UserError if the file is not such a thing."""
    try:
        data = files.read_json(path)
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such file", hint="give the folder of a run") from e
    except OSError as e:
        raise UserError(f"{path}: cannot read it: {e.strerror}") from e
    except ValueError as e:
        raise UserError(f"{path}: not JSON: {e}") from e
    if isinstance(data, dict) and data.get("schema", SCHEMA) != SCHEMA:
        raise UserError(
            f"{path}: schema {data['schema']}, this lab reads {SCHEMA}",
            hint="render it with the version of the lab that wrote it",
        )
    try:
        return typing.cast(Facts, _build(kind, data, ""))
    except (TypeError, ValueError) as e:
        raise UserError(f"{path}: {e}") from e


def schema(kind: type) -> dict[str, object]:
    """Return the JSON schema of what `write` makes of a dataclass.

    A field that has a default may be missing, and unknown keys are allowed, as in `read`.
    """
    named: dict[str, object] = {}
    top = _schema(kind, named)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **top,
        "$defs": dict(sorted(named.items())),
    }


def _schema(hint: Any, named: dict[str, object]) -> dict[str, object]:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return {}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_schema(arg, named) for arg in args]}
    if origin is Literal:
        return {"enum": list(args)}
    if origin is tuple:
        return {"type": "array", "items": _schema(args[0], named)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(args[1], named)}
    if is_dataclass(hint):
        name = typing.cast(type, hint).__name__
        if name not in named:
            # First, in case it has itself in it.
            named[name] = None
            named[name] = _object_schema(typing.cast(type, hint), named)
        return {"$ref": f"#/$defs/{name}"}
    if issubclass(hint, enum.Enum):
        return {"enum": [member.value for member in hint]}
    return {"type": _JSON_TYPES[hint]}


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields, which take long to find out."""
    return typing.get_type_hints(kind)


def _object_schema(kind: type, named: dict[str, object]) -> dict[str, object]:
    hints = _hints(kind)
    own = [f for f in fields(kind) if f.init]
    return {
        "type": "object",
        "description": " ".join((kind.__doc__ or "").split()),
        "properties": {f.name: _schema(hints[f.name], named) for f in own},
        "required": [
            f.name for f in own if f.default is MISSING and f.default_factory is MISSING
        ],
    }


_JSON_TYPES = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
}


def _build(hint: Any, value: Any, where: str) -> Any:
    """Make `value`, out of JSON, into the type `hint`; unknown keys are ignored."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _build(next(a for a in args if a is not type(None)), value, where)
    if origin is Literal:
        if value in args:
            return value
    elif origin is tuple:
        if isinstance(value, list):
            return tuple(
                _build(args[0], v, f"{where}[{n}]") for n, v in enumerate(value)
            )
    elif origin is dict:
        if isinstance(value, Mapping):
            return {k: _build(args[1], v, f"{where}.{k}") for k, v in value.items()}
    elif is_dataclass(hint):
        if isinstance(value, Mapping):
            hints = _hints(typing.cast(type, hint))
            return typing.cast(Any, hint)(
                **{
                    f.name: _build(hints[f.name], value[f.name], f"{where}.{f.name}")
                    for f in fields(hint)
                    if f.name in value
                }
            )
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif type(value) is hint:
        return value
    raise TypeError(f"{where.lstrip('.') or 'top level'}: unexpected {value!r:.60}")
