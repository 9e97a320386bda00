# SPDX-License-Identifier: MIT
"""`umcglab shell`: a root shell in a booted target, over SSH."""

from __future__ import annotations

import argparse

from umcglab.errors import UserError
from umcglab.verbs import common

HELP = "Open a root shell in a booted target, over SSH."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    common.lab_file(parser)
    common.only(parser)
    common.jobs(parser)


def main(options: argparse.Namespace) -> int:
    """Boot one target and hand its terminal over; the guest ends with the shell."""
    from umcglab.host import pool
    from umcglab.host.display import Display
    from umcglab.lab import config
    from umcglab.run import artifacts, lanes, session

    lab, targets = common.chosen(options)
    pool.catch_signals()
    cores = artifacts.cores(options.jobs)
    if len(targets) != 1:
        raise UserError(
            f"a shell needs one target, these are {len(targets)}",
            hint=config.command(lab.file, "shell", "--only", targets[0].name),
        )
    with Display() as display:
        built = artifacts.build(lab, targets, cores, display)
        ready = session.ready(targets[0], built)
    return lanes.shell(lab, ready)
