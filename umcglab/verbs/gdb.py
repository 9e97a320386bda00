# SPDX-License-Identifier: MIT
"""`umcglab gdb`: a target under gdb, from its kernel's first instruction on."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from umcglab.errors import UserError
from umcglab.verbs import common

HELP = "Boot a target under gdb, stopped before its kernel's first instruction."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    common.lab_file(parser)
    common.only(parser)
    parser.add_argument(
        "--tests",
        metavar="PROGRAM[:TEST]",
        help="run this program, or one test of it, when the guest is up",
    )
    common.jobs(parser)


def main(options: argparse.Namespace) -> int:
    """Build what is missing, and run gdb; return its exit status."""
    from umcglab.host import pool
    from umcglab.host.display import Display
    from umcglab.host.progress import Silent
    from umcglab.kernel import kernels
    from umcglab.lab import config
    from umcglab.run import artifacts, debug, session

    lab, targets = common.chosen(options)
    if len(targets) != 1:
        raise UserError(
            f"gdb needs one target, these are {len(targets)}",
            hint=config.command(lab.file, "gdb", "--only", targets[0].name),
        )
    (target,) = targets
    debug.find_gdb(target.arch)
    session.check_tests(lab, targets, options.tests)
    pool.catch_signals()
    with Display() as display:
        built = artifacts.build(lab, targets, artifacts.cores(options.jobs), display)
        ready = session.ready(target, built)
    ready = session.choose(ready, options.tests)
    program = None
    if options.tests:
        if len(ready.programs) != 1:
            names = ", ".join(p.name for p in ready.programs)
            raise UserError(f"gdb needs one program, these are {names}")
        (program,) = ready.programs
    with (
        tempfile.TemporaryDirectory(prefix="umcglab-") as folder,
        kernels.source_tree(target, lab, Silent()) as tree,
    ):
        return debug.session(lab, ready, program, tree, Path(folder))
