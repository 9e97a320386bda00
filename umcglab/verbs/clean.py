# SPDX-License-Identifier: MIT
"""`umcglab clean`: empty the cache."""

from __future__ import annotations

import argparse

from umcglab.verbs import common

HELP = "Empty the cache of what no run is using: sources, kernels, images, ccache."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    common.lab_file(parser)


def main(options: argparse.Namespace) -> int:
    """Empty the cache."""
    lab = common.load(options)
    freed = lab.cache.clean(print)
    print(f"{lab.cache.root}: freed {freed / 2**30:.1f} GiB")
    return 0
