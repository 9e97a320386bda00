# SPDX-License-Identifier: MIT
"""`umcglab run`: build what is missing, boot, test, measure and report."""

from __future__ import annotations

import argparse

from umcglab.run import fuzz
from umcglab.verbs import common

HELP = "Build what is missing, boot, test, measure and report."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    common.lab_file(parser)
    common.only(parser)
    common.nightly(parser)
    common.jobs(parser)
    parser.add_argument(
        "--tests",
        metavar="PROGRAM[:TEST]",
        help="run only programs of this name or pattern, and of them only "
        "the test TEST; leaves the exact lane out",
    )
    parser.add_argument(
        "--repeat",
        type=common.positive,
        default=1,
        metavar="N",
        help="run each of these tests N times, and say how often it passed",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="leave the first guest of each target running that a program fails in, "
        "and say how to enter and to end it",
    )
    parser.add_argument(
        "--fuzz-ops",
        type=common.positive,
        default=fuzz.OPS,
        metavar="N",
        help="operations of the fuzzer on each target (default: %(default)s)",
    )
    parser.add_argument(
        "--fuzz-share",
        action="store_true",
        help="have the targets of an ABI share these operations, each with a seed of "
        "its own",
    )
    parser.add_argument(
        "--fuzz-seed",
        type=common.positive,
        default=fuzz.SEED,
        metavar="N",
        help="random seed of the fuzzer (default: %(default)s)",
    )


def main(options: argparse.Namespace) -> int:
    """Run; return the exit status that the results deserve."""
    from umcglab.host import pool
    from umcglab.host.display import Display
    from umcglab.run import artifacts, session

    lab, targets = common.chosen(options)
    pool.catch_signals()
    what = session.Options(
        command=options.command,
        cores=artifacts.cores(options.jobs),
        lab=lab.file,
        tests=options.tests,
        repeat=options.repeat,
        keep=options.keep,
        fuzz=fuzz.Fuzz(options.fuzz_ops, options.fuzz_seed),
        fuzz_shared=options.fuzz_share,
    )
    with Display() as display:
        return session.execute(lab, targets, what, display)
