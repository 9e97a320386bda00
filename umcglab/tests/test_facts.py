# SPDX-License-Identifier: MIT
from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from umcglab.errors import PatchError, UserError
from umcglab.results import codec, facts, rundir

TARGET = facts.TargetFacts(
    name="arm64-umcg-v0.5",
    arch="arm64",
    abi="umcg-v0.5",
    base="6.12",
    flavor="bench",
    status="done",
    programs=(
        facts.PlanFacts(
            "umcg/ctl",
            "test",
            ("register", "unregister"),
            needs_umcg=("register",),
            clauses={"register": ("R-1", "R-2")},
        ),
    ),
    benches=(facts.BenchPlanFacts("yard/futex:fair", "yard/futex", "fair"),),
    kernel=facts.KernelFacts("0123456789abcdef", "6.12.117-umcg", {"patches": []}),
    accel=facts.AccelFacts("tcg", "no /dev/kvm"),
    floor=2,
    boots=(facts.BootFacts(1, ("qemu", "-m", "1024"), 2.5, "6.12.117-umcg"),),
    errors=(
        facts.ErrorFacts.of(
            PatchError("oops", where="a.c:1", log=Path("build.log")), "build"
        ),
    ),
)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "target.json"
    codec.write(path, TARGET)
    assert codec.read(path, facts.TargetFacts) == TARGET
    assert [p.name for p in path.parent.iterdir()] == ["target.json"]


def test_a_file_of_an_older_lab_gets_defaults_and_of_a_newer_loses_extras(
    tmp_path: Path,
) -> None:
    path = tmp_path / "exact.json"
    path.write_text('{"seed": 7, "colour": "red"}')
    assert codec.read(path, facts.ExactFacts) == facts.ExactFacts(seed=7)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"smp": "two"}, "smp: unexpected 'two'"),
        ({"smp": True}, "smp: unexpected True"),
        ({"status": "fine"}, "status: unexpected 'fine'"),
        ({"boots": [{"n": None}]}, "boots[0].n: unexpected None"),
        ({"programs": {}}, "programs: unexpected {}"),
        ({"kernel": {"digest": "00"}}, "release"),
        ({"schema": 99}, "schema 99"),
    ],
)
def test_a_wrong_value_is_named(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    path = tmp_path / "target.json"
    codec.write(path, TARGET)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError) as e:
        codec.read(path, facts.TargetFacts)
    assert said in e.value.message
    assert str(path) in e.value.message


def test_a_missing_or_broken_file_is_the_users_fault(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        codec.read(tmp_path / "run.json", facts.RunFacts)
    (tmp_path / "run.json").write_text('{"id": ')
    with pytest.raises(UserError, match="not JSON"):
        codec.read(tmp_path / "run.json", facts.RunFacts)


@pytest.mark.parametrize(
    "change",
    [
        {"started": "today"},
        {"finished": "2026-01-01T1x0:00:00+00:00"},
        {"finished": "2026-01-01T10:00:00"},
    ],
)
def test_times_that_are_none(tmp_path: Path, change: dict[str, str]) -> None:
    path = tmp_path / "run.json"
    begun = "2026-01-01T10:00:00+00:00"
    run = facts.RunFacts("r", begun, "umcglab run", "0", (), finished=begun)
    codec.write(path, run)
    assert codec.read(path, facts.RunFacts) == run
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=re.escape(str(path))):
        codec.read(path, facts.RunFacts)


def test_a_program_of_a_suite_gets_a_flat_file_name() -> None:
    run = rundir.RunDir(Path("r"))
    assert run.program_log("t", "umcg/ctl") == Path("r/t/programs/umcg.ctl.log")
    assert run.program("t", "umcg/ctl") == Path("r/t/programs/umcg.ctl.json")
