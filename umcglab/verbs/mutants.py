# SPDX-License-Identifier: MIT
"""`umcglab mutants`: run the tests on deliberately broken kernels."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from umcglab.errors import UserError
from umcglab.verbs import common

if TYPE_CHECKING:
    from umcglab.study.generated import Shard

HELP = "Run the tests on deliberately broken kernels, which they must fail on."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    common.lab_file(parser)
    parser.add_argument(
        "mutants", nargs="*", metavar="MUTANT", help="which to try (default: all)"
    )
    parser.add_argument(
        "--generate",
        action="store_true",
        help="try mutants made from the C of the series; MUTANT is then FILE or "
        "FILE:FUNCTION",
    )
    parser.add_argument(
        "--sample",
        type=common.positive,
        default=0,
        metavar="N",
        help="of those, N that change something, by --seed",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument(
        "--shard", default="1/1", metavar="I/N", help="of those, the I-th part of N"
    )
    common.only(parser)
    common.jobs(parser)


def main(options: argparse.Namespace) -> int:
    """Try the mutants; return the exit status."""
    from umcglab.host import pool
    from umcglab.host.display import Display
    from umcglab.run import artifacts
    from umcglab.study import generated, mutants

    lab, targets = common.chosen(options)
    pool.catch_signals()
    cores = artifacts.cores(options.jobs)
    with Display() as display:
        fit = mutants.targets(lab, targets, all_of_them=bool(options.only))
        names, command = options.mutants, options.command
        if options.generate:
            wanted = generated.Wanted(
                options.sample, options.seed, _shard(options.shard), tuple(names)
            )
            return generated.execute(lab, fit, wanted, command, cores, display)
        return mutants.execute(lab, fit, names, command, cores, display)


def _shard(text: str) -> Shard:
    from umcglab.study.generated import Shard

    try:
        return Shard.parse(text)
    except ValueError:
        raise UserError(f"--shard {text}: I/N, such as 3/8") from None
