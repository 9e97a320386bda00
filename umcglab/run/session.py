# SPDX-License-Identifier: MIT
"""One run of the lab: build, boot, test, measure, write results and report."""

from __future__ import annotations

import fnmatch
import itertools
import os
import platform
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from umcglab.errors import InfraError, LabError, UserError
from umcglab.guest import qemu
from umcglab.guest.image import Image
from umcglab.host import command, files
from umcglab.host.display import Display
from umcglab.host.pool import Pool, Steps, outcome
from umcglab.kernel import addr2line
from umcglab.kernel.kernels import Kernel
from umcglab.lab import leaks, yamlfile
from umcglab.lab.config import Lab, Target
from umcglab.lab.manifest import Kind, Program, load_plan
from umcglab.report import html, junit, run_json, summary
from umcglab.results import codec, facts, studies
from umcglab.results.facts import TargetFacts
from umcglab.results.rundir import RunDir
from umcglab.results.studies import Subject
from umcglab.run import artifacts, fuzz, lanes, seats
from umcglab.run.artifacts import Builds, Built, Stage
from umcglab.run.fuzz import Fuzz
from umcglab.run.lanes import Ready, now
from umcglab.verdict import contract, runs
from umcglab.verdict.runs import Run
from umcglab.verdict.targets import EXACT_RUNS

_MARK = ".umcglab-results"

INTERRUPTED = 130
"""Exit status after SIGINT or SIGTERM, as a shell has it."""
TESTED: tuple[Kind, ...] = ("test", "py", "fuzz")
"""What the test lane runs."""


@dataclass(frozen=True)
class Options:
    """What the command line chose of a run."""

    command: str
    cores: int
    lab: Path = Path("lab.yaml")
    """The file that describes the lab, as it was named."""
    tests: str | None = None
    """`PROGRAM` or `PROGRAM:TEST`, PROGRAM a pattern; None for everything."""
    repeat: int = 1
    """How often each program is run."""
    keep: bool = False
    """Leave a guest running that a program failed in."""
    guests: int = 1
    """How many guests of a target with one CPU run at once."""
    fuzz: Fuzz = field(default_factory=Fuzz)
    fuzz_shared: bool = False
    """Whether the targets of an ABI share those operations."""
    shares: Mapping[str, Fuzz] = field(default_factory=dict)
    """What a target is asked for that does not do all of it, by name."""


def execute(
    lab: Lab, targets: Sequence[Target], options: Options, display: Display
) -> int:
    """Run the lab on `targets`; return the exit status. The results are on disk."""
    check_tests(lab, targets, options.tests)
    lab.cache.claim()
    run_dir = begin(lab, targets, options)
    display.tee(run_dir.path / "lab.log")
    display.say(f"results go to {run_dir.path}")
    interrupted = None
    try:
        asked = replace(options.fuzz, replay=fuzz.kept(lab))
        shares = asked.shared(targets) if options.fuzz_shared else {}
        options = replace(options, fuzz=asked, shares=shares)
        measure(lab, targets, options, run_dir, display)
    except KeyboardInterrupt:
        interrupted = "interrupted by a signal"
        display.say("interrupted: writing the report of what was measured so far")
    state = codec.read(run_dir.run, facts.RunFacts)
    codec.write(run_dir.run, replace(state, finished=now(), interrupted=interrupted))
    run = render(run_dir)
    for line in summary.lines(run):
        display.say(line)
    for episode in fuzz.keep(lab, run):
        display.say(f"fuzz: episode {episode} is kept, later runs begin with it")
    for target in run.targets:
        for line in kept(target.facts, run_dir):
            display.say(line)
    display.say(f"report: {run_dir.path / 'report.html'}")
    return INTERRUPTED if interrupted else run.exit_code


def kept(target: TargetFacts, run_dir: RunDir) -> Iterator[str]:
    """Yield how to enter and to end the guest that was left running, if one was."""
    if guest := target.kept:
        yield f"{target.name}: {guest.program} failed, and its guest is left running"
        yield f"  console:  {run_dir.console(target.name, guest.boot)}"
        yield f"  enter it: {shlex.join(guest.ssh)}"
        yield f"  end it:   kill {guest.pid}"


