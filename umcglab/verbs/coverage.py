# SPDX-License-Identifier: MIT
"""`umcglab coverage`: which lines of a series its tests run."""

from __future__ import annotations

import argparse

from umcglab.verbs import common

HELP = "Say which lines of the series no test runs, and which tests run a line."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    common.lab_file(parser)
    common.target(parser)
    parser.add_argument(
        "--line",
        action="append",
        default=[],
        metavar="FILE:LINE",
        help="say only which tests run this line, such as umcg.c:132",
    )
    common.jobs(parser)


def main(options: argparse.Namespace) -> int:
    """Print the coverage of one target; return 1 if a line not run has no reason."""
    from umcglab.host import pool
    from umcglab.host.display import Display
    from umcglab.run import artifacts
    from umcglab.study import coverage

    lab = common.load(options)
    pool.catch_signals()
    target = common.one_target(lab, options.target)
    cores = artifacts.cores(options.jobs)
    with Display() as display:
        return coverage.execute(
            lab, target, options.command, cores, display, words=options.line
        )
