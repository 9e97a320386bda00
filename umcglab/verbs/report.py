# SPDX-License-Identifier: MIT
"""`umcglab report`: render a finished run again."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from umcglab.errors import UserError

HELP = "Render the report of a finished run again."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("run", type=Path, metavar="DIR", help="such as results/latest")
    parser.add_argument(
        "--format",
        choices=("html", "text"),
        default="html",
        help="html: write report.html and the files beside it; text: print what the run "
        "compares in 72 columns, fit for a mail (default: html)",
    )


def main(options: argparse.Namespace) -> int:
    """Render a run again; return the exit status its results deserve."""
    from umcglab.report import text
    from umcglab.results.rundir import RunDir
    from umcglab.run import session
    from umcglab.verdict import runs

    path: Path = options.run
    if not (path / "run.json").exists():
        raise UserError(
            f"{path}: not the folder of a run, it has no run.json",
            hint="umcglab report results/latest",
        )
    if options.format == "text":
        compared = runs.collect(path.resolve())
        sys.stdout.write(text.render(compared).decode())
        return compared.exit_code
    done = session.render(RunDir(path.resolve()))
    print(path / "report.html")
    return done.exit_code
