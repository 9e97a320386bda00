# SPDX-License-Identifier: MIT
"""Jobs in processes: order, results, errors, deaths, interrupts, what is shown."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest
from rich.console import Console

from umcglab.errors import InfraError, LabError, PatchError
from umcglab.host import display
from umcglab.host.pool import Pool, Steps, outcome
from umcglab.host.progress import Progress

Submit = Callable[[Pool], Sequence[Future[int]]]


def run(
    tmp_path: Path, submit: Submit, cores: int = 2, instant: float = 2.0
) -> tuple[list[int | LabError], str]:
    """Run what `submit` submits; return what came of it, and what was shown."""
    out = io.StringIO()
    with (
        display.Display(Console(file=out, width=100)) as shown,
        Pool(cores, shown, tmp_path / "durations.json", instant=instant) as jobs,
    ):
        futures = submit(jobs)
        jobs.wait()
    return [outcome(future) for future in futures], out.getvalue()


def expect(tmp_path: Path, **took: float) -> None:
    """Let the jobs of these names have taken so many seconds."""
    (tmp_path / "durations.json").write_text(json.dumps(took))


def ended(out: str) -> list[str]:
    """Return the names of jobs in the order in which they ended."""
    return re.findall(r"^(\S+): (?:done|failed)", out, re.M)


# Jobs: of this module, for what is pickled has to be found by its name.


def square(i: int, progress: Progress) -> int:
    return i * i


def add(a: int, b: int, progress: Progress) -> int:
    return a + b


def talk(progress: Progress) -> int:
    progress.phase("compile", 10)
    progress.advance(10)
    progress.say("ccache hit 90 %")
    return 1


def fail(progress: Progress) -> int:
    raise PatchError("no", where="a.c:1", hint="mend it", log=Path("x.log"))


def divide(progress: Progress) -> int:
    return 1 // 0


def die(progress: Progress) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def sleep(seconds: float, progress: Progress) -> int:
    time.sleep(seconds)
    return 0


def meet(mine: Path, other: Path, progress: Progress) -> int:
    """Return once `other` does the same."""
    mine.touch()
    return await_file(other, progress)


def await_file(path: Path, progress: Progress) -> int:
    deadline = time.monotonic() + 20
    while not path.exists():
        if time.monotonic() > deadline:
            raise InfraError(f"nobody made {path}")
        time.sleep(0.01)
    return 0


def is_there(path: Path, progress: Progress) -> int:
    return path.exists()


def alone(folder: Path, progress: Progress) -> int:
    """Fail if another such job runs."""
    (folder / "running").mkdir()
    time.sleep(0.05)
    (folder / "running").rmdir()
    return 0


def test_results_come_back(tmp_path: Path) -> None:
    def submit(jobs: Pool) -> Sequence[Future[int]]:
        return [jobs.submit(f"job{i}", square, i) for i in range(5)]

    results, out = run(tmp_path, submit)
    assert results == [0, 1, 4, 9, 16]
    assert "job4: done" in out


def test_the_longest_job_starts_first(tmp_path: Path) -> None:
    expect(tmp_path, short=3.0, long=70.0)
    names = ("short", "long", "new", "other")
    _, out = run(tmp_path, lambda jobs: [jobs.submit(n, square, 0) for n in names], 1)
    assert ended(out) == ["new", "other", "long", "short"]


def test_a_result_is_an_argument_of_the_next_job(tmp_path: Path) -> None:
    def submit(jobs: Pool) -> Sequence[Future[int]]:
        four = jobs.submit("four", square, 2)
        nine = jobs.submit("nine", square, 3)
        return [jobs.submit("sum", add, four, nine)]

    expect(tmp_path, four=1, nine=2)
    results, out = run(tmp_path, submit)
    assert results == [13]
    assert ended(out)[-1] == "sum"


def test_what_needs_a_job_that_failed_fails_with_it(tmp_path: Path) -> None:
    def submit(jobs: Pool) -> Sequence[Future[int]]:
        bad, good = jobs.submit("bad", fail), jobs.submit("good", square, 2)
        hurt = jobs.submit("hurt", add, good, bad)
        return [bad, good, hurt, jobs.submit("last", square, hurt)]

    (bad, good, hurt, last), out = run(tmp_path, submit)
    assert good == 4
    assert isinstance(bad, PatchError)
    assert bad is hurt is last
    assert sorted(ended(out)) == ["bad", "good"]


def test_a_job_has_its_cores_to_itself(tmp_path: Path) -> None:
    """One for all cores there are, even if it was written for a bigger host."""

    def submit(jobs: Pool) -> Sequence[Future[int]]:
        return [
            jobs.submit(f"job{n}", alone, tmp_path, cores=cores)
            for n, cores in enumerate((2, 8, 2, 2))
        ]

    assert run(tmp_path, submit)[0] == [0] * 4


def test_jobs_of_one_core_run_beside_each_other(tmp_path: Path) -> None:
    def submit(jobs: Pool) -> Sequence[Future[int]]:
        a, b = tmp_path / "a", tmp_path / "b"
        return [jobs.submit("a", meet, a, b), jobs.submit("b", meet, b, a)]

    assert run(tmp_path, submit)[0] == [0, 0]


def test_nobody_passes_a_job_that_waits_for_its_cores(tmp_path: Path) -> None:
    """The small one could begin beside the first, and the big one wait for ever."""

    def submit(jobs: Pool) -> Sequence[Future[int]]:
        return [
            jobs.submit("first", sleep, 0.3),
            jobs.submit("big", sleep, 0, cores=2),
            jobs.submit("small", sleep, 0),
        ]

    expect(tmp_path, first=30.0, big=20.0, small=10.0)
    assert ended(run(tmp_path, submit)[1]) == ["first", "big", "small"]


def niceness(progress: Progress) -> int:
    return os.nice(0)


def test_a_job_may_leave_time_to_others(tmp_path: Path) -> None:
    before = os.nice(0)

    def submit(jobs: Pool) -> Sequence[Future[int]]:
        return [jobs.submit(f"by {n}", niceness, nice=n) for n in (0, 4)]

    assert run(tmp_path, submit)[0] == [before, min(before + 4, 19)]
    assert os.nice(0) == before


def test_later_stages_go_first_on_one_core(tmp_path: Path) -> None:
    """Whatever takes long: the first is through before the second is begun."""

    def submit(jobs: Pool) -> Sequence[Future[int]]:
        kernels = [jobs.submit(f"kernel{n}", square, n) for n in range(2)]
        return [
            jobs.submit(f"test{n}", square, kernel, stage=1)
            for n, kernel in enumerate(kernels)
        ]

    expect(tmp_path, kernel0=99.0, kernel1=98.0, test0=1.0, test1=2.0)
    out = run(tmp_path, submit, 1)[1]
    assert ended(out) == ["kernel0", "test0", "kernel1", "test1"]


def test_one_job_of_the_earliest_stage_is_kept_running(tmp_path: Path) -> None:
    """Tests that are ready do not take both cores from the kernels to come."""

    def submit(jobs: Pool) -> Sequence[Future[int]]:
        a, b = tmp_path / "a", tmp_path / "b"
        return [
            jobs.submit("test1", meet, a, b, stage=1),
            jobs.submit("test2", is_there, b, stage=1),
            jobs.submit("kernel", meet, b, a),
        ]

    expect(tmp_path, test1=99.0, test2=98.0, kernel=1.0)
    results, _ = run(tmp_path, submit)
    assert results == [0, True, 0]


def test_a_slow_build_delays_no_other_target(tmp_path: Path) -> None:
    """The slow one ends only when it has seen that the other was judged."""
    said: list[str] = []
    judged = tmp_path / "judged"

    def through(jobs: Pool, name: str, kernel: Future[int]) -> Steps:
        yield [kernel]
        said.append(f"{name} is built")
        test = jobs.submit(f"test-{name}", square, kernel, stage=1)
        yield [test]
        said.append(f"{name} is judged")
        judged.touch()

    out = io.StringIO()
    with (
        display.Display(Console(file=out, width=100)) as shown,
        Pool(2, shown, tmp_path / "durations.json") as jobs,
    ):
        slow = jobs.submit("kernel-slow", await_file, judged)
        fast = jobs.submit("kernel-fast", square, 2)
        jobs.wait(through(jobs, "slow", slow), through(jobs, "fast", fast))
    assert slow.result() == 0
    assert said == [
        f"{n} is {w}" for n in ("fast", "slow") for w in ("built", "judged")
    ]
    assert ended(out.getvalue()) == [
        f"{job}-{name}" for name in ("fast", "slow") for job in ("kernel", "test")
    ]


def test_steps_that_wait_for_nothing_go_on(tmp_path: Path) -> None:
    said: list[int] = []

    def steps() -> Steps:
        for n in range(3):
            yield []
            said.append(n)

    with display.Display() as shown, Pool(1, shown, tmp_path / "durations") as jobs:
        jobs.wait(steps())
    assert said == [0, 1, 2]


def test_progress_is_printed_plainly_without_a_terminal(tmp_path: Path) -> None:
    _, out = run(tmp_path, lambda jobs: [jobs.submit("kernel", talk)])
    assert "kernel: compile" in out
    assert "kernel: ccache hit 90 %" in out


def test_a_failed_job_leaves_the_others_alone(tmp_path: Path) -> None:
    def submit(jobs: Pool) -> Sequence[Future[int]]:
        return [jobs.submit("bad", fail), jobs.submit("good", square, 2)]

    (error, good), out = run(tmp_path, submit, 1)
    assert good == 4
    assert isinstance(error, PatchError)
    assert error.lines() == ["no", "  at:  a.c:1", "  log: x.log", "  try: mend it"]
    assert "bad: failed" in out


def test_a_bug_is_the_labs_fault_and_shows_its_traceback(tmp_path: Path) -> None:
    (error,), out = run(tmp_path, lambda jobs: [jobs.submit("odd", divide)])
    assert isinstance(error, InfraError)
    assert "ZeroDivisionError" in str(error)
    assert "Traceback" in out


def test_a_killed_job_is_an_error_not_a_hang(tmp_path: Path) -> None:
    (error,), _ = run(tmp_path, lambda jobs: [jobs.submit("victim", die)])
    assert isinstance(error, InfraError)


def test_a_job_takes_nothing_that_cannot_be_sent(tmp_path: Path) -> None:
    """Though a fork would have it: it could not run on another machine."""
    with pytest.raises((AttributeError, pickle.PicklingError)):
        run(tmp_path, lambda jobs: [jobs.submit("local", lambda progress: 0)])


INTERRUPTED = """
import sys, time
from pathlib import Path
from umcglab.host import display, pool