def render(run_dir: RunDir) -> Run:
    """Derive everything from a run's raw files: run.json, report, JUnit."""
    studies.take(run_dir)
    run = runs.collect(run_dir.path)
    files.write(run_dir.run, run_json.render(run))
    files.write(run_dir.path / "report.html", html.render(run))
    files.write(run_dir.path / "junit.xml", junit.render(run))
    return run


def subject(lab: Lab, ready: Ready) -> Subject:
    """Return what a study of a target is of."""
    return Subject(
        lab.results, ready.target.name, ready.kernel.digest, ready.bundle.digest
    )


def begin(lab: Lab, targets: Sequence[Target], options: Options) -> RunDir:
    """Make the run's folder and write down what is going to be tried."""
    started = datetime.now(UTC)
    git = lab_git(lab.root)
    run_dir = make_folder(lab.results, f"{started:%Y%m%dT%H%M%SZ}-{git[:7]}")
    name = run_dir.path.name
    keep_log(lab.file, run_dir.path / "lab.yaml")
    describe(run_dir, lab, targets, options.command, started, git)
    latest = lab.results / "latest"
    if latest.exists() and not latest.is_symlink():
        raise UserError(
            f"{latest}: not a link to a run, and not overwritten",
            hint=f"move it away: mv {latest} {latest}.old",
        )
    link = latest.with_name(f".latest.{os.getpid()}")
    try:
        link.symlink_to(Path("runs") / name)
        link.replace(latest)
    except OSError as e:
        link.unlink(missing_ok=True)
        raise InfraError(
            f"cannot make the link {latest}: {e.strerror}",
            hint="move away what is there, if it is not a link",
        ) from e
    return run_dir


def describe(
    run_dir: RunDir,
    lab: Lab,
    targets: Sequence[Target],
    command: str,
    started: datetime,
    git: str,
) -> None:
    """Write down what a run is and which targets it is going to try."""
    for target in targets:
        codec.write(run_dir.target(target.name), facts_of(target))
    said = {
        abi: text.read_text()
        for abi in dict.fromkeys(t.abi for t in targets)
        if (text := lab.root / "kernel-patches" / abi / "ABI.md").exists()
    }
    codec.write(
        run_dir.run,
        facts.RunFacts(
            id=run_dir.path.name,
            started=started.isoformat(timespec="seconds"),
            command=command,
            lab_git=git,
            plan=tuple(t.name for t in targets),
            host=host(),
            clauses={abi: contract.clauses(text) for abi, text in said.items()},
            capabilities={
                abi: contract.capabilities(text) for abi, text in said.items()
            },
            races={abi: contract.races(text) for abi, text in said.items()},
        ),
    )


def facts_of(target: Target) -> TargetFacts:
    """Return what is known of a target before anything was done with it."""
    return TargetFacts(
        name=target.name,
        arch=target.arch.name,
        abi=target.abi,
        base=target.base,
        flavor=target.flavor,
        extra=target.extra,
        source=target.source.name,
        smp=target.smp,
        cpu=target.cpu,
        memory=target.memory,
        cmdline=target.cmdline,
        boot_timeout=target.boot_timeout,
    )


def make_folder(results: Path, name: str) -> RunDir:
    """Make a run's folder called `name`, or by the next free name if another has it.

    Raise UserError if the folder of results has somebody else's files in it.
    """
    hint = "set `results` in lab.yaml to a folder of its own"
    files.claim(results, _MARK, "the results", _ours, hint)
    runs = results / "runs"
    for number in itertools.count(1):
        path = runs / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as e:
            raise InfraError(f"cannot make the results folder: {e}") from e
        return RunDir(path)
    raise AssertionError


def _ours(path: Path) -> bool:
    """Whether something in a folder of results is the lab's."""
    if path.name == "latest":
        return path.is_symlink()
    if path.name == "runs":
        return all(re.match(r"\d{8}T\d{6}Z-", p.name) for p in path.iterdir())
    return path.name == "fuzz-seeds.txt"


def measure(
    lab: Lab,
    targets: Sequence[Target],
    options: Options,
    run_dir: RunDir,
    display: Display,
) -> None:
    """Build, boot, test and measure the targets, none of which waits for another."""
    options = replace(options, guests=seats.count(options.cores, len(targets)))
    with artifacts.pool(lab, options.cores, display) as jobs:
        builds = artifacts.submit(lab, targets, options.cores, jobs)
        jobs.wait(
            *(through(lab, t, builds, options, run_dir, jobs, display) for t in targets)
        )
    lab.cache.trim(lab.cache_size)


