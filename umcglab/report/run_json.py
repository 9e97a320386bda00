# SPDX-License-Identifier: MIT
"""A judged run for machines: run.json, with what was derived as its result."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from umcglab.results import codec
from umcglab.results.rundir import RunDir
from umcglab.verdict.programs import ProgramVerdict
from umcglab.verdict.repeats import repeats
from umcglab.verdict.runs import Run
from umcglab.verdict.targets import TargetResult


def write(run: Run, path: Path) -> None:
    """Write run.json again, with what was derived as its `result`."""
    result = {
        "verdict": run.verdict,
        "exit_code": run.exit_code,
        "counts": run.counts(),
        "targets": [_target_json(target) for target in run.targets],
        "repeats": [asdict(one) | {"passed": one.passed} for one in repeats(run)],
    }
    codec.write_json(RunDir(path).run, asdict(run.facts) | {"result": result})


def _target_json(target: TargetResult) -> dict[str, object]:
    exact = target.exact
    return {
        "name": target.name,
        "outcome": target.outcome,
        "faults": sorted(target.faults),
        "errors": [asdict(e) for e in target.errors],
        "problems": [p.text for p in target.problems],
        "boot_ratio": target.boot_ratio,
        "programs": [_program_json(p) for p in target.programs],
        "exact": exact
        and {
            "identical": exact.identical,
            "problems": [p.text for p in exact.problems],
            "skipped": [asdict(s) for s in exact.skipped],
            "benches": [
                {
                    "bench": n.bench.bench,
                    "version": n.bench.version,
                    "sched": n.bench.sched,
                    "op": n.bench.op,
                    "per_op": n.bench.per_op,
                    "spread": n.bench.spread,
                    "ratio_to_futex": n.ratio,
                    "reference": n.agreement and n.agreement.reference,
                    "change": n.agreement and n.agreement.change,
                }
                for n in target.numbers
            ],
            "limits": [asdict(b) | {"holds": b.holds} for b in target.bounds],
        },
    }


def _program_json(program: ProgramVerdict) -> dict[str, object]:
    return {
        "program": program.name,
        "outcome": program.outcome,
        "problems": [p.text for p in program.problems],
        "splats": [
            {"kind": s.kind, "line": s.line, "text": s.text} for s in program.splats
        ],
        "tests": [
            {
                "name": t.name,
                "outcome": t.outcome,
                "reason": t.reason,
                "planned": t.planned,
                "clauses": t.clauses,
            }
            for t in program.tests
        ],
    }
