# SPDX-License-Identifier: GPL-2.0
"""Servers in many processes, as the rest of the system sees them."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from actors import ACTOR, IDLE, RUNNING, Actor, Stage
from groups import Group
from patience import until

clauses = pytest.mark.clauses


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.close()


@pytest.fixture
def waker(stage: Stage) -> Actor:
    return stage.server()


@clauses("WAIT-1 VIOL-4")
def test_idle_is_an_interruptible_sleep(stage: Stage, waker: Actor) -> None:
    idle = stage.actor()
    idle.go_idle()
    assert idle.state == "S"
    until(lambda: idle.is_off_cpu, f"{idle.pid} off its CPU")
    before = idle.cpu_ticks, idle.switches
    time.sleep(0.2)
    assert (idle.cpu_ticks, idle.switches) == before
    assert waker.wake(idle) == 0
    assert idle.answer() == 0
    assert "umcg" not in idle.wchan


def freeze_waits(stage: Stage, waker: Actor, group: Group) -> None:
    woken, timed = stage.actor(), stage.actor()
    woken.go_idle()
    timed.go_idle(ms=1000)
    for actor in (woken, timed):
        group.add(actor.pid)

    group.freeze(True)
    group.freeze(False)
    assert woken.is_silent()
    assert woken.word == IDLE
    group.freeze(True)
    assert waker.wake(woken) == 0
    assert woken.is_silent()
    assert woken.word == RUNNING
    group.freeze(False)
    assert woken.answer() == 0
    assert timed.answer() == -errno.ETIMEDOUT


@clauses("SIG-6 SIG-2 TIME-6")
def test_cgroup_freezer(stage: Stage, waker: Actor, group: Group) -> None:
    freeze_waits(stage, waker, group)


@clauses("SIG-6 SIG-2 TIME-6")
def test_suspend_freezer(stage: Stage, waker: Actor, suspended: Group) -> None:
    freeze_waits(stage, waker, suspended)


@clauses("SIG-6")
def test_stop_and_continue_many(stage: Stage, waker: Actor) -> None:
    idle = [stage.actor() for _ in range(5)]
    for actor in idle:
        actor.go_idle()
    for actor in idle:
        os.kill(actor.pid, signal.SIGSTOP)
    for actor in idle:
        until(partial(actor.is_in, "T"), "a stop")
        os.kill(actor.pid, signal.SIGCONT)
    for actor in idle:
        until(partial(actor.is_in, "S"), "a sleep again")
        assert actor.is_silent(0.0)
        assert waker.wake(actor) == 0
        assert actor.answer() == 0


@clauses("XPROC-1 LIFE-3 SIG-5 VIOL-3")
def test_killing_some_leaves_the_others(stage: Stage, waker: Actor) -> None:
    idle = [stage.actor() for _ in range(12)]
    for actor in idle:
        actor.go_idle()
    for victim in idle[::2]:
        victim.child.kill()
    for victim in idle[::2]:
        victim.child.process.wait()
        assert waker.wake(victim) == -errno.ESRCH
    for actor in idle[1::2]:
        assert waker.wake(actor) == 0
        assert actor.answer() == 0


@clauses("LIFE-2 WAKE-6")
def test_exec_ends_a_server_for_others_too(stage: Stage, waker: Actor) -> None:
    actor = stage.server()
    assert waker.wake(actor) == 0
    # Into another life as an actor that is not registered.
    actor.tell(f"exec {ACTOR} {stage.path} {actor.slot}")
    assert actor.ask("unregister") == -errno.EINVAL
    assert waker.wake(actor) == -errno.ESRCH
    actor.go_idle()
    assert waker.wake(actor) == 0
    assert actor.answer() == 0


@clauses("XPROC-1 SWITCH-1 SWITCH-5")
def test_round_of_many_processes(stage: Stage, waker: Actor) -> None:
    """Each hands over to the next, which was asleep, and sleeps."""
    ring = [stage.actor() for _ in range(10)]
    for actor in ring:
        actor.go_idle()
    assert waker.wake(ring[0]) == 0
    for actor, successor in pairwise(ring):
        assert actor.answer() == 0
        actor.word = IDLE
        successor.word = RUNNING
        actor.tell(f"wait 0 {successor.pid} 0")
    assert ring[-1].answer() == 0
    assert all(actor.is_silent(0.0) for actor in ring)
    for actor in ring[:-1]:
        assert waker.wake(actor) == 0
        assert actor.answer() == 0