def through(
    lab: Lab,
    target: Target,
    builds: Builds,
    options: Options,
    run_dir: RunDir,
    jobs: Pool,
    display: Display,
) -> Steps:
    """Take one target from its artifacts through its lanes to its verdict.

    What is written of it is passed on, and is the test lane's while that runs.
    """
    yield builds.of(target)
    try:
        made = prepare(target, builds.built([target]), options)
    except LabError as e:
        write_unbuilt(target, e, run_dir)
    else:
        measured = target.traits.exact and not options.tests
        benches = tuple(lanes.benches(made.bundle)) if measured else ()
        state = write_plan(made, run_dir, benches)
        done = submit(lab, made, state, run_dir, jobs)
        yield [done.test, *done.exact]
        record(target, done, run_dir)
        addr2line.write(made.kernel, run_dir, target.name)
    display.say(summary.line(runs.target(run_dir.path, target.name)))


@dataclass(frozen=True)
class Lanes:
    """The jobs of one target."""

    test: Future[TargetFacts]
    exact: tuple[Future[facts.ExactRunFacts], ...]


def submit(
    lab: Lab, made: Ready, state: TargetFacts, run_dir: RunDir, jobs: Pool
) -> Lanes:
    """Submit what is done with a target that is built and planned."""
    name = made.target.name
    test = jobs.submit(
        f"test {name}",
        lanes.test_lane,
        lab,
        made,
        state,
        run_dir,
        cores=lanes.cores(made),
        stage=Stage.GUEST,
    )
    exact = tuple(
        jobs.submit(
            f"exact {name} {n}",
            lanes.exact_lane,
            lab,
            made,
            run_dir,
            n,
            stage=Stage.GUEST,
        )
        for n in (range(1, EXACT_RUNS + 1) if state.benches else ())
    )
    return Lanes(test, exact)


def prepare(target: Target, built: Built, options: Options) -> Ready:
    """Return `target` with what it needs to run, and what the options chose of it.

    Raise the error of what could not be built.
    """
    made = choose(ready(target, built), options.tests)
    made = replace(
        made,
        fuzz=options.shares.get(target.name, options.fuzz),
        lab=options.lab,
        keep=options.keep,
        guests=options.guests if target.smp == 1 and not options.keep else 1,
        # Both ask for the very failure that is seen first.
        again=options.repeat == 1 and not options.keep,
    )
    made = repeated(made, options.repeat)
    if target.traits.leaks:
        made = replace(made, programs=(*made.programs, leaks.PROGRAM))
    return made


def write_unbuilt(target: Target, error: LabError, run_dir: RunDir) -> None:
    """Write down that, and why, a target could not be built."""
    errors = (facts.ErrorFacts.of(error, "build"),)
    state = replace(facts_of(target), status="error", errors=errors)
    codec.write(run_dir.target(target.name), state)
    keep_log(error.log, run_dir.build_log(target.name))


def write_plan(
    made: Ready, run_dir: RunDir, benches: tuple[facts.BenchPlanFacts, ...]
) -> TargetFacts:
    """Write down, and return, what a target is and what is going to run on it."""
    path = run_dir.target(made.target.name)
    kernel = made.kernel
    keep_log(kernel.log, run_dir.build_log(made.target.name))
    state = replace(
        facts_of(made.target),
        started=now(),
        kernel=facts.KernelFacts(kernel.digest, kernel.release, kernel.identity),
        image=made.image.digest,
        bundle=" ".join(b.digest for b in (made.bundle, *made.more)),
        qemu=qemu.version(made.target.arch),
        programs=tuple(map(plan, made.programs)),
        benches=benches,
    )
    codec.write(path, state)
    return state


def ready(target: Target, built: Built) -> Ready:
    """Return `target` with what was built for it; raise the error of what was not."""
    kernel = built.kernels[target.name]
    image = built.images[target.arch.name]
    bundles = built.bundles[target.name]
    for part in (kernel, image, bundles):
        if isinstance(part, LabError):
            raise part
    assert isinstance(kernel, Kernel)
    assert isinstance(image, Image)
    assert isinstance(bundles, tuple)
    config = kernel.config.read_text()
    programs = {
        program.name: program
        for bundle in bundles
        for program in bundle.manifest.of_config(config).of_kind(*TESTED)
    }
    first, *more = bundles
    return Ready(
        target, kernel, image, first, tuple(programs.values()), more=tuple(more)
    )


