# SPDX-License-Identifier: MIT
"""The command line: its parser, made of what each verb takes."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import Any

from umcglab import __version__
from umcglab.verbs import (
    anatomy,
    build,
    check,
    clean,
    coverage,
    gdb,
    listing,
    models,
    mutants,
    report,
    run,
    series,
    shell,
)

VERBS = {
    "build": build,
    "run": run,
    "report": report,
    "list": listing,
    "shell": shell,
    "gdb": gdb,
    "mutants": mutants,
    "models": models,
    "check": check,
    "anatomy": anatomy,
    "coverage": coverage,
    "series": series,
    "clean": clean,
}

EXAMPLES = """\
examples:
  umcglab run                               everything in lab.yaml but what is nightly
  umcglab run --only 'x86_64-*'             some targets, by name or pattern
  umcglab run --only arm64-umcg-v0.5 --tests umcg-v0.5/wait
                                            one program on one target
  umcglab run --tests umcg-v0.5/wait:woken_before_the_call
                                            one test on every target
  umcglab shell --only x86_64-umcg-v0.5     a root shell where the tests are
  umcglab gdb --only x86_64-umcg-v0.5       its kernel, stopped before it starts
  umcglab check x86_64-umcg-v0.5            its series, as a reviewer will look at it
  umcglab series x86_64-umcg-v0.5 --mbox    its patches, as one mailbox
  umcglab report results/latest             render a finished run again
  umcglab anatomy x86_64-umcg-v0.5 yard/futex:fifo
                                            where its instructions go, by function

exit status:
  0  all is well
  1  the patch's fault: it does not apply or build, fails a test, kills a guest
  2  the user's fault: lab.yaml or the command line
  3  the lab's fault: a download, the disk, the toolchain, QEMU
  130  interrupted; what was measured so far is in the report
"""


class _Once(argparse.Action):
    """Store a value, and refuse a second one: the first would be lost in silence."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if option_string and getattr(namespace, self.dest) is not self.default:
            parser.error(f"{option_string} is given twice; it takes one value")
        setattr(namespace, self.dest, values)


class _Parser(argparse.ArgumentParser):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register("action", None, _Once)
        self.register("action", "store", _Once)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = _Parser(
        prog="umcglab",
        description="Build UMCG kernels, boot them under QEMU on x86_64 and arm64, "
        "test and measure them, and report.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"umcglab {__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, verb in VERBS.items():
        made = verbs.add_parser(name, help=verb.HELP, description=verb.HELP)
        verb.arguments(made)
    return top


def main(argv: Sequence[str]) -> int:
    """Do what the command line says; return the exit status."""
    options = parser().parse_args(argv)
    options.command = shlex.join(["umcglab", *argv])
    status: int = VERBS[options.verb].main(options)
    return status
