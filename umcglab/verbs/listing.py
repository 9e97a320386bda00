# SPDX-License-Identifier: MIT
"""`umcglab list`: the targets, and which kernels are built."""

from __future__ import annotations

import argparse
import sys

from umcglab.verbs import common

HELP = "List the targets and which kernels are built."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    common.lab_file(parser)
    common.only(parser)


def main(options: argparse.Namespace) -> int:
    """Print a line for each target."""
    from umcglab.kernel import kernels, source
    from umcglab.lab import config

    lab = common.load(options)
    targets = config.select(lab, options.only, nightly=True)
    found = {}
    for spec in dict.fromkeys(target.source for target in targets):
        if spec.kind in ("tree", "image"):
            # It may take half a minute the first time.
            print(f"reading {spec.location}", file=sys.stderr, flush=True)
        found[spec] = source.find(spec, lab.cache)
    width = max(len(target.name) for target in targets)
    flavors = max(len(target.flavor) for target in targets)
    for target in targets:
        release, is_built = kernels.known(target, lab, found[target.source])
        built = "built" if is_built else "not built"
        nightly = ", nightly" if target.nightly else ""
        flavor = f"{target.flavor:{flavors}}"
        print(f"{target.name:{width}}  {flavor}  {release}  {built}{nightly}")
    return 0
