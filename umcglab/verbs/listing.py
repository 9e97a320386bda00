# SPDX-License-Identifier: MIT
"""`umcglab list`: the targets, and which kernels are built."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from umcglab.errors import UserError
from umcglab.verbs import common

if TYPE_CHECKING:
    from umcglab.lab.config import Lab, Target

HELP = "List the targets and which kernels are built."
NOT_BUILT = "not built"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    common.lab_file(parser)
    common.only(parser)
    parser.add_argument(
        "-v",
        dest="verbose",
        action="store_true",
        help="also say where vmlinux, .config and bundles of each target are",
    )


def main(options: argparse.Namespace) -> int:
    """Print a line for each target."""
    from umcglab.kernel import kernels, source
    from umcglab.lab import config

    lab = common.load(options)
    targets = config.select(lab, options.only, nightly=True)
    found = {}
    for spec in dict.fromkeys(target.source for target in targets):
        if spec.kind == "tree" or spec.is_built:
            # It may take half a minute the first time.
            print(f"reading {spec.location}", file=sys.stderr, flush=True)
        found[spec] = source.find(spec, lab.cache)
    width = max(len(target.name) for target in targets)
    flavors = max(len(target.flavor) for target in targets)
    for target in targets:
        release, is_built = kernels.known(target, lab, found[target.source])
        built = "built" if is_built else NOT_BUILT
        nightly = ", nightly" if target.nightly else ""
        flavor = f"{target.flavor:{flavors}}"
        print(f"{target.name:{width}}  {flavor}  {release}  {built}{nightly}")
        if options.verbose:
            for what, where in _where(lab, target):
                print(f"    {what}: {where}")
    return 0


def _where(lab: Lab, target: Target) -> Iterator[tuple[str, Path | str]]:
    """Yield what a target is made of, and where that lies or why it does not."""
    from umcglab.kernel import kernels
    from umcglab.run import artifacts

    kernel = kernels.find(target, lab)
    yield "vmlinux", kernel.vmlinux if kernel else NOT_BUILT
    yield ".config", kernel.config if kernel else NOT_BUILT
    try:
        for abi, path in artifacts.bundles(lab, target).items():
            yield f"bundle of {abi}", path or NOT_BUILT
    except UserError as e:
        yield "bundle", e.message
