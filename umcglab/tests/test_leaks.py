# SPDX-License-Identifier: MIT
from __future__ import annotations

import subprocess
from pathlib import Path

from umcglab.lab import leaks
from umcglab.verdict import ktap
from umcglab.verdict.ktap import Outcome, Report


def ask(file: Path) -> tuple[int, Report]:
    """Run the program with another file in place of kmemleak's."""
    *shell, script = leaks.PROGRAM.argv
    script = script.replace(leaks.FILE, str(file)).replace("sleep 6", ":")
    done = subprocess.run([*shell, script], capture_output=True, text=True)
    report = ktap.parse(done.stdout)
    assert not report.problems
    assert tuple(t.name for t in report.tests) == leaks.PROGRAM.tests
    return done.returncode, report


def test_nothing_lost() -> None:
    status, report = ask(Path("/dev/null"))
    assert (status, report.tests[0].outcome) == (0, Outcome.PASS)


def test_something_lost(tmp_path: Path) -> None:
    # A plain file: what is written to it can be read.
    status, report = ask(tmp_path / "kmemleak")
    assert (status, report.tests[0].outcome) == (1, Outcome.FAIL)
    assert report.tests[0].diagnostics == ("# scan",)


def test_as_many_scans_as_the_kernel_wants(tmp_path: Path) -> None:
    log, wanted = tmp_path / "kmemleak", tmp_path / "min_unref_scans"
    *shell, script = leaks.PROGRAM.argv
    script = script.replace("sleep 6", ":").replace(leaks.UNREFERENCED, str(wanted))
    script = script.replace(f"scan >{leaks.FILE}", f"scan >>{log}")
    script = script.replace(leaks.FILE, str(log))
    for text, scans in ((None, 2), ("1\n", 2), ("2\n", 3)):
        log.write_text("")
        if text:
            wanted.write_text(text)
        subprocess.run([*shell, script], capture_output=True)
        assert log.read_text() == "scan\n" * scans


def test_kmemleak_that_cannot_be_asked(tmp_path: Path) -> None:
    status, report = ask(tmp_path / "no" / "kmemleak")
    assert (status, report.tests[0].outcome) == (1, Outcome.FAIL)
