# SPDX-License-Identifier: MIT
"""Mutations of every parser's samples: none raises anything.

`make check` takes a few seconds of them, `make nightly` ten minutes, by way of the
marker; what hypothesis finds it makes small and shows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from umcglab.verdict import bench_output, fuzz_log, ktap, places, splat

DATA = Path(__file__).parent / "data"
_NIGHT = 600
"""Seconds of a night for all parsers."""

PIECES = [
    "\n", "\r\n", " ", "\t", "# ", "-", "ok ", "not ok 1 a", "1..", "9" * 5000, "@@ ",
    "@@ begin a\n", "@@ end a 0\n", "{", "[" * 3000, '{"a":' * 3000, "\\ud800", "\0",
    "a" * 5000, " #" * 2000, "[    1.000000]", "[   T97] ", "[   C0] ", "Call Trace:\n",
    " f+0x1/0x2\n", "RIP: 0010:f+0x1/0x2\n", "BUG: ", "WARNING: ", "INFO: task a",
    "rcu: INFO: detected ", "NMI backtrace for cpu 1\n", "=" * 30, "\x1b[", "\ud800",
    "# fuzz: a=1/2 b=c/d e=/ f=\u00b2/3", "\u0661", "Bail out!", "# SKIP", "------------[ cut here ]------------\n",
]  # fmt: skip


def _samples(kind: str) -> list[str]:
    files = [p for p in sorted((DATA / kind).iterdir()) if p.stat().st_size < 20_000]
    return [path.read_text(errors="replace") for path in files]


def _scan(text: str) -> None:
    found = splat.scan(text)
    places.find(s.excerpt for s in found)
    assert all(1 <= s.line <= text.count("\n") + 1 for s in found)


def _places(text: str) -> None:
    places.find([text])


def _totals(text: str) -> None:
    fuzz_log.parse(text)
    for line in text.split("\n"):
        fuzz_log.parse(f"# fuzz: {line}")


def _ktap(text: str) -> None:
    for whole in (True, False):
        seen = ktap.parse(text, whole=whole)
        assert all(t.outcome is not ktap.Outcome.MISSING for t in seen.tests[:-1])


def _bench(text: str) -> None:
    for made in bench_output.parse_uart(text, ()).figures.values():
        assert made.per_op > 0 and made.spread >= 0


PARSERS: dict[str, tuple[Callable[[str], None], list[str]]] = {
    "ktap": (_ktap, _samples("ktap")),
    "bench": (_bench, _samples("bench")),
    "splat": (_scan, [*_samples("splat"), *_samples("mixed")]),
    "places": (_places, _samples("splat")),
    "totals": (_totals, ["# fuzz: seed=1 ops=5 CTL-1=3/4 WAIT-2=0/9"]),
}


@st.composite
def mutations(draw: st.DrawFn, samples: list[str]) -> str:
    """Draw a sample with parts cut out, doubled, exchanged and put in."""
    text = draw(st.sampled_from(samples))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(text)))
        end = min(len(text), at + draw(st.sampled_from([0, 1, 5, 80, 2000])))
        put = draw(st.one_of(st.sampled_from(PIECES), st.text(max_size=20)))
        times = draw(st.sampled_from([0, 1, 1, 1, 2, 50]))
        text = text[:at] + (put or text[at:end]) * times + text[end:]
        if draw(st.booleans()):
            text = (
                text[: len(text) // 2] + text[at:end] * times + text[len(text) // 2 :]
            )
        text = text[:500_000]
    return text


def _mutate(name: str, examples: int) -> None:
    parse, samples = PARSERS[name]

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        # The same each time in `make check`, other ones each night.
        derandomize=examples < 1000,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutations(samples))
    def run(text: str) -> None:
        parse(text)

    run()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PARSERS)
def test_no_mutation_raises(name: str) -> None:
    _mutate(name, 60)


@pytest.mark.nightly
@pytest.mark.lab
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", PARSERS)
def test_no_mutation_of_a_night_raises(name: str) -> None:
    until = time.monotonic() + _NIGHT / len(PARSERS)
    while time.monotonic() < until:
        _mutate(name, 1000)
