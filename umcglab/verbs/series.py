# SPDX-License-Identifier: MIT
"""`umcglab series`: the patches of a target."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from umcglab.errors import UserError
from umcglab.verbs import common

HELP = "List the patches of a target, or print them as one mailbox."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    common.lab_file(parser)
    common.target(parser)
    parser.add_argument(
        "--mbox",
        action="store_true",
        help="print the cover letter and the patches, for `git am --empty=drop` or b4",
    )
    parser.add_argument(
        "-o", dest="output", type=Path, metavar="FILE", help="write to FILE instead"
    )


def main(options: argparse.Namespace) -> int:
    """Print the patches of a target in order, or the mailbox of them."""
    from umcglab.kernel import mbox, series

    lab = common.load(options)
    target = common.one_target(lab, options.target)
    if options.mbox:
        text = mbox.mbox(target, lab)
    else:
        listed = [patch for one in series.of(target, lab) for patch in one.patches]
        text = "".join(f"{p.name}\n    {p.subject}\n" for p in listed).encode()
    if options.output:
        try:
            options.output.write_bytes(text)
        except OSError as e:
            raise UserError(f"cannot write the series: {e}") from e
    else:
        sys.stdout.buffer.write(text)
    return 0
