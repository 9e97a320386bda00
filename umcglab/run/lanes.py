# SPDX-License-Identifier: MIT
"""What happens to one target once all is built: the test lane and the exact lane.

Each function is one job of `host.pool`. It writes facts and raw logs into the run's
folder as it goes and returns what the parent does not know; a `LabError` becomes
a recorded fact, for what was measured before it must survive.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from umcglab.errors import LabError
from umcglab.guest import accel, exact, ssh, steps
from umcglab.guest.exact import Step
from umcglab.guest.image import Image
from umcglab.guest.initrd import File
from umcglab.guest.suite import Bundle
from umcglab.host.pool import Pool, outcome
from umcglab.host.progress import Progress, Silent
from umcglab.kernel.kernels import Kernel
from umcglab.lab import config, leaks
from umcglab.lab.config import Lab, Target
from umcglab.lab.manifest import Program
from umcglab.results import codec, facts
from umcglab.results.case import SCHEDS
from umcglab.results.facts import ProgramFacts, TargetFacts
from umcglab.results.rundir import RunDir
from umcglab.run import seats
from umcglab.run.fuzz import Fuzz
from umcglab.run.seats import Seat
from umcglab.verdict import fuzz_log, splat
from umcglab.verdict.programs import ALL_SKIPPED


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
    again: bool = False
    """Run a program that fails once more, where each has a guest of its own."""
    floor: bool = True
    """Boot a floor guest first, to compare the time to SSH with."""
    guests: int = 1
    """How many guests to have at once where each program has one of its own."""


@dataclass(frozen=True)
class Ran:
    """What running one program came to, as far as the lane goes by it."""

    facts: ProgramFacts
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
    return f"cd {ssh.SUITE} && exec {shlex.join(argv(ready, program))}"


def argv(ready: Ready, program: Program) -> tuple[str, ...]:
    """Return the words that run `program`, in the folder of the suite."""
    chosen = program.tests if ready.select else ()
    words = [*program.argv, *(word for test in chosen for word in ("-t", test))]
    if program.kind == fuzz_log.KIND:
        words += ready.fuzz.on(ready.target).argv
    return tuple(words)


def time_limit(ready: Ready, program: Program) -> float:
    """Return the seconds after which `program` hangs."""
    slow = ready.target.traits.slow
    if program.kind == fuzz_log.KIND:
        return slow * (program.timeout + ready.fuzz.on(ready.target).seconds)
    return slow * program.timeout


def unplanned(ready: Ready) -> frozenset[str]:
    """Return the files of the bundles that are programs which the plan does not need."""
    planned = {name for p in ready.programs for name in (p.name, p.starts)}
    return frozenset(
        program.argv[0]
        for bundle in (ready.bundle, *ready.more)
        for program in bundle.manifest.programs
        if program.name not in planned and program.kind != "py"
    )


def suite(ready: Ready, skip: Collection[str] = ()) -> dict[str, File]:
    """Return the files of the bundles of `ready` but `skip`, as a guest boots with them."""
    # What all bundles have, such as benches, is that of the first.
    bundles = [bundle.dir for bundle in reversed((ready.bundle, *ready.more))]
    return ssh.suite_files(bundles, skip)


@contextlib.contextmanager
def booted(
    lab: Lab,
    ready: Ready,
    run_dir: RunDir,
    n: int,
    progress: Progress,
    *,
    skip: Collection[str] = (),
    snapshots: bool = False,
) -> Iterator[ssh.Guest]:
    """Boot `ready` with its bundles, without `skip`; the guest ends with the context.

    A guest that does not say its kernel's name is replaced once. `snapshots` is for
    one that may be told to become a snapshot.
    """
    progress.phase(f"boot {n}")
    files = suite(ready, skip)
    with contextlib.ExitStack() as stack:
        try:
            vm = stack.enter_context(_boot(lab, ready, run_dir, n, files, snapshots))
        except ssh.Nameless as e:
            progress.say(f"{e.message}: booting again")
            vm = stack.enter_context(_boot(lab, ready, run_dir, n, files, snapshots))
        yield vm


def _boot(
    lab: Lab,
    ready: Ready,
    run_dir: RunDir,
    n: int,
    files: Mapping[str, File],
    snapshots: bool,
) -> contextlib.AbstractContextManager[ssh.Guest]:
    target = ready.target
    chosen = accel.choose(target, ready.kernel, lab.cache)
    console = run_dir.console(target.name, n)
    return ssh.boot(
        lab,
        ready.kernel,
        ready.image,
        console_log=console,
        accel=chosen,
        suite=files,
        smp=target.smp,
        threads=target.threads,
        cpu=target.cpu,
        hypervisor=target.traits.hypervisor,
        memory=target.memory,
        cmdline=(*target.traits.cmdline, *target.cmdline.split()),
        timeout=target.boot_timeout * target.traits.slow,
        keep=ready.keep,
        snapshots=snapshots,
    )


def test_lane(
    lab: Lab, ready: Ready, start: TargetFacts, run_dir: RunDir, progress: Progress
) -> TargetFacts:
    """Boot, and run every program, each in a guest that ran no other if it can be.

    Those that are for an exact guest of their own come last.
    Return the facts of the target, which are in `target.json` all the while.
    """
    path = run_dir.target(ready.target.name)
    state = start
    codec.write(path, state)
    try:
        chosen = accel.choose(ready.target, ready.kernel, lab.cache)
        progress.say(f"runs on {chosen.name}: {chosen.why}")
        state = replace(
            state, accel=facts.AccelFacts(chosen.name, chosen.why), status="running"
        )
        if ready.floor:
            progress.phase("floor")
            floor = ssh.floor(
                lab,
                ready.kernel,
                chosen,
                console_log=run_dir.floor(ready.target.name),
                cmdline=ready.target.traits.cmdline,
                timeout=ssh.BOOT_TIMEOUT * ready.target.traits.slow,
            )
            state = replace(state, floor=floor)
            codec.write(path, state)
        waiting = [p for p in ready.programs if not is_exact(ready, p)]
        exactly = [p for p in ready.programs if is_exact(ready, p)]
        while waiting:
            state = _boot_and_run(
                lab, ready, waiting, exactly, state, run_dir, progress
            )
        for program in exactly:
            n = len(state.boots) + 1
            boot = _run_exactly(lab, ready, program, n, run_dir, progress)
            state = replace(state, boots=(*state.boots, boot))
            codec.write(path, state)
        state = replace(state, status="done")
    except LabError as e:
        state = codec.read(path, TargetFacts)
        errors = (*state.errors, facts.ErrorFacts.of(e, "boot"))
        state = replace(state, status="error", errors=errors)
    state = replace(state, finished=now())
    codec.write(path, state)
    return state


def _boot_and_run(
    lab: Lab,
    ready: Ready,
    waiting: list[Program],
    exactly: list[Program],
    state: TargetFacts,
    run_dir: RunDir,
    progress: Progress,
) -> TargetFacts:
    """Boot once, and run of `waiting` what one boot is enough for; return new facts.

    Where it can be each program has a guest of its own, made from a snapshot of the
    boot: so no program finds what another left. If several of those run at once, those
    of `exactly` do beside them. The others share one, until one of them hangs it, ends
    it or draws a splat.
    """
    path = run_dir.target(ready.target.name)
    n = len(state.boots) + 1
    apart = are_apart(ready)
    with booted(
        lab, ready, run_dir, n, progress, skip=unplanned(ready), snapshots=apart
    ) as vm:
        boot = facts.BootFacts(n, vm.argv, vm.to_ssh, vm.uname)
        state = replace(state, boots=(*state.boots, boot))
        codec.write(path, state)
        snapshot = vm.snapshot() if apart else None
        if snapshot and ready.guests > 1:
            state = _run_apart(
                lab, ready, waiting, exactly, snapshot, state, run_dir, progress
            )
            waiting.clear()
            exactly.clear()
        while waiting:
            program = waiting.pop(0)
            progress.phase(program.label)
            with guest(ready, vm, snapshot) as own:
                ran = run_program(ready, program, own, n, run_dir)
                if ready.keep and ran.failed and not state.kept and own.answers():
                    own.leave_running()
                    line = own.ssh_command()
                    kept = facts.KeptFacts(program.label, n, line, own.pid)
                    state = replace(state, kept=kept)
                    codec.write(path, state)
                    break
                if snapshot and ran.is_good:
                    own.settle()
            if snapshot and ran.failed and ready.again:
                progress.phase(f"{program.label}, again")
                with snapshot.resume() as own:
                    run_again(ready, program, own, ran.facts, run_dir)
            if not snapshot and not ran.is_good:
                break
    return state


def _run_apart(
    lab: Lab,
    ready: Ready,
    programs: Sequence[Program],
    exactly: Sequence[Program],
    snapshot: ssh.Snapshot,
    state: TargetFacts,
    run_dir: RunDir,
    progress: Progress,
) -> TargetFacts:
    """Run programs in guests of their own, several at once; return new facts.

    An error that is no program's is raised when all others have run.
    """
    name = ready.target.name
    boot = state.boots[-1]
    numbers = range(boot.n, boot.n + ready.guests)
    with tempfile.TemporaryDirectory(prefix="umcglab-") as folder:
        consoles = {n: run_dir.console(name, n) for n in numbers}
        made = seats.make(snapshot, consoles, Path(folder))
        more = (
            facts.BootFacts(seat.n, seat.snapshot.argv, uname=boot.uname)
            for seat in made[1:]
        )
        state = replace(state, boots=(*state.boots, *more))
        codec.write(run_dir.target(name), state)
        remembered = lab.cache.root / "durations.programs.json"
        shown = seats.Phases(progress)
        with Pool(len(made), shown, remembered, instant=0.0) as jobs:
            done = [
                jobs.submit(p.label, _run_in_seat, ready, p, made, run_dir)
                for p in programs
            ]
            exact_boots = [
                jobs.submit(p.label, _run_exactly, lab, ready, p, n, run_dir)
                for n, p in enumerate(exactly, len(state.boots) + 1)
            ]
            jobs.wait()
    own = [
        boot for boot in map(outcome, exact_boots) if isinstance(boot, facts.BootFacts)
    ]
    state = replace(state, boots=(*state.boots, *own))
    codec.write(run_dir.target(name), state)
    ended: tuple[Future[Any], ...] = (*done, *exact_boots)
    for future in ended:
        future.result()
    return state


def _run_in_seat(
    ready: Ready,
    program: Program,
    made: Sequence[Seat],
    run_dir: RunDir,
    progress: Progress,
) -> None:
    """Run one program in a guest, and if it fails once more in another."""
    with seats.taken(made) as seat:
        with seat.snapshot.resume() as own:
            ran = run_program(ready, program, own, seat.n, run_dir)
            if ran.is_good:
                own.settle()
        if ran.failed and ready.again:
            with seat.snapshot.resume() as own:
                run_again(ready, program, own, ran.facts, run_dir)


def is_exact(ready: Ready, program: Program) -> bool:
    """Return whether `program` has an exact guest of its own; on a control it skips."""
    return bool(program.exact_cpus) and not ready.target.is_control


def _run_exactly(
    lab: Lab,
    ready: Ready,
    program: Program,
    n: int,
    run_dir: RunDir,
    progress: Progress,
) -> facts.BootFacts:
    """Run one program in an exact guest, which is boot `n`; return the facts of that."""
    target = ready.target
    progress.phase(f"{program.label}, exact")
    console = run_dir.console(target.name, n)
    # Until it has ended all that the guest said is there, whatever becomes of it.
    log = run_dir.program_log(target.name, program.label)
    done = exact.run(
        lab,
        ready.kernel,
        ready.bundle.dir,
        (Step(program.label, argv(ready, program)),),
        output=log,
        console_log=console,
        smp=program.exact_cpus,
        timeout=max(exact.TIMEOUT, time_limit(ready, program)),
    )
    (ended,), _ = steps.parse(log.read_text(errors="replace"))
    log.write_text(f"{ended.said}\n")
    said = console.read_text(errors="replace")
    booted = re.search(r"Linux version (\S+)", said)
    boot = facts.BootFacts(n, done.argv, uname=booted[1] if booted else None)
    ran = ProgramFacts(
        program=program.label,
        boot=n,
        exit_status=ended.status,
        duration=done.duration,
        console_from=0,
        console_to=console.stat().st_size,
        reproduce=reproduce(ready, program),
    )
    codec.write(run_dir.program(target.name, program.label), ran)
    return boot


def are_apart(ready: Ready) -> bool:
    """Return whether each program of `ready` gets a guest of its own.

    Leaks are looked for in a guest that ran all programs, repetitions are to meet
    other circumstances each time, and one program needs no snapshot. On a control nearly
    all that programs do is to find that they have to skip.
    """
    alone = len(ready.programs) == 1
    target = ready.target
    return not (alone or ready.repeat > 1 or target.traits.leaks or target.is_control)


def cores(ready: Ready) -> int:
    """Return how many cores the test lane keeps busy."""
    several = ready.guests > 1 and are_apart(ready)
    return seats.cores(ready.guests) if several else ready.target.smp


@contextlib.contextmanager
def guest(
    ready: Ready, vm: ssh.Guest, snapshot: ssh.Snapshot | None
) -> Iterator[ssh.Guest]:
    """Yield the guest that the next program runs in."""
    if snapshot is None:
        yield vm
        return
    with snapshot.resume(keep=ready.keep) as own:
        yield own


def run_program(
    ready: Ready, program: Program, vm: ssh.Guest, n: int, run_dir: RunDir
) -> Ran:
    """Run one program and record it."""
    log = run_dir.program_log(ready.target.name, program.label)
    ran = _run(ready, program, vm, n, log)
    codec.write(run_dir.program(ready.target.name, program.label), ran.facts)
    return ran


def run_again(
    ready: Ready, program: Program, vm: ssh.Guest, first: ProgramFacts, run_dir: RunDir
) -> None:
    """Run a program that failed once more, and record whether it fails again."""
    name = ready.target.name
    log = run_dir.again_log(name, program.label)
    ran = _run(ready, program, vm, first.boot, log)
    again = facts.AgainFacts(
        failed=ran.failed,
        exit_status=ran.facts.exit_status,
        console_from=ran.facts.console_from,
    )
    codec.write(run_dir.program(name, program.label), replace(first, again=again))


def _run(ready: Ready, program: Program, vm: ssh.Guest, n: int, log: Path) -> Ran:
    start = vm.console_size()
    done = vm.run(
        command(ready, program),
        log=log,
        timeout=time_limit(ready, program),
        env=environment(ready),
    )
    stuck = vm.where_stuck() if done.timed_out else ()
    end = vm.console_size()
    found = ProgramFacts(
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
    )
    # Without a status it may still be running there.
    cut = done.exit_status is None
    broke = cut or bool(splat.scan(vm.console_text(start)))
    failed = broke or done.exit_status not in (0, ALL_SKIPPED)
    return Ran(found, failed, is_good=not broke)


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
