# SPDX-License-Identifier: MIT
"""Run jobs in parallel, each in a process of its own.

A process, not a thread: SIGINT or SIGTERM then unwinds every job's context
managers, so that QEMU and compilers end with whoever started them, and
pexpect never meets threads.

A job is a function and its arguments, all picklable, and so is what it returns or
raises. They are pickled even where fork does without: a job can then run on another
machine, should the pool ever be one of many.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, TypeVar

from umcglab.errors import InfraError, LabError
from umcglab.host import files
from umcglab.host.display import Event


class Shown(Protocol):
    """Where a person sees what runs; a `Display`, say."""

    def start(self, job: str, expected: float | None) -> None:
        """Show `job`, which took `expected` seconds the last time, if known."""

    def event(self, job: str, event: Event) -> None:
        """Show what a job says of itself."""

    def finish(self, job: str, text: str) -> float:
        """Show how `job` ended; return its seconds."""

    def refresh(self) -> None:
        """Draw; called often."""


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_FORK = multiprocessing.get_context("fork")
_PR_SET_PDEATHSIG = 1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_REPEAT = 0.05
"""Seconds after which an interrupt that Python ignored comes again."""
_INSTANT = 2.0
"""Seconds that what is built takes at least."""
_GRACE = 15.0
"""Seconds a cancelled job has to clean up before it is killed."""


Steps = Iterator[Sequence[Future[Any]]]
"""What goes on in steps: it yields the futures it waits for, and is resumed once they
are done."""


@dataclass(frozen=True)
class _Job:
    """A piece of work that was submitted."""

    name: str
    function: Callable[..., Any]
    args: Sequence[object]
    """Futures among them stand for their results."""
    more: Mapping[str, object]
    cores: int
    stage: int
    nice: int
    future: Future[Any]

    @property
    def needs(self) -> list[Future[Any]]:
        return [arg for arg in self.args if isinstance(arg, Future)]

    def pickled(self) -> bytes:
        """Return the work itself; the results that it needs are there."""
        args = [a.result() if isinstance(a, Future) else a for a in self.args]
        return pickle.dumps((self.function, args, self.more))


@dataclass(frozen=True)
class _Pipe:
    """The job's end: a `Progress` that sends events to the pool's process."""

    conn: Connection

    def phase(self, name: str, total: int | None = None) -> None:
        self.conn.send(Event("phase", name, total=total))

    def advance(self, done: int, total: int | None = None) -> None:
        self.conn.send(Event("advance", done=done, total=total))

    def say(self, text: str) -> None:
        self.conn.send(Event("say", text))


class _Interrupt:
    """Unwinds as Ctrl-C does, once: a second signal must not cut cleaning up."""

    def __init__(self) -> None:
        self._pending = False
        self._deferring = False

    def __call__(self, _signum: int, _frame: FrameType | None) -> None:
        if self._deferring:
            self._pending = True
        else:
            self._unwind()

    def _unwind(self) -> None:
        self._pending = False
        for signum in _SIGNALS:
            signal.signal(signum, signal.SIG_IGN)
        raise KeyboardInterrupt

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Defer an interrupt to the end: for a fork, whose child calls `deliver`.

        Python calls functions of its library when it forks, and ignores what they
        raise: an interrupt would be lost, and a lock of logging stay locked.
        """
        self._deferring = True
        try:
            yield
        finally:
            self.deliver()

    def deliver(self) -> None:
        """Defer no more; unwind if an interrupt is pending."""
        self._deferring = False
        if self._pending:
            self._unwind()

    def repeat(self, ignored: sys.UnraisableHookArgs) -> None:
        """Interrupt again if Python ignored it, as it does in a destructor."""
        if not isinstance(ignored.exc_value, KeyboardInterrupt):
            sys.__unraisablehook__(ignored)
            return
        # Not at once: what this function raises is ignored, too.
        signal.signal(signal.SIGALRM, self)
        signal.setitimer(signal.ITIMER_REAL, _REPEAT)


_interrupt = _Interrupt()


def catch_signals() -> None:
    """Make SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, the first time.

    A signal that whoever started us had ignored, as nohup does, stays ignored;
    SIGTERM does not, for a parent's death is told by it.
    """
    sys.unraisablehook = _interrupt.repeat
    for signum in _SIGNALS:
        if signum == signal.SIGTERM or signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, _interrupt)


def _child(name: str, nice: int, work: bytes, conn: Connection, parent: int) -> None:
    """Run the job in its process; the last message is its result."""
    os.nice(nice)
    # When the pool's process is killed outright its jobs still clean up.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    catch_signals()
    result: object
    try:
        _interrupt.deliver()
        if os.getppid() != parent:
            return
        function, args, more = pickle.loads(work)
        result = function(*args, progress=_Pipe(conn), **more)
    except LabError as e:
        result = e
    except KeyboardInterrupt:
        return
    except Exception as e:
        _Pipe(conn).say(traceback.format_exc())
        result = InfraError(f"{name}: a bug in umcglab, {type(e).__name__}: {e}")
    with contextlib.suppress(BrokenPipeError):
        conn.send((result,))


@dataclass(frozen=True)
class _Running:
    job: _Job
    process: BaseProcess


