# SPDX-License-Identifier: MIT
"""run.json against its published schema.

After a change that is meant: python -m umcglab.tests.test_run_json
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from umcglab.report import run_json
from umcglab.tests import golden
from umcglab.verdict import runs


def text() -> str:
    return json.dumps(run_json.schema(), indent=1) + "\n"


def strict() -> Draft202012Validator:
    """Return a validator that also refuses keys which the schema does not have."""
    schema: dict[str, Any] = copy.deepcopy(json.loads(run_json.SCHEMA.read_text()))
    for one in schema["$defs"].values():
        one["additionalProperties"] = False
    return Draft202012Validator(schema)


def test_the_published_schema_is_that_of_the_code() -> None:
    assert run_json.SCHEMA.read_text() == text()
    Draft202012Validator.check_schema(json.loads(text()))


@pytest.mark.parametrize(
    "make", golden.SCENARIOS.values(), ids=lambda make: make.__name__
)
def test_every_run_is_as_the_schema_says(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path)
    path = tmp_path / "run.json"
    # As it is while the run goes on, and with the result.
    strict().validate(json.loads(path.read_text()))
    made = json.loads(run_json.render(runs.collect(tmp_path)))
    strict().validate(made)
    assert made["result"]["targets"]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("id",), 7),
        (("plan",), "x86_64-control"),
        (("result", "verdict"), "GOOD"),
        (("result", "exit_code"), None),
        (("result", "counts", "PASS"), 1.5),
        (("result", "targets", 0, "programs", 0, "tests", 0, "outcome"), "OK"),
        (("result", "targets", 0, "exact", "benches", 0, "per_op"), "2401"),
    ],
)
def test_the_schema_refuses_what_is_no_run(
    tmp_path: Path, place: tuple[str | int, ...], value: object
) -> None:
    golden.passing(tmp_path)
    made = json.loads(run_json.render(runs.collect(tmp_path)))
    validator = Draft202012Validator(json.loads(run_json.SCHEMA.read_text()))
    assert validator.is_valid(made | {"a key of a later lab": 1})
    at = made
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = value
    assert not validator.is_valid(made)


if __name__ == "__main__":
    run_json.SCHEMA.write_text(text())
