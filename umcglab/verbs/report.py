# SPDX-License-Identifier: MIT
"""`umcglab report`: render a finished run again."""

from __future__ import annotations

import argparse
from pathlib import Path

from umcglab.errors import UserError

HELP = "Render the report of a finished run again."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("run", type=Path, metavar="DIR", help="such as results/latest")


def main(options: argparse.Namespace) -> int:
    """Render a run again; return the exit status its results deserve."""
    from umcglab.results.rundir import RunDir
    from umcglab.run import session

    path: Path = options.run
    if not (path / "run.json").exists():
        raise UserError(
            f"{path}: not the folder of a run, it has no run.json",
            hint="umcglab report results/latest",
        )
    done = session.render(RunDir(path.resolve()))
    print(path / "report.html")
    return done.exit_code