class Pool:
    """Runs jobs as soon as what they need is there and their cores are free.

    A context manager: what still runs when it is left, on KeyboardInterrupt say, is
    told to stop and waited for.

    `durations` is a JSON file that remembers how long each job took, in seconds. The
    longest job starts first, so that no long one is left to run alone at the end; one
    that never ran counts as longer than all, and equals keep their order. The first in
    line waits until its cores are free: were others let past it, it could wait for ever.
    What takes less than `instant` seconds came from a cache, and is not remembered.
    """

    def __init__(
        self, cores: int, display: Shown, durations: Path, *, instant: float = _INSTANT
    ) -> None:
        self._cores = cores
        self._display = display
        self._durations = durations
        self._instant = instant
        self._expected = _load(durations)
        self._waiting: list[_Job] = []
        self._running: dict[Connection, _Running] = {}

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        _stop([r.process for r in self._running.values()])
        _save(self._durations, self._expected)

    def submit(
        self,
        name: str,
        function: Callable[..., T],
        *args: object,
        cores: int = 1,
        stage: int = 0,
        nice: int = 0,
        **more: object,
    ) -> Future[T]:
        """Have `function(*args, progress=..., **more)` called in a process of its own.

        A future among `args` stands for its result; if that is an error, it is this
        job's too. `name` is what the job is called on the display and what its duration
        is remembered by. It has that many of the pool's cores to itself. A LabError is
        set in the future, so that one failure does not stop the others. `wait` runs it.

        Jobs of a later `stage` go first, for they bring something to its end. Yet with
        something else running, one job of the earliest stage is kept running too: else
        there would be nothing to go on with afterwards. With more `nice` a job leaves
        more of the host's time to those that run beside it.
        """
        future: Future[T] = Future()
        cores = min(cores, self._cores)
        job = _Job(name, function, args, more, cores, stage, nice, future)
        self._waiting.append(job)
        return future

    def wait(self, *steps: Steps) -> None:
        """Run until every job has ended, and each of `steps` with them."""
        waited = {one: next(one, None) for one in steps}
        while True:
            ended = [
                one
                for one, futures in waited.items()
                if futures is not None and all(f.done() for f in futures)
            ]
            waited |= {one: next(one, None) for one in ended}
            if ended or self._give_up():
                continue
            self._start()
            if not self._running:
                assert not self._waiting, "jobs wait for what nobody makes"
                return
            self._listen()
            self._display.refresh()

    def _give_up(self) -> bool:
        """Fail the jobs that need what could not be made; say whether there are some."""
        given_up = False
        for job in list(self._waiting):
            errors = [f.exception() for f in job.needs if f.done()]
            if error := next(filter(None, errors), None):
                self._waiting.remove(job)
                job.future.set_exception(error)
                given_up = True
        return given_up

    def _next(self) -> _Job | None:
        """Return which job is to start next, if one has all that it needs."""
        ready = [j for j in self._waiting if all(f.done() for f in j.needs)]
        if not ready:
            return None
        stages = {job.stage for job in ready}
        stage = max(stages)
        busy = [running.job.stage for running in self._running.values()]
        if busy and min(busy) > min(stages):
            stage = min(stages)
        return max(
            (job for job in ready if job.stage == stage),
            key=lambda job: self._expected.get(job.name, math.inf),
        )

    def _start(self) -> None:
        """Start what there are cores for."""
        while job := self._next():
            used = sum(running.job.cores for running in self._running.values())
            if used + job.cores > self._cores:
                return
            self._waiting.remove(job)
            theirs, ours = _FORK.Pipe()
            process = _FORK.Process(
                target=_child,
                args=(job.name, job.nice, job.pickled(), theirs, os.getpid()),
            )
            # An interrupt has to find the process in `_running`, or it is not stopped.
            with _interrupt.deferred():
                process.start()
                self._running[ours] = _Running(job, process)
            theirs.close()
            self._display.start(job.name, self._expected.get(job.name))

    def _listen(self) -> None:
        """Hear for a moment what the running jobs have to say."""
        for conn in wait(list(self._running), timeout=0.2):
            assert isinstance(conn, Connection)
            job = self._running[conn].job
            try:
                message = conn.recv()
            except EOFError:
                message = (InfraError(f"{job.name}: its process was killed"),)
            if isinstance(message, Event):
                self._display.event(job.name, message)
                continue
            result = message[0]
            failed = isinstance(result, LabError)
            took = self._display.finish(job.name, "failed" if failed else "done")
            if not failed and took > self._instant:
                self._expected[job.name] = took
            self._running.pop(conn).process.join()
            conn.close()
            if failed:
                job.future.set_exception(result)
            else:
                job.future.set_result(result)


class _Result(Protocol[T_co]):
    """What is read of a future; unlike `Future`, one of a subtype will do."""

    def result(self, timeout: float | None = None) -> T_co: ...


def outcome(future: _Result[T]) -> T | LabError:
    """Return what came of a job that has ended: its result, or its error in place."""
    try:
        return future.result(timeout=0)
    except LabError as e:
        return e


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
        # Another lab, or another target, may have remembered some meanwhile.
        files.write(path, json.dumps({**_load(path), **durations}, indent=1))