here = Path(sys.argv[1])

def work(progress):
    progress.phase("working")
    try:
        time.sleep(60)
    finally:
        (here / "cleaned").touch()

pool.catch_signals()
with display.Display() as shown:
    try:
        with pool.Pool(1, shown, here / "durations.json") as jobs:
            jobs.submit("slow", work)
            jobs.wait()
    except KeyboardInterrupt:
        (here / "interrupted").touch()
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_jobs_clean_up_however_the_lab_ends(tmp_path: Path, signum: int) -> None:
    lab = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, tmp_path],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert lab.stderr
    assert "working" in lab.stderr.readline()
    lab.send_signal(signum)
    lab.wait(timeout=20)
    deadline = time.monotonic() + 20
    while not (tmp_path / "cleaned").exists():
        assert time.monotonic() < deadline, "the job did not clean up"
        time.sleep(0.05)
    assert (tmp_path / "interrupted").exists() == (signum != signal.SIGKILL)


@pytest.mark.parametrize("when", ["before", "after_in_parent"])
def test_an_interrupt_is_not_lost_in_a_fork(tmp_path: Path, when: str) -> None:
    hook = f"""
import os, signal
os.register_at_fork({when}=lambda: os.kill(os.getpid(), signal.SIGTERM))
"""
    done = subprocess.run(
        [sys.executable, "-c", hook + INTERRUPTED, tmp_path],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert "ignored" not in done.stderr
    assert (tmp_path / "interrupted").exists()


IN_A_DESTRUCTOR = """
import os, signal, time
from umcglab.host import pool

class Ends:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        print("not reached")

pool.catch_signals()
try:
    Ends()
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_is_not_lost_in_a_destructor() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_A_DESTRUCTOR],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


def test_what_others_remember_meanwhile_stays(tmp_path: Path) -> None:
    def submit(jobs: Pool) -> list[Future[int]]:
        expect(tmp_path, theirs=5.0)
        return [jobs.submit("ours", sleep, 0)]

    run(tmp_path, submit, instant=0.0)
    remembered = json.loads((tmp_path / "durations.json").read_text())
    assert remembered.keys() == {"ours", "theirs"}


def test_durations_become_expectations(tmp_path: Path) -> None:
    jobs = {"slow": 0.3, "cached": 0}
    run(
        tmp_path,
        lambda p: [p.submit(n, sleep, t) for n, t in jobs.items()],
        instant=0.2,
    )
    remembered = (tmp_path / "durations.json").read_text()
    assert "slow" in remembered
    assert "cached" not in remembered
    now = [0.0]
    out = io.StringIO()
    shown = display.Display(Console(file=out, width=100), lambda: now[0])
    shown.start("slow", 90.0)
    shown.event("slow", display.Event("phase", "compile", total=200))
    shown.event("slow", display.Event("advance", done=50))
    now[0] = 65.0
    shown.refresh()
    assert out.getvalue().splitlines()[-1] == (
        "slow: compile 50/200, 25 %, 1m05s of about 1m30s"
    )


def test_a_terminal_gets_a_live_table(tmp_path: Path) -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True)
    with display.Display(console) as shown:
        shown.start("kernel", None)
        shown.event("kernel", display.Event("phase", "compile", total=4))
        shown.refresh()
    assert "compile" in out.getvalue()


IGNORED = """
import os, signal, sys
from umcglab.host import pool
pool.catch_signals()
for name in sys.argv[1:]:
    os.kill(os.getpid(), signal.Signals[name])
print("goes on", flush=True)
"""


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT"])
def test_a_signal_that_was_ignored_at_the_start_stays_so(name: str) -> None:
    def begin() -> None:
        signal.signal(signal.Signals[name], signal.SIG_IGN)

    done = subprocess.run(
        [sys.executable, "-c", IGNORED, name],
        preexec_fn=begin,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "goes on\n", "")


def test_no_cursor_moves_on_a_dumb_terminal_or_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = io.StringIO()
    dumb = Console(file=out, force_terminal=True, _environ={"TERM": "dumb"})
    monkeypatch.setenv("FORCE_COLOR", "1")
    clock = iter(range(0, 1000, 40))
    for console in (dumb, None):
        with display.Display(console, now=lambda: next(clock)) as shown:
            shown.start("kernel", None)
            shown.refresh()
            shown.finish("kernel", "done")
    for text in (out.getvalue(), capsys.readouterr().err):
        assert "kernel: starting, " in text
        assert "\x1b" not in text


def test_a_display_that_nobody_reads_stops_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Path("/dev/full").open("w") as full:
        shown = display.Display(Console(file=full))
        shown.tee(log)
        shown.say("one")
        shown.say("two")
        assert log.read_text() == "one\ntwo\n"
        # What is still in its buffer cannot be written.
        with contextlib.suppress(OSError):
            full.close()
