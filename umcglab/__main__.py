# SPDX-License-Identifier: MIT
"""Entry point: the only place that prints errors and chooses the exit status."""

from __future__ import annotations

import sys

from umcglab import cli
from umcglab.errors import LabError
from umcglab.run import INTERRUPTED


def main() -> int:
    """Run the command line; see `umcglab --help` for the exit status."""
    try:
        return cli.main(sys.argv[1:])
    except LabError as e:
        print("umcglab: " + "\n".join(e.lines()), file=sys.stderr)
        return e.exit_code
    except KeyboardInterrupt:
        print("umcglab: interrupted", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
