# SPDX-License-Identifier: MIT
"""`umcglab mutants`: run the tests on deliberately broken kernels."""

from __future__ import annotations

import argparse

from umcglab.verbs import common

HELP = "Run the tests on deliberately broken kernels, which they must fail on."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    common.lab_file(parser)
    parser.add_argument(
        "mutants", nargs="*", metavar="MUTANT", help="which to try (default: all)"
    )
    common.only(parser)
    common.jobs(parser)


def main(options: argparse.Namespace) -> int:
    """Try the mutants; return the exit status."""
    from umcglab.host import pool
    from umcglab.host.display import Display
    from umcglab.run import artifacts
    from umcglab.study import mutants

    lab, targets = common.chosen(options)
    pool.catch_signals()
    cores = artifacts.cores(options.jobs)
    with Display() as display:
        fit = mutants.targets(lab, targets, all_of_them=bool(options.only))
        names, command = options.mutants, options.command
        return mutants.execute(lab, fit, names, command, cores, display)