def check_tests(lab: Lab, targets: Sequence[Target], tests: str | None) -> None:
    """Raise UserError if `--tests` names nothing that any target has."""
    if tests is None:
        return
    abis = {source.abi for t in targets for source in lab.bundle_targets(t)}
    sources = lab.root / "guest-tests"
    programs = {
        program.name: program
        for abi in sorted(abis)
        for program in load_plan(sources, abi).of_kind(*TESTED)
    }
    pick(tuple(programs.values()), tests)


def choose(made: Ready, tests: str | None) -> Ready:
    """Return `made` with only the programs that `--tests` names."""
    if tests is None:
        return made
    return replace(
        made,
        programs=pick(made.programs, tests),
        select=bool(tests.partition(":")[2]),
        # Who asks for a few tests waits for their verdict.
        floor=False,
    )


def pick(programs: Sequence[Program], tests: str) -> tuple[Program, ...]:
    """Return the programs, with their tests, that `--tests` names."""
    pattern, _, test = tests.partition(":")
    found = tuple(p for p in programs if fnmatch.fnmatch(p.name, pattern))
    if not found:
        names = [p.name for p in programs]
        slip = yamlfile.did_you_mean(pattern, names)
        raise UserError(
            f"no program {pattern!r}{slip}", hint=f"programs are {', '.join(names)}"
        )
    if not test:
        return found
    chosen = tuple(
        replace(p, tests=some)
        for p in found
        if (some := tuple(fnmatch.filter(p.tests, test)))
    )
    if not chosen:
        slip = yamlfile.did_you_mean(test, [t for p in found for t in p.tests])
        raise UserError(f"no test {test!r} in {pattern!r}{slip}")
    return chosen


def repeated(made: Ready, times: int) -> Ready:
    """Return `made` with each program as often as that, one after the other."""
    if times == 1:
        return made
    programs = tuple(
        replace(program, attempt=n)
        for program in made.programs
        for n in range(1, times + 1)
    )
    return replace(made, programs=programs, repeat=times)


def plan(program: Program) -> facts.PlanFacts:
    """Return a program as the results record it, before it has run."""
    return facts.PlanFacts(
        program=program.label,
        kind=program.kind,
        tests=program.tests,
        needs_umcg=tuple(t for t in program.tests if program.needs_umcg),
        absent=program.absent,
        clauses={t: c for t, c in program.clauses.items() if t in program.tests},
        repeats=program.name if program.attempt else None,
    )


def record(target: Target, done: Lanes, run_dir: RunDir) -> None:
    """Write down what came of a target's jobs that they could not write themselves."""
    path = run_dir.target(target.name)
    errors: list[facts.ErrorFacts] = []
    state = outcome(done.test)
    if isinstance(state, LabError):
        errors.append(facts.ErrorFacts.of(state, "test"))
        # Its process ended without a word; this is how far it had come.
        state = codec.read(path, TargetFacts)
    measured: list[facts.ExactRunFacts] = []
    for each in map(outcome, done.exact):
        if isinstance(each, LabError):
            errors.append(facts.ErrorFacts.of(each, "exact"))
        else:
            measured.append(each)
    if measured:
        made = facts.ExactFacts(qemu.SEED, tuple(measured))
        codec.write(run_dir.exact(target.name), made)
    if errors:
        codec.write(
            path, replace(state, status="error", errors=(*state.errors, *errors))
        )


def keep_log(log: Path | None, dest: Path) -> None:
    """Copy a file to the results: the cache may be emptied, they stay."""
    if log is not None and log.is_file():
        try:
            shutil.copyfile(log, dest)
        except OSError as e:
            raise files.unwritten(dest, e) from e


def lab_git(root: Path) -> str:
    """Return the lab's own commit, with `-dirty` when the checkout differs from it."""
    done = command.run(
        ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    )
    return done.stdout.strip() if done.returncode == 0 else "unversioned"


def host() -> dict[str, object]:
    """Return the host's identity, for the report."""
    os_release = platform.freedesktop_os_release()
    return {
        "os": os_release.get("PRETTY_NAME", "unknown"),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(
            os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1
        ),
        "python": platform.python_version(),
    }
