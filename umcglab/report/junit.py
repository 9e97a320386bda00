# SPDX-License-Identifier: MIT
"""JUnit XML, for the systems that read nothing else."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from datetime import datetime

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from umcglab.errors import Fault
from umcglab.verdict.findings import Finding
from umcglab.verdict.ktap import Outcome
from umcglab.verdict.programs import ProgramVerdict, TestVerdict
from umcglab.verdict.runs import Run
from umcglab.verdict.targets import TargetResult

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(run: Run) -> bytes:
    """Return a suite for each program of each target, and one for its stages."""
    xml = JUnitXml("umcglab")
    by_subject = {(f.target, f.subject): f for f in run.findings}
    for target in run.targets:
        stages = [
            f
            for (name, subject), f in by_subject.items()
            if name == target.name and subject not in [p.name for p in target.programs]
        ]
        xml.add_testsuite(_stages(run, target, stages))
        for program in target.programs:
            finding = by_subject.get((target.name, program.name))
            xml.add_testsuite(_program(run, target, program, finding))
    xml.update_statistics()  # type: ignore[no-untyped-call]
    out = io.BytesIO()
    xml.write(out, pretty=True)
    return out.getvalue()


def _suite(run: Run, target: TargetResult, name: str) -> TestSuite:
    suite = TestSuite(f"{target.name}.{name}")
    suite.timestamp = datetime.fromisoformat(run.facts.started).isoformat()
    kernel = target.facts.kernel
    for key, value in (
        ("run", run.facts.id),
        ("lab", run.facts.lab_git),
        ("target", target.name),
        ("arch", target.facts.arch),
        ("abi", target.facts.abi),
        ("flavor", target.facts.flavor),
        ("kernel", kernel.release if kernel else ""),
        ("qemu", target.facts.qemu or ""),
        ("accelerator", target.facts.accel.name if target.facts.accel else ""),
    ):
        suite.add_property(key, value)
    return suite


def _stages(run: Run, target: TargetResult, found: Iterable[Finding]) -> TestSuite:
    """Return what no program owns: building, booting, the exact lane."""
    suite = _suite(run, target, "lab")
    wrong = {f.subject: f for f in found}
    stages = ["build", "boot", *(["exact lane"] if target.facts.benches else [])]
    for stage in dict.fromkeys([*stages, *wrong]):
        case = TestCase(stage, classname=suite.name)
        if finding := wrong.get(stage):
            text = "\n".join([*finding.problems, *finding.commands, *finding.logs])
            case.result = [_bad(finding.fault, finding.headline, text)]
        elif not _reached(target, stage):
            case.result = [Skipped("not reached")]
        suite.add_testcase(case)
    return suite


def _reached(target: TargetResult, stage: str) -> bool:
    return {
        "build": target.facts.kernel is not None,
        "boot": bool(target.facts.boots),
        "exact lane": target.exact is not None,
    }[stage]


def _program(
    run: Run, target: TargetResult, program: ProgramVerdict, finding: Finding | None
) -> TestSuite:
    suite = _suite(run, target, program.name)
    fault = program.fault or Fault.PATCH
    for test in program.tests:
        case = TestCase(test.name, classname=suite.name)
        if test.outcome is Outcome.SKIP:
            case.result = [Skipped(_clean(test.reason))]
        elif test.outcome is Outcome.MISSING:
            case.result = [Error(_clean(test.reason), "missing")]
        elif test.outcome is Outcome.FAIL:
            case.result = [_bad(fault, test.first, _details(test))]
        if test.diagnostics:
            case.system_out = _clean("\n".join(test.diagnostics))
        suite.add_testcase(case)
    if program.problems:
        # What no test owns, so that a splat under passing tests turns it red.
        case = TestCase("(program)", classname=suite.name)
        problems = [p.text for p in program.problems]
        commands = finding.commands if finding else ()
        case.result = [_bad(fault, problems[0], "\n".join([*problems, *commands]))]
        excerpts = [s.excerpt for _, s in finding.splats] if finding else []
        if excerpts:
            case.system_out = _clean("\n\n".join(excerpts))
        suite.add_testcase(case)
    if program.facts:
        suite.add_property("reproduce", program.facts.reproduce)
    return suite


def _details(test: TestVerdict) -> str:
    return "\n".join(filter(None, [test.reason, *test.diagnostics, test.reproduce]))


def _bad(fault: int, message: str, text: str) -> Failure | Error:
    """Return a failure where it is the patch's, an error where it is another's."""
    made = Failure if fault == Fault.PATCH else Error
    result = made(_clean(message), Fault(fault).owner)
    result.text = _clean(text)
    return result


def _clean(text: str) -> str:
    """Drop what XML cannot hold."""
    return _UNPRINTABLE.sub("?", text)
