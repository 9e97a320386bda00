# SPDX-License-Identifier: MIT
"""The tables of every ABI.md, which a report sets side by side."""

from __future__ import annotations

import pytest

from umcglab.lab.config import ROOT
from umcglab.results.facts import CapabilityFacts, RaceFacts
from umcglab.verdict import contract

TEXTS = {
    path.parent.name: path.read_text()
    for path in sorted((ROOT / "kernel-patches").glob("*/ABI.md"))
}

TABLES = """
| capability | here | clauses |
|---|---|---|
| timeouts | of servers | TIME-1, WTIME-1 |
| preemption | no: it is not | - |

| timeouts | of another table | - |

| R | what went wrong | here | clauses | tests |
|---|---|---|---|---|
| R1 | a waiter | closed: so | WAIT-1 | `wait:a` |
| R2 | a signal | does not apply, cannot happen: no | - | - |
| R3 | one | open by contract: as posted | - | - |
| R4 | another | mended | - | - |
"""


def test_tables() -> None:
    assert contract.capabilities(TABLES) == (
        CapabilityFacts("timeouts", "of servers", ("TIME-1", "WTIME-1")),
        CapabilityFacts("preemption", "no: it is not"),
    )
    assert [c.has for c in contract.capabilities(TABLES)] == [True, False]
    assert not CapabilityFacts("a", "no").has
    assert CapabilityFacts("a", "not in a loop").has
    races = contract.races(TABLES)
    assert races[0] == RaceFacts("R1", "a waiter", "closed: so", ("WAIT-1",))
    words = [race.word for race in races]
    assert words == ["closed", "cannot happen", "open by contract", "?"]
    assert contract.capabilities("") == ()
    assert contract.races("") == ()


@pytest.mark.parametrize("abi", TEXTS)
def test_every_race_has_its_word(abi: str) -> None:
    races = contract.races(TEXTS[abi])
    assert [race.id for race in races] == [f"R{n}" for n in range(1, 60)]
    assert [race.id for race in races if race.word == "?"] == []


@pytest.mark.parametrize("abi", TEXTS)
def test_every_abi_tells_of_the_same_capabilities(abi: str) -> None:
    first = next(iter(TEXTS.values()))
    known = contract.capabilities(TEXTS[abi])
    assert [c.name for c in known] == [c.name for c in contract.capabilities(first)]
    assert known
    clauses = {clause.id for clause in contract.clauses(TEXTS[abi])}
    for capability in known:
        assert clauses.issuperset(capability.clauses), capability
        # What it lacks need not be said by a clause; what it has must.
        assert capability.clauses or not capability.has, capability


@pytest.mark.parametrize("abi", TEXTS)
def test_what_a_race_was_is_told_in_the_same_words(abi: str) -> None:
    first = contract.races(next(iter(TEXTS.values())))
    assert [r.what for r in contract.races(TEXTS[abi])] == [r.what for r in first]


def test_each_abi_is_there() -> None:
    assert {"umcg-v0.5", "umcg-v0.9.1", "umcg-2022"} <= set(TEXTS)
