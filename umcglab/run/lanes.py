# SPDX-License-Identifier: MIT
"""What happens to one target once all is built: the test lane and the exact lane.

Each function is one job of `host.pool`. It writes facts and raw logs into the run's
folder as it goes and returns what the parent does not know; a `LabError` becomes
a recorded fact, for what was measured before it must survive.
"""

from __future__ import annotations

import contextlib
import shlex
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from umcglab.errors import LabError
from umcglab.guest import accel, exact, ssh
from umcglab.guest.exact import Step
from umcglab.guest.image import Image
from umcglab.guest.suite import Bundle
from umcglab.host.progress import Progress, Silent
from umcglab.kernel.kernels import Kernel
from umcglab.lab import config, leaks
from umcglab.lab.config import Lab, Target
from umcglab.lab.manifest import Program
from umcglab.results import codec, facts
from umcglab.results.facts import TargetFacts
from umcglab.results.rundir import RunDir
from umcglab.run.fuzz import Fuzz
from umcglab.verdict import fuzz_log, splat
from umcglab.verdict.bench_output import SCHEDS
from umcglab.verdict.programs import ALL_SKIPPED

GUEST_BUNDLE = "/run/umcglab"
"""Where the bundle lies in a guest."""


def now() -> str:
    """Return the time as results write it: UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Ready:
    """A target with everything that was built for it."""

    target: Target
    kernel: Kernel
    image: Image
    bundle: Bundle
    """The one whose benches are measured."""
    programs: tuple[Program, ...]
    """What to run in the test lane, in order."""
    select: bool = False
    """Run only the tests that `programs` name, which need not be all they have."""
    more: tuple[Bundle, ...] = ()
    """Bundles of other ABIs, whose programs a control runs too."""
    fuzz: Fuzz = field(default_factory=Fuzz)
    """How long the fuzzer runs, and from which seed."""
    lab: Path = Path("lab.yaml")
    """The file that describes the lab, as it was named."""
    repeat: int = 1
    """How often each program is in `programs`."""
    keep: bool = False
    """Leave the first guest running that a program fails in."""


@dataclass(frozen=True)
class Ran:
    """What running one program came to, as far as the lane goes by it."""

    failed: bool
    """It told so by its status, or the kernel complained."""
    is_good: bool
    """Whether the guest can run another."""


def environment(ready: Ready) -> dict[str, str]:
    """Return the variables a test program is run with."""
    variables = {"UMCGLAB_SLOW": str(ready.target.traits.slow)}
    if ready.target.is_control:
        variables["UMCGLAB_CONTROL_RELEASE"] = ready.kernel.release
    return variables


def command(ready: Ready, program: Program) -> str:
    """Return the shell line that runs `program` in the guest."""
    chosen = program.tests if ready.select else ()
    argv = [*program.argv, *(word for test in chosen for word in ("-t", test))]
    if program.kind == fuzz_log.KIND:
        argv += ready.fuzz.on(ready.target).argv
    return f"cd {GUEST_BUNDLE} && exec {shlex.join(argv)}"


def time_limit(ready: Ready, program: Program) -> float:
    """Return the seconds after which `program` hangs."""
    slow = ready.target.traits.slow
    if program.kind == fuzz_log.KIND:
        return slow * (program.timeout + ready.fuzz.on(ready.target).seconds)
    return slow * program.timeout


def unplanned(ready: Ready) -> frozenset[str]:
    """Return the files of the bundles that are programs which the plan does not run."""
    planned = {program.name for program in ready.programs}
    return frozenset(
        program.argv[0]
        for bundle in (ready.bundle, *ready.more)
        for program in bundle.manifest.programs
        if program.name not in planned and program.kind != "py"
    )


@contextlib.contextmanager
def booted(
    lab: Lab,
    ready: Ready,
    run_dir: RunDir,
    n: int,
    progress: Progress,
    skip: Collection[str] = (),
) -> Iterator[ssh.Guest]:
    """Boot `ready` with its bundle, without `skip`, in place; the guest ends with it.

    A guest that does not say its kernel's name is replaced once.
    """
    progress.phase(f"boot {n}")
    with contextlib.ExitStack() as stack:
        try:
            vm = stack.enter_context(_boot(lab, ready, run_dir, n))
        except ssh.Nameless as e:
            progress.say(f"{e.message}: booting again")
            vm = stack.enter_context(_boot(lab, ready, run_dir, n))
        # What all bundles have, such as benches, is that of the first.
        for bundle in reversed((ready.bundle, *ready.more)):
            vm.put(bundle.dir, GUEST_BUNDLE, skip=skip)
        yield vm


def _boot(
    lab: Lab, ready: Ready, run_dir: RunDir, n: int
) -> contextlib.AbstractContextManager[ssh.Guest]:
    target = ready.target
    chosen = accel.probe(target.arch, ready.kernel, lab.cache)
    console = run_dir.console(target.name, n)
    return ssh.boot(
        lab,
        ready.kernel,
        ready.image,
        console_log=console,
        accel=chosen,
        smp=target.smp,
        cpu=target.cpu,
        memory=target.memory,
        cmdline=(*target.traits.cmdline, *target.cmdline.split()),
        timeout=target.boot_timeout * target.traits.slow,
        keep=ready.keep,
    )


def test_lane(
    lab: Lab, ready: Ready, start: TargetFacts, run_dir: RunDir, progress: Progress
) -> TargetFacts:
    """Boot, and run every program; a guest that broke is replaced by a fresh one.

    Return the facts of the target, which are in `target.json` all the while.
    A program that ends the guest, hangs it or draws a splat is not run again:
    the rest of the plan goes on after a reboot.
    """
    path = run_dir.target(ready.target.name)
    state = start
    try:
        chosen = accel.probe(ready.target.arch, ready.kernel, lab.cache)
        progress.say(f"runs on {chosen.name}: {chosen.why}")
        state = replace(
            state, accel=facts.AccelFacts(chosen.name, chosen.why), status="running"
        )
        progress.phase("floor")
        console = run_dir.floor(ready.target.name)
        floor = ssh.floor(
            lab,
            ready.kernel,
            chosen,
            console_log=console,
            cmdline=ready.target.traits.cmdline,
            timeout=ssh.BOOT_TIMEOUT * ready.target.traits.slow,
        )
        state = replace(state, floor=floor)
        waiting = list(ready.programs)
        while waiting:
            n = len(state.boots) + 1
            skip = unplanned(ready)
            with booted(lab, ready, run_dir, n, progress, skip) as vm:
                state = replace(
                    state,
                    boots=(
                        *state.boots,
                        facts.BootFacts(n, vm.argv, vm.to_ssh, vm.uname),
                    ),
                )
                codec.write(path, state)
                while waiting:
                    program = waiting.pop(0)
                    progress.phase(program.label)
                    ran = run_program(ready, program, vm, n, run_dir)
                    if ready.keep and ran.failed and not state.kept and vm.answers():
                        vm.leave_running()
                        line = vm.ssh_command()
                        kept = facts.KeptFacts(program.label, n, line, vm.pid)
                        state = replace(state, kept=kept)
                        codec.write(path, state)
                        break
                    if not ran.is_good:
                        break
        state = replace(state, status="done")
    except LabError as e:
        state = replace(
            state,
            status="error",
            errors=(*state.errors, facts.ErrorFacts.of(e, "boot")),
        )
    state = replace(state, finished=now())
    codec.write(path, state)
    return state


def run_program(
    ready: Ready, program: Program, vm: ssh.Guest, n: int, run_dir: RunDir
) -> Ran:
    """Run one program and record it."""
    name = ready.target.name
    start = vm.console_size()
    done = vm.run(
        command(ready, program),
        log=run_dir.program_log(name, program.label),
        timeout=time_limit(ready, program),
        env=environment(ready),
    )
    stuck = vm.where_stuck() if done.timed_out else ()
    end = vm.console_size()
    codec.write(
        run_dir.program(name, program.label),
        facts.ProgramFacts(
            program=program.label,
            boot=n,
            exit_status=done.exit_status,
            duration=done.duration,
            console_from=start,
            console_to=end,
            timed_out=done.timed_out,
            lost=done.lost,
            reproduce=reproduce(ready, program),
            stuck=stuck,
        ),
    )
    broke = done.lost or done.timed_out or bool(splat.scan(vm.console_text(start)))
    return Ran(broke or done.exit_status not in (0, ALL_SKIPPED), is_good=not broke)


def reproduce(ready: Ready, program: Program) -> str:
    """Return the command line that runs `program` again on its target."""
    words = ["--only", ready.target.name]
    # What was lost, any of them may have lost.
    if program != leaks.PROGRAM:
        # One test is all that a command line can name of a program.
        one = ready.select and len(program.tests) == 1
        words += ["--tests", ":".join((program.name, *program.tests[:one]))]
    if program.kind == fuzz_log.KIND:
        words += ready.fuzz.options
    if ready.repeat > 1:
        words += ["--repeat", str(ready.repeat)]
    return config.command(ready.lab, "run", *words)


def benches(bundle: Bundle) -> Mapping[facts.BenchPlanFacts, Step]:
    """Return the plan of the exact lane: every bench in each scheduling class."""
    plan = {}
    for bench in bundle.manifest.of_kind("bench"):
        for size in bench.sizes or (None,):
            name = f"{bench.name}-{size}" if size else bench.name
            more = ("--size", str(size)) if size else ()
            for sched in SCHEDS:
                step = Step(f"{name}:{sched}", (*bench.argv, "--sched", sched, *more))
                made = facts.BenchPlanFacts(
                    step.name,
                    name,
                    sched,
                    needs_umcg=bench.needs_umcg,
                    absent=bench.absent,
                )
                plan[made] = step
    return plan


def exact_lane(
    lab: Lab, ready: Ready, run_dir: RunDir, n: int, progress: Progress
) -> facts.ExactRunFacts:
    """Run the benches once in an exact guest; the caller compares two such runs."""
    progress.phase("exact guest")
    done = exact.run(
        lab,
        ready.kernel,
        ready.bundle.dir,
        tuple(benches(ready.bundle).values()),
        output=run_dir.exact_output(ready.target.name, n),
        console_log=run_dir.exact_console(ready.target.name, n),
    )
    return facts.ExactRunFacts(n, done.argv, done.duration)


def shell(lab: Lab, ready: Ready) -> int:
    """Boot `ready` and give the terminal to a shell in it; return its exit status."""
    with (
        tempfile.TemporaryDirectory(prefix="umcglab-") as folder,
        booted(lab, ready, RunDir(Path(folder)), 1, Silent()) as vm,
    ):
        return vm.shell()
