# SPDX-License-Identifier: MIT
"""`umcglab models`: search the models of an ABI's protocol, or of the hand-over."""

from __future__ import annotations

import argparse

from umcglab.errors import UserError
from umcglab.verbs import common

HELP = "Visit every state of the models of a series, and of those with a fault put in."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    common.lab_file(parser)
    parser.add_argument(
        "series",
        nargs="?",
        metavar="SERIES",
        help="of which ABI or other part of kernel-patches (default: each)",
    )
    parser.add_argument(
        "--search",
        action="append",
        default=[],
        metavar="NAME",
        help="only this configuration or switch of model/index.yaml (default: all that "
        "are not nightly)",
    )
    common.nightly(parser)
    parser.add_argument(
        "--trail",
        action="store_true",
        help="print the steps that lead to what is found",
    )


def main(options: argparse.Namespace) -> int:
    """Search, with a line for each; return the exit status."""
    from umcglab.study import models

    lab = common.load(options)
    found = sorted(p.parent.parent.name for p in lab.patches.glob("*/model/index.yaml"))
    if options.series and options.series not in found:
        raise UserError(
            f"{options.series}: no series that has models",
            hint=f"such are {', '.join(found)}",
        )
    lab.cache.claim()
    lab.cache.hold()
    good = True
    for part in [options.series] if options.series else found:
        index = models.of(lab, part)
        assert index is not None
        for configuration, switch in models.planned(
            index, options.search, options.nightly
        ):
            result = models.run(index, configuration, switch, lab.cache)
            print(models.words(result), flush=True)
            if options.trail and result.search.trail:
                print(result.search.trail, end="")
            good &= result.good
    return 0 if good else 1
