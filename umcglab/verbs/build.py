# SPDX-License-Identifier: MIT
"""`umcglab build`: build, and boot nothing."""

from __future__ import annotations

import argparse

from umcglab.errors import worst
from umcglab.verbs import common

HELP = "Build kernels, images and guest suites; boot nothing."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    common.lab_file(parser)
    common.only(parser)
    common.nightly(parser)
    common.jobs(parser)


def main(options: argparse.Namespace) -> int:
    """Build; print each error; return the exit status."""
    from umcglab.host import pool
    from umcglab.host.display import Display
    from umcglab.run import artifacts

    lab, targets = common.chosen(options)
    pool.catch_signals()
    cores = artifacts.cores(options.jobs)
    with Display() as display:
        errors = artifacts.build(lab, targets, cores, display).errors()
        for error in errors:
            for line in error.lines():
                display.say(line)
    return worst(error.exit_code for error in errors)
