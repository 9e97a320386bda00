# SPDX-License-Identifier: MIT
"""Run jobs in parallel, each in a process of its own.

A process, not a thread: SIGINT or SIGTERM then unwinds every job's context
managers, so that QEMU and compilers end with whoever started them, and
pexpect never meets threads. A job's return value or exception comes back
through a pipe and must be picklable.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Generic, TypeVar

from umcglab.errors import InfraError, LabError
from umcglab.host import files
from umcglab.host.display import Display, Event
from umcglab.host.progress import Progress

T = TypeVar("T")

_FORK = multiprocessing.get_context("fork")
_PR_SET_PDEATHSIG = 1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_INSTANT = 2.0
"""Jobs shorter than this, in seconds, came from the cache: no duration is recorded."""
_GRACE = 15.0
"""Seconds a cancelled job has to clean up before it is killed."""


@dataclass(frozen=True)
class Job(Generic[T]):
    """A named piece of work; `call` reports to the Progress it is given."""

    name: str
    call: Callable[[Progress], T]


@dataclass(frozen=True)
class _Pipe:
    """The job's end: a Progress that sends events to the pool's process."""

    conn: Connection

    def phase(self, name: str, total: int | None = None) -> None:
        self.conn.send(Event("phase", name, total=total))

    def advance(self, done: int, total: int | None = None) -> None:
        self.conn.send(Event("advance", done=done, total=total))

    def say(self, text: str) -> None:
        self.conn.send(Event("say", text))


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    """Unwind as Ctrl-C does, once: a second signal must not cut cleaning up."""
    for signum in _SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    raise KeyboardInterrupt


def catch_signals() -> None:
    """Make SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, the first time.

    A signal that whoever started us had ignored, as nohup does, stays ignored;
    SIGTERM does not, for a parent's death is told by it.
    """
    for signum in _SIGNALS:
        if signum == signal.SIGTERM or signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, _interrupt)


def _child(job: Job[T], conn: Connection, parent: int) -> None:
    """Run the job in its process; the last message is its result."""
    # When the pool's process is killed outright its jobs still clean up.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    catch_signals()
    result: object
    try:
        if os.getppid() != parent:
            return
        result = job.call(_Pipe(conn))
    except LabError as e:
        result = e
    except KeyboardInterrupt:
        return
    except Exception as e:
        _Pipe(conn).say(traceback.format_exc())
        result = InfraError(f"{job.name}: a bug in umcglab, {type(e).__name__}: {e}")
    with contextlib.suppress(BrokenPipeError):
        conn.send((result,))


@dataclass(frozen=True)
class _Running(Generic[T]):
    job: Job[T]
    process: BaseProcess


def run(
    jobs: Sequence[Job[T]],
    width: int,
    display: Display,
    durations: Path,
) -> Mapping[str, T | LabError]:
    """Run `jobs`, at most `width` at once; return results by name.

    The longest job starts first, so that no long one is left to run alone at
    the end; one that never ran counts as longer than all, and equals keep their
    order. A job's LabError is returned in its place, so that one failure does
    not stop the others. `durations` is a JSON file that remembers how long each
    job took, in seconds. On KeyboardInterrupt the running jobs are told to
    stop, waited for, and the interrupt goes on.
    """
    expected = _load(durations)
    waiting = sorted(reversed(jobs), key=lambda job: expected.get(job.name, math.inf))
    running: dict[Connection, _Running[T]] = {}
    results: dict[str, T | LabError] = {}
    try:
        while waiting or running:
            while waiting and len(running) < width:
                job = waiting.pop()
                theirs, ours = _FORK.Pipe()
                process = _FORK.Process(target=_child, args=(job, theirs, os.getpid()))
                process.start()
                theirs.close()
                running[ours] = _Running(job, process)
                display.start(job.name, expected.get(job.name))
            for conn in wait(list(running), timeout=0.2):
                assert isinstance(conn, Connection)
                job = running[conn].job
                try:
                    message = conn.recv()
                except EOFError:
                    message = (InfraError(f"{job.name}: its process was killed"),)
                if isinstance(message, Event):
                    display.event(job.name, message)
                    continue
                result = results[job.name] = message[0]
                failed = isinstance(result, LabError)
                took = display.finish(job.name, "failed" if failed else "done")
                if not failed and took > _INSTANT:
                    expected[job.name] = took
                running.pop(conn).process.join()
                conn.close()
            display.refresh()
    finally:
        _stop([r.process for r in running.values()])
        _save(durations, expected)
    return results


def _stop(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_GRACE)
        if process.is_alive():
            process.kill()
            process.join()


def _load(path: Path) -> dict[str, float]:
    try:
        return dict(files.read_json(path))
    except (OSError, ValueError, TypeError):
        return {}


def _save(path: Path, durations: Mapping[str, float]) -> None:
    # Not worth failing for: without, no job is said to take any time.
    with contextlib.suppress(InfraError):
        files.write(path, json.dumps(durations, indent=1))
