# SPDX-License-Identifier: MIT
"""How the fuzzer is asked for, and what is made of what it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from umcglab.lab import config
from umcglab.lab.config import Lab, Target
from umcglab.lab.manifest import Program
from umcglab.report import html
from umcglab.results import codec
from umcglab.results.facts import PlanFacts, ProgramFacts
from umcglab.run import fuzz, lanes, session
from umcglab.run.fuzz import Fuzz
from umcglab.run.lanes import Ready
from umcglab.tests.golden import Golden
from umcglab.verdict import fuzz_log, runs

X86, ARM = "x86_64-umcg-v0.5", "arm64-umcg-v0.5"
NAME = "umcg-v0.5/fuzz"
PROGRAM = Program(NAME, "fuzz", ("bin/umcg-v0.5/fuzz",), ("episodes",), timeout=300)
TOTALS = "# fuzz: seed=7 ops=1000 succeeded=800 CTL-1=10/10 ARG-2=0/50 WRUN-1=0/0\n"
GOOD = "KTAP version 1\n1..1\n# RUN episodes\n# episode 7:0\n# episode 7:1\n"
FAILED = (
    "# fuzz/main.c:54: episode 1 of seed 7 failed: nothing moves any more\n"
    "# again: fuzz --replay 7:1 --servers 2\n"
)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return replace(config.load(config.ROOT / "lab.yaml"), results=tmp_path)


def target(lab: Lab, **changes: Any) -> Target:
    return replace(config.select(lab, [X86])[0], **changes)


def made(lab: Lab, **changes: Any) -> Ready:
    """Return what the functions under test need of a target that is built."""
    nothing = cast(Any, None)
    asked = Fuzz(5000, 9, ("1:2",))
    return Ready(
        target(lab, **changes), nothing, nothing, nothing, (PROGRAM,), fuzz=asked
    )


def finished(path: Path, **said: str) -> runs.Run:
    """Return a run in which the fuzzer has said that on some targets."""
    golden = Golden(path, (X86, ARM))
    for name, log in said.items():
        name = {"x86": X86, "arm": ARM}[name]
        plan = PlanFacts(NAME, fuzz_log.KIND, ("episodes",))
        golden.change(name, programs=(*golden.target(name).programs, plan))
        end = golden.program(name, "umcg/ctl").console_to
        status = 0 if "\nok" in log else 1
        ran = ProgramFacts(NAME, 1, status, 2.0, end, end, lost="ok" not in log)
        codec.write(golden.dir.program(name, NAME), ran)
        golden.dir.program_log(name, NAME).write_text(log)
    return runs.collect(path)


def test_the_program_is_told(lab: Lab) -> None:
    command = lanes.command(made(lab), PROGRAM)
    assert command.endswith("fuzz --ops 5000 --seed 9 --replay 1:2")
    plain = replace(PROGRAM, kind="test")
    assert lanes.command(made(lab), plain).endswith("/fuzz")
    assert lanes.time_limit(made(lab), plain) == 300


def test_time_grows_with_operations(lab: Lab) -> None:
    assert lanes.time_limit(made(lab), PROGRAM) == 300 + 5000 / 400 + 150


def test_a_slow_kernel_does_less(lab: Lab) -> None:
    slow = made(lab, flavor="debug")
    assert "--ops 500 " in lanes.command(slow, PROGRAM)
    as_much = slow.target.traits.slow * lanes.time_limit(made(lab), PROGRAM)
    assert lanes.time_limit(slow, PROGRAM) < as_much


def test_targets_of_an_abi_share_the_operations(lab: Lab) -> None:
    named = [X86, ARM, "x86_64-umcg-v0.5-debug", "x86_64-umcg-v0.9.1"]
    targets = config.select(lab, named)
    shares = Fuzz(5000, 9, ("1:2",)).shared(targets)
    done = {t.name: shares[t.name].on(t).ops for t in targets}
    assert done == {X86: 2381, ARM: 2381, named[2]: 238, named[3]: 5000}
    assert {share.replay for share in shares.values()} == {("1:2",)}
    seeds = [shares[name].seed for name in named[:3]]
    assert len(set(seeds)) == 3
    tomorrow = Fuzz(5000, 10).shared(targets)
    assert not {share.seed for share in tomorrow.values()} & set(seeds)


def test_a_target_is_asked_for_its_share(lab: Lab) -> None:
    (chosen,) = config.select(lab, [X86])
    asked = Fuzz(5000, 9)
    options = session.Options("", 2, fuzz=asked, shares=asked.shared([chosen, chosen]))
    built = cast(Any, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "ready", lambda target, built: made(lab))
        assert session.prepare(chosen, built, options).fuzz.ops == 2500
        whole = replace(options, shares={})
        assert session.prepare(chosen, built, whole).fuzz == asked


def test_the_same_again(lab: Lab) -> None:
    """The line to type asks for what was asked for, before it was made less."""
    for flavor in ("bench", "debug"):
        said = lanes.reproduce(made(lab, flavor=flavor), PROGRAM)
        assert said == (
            f"umcglab run --only {X86} --tests {NAME} --fuzz-ops 5000 --fuzz-seed 9"
        )
    assert "fuzz-ops" not in lanes.reproduce(made(lab), replace(PROGRAM, kind="test"))


def test_totals_and_the_report(tmp_path: Path) -> None:
    log = GOOD + TOTALS + "ok 1 episodes\n# Totals: pass:1 fail:0 skip:0\n"
    done = finished(tmp_path / "run", x86=log)
    assert done.targets[0].programs[-1].outcome == "PASS"
    ((target, totals),) = html.fuzzed(done)
    assert target == X86
    assert totals.figures == {"seed": "7", "ops": "1000", "succeeded": "800"}
    assert totals.clauses == {"CTL-1": (10, 10), "ARG-2": (0, 50), "WRUN-1": (0, 0)}
    text = html.render(done).decode()
    assert 'id="fuzz"' in text
    assert '100% <span class="small soft">of 10</span>' in text


def test_a_report_without_it(tmp_path: Path) -> None:
    done = finished(tmp_path / "run")
    assert html.fuzzed(done) == ()
    assert 'id="fuzz"' not in html.render(done).decode()


def test_failures_are_kept_once(lab: Lab, tmp_path: Path) -> None:
    log = GOOD + FAILED + TOTALS + "not ok 1 episodes\n"
    log += "# Totals: pass:0 fail:1 skip:0\n"
    done = finished(tmp_path / "run", x86=log, arm=log)
    assert fuzz.kept(lab) == ()
    assert fuzz.keep(lab, done) == ("7:1",)
    assert fuzz.keep(lab, done) == ()
    assert fuzz.kept(lab) == ("7:1",)
    kept = (lab.results / "fuzz-seeds.txt").read_text()
    assert kept.startswith("7:1 ")
    assert kept.endswith(f" {done.facts.id}\n")


def test_what_took_the_guest_along_is_kept(lab: Lab, tmp_path: Path) -> None:
    done = finished(tmp_path / "run", x86=GOOD)
    assert fuzz.keep(lab, done) == ("7:1",)


def test_success_keeps_nothing(lab: Lab, tmp_path: Path) -> None:
    log = GOOD + TOTALS + "ok 1 episodes\n# Totals: pass:1 fail:0 skip:0\n"
    assert fuzz.keep(lab, finished(tmp_path / "run", x86=log)) == ()
    assert not (lab.results / "fuzz-seeds.txt").exists()


def test_replays_are_the_latest(lab: Lab) -> None:
    lines = [f"1:{n} t r\n" for n in range(100)]
    (lab.results / "fuzz-seeds.txt").write_text("# found by hand\n" + "".join(lines))
    kept = fuzz.kept(lab)
    assert len(kept) == 64
    assert kept[-1] == "1:99"


def test_the_guest_knows_the_same_figures() -> None:
    text = (config.ROOT / "guest-tests/fuzz/main.c").read_text()
    assert f"#define SLOWEST		{fuzz._SLOWEST}\t" in text
    assert f"#define REPLAYS		{fuzz._MOST_REPLAYS}\n" in text
    assert session.Options("", 1).fuzz == Fuzz(100_000, 1)
