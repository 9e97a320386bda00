# SPDX-License-Identifier: GPL-2.0
"""Run the tests of one file under pytest, reporting KTAP like the C harness.

Usage: run.py ABI/test_file.py [-l] [-t glob]. Exit status: 0 passed, 1 failed, 2 bad
usage or nothing selected, 4 all skipped. A file without ABI needs no UMCG.

As there, a test during which a CPU did not schedule for a second of guest time fails.

A test is a function; its pytest name without `test_` is its name in the manifest
and in the report. `@pytest.mark.clauses("SIG-6 R2")` says what it pins.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from child import Child

HERE = Path(__file__).resolve().parent

SLOW = int(os.environ.get("UMCGLAB_SLOW", "1"))
"""Time limits are multiplied by this."""

DEADLINE = 60
"""Seconds for a test without a `deadline` mark; the program's is in the manifest."""

CPU_LIMIT = 1000
"""Milliseconds for which a CPU may go without scheduling, on a fast kernel."""

PASS, FAIL, USAGE, SKIP = 0, 1, 2, 4


def say(line: str) -> None:
    print(line, flush=True)


def name_of(item: pytest.Item) -> str:
    return item.name.removeprefix("test_")


def clauses_of(item: pytest.Item) -> str:
    return " ".join(text for m in item.iter_markers("clauses") for text in m.args)


def kernel(abi: str) -> str:
    """Return whether UMCG is `here`, absent from the `control`, or just `absent`.

    Or `lacks` and the reason, if the ABI has nothing for the tests to test.
    """
    helper = HERE.parent / "bin" / "helpers" / abi / "kernel"
    asked = subprocess.run([helper], check=True, stdout=subprocess.PIPE)
    return asked.stdout.decode().strip()


def skipped(abi: str) -> str:
    """Return why no test of the ABI can run here, or nothing."""
    found = kernel(abi) if abi != "." else "here"
    if found == "control":
        return "the control kernel has no UMCG"
    return found.removeprefix("lacks ") if found.startswith("lacks ") else ""


def deadline_of(item: pytest.Item) -> int:
    """Return for how many seconds a test may run."""
    mark = item.get_closest_marker("deadline")
    return (mark.args[0] if mark else DEADLINE) * SLOW


def set_alarm(seconds: int) -> None:
    """Have the test fail where it is once they are over."""

    def on_deadline(signum: int, frame: object) -> None:
        raise TimeoutError(f"timed out after {seconds} s")

    signal.signal(signal.SIGALRM, on_deadline)
    signal.alarm(seconds)


class CpuWatch:
    """The CPU watch of the C harness, in a process of its own."""

    def __init__(self) -> None:
        self.child = Child(HERE.parent / "bin" / "helpers" / "watch_cpus")

    def longest(self) -> tuple[int, int]:
        """Return for how many ms a CPU did not schedule since last asked, and which."""
        ms, cpu = self.child.ask().split()
        return int(ms), int(cpu)

    def end(self) -> None:
        self.child.end()


class Ktap:
    """The pytest plugin in place of its terminal reporter."""

    def __init__(
        self, abi: str, globs: list[str], only_list: bool, cpu_limit: int
    ) -> None:
        self.abi = abi
        self.cpu_limit = cpu_limit
        self.globs = globs
        self.only_list = only_list
        self.items: list[pytest.Item] = []
        self.failed = 0
        self.collected_badly = False
        self.watch: CpuWatch | None = None

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        config.addinivalue_line("markers", "clauses(text): what of ABI.md it pins")
        config.addinivalue_line("markers", "deadline(seconds): other than DEADLINE")
        config.pluginmanager.unregister(name="terminalreporter")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.collected_badly = True
            say("".join(f"# {line}\n" for line in report.longreprtext.splitlines()))

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [
            item
            for item in items
            if not self.globs
            or any(fnmatch.fnmatchcase(name_of(item), g) for g in self.globs)
        ]
        self.items = items

    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if self.only_list:
            for item in self.items:
                say(f"{name_of(item)}\t{clauses_of(item)}")
            return True
        if not self.items or self.collected_badly:
            return True
        say(f"KTAP version 1\n1..{len(self.items)}")
        why = skipped(self.abi)
        if not why:
            self.watch = CpuWatch()
            return None
        for n, item in enumerate(self.items, 1):
            self.result(n, item, "ok", f" # SKIP {why}")
        return True

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        say(f"# RUN {name_of(item)}")
        self.reports: list[pytest.TestReport] = []
        watch = self.watch
        assert watch
        watch.longest()
        set_alarm(deadline_of(item))
        yield
        signal.alarm(0)
        ms, cpu = watch.longest()
        if late := ms >= self.cpu_limit * SLOW:
            say(f"# {name_of(item)}: CPU {cpu} did not schedule for {ms} ms")
        ok = len(self.reports) == 3 and all(r.passed for r in self.reports) and not late
        self.failed += not ok
        for report in self.reports:
            if not report.passed:
                text = f"{report.longreprtext}\n{report.capstdout}{report.capstderr}"
                for line in text.splitlines():
                    say(f"# {line}")
        self.result(self.items.index(item) + 1, item, "ok" if ok else "not ok")

    def pytest_sessionfinish(self) -> None:
        if self.watch:
            self.watch.end()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.reports.append(report)

    def result(self, n: int, item: pytest.Item, word: str, why: str = "") -> None:
        if text := clauses_of(item):
            say(f"# clause: {text}")
        say(f"{word} {n} {name_of(item)}{why}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("-l", dest="only_list", action="store_true")
    parser.add_argument("-t", dest="globs", action="append", default=[])
    parser.add_argument("--cpu-limit", type=int, default=CPU_LIMIT)
    args = parser.parse_args()
    abi = str(Path(args.file).parent)
    ktap = Ktap(abi, args.globs, args.only_list, args.cpu_limit)
    options = ["-c", "/dev/null", "--rootdir", str(HERE), "-p", "no:cacheprovider"]
    status = pytest.main([*options, str(HERE / args.file)], plugins=[ktap])
    if ktap.collected_badly:
        return FAIL
    if not ktap.items:
        print(f"{args.file}: no test selected", file=sys.stderr)
        return USAGE
    if ktap.only_list:
        return PASS
    if ktap.failed or status not in (0, 5):
        return FAIL
    return SKIP if skipped(abi) else PASS


if __name__ == "__main__":
    sys.exit(main())
