# SPDX-License-Identifier: MIT
"""Options that more than one verb has, and what they stand for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from umcglab.errors import UserError

if TYPE_CHECKING:
    from umcglab.lab.config import Lab, Target


def lab_file(parser: argparse.ArgumentParser) -> None:
    """Add `--lab`."""
    parser.add_argument(
        "--lab",
        type=Path,
        default=Path("lab.yaml"),
        metavar="FILE",
        help="description of the lab (default: %(default)s)",
    )


def only(parser: argparse.ArgumentParser) -> None:
    """Add `--only`."""
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="TARGET[,TARGET...]",
        help="targets by name or pattern (default: all that are not nightly; "
        "`umcglab list` has them)",
    )


def nightly(parser: argparse.ArgumentParser) -> None:
    """Add `--nightly`."""
    parser.add_argument(
        "--nightly",
        action="store_true",
        help="include targets that are marked nightly",
    )


def jobs(parser: argparse.ArgumentParser) -> None:
    """Add `--jobs`."""
    parser.add_argument(
        "--jobs",
        type=positive,
        metavar="N",
        help="cores to use (default: all)",
    )


def target(parser: argparse.ArgumentParser) -> None:
    """Add the name of one target."""
    parser.add_argument("target", help="as `umcglab list` has it")


def load(options: argparse.Namespace) -> Lab:
    """Return the lab that `--lab` describes."""
    from umcglab.lab import config

    return config.load(options.lab)


def chosen(options: argparse.Namespace) -> tuple[Lab, Sequence[Target]]:
    """Return the lab, and the targets that `--only` and `--nightly` name."""
    from umcglab.lab import config

    lab = load(options)
    include_nightly = getattr(options, "nightly", False)
    return lab, config.select(lab, options.only, include_nightly)


def one_target(lab: Lab, name: str) -> Target:
    """Return the target of this name."""
    from umcglab.lab import config

    targets = config.select(lab, [name])
    if len(targets) != 1:
        raise UserError(f"{name}: this needs one target")
    return targets[0]


def positive(text: str) -> int:
    """Return a number from 1 up, as an option's type."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)
