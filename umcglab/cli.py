# SPDX-License-Identifier: MIT
"""The verbs of the command line, and how each is told what to do."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# What a verb alone needs is imported in it: a whole second, that `--help` and a
# mistake need not take.
from umcglab import __version__
from umcglab.errors import UserError
from umcglab.lab import config
from umcglab.lab.config import Lab, Target

if TYPE_CHECKING:
    from umcglab.host.display import Display

EXAMPLES = """\
examples:
  umcglab run                               everything in lab.yaml but what is nightly
  umcglab run --only 'x86_64-*'             some targets, by name or pattern
  umcglab run --only arm64-umcg-v0.5 --tests umcg-v0.5/wait
                                            one program on one target
  umcglab run --tests umcg-v0.5/wait:woken_before_the_call
                                            one test on every target
  umcglab shell --only x86_64-umcg-v0.5     a root shell where the tests are
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


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    from umcglab.run import fuzz

    top = argparse.ArgumentParser(
        prog="umcglab",
        description="Build UMCG kernels, boot them under QEMU on x86_64 and arm64, "
        "test and measure them, and report.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"umcglab {__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text, description=text)
        if name != "report":
            made.add_argument(
                "--lab",
                type=Path,
                default=Path("lab.yaml"),
                metavar="FILE",
                help="description of the lab (default: %(default)s)",
            )
        return made

    def targets(made: argparse.ArgumentParser) -> None:
        made.add_argument(
            "--only",
            action="append",
            default=[],
            metavar="TARGET[,TARGET...]",
            help="targets by name or pattern (default: all that are not nightly; "
            "`umcglab list` has them)",
        )

    def jobs(made: argparse.ArgumentParser) -> None:
        made.add_argument(
            "--jobs",
            type=_positive,
            metavar="N",
            help="cores to use (default: all)",
        )

    def nightly(made: argparse.ArgumentParser) -> None:
        made.add_argument(
            "--nightly",
            action="store_true",
            help="targets that are nightly too",
        )

    for name, text in (
        ("build", "Build kernels, images and guest suites; boot nothing."),
        ("run", "Build what is missing, boot, test, measure and report."),
    ):
        made = verb(name, text)
        targets(made)
        nightly(made)
        jobs(made)
        if name == "run":
            made.add_argument(
                "--tests",
                metavar="PROGRAM[:TEST]",
                help="run only programs of this name or pattern, and of them only "
                "the test TEST; leaves the exact lane out",
            )
            made.add_argument(
                "--fuzz-ops",
                type=_positive,
                default=fuzz.OPS,
                metavar="N",
                help="operations of the fuzzer on each target (default: %(default)s)",
            )
            made.add_argument(
                "--fuzz-seed",
                type=_positive,
                default=fuzz.SEED,
                metavar="N",
                help="what they are chosen by (default: %(default)s)",
            )
    made = verb("report", "Render the report of a finished run again.")
    made.add_argument("run", type=Path, metavar="DIR", help="such as results/latest")
    targets(verb("list", "List the targets and which kernels are built."))
    made = verb("shell", "Open a root shell in a booted target, over SSH.")
    targets(made)
    jobs(made)
    made = verb("mutants", "See that the tests fail on kernels that are wrong.")
    made.add_argument(
        "mutants", nargs="*", metavar="MUTANT", help="which to try (default: all)"
    )
    targets(made)
    jobs(made)
    made = verb(
        "check",
        "See what a reviewer will: warnings in many configurations and after each "
        "patch, checkpatch, sparse.",
    )
    made.add_argument("target", help="as `umcglab list` has it")
    made.add_argument(
        "--quick",
        action="store_true",
        help="neither each patch by itself nor the configurations that take long",
    )
    made.add_argument(
        "--job",
        action="append",
        default=[],
        metavar="NAME",
        help="only what is told under this name or pattern, such as 'SMP=n'",
    )
    jobs(made)
    made = verb(
        "anatomy", "Count, by function, the instructions of one operation of a bench."
    )
    made.add_argument("target", help="as `umcglab list` has it")
    made.add_argument(
        "bench", metavar="BENCH[:fair|fifo]", help="such as switch/server-server:fifo"
    )
    made.add_argument(
        "--function",
        metavar="NAME",
        help="show the instructions of this function as well",
    )
    jobs(made)
    made = verb("series", "List the patches of a target, or print them as one mailbox.")
    made.add_argument("target", help="as `umcglab list` has it")
    made.add_argument(
        "--mbox",
        action="store_true",
        help="print the cover letter and the patches, for `git am --empty=drop` or b4",
    )
    made.add_argument(
        "-o", dest="output", type=Path, metavar="FILE", help="write to FILE instead"
    )
    verb(
        "clean",
        "Empty the cache of what no run is using: sources, kernels, images, ccache.",
    )
    return top


def main(argv: Sequence[str]) -> int:
    """Do what the command line says; return the exit status."""
    options = parser().parse_args(argv)
    if options.verb == "report":
        return report(options.run)
    lab = config.load(options.lab)
    if options.verb == "clean":
        return clean(lab)
    if options.verb == "list":
        return show(lab, config.select(lab, options.only, nightly=True))
    if options.verb == "series":
        return patches(lab, options)

    from umcglab.host import pool
    from umcglab.host.display import Display
    from umcglab.run import artifacts

    pool.catch_signals()
    if options.verb == "anatomy":
        return anatomize(lab, options)
    if options.verb == "check":
        from umcglab.study import check

        target, cores = _one_target(lab, options.target), artifacts.cores(options.jobs)
        with Display() as display:
            return check.execute(
                lab, target, cores, display, quick=options.quick, only=options.job
            )
    chosen = config.select(lab, options.only, getattr(options, "nightly", False))
    cores = artifacts.cores(options.jobs)
    if options.verb == "shell":
        return shell(lab, chosen, cores)
    with Display() as display:
        if options.verb == "mutants":
            from umcglab.study import mutants

            fit = mutants.targets(lab, chosen, all_of_them=bool(options.only))
            command = shlex.join(["umcglab", *argv])
            return mutants.execute(lab, fit, options.mutants, command, cores, display)
        if options.verb == "build":
            return make(lab, chosen, cores, display)
        from umcglab.run import session
        from umcglab.run.fuzz import Fuzz

        what = session.Options(
            command=shlex.join(["umcglab", *argv]),
            cores=cores,
            lab=lab.file,
            tests=options.tests,
            fuzz=Fuzz(options.fuzz_ops, options.fuzz_seed),
        )
        return session.execute(lab, chosen, what, display)


def report(path: Path) -> int:
    """Render `path` again; return the exit status its results deserve."""
    from umcglab.results.rundir import RunDir
    from umcglab.run import session

    if not (path / "run.json").exists():
        raise UserError(
            f"{path}: not the folder of a run, it has no run.json",
            hint="umcglab report results/latest",
        )
    done = session.render(RunDir(path.resolve()))
    print(path / "report.html")
    return done.exit_code


def make(lab: Lab, targets: Sequence[Target], cores: int, display: Display) -> int:
    """Build; print each error; return the exit status."""
    from umcglab.run import artifacts

    errors = artifacts.build(lab, targets, cores, display).errors()
    for error in errors:
        for line in error.lines():
            display.say(line)
    codes = {error.exit_code for error in errors}
    return next((code for code in (2, 1, 3) if code in codes), 0)


def show(lab: Lab, targets: Sequence[Target]) -> int:
    """Print a line for each target."""
    from umcglab.kernel import kernels, source

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


def patches(lab: Lab, options: argparse.Namespace) -> int:
    """Print the patches of a target in order, or the mailbox of them."""
    from umcglab.kernel import mbox, series

    target = _one_target(lab, options.target)
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


def shell(lab: Lab, targets: Sequence[Target], cores: int) -> int:
    """Boot one target and hand its terminal over; the guest ends with the shell."""
    if len(targets) != 1:
        raise UserError(
            f"a shell needs one target, these are {len(targets)}",
            hint=config.command(lab.file, "shell", "--only", targets[0].name),
        )
    from umcglab.host.display import Display
    from umcglab.run import artifacts, lanes, session

    with Display() as display:
        ready = session.ready(targets[0], artifacts.build(lab, targets, cores, display))
    return lanes.shell(lab, ready)


def anatomize(lab: Lab, options: argparse.Namespace) -> int:
    """Print the anatomy of a bench on one target, in one or both classes."""
    from umcglab.host.display import Display
    from umcglab.run import artifacts, session
    from umcglab.study import anatomy
    from umcglab.verdict.bench_output import SCHEDS

    name, _, sched = options.bench.partition(":")
    if sched and sched not in SCHEDS:
        raise UserError(f"{options.bench}: a class is {' or '.join(SCHEDS)}")
    targets = [_one_target(lab, options.target)]
    cores = artifacts.cores(options.jobs)
    with Display() as display:
        ready = session.ready(targets[0], artifacts.build(lab, targets, cores, display))
    for one in [sched] if sched else SCHEDS:
        found = anatomy.measure(lab, ready.kernel, ready.bundle, name, one)
        print(f"{ready.target.name} {ready.kernel.release}")
        print(*anatomy.table(found), "", sep="\n")
        if options.function:
            program = (
                ready.bundle.dir / anatomy.find(ready.bundle, name, one)[1].argv[0]
            )
            lines = anatomy.listing(found, ready.kernel, program, options.function)
            print(*lines, "", sep="\n")
    return 0


def clean(lab: Lab) -> int:
    """Empty the cache."""
    freed = lab.cache.clean(print)
    print(f"{lab.cache.root}: freed {freed / 2**30:.1f} GiB")
    return 0


def _one_target(lab: Lab, name: str) -> Target:
    targets = config.select(lab, [name])
    if len(targets) != 1:
        raise UserError(f"{name}: this needs one target")
    return targets[0]


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)
