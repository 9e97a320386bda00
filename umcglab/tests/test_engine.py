# SPDX-License-Identifier: MIT
"""Jobs in processes: results, errors, deaths, interrupts and what is shown."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from umcglab.errors import InfraError, LabError, PatchError
from umcglab.host import display, pool
from umcglab.host.progress import Progress


def run(
    tmp_path: Path, *jobs: pool.Job[int], width: int = 2
) -> tuple[dict[str, int | LabError], str]:
    out = io.StringIO()
    with display.Display(Console(file=out, width=100)) as shown:
        results = pool.run(jobs, width, shown, tmp_path / "durations.json")
    return dict(results), out.getvalue()


def test_results_come_back_by_name(tmp_path: Path) -> None:
    def square(i: int) -> pool.Job[int]:
        return pool.Job(f"job{i}", lambda _: i * i)

    results, out = run(tmp_path, *map(square, range(5)))
    assert results == {f"job{i}": i * i for i in range(5)}
    assert "job4: done" in out


def test_the_longest_job_starts_first(tmp_path: Path) -> None:
    took = {"short": 3.0, "long": 70.0}
    (tmp_path / "durations.json").write_text(json.dumps(took))
    names = ("short", "long", "new", "other")
    _, out = run(tmp_path, *(pool.Job(n, lambda _: 0) for n in names), width=1)
    ended = [line.split(":")[0] for line in out.splitlines() if ": done" in line]
    assert ended == ["new", "other", "long", "short"]


def test_progress_is_printed_plainly_without_a_terminal(tmp_path: Path) -> None:
    def work(progress: Progress) -> int:
        progress.phase("compile", 10)
        progress.advance(10)
        progress.say("ccache hit 90 %")
        return 1

    _, out = run(tmp_path, pool.Job("kernel", work))
    assert "kernel: compile" in out
    assert "kernel: ccache hit 90 %" in out


def test_a_failed_job_leaves_the_others_alone(tmp_path: Path) -> None:
    def fail(_: Progress) -> int:
        raise PatchError("no", where="a.c:1", hint="mend it", log=Path("x.log"))

    results, out = run(
        tmp_path, pool.Job("bad", fail), pool.Job("good", lambda _: 7), width=1
    )
    assert results["good"] == 7
    error = results["bad"]
    assert isinstance(error, PatchError)
    assert error.lines() == ["no", "  at:  a.c:1", "  log: x.log", "  try: mend it"]
    assert "bad: failed" in out


def test_a_bug_is_the_labs_fault_and_shows_its_traceback(tmp_path: Path) -> None:
    results, out = run(tmp_path, pool.Job("odd", lambda _: 1 // 0))
    assert isinstance(results["odd"], InfraError)
    assert "ZeroDivisionError" in str(results["odd"])
    assert "Traceback" in out


def test_a_killed_job_is_an_error_not_a_hang(tmp_path: Path) -> None:
    def die(_: Progress) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    results, _ = run(tmp_path, pool.Job("victim", die))
    assert isinstance(results["victim"], InfraError)


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
        pool.run([pool.Job("slow", work)], 1, shown, here / "durations.json")
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


def test_durations_become_expectations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(_: Progress) -> int:
        time.sleep(0.3)
        return 0

    monkeypatch.setattr(pool, "_INSTANT", 0.2)
    run(tmp_path, pool.Job("slow", slow), pool.Job("cached", lambda _: 0))
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
