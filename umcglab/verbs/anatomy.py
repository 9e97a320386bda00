# SPDX-License-Identifier: MIT
"""`umcglab anatomy`: where the instructions of a bench go, by function."""

from __future__ import annotations

import argparse

from umcglab.errors import UserError
from umcglab.verbs import common

HELP = "Count, by function, the instructions of one operation of a bench."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    common.lab_file(parser)
    common.target(parser)
    parser.add_argument(
        "bench", metavar="BENCH[:fair|fifo]", help="such as switch/server-server:fifo"
    )
    parser.add_argument(
        "--function",
        metavar="NAME",
        help="show the instructions of this function as well",
    )
    common.jobs(parser)


def main(options: argparse.Namespace) -> int:
    """Print the anatomy of a bench on one target, in one or both classes."""
    from umcglab.host import pool
    from umcglab.host.display import Display
    from umcglab.results.case import SCHEDS
    from umcglab.run import artifacts, session
    from umcglab.study import anatomy

    lab = common.load(options)
    pool.catch_signals()
    name, _, sched = options.bench.partition(":")
    if sched and sched not in SCHEDS:
        raise UserError(f"{options.bench}: a class is {' or '.join(SCHEDS)}")
    target = common.one_target(lab, options.target)
    cores = artifacts.cores(options.jobs)
    with Display() as display:
        built = artifacts.build(lab, [target], cores, display)
        ready = session.ready(target, built)
    for one in [sched] if sched else SCHEDS:
        found = anatomy.measure(lab, ready.kernel, ready.bundle, name, one)
        print(f"{ready.target.name} {ready.kernel.release}")
        print(*anatomy.table(found), "", sep="\n")
        if options.function:
            step = anatomy.find(ready.bundle, name, one)[1]
            program = ready.bundle.dir / step.argv[0]
            lines = anatomy.listing(found, ready.kernel, program, options.function)
            print(*lines, "", sep="\n")
    return 0
