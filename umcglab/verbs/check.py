# SPDX-License-Identifier: MIT
"""`umcglab check`: what the author of a series wants to know before mailing it."""

from __future__ import annotations

import argparse

from umcglab.verbs import common

HELP = (
    "See what a reviewer will: warnings in many configurations and after each "
    "patch, checkpatch, sparse."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    common.lab_file(parser)
    common.target(parser)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="neither each patch by itself nor the configurations that take long",
    )
    parser.add_argument(
        "--job",
        action="append",
        default=[],
        metavar="NAME",
        help="only what is told under this name or pattern, such as 'SMP=n'",
    )
    common.jobs(parser)


def main(options: argparse.Namespace) -> int:
    """Check the series of one target; return the exit status."""
    from umcglab.host import pool
    from umcglab.host.display import Display
    from umcglab.run import artifacts
    from umcglab.study import check

    lab = common.load(options)
    pool.catch_signals()
    target = common.one_target(lab, options.target)
    cores = artifacts.cores(options.jobs)
    with Display() as display:
        return check.execute(
            lab, target, cores, display, quick=options.quick, only=options.job
        )
