# SPDX-License-Identifier: MIT
"""Mutants that nobody has thought of: each small mistake that could be in a series.

`operators` makes them of the C of every line that a series adds. The compiler drops
those that change no instruction; each of the others is linked, and shown the tests that
coverage says run its line, cheapest first, until one fails. Where none does, programs
that want several CPUs and the exact lane, of which there is no coverage, are run as well.
What has become of one is kept: an interrupted hunt goes on where it was, and a mutant
that was tried is not tried again. A kill holds for the objects without the mistake and
the program that noticed, whatever else is changed; that it survived, for one kernel and
one suite.
"""

from __future__ import annotations

import functools
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from umcglab.errors import InfraError, LabError, UserError
from umcglab.guest import steps
from umcglab.guest.suite import Bundle
from umcglab.host import files
from umcglab.host.cache import digest, file_digest
from umcglab.host.display import Display
from umcglab.host.pool import outcome
from umcglab.host.progress import Progress
from umcglab.kernel import objects, trees
from umcglab.kernel.kernels import Kernel
from umcglab.kernel.objects import Compiled, Objects
from umcglab.lab import yamlfile
from umcglab.lab.config import Lab, Target
from umcglab.report import html
from umcglab.results import studies
from umcglab.results.studies import KILLED, SURVIVED, MutantFacts
from umcglab.run import artifacts, session
from umcglab.study import coverage, operators
from umcglab.study.coverage import Coverage
from umcglab.study.operators import Edit

_KIND = "mutants"
_RECIPE = 4
_CPU_LIMIT = 20.0
"""Seconds of the host's CPU in which a test of a mutant has to end: it hangs else."""

SURVIVORS = "survivors.yaml"

EQUAL, BROKEN = "equal", "does not compile"


@dataclass(frozen=True)
class Mutant:
    """One edit of one file of the series."""

    file: str
    edit: Edit

    @property
    def name(self) -> str:
        """What it is called: where it is, and what it does."""
        return f"{self.file}:{self.edit.line} {self.change}"

    @property
    def change(self) -> str:
        """What it does, wherever its line is."""
        before = _short(self.edit.before) or "nothing"
        return (
            f"{self.edit.operator}: {before} -> {_short(self.edit.after) or 'nothing'}"
        )


@dataclass(frozen=True)
class Verdict:
    """What has become of one mutant."""

    file: str
    line: int
    function: str
    text: str
    """Its line, without the mistake."""
    change: str
    word: str
    """KILLED, SURVIVED, EQUAL or BROKEN."""
    by: str = ""
    """The test that noticed, or that the guest was lost in."""
    why: str = ""
    ran: int = 0
    """How many tests were run."""
    built_in: float = 0.0
    ran_in: float = 0.0
    """Seconds."""
    twin: bool = False
    """Whether another mutant has the same object: it was that one that was tried."""

    @property
    def counts(self) -> bool:
        """Whether it is one that tests could notice."""
        return self.word in (KILLED, SURVIVED)


@dataclass(frozen=True)
class Shard:
    """Which part of all mutants to try: `index` of `count`, from 1."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `3/8`; raise ValueError."""
        index, count = map(int, text.split("/"))
        if not 1 <= index <= count:
            raise ValueError(text)
        return cls(index, count)


@dataclass(frozen=True)
class Wanted:
    """Which mutants to try."""

    sample: int = 0
    """That many which compile and change something; 0: all."""
    seed: int = 1
    shard: Shard = Shard()
    files: tuple[str, ...] = ()
    """Files, or ends of their names; FILE:FUNCTION; none: all."""


@dataclass(frozen=True)
class Hunt:
    """All that is needed to try a mutant of one target."""

    lab: Lab
    target: Target
    bundle: Bundle
    objects: Objects
    coverage: Coverage
    folder: Path

    def mutants(self) -> list[Mutant]:
        """Return every mutant of the files that get into this kernel."""
        found = []
        for name, lines in sorted(self.coverage.ours.items()):
            if self.objects.users(name, self.coverage.code.sources(name)):
                text = self.objects.tree.originals[name].read_bytes()
                found += [Mutant(name, e) for e in operators.edits(text, lines)]
        return found

    def try_one(self, mutant: Mutant, progress: Progress) -> Verdict:
        """Return what becomes of a mutant, trying it if that is not known."""
        text = self.objects.tree.originals[mutant.file].read_bytes()
        users = self._users(mutant)
        who = self._who(mutant.file, mutant.edit.apply(text).hex(), self._before(users))
        if known := self._recall(who):
            # Another edit may come to the same text.
            twin = known.twin or known.change != mutant.change
            return replace(known, change=mutant.change, twin=twin)
        progress.phase(mutant.name[:70])
        verdict = self._attempt(mutant, text, users)
        self._note(who, verdict)
        return verdict

    @functools.cached_property
    def _programs(self) -> dict[str, str]:
        """The digest of each program that a mutant may be shown, by name."""
        counts = {0, *(p.exact_cpus for p in self.bundle.manifest.programs)}
        files = {
            step.name.partition(":")[0]: self.bundle.dir / step.argv[0]
            for cpus in counts
            for step in self._plan(cpus)
        }
        return {name: file_digest(file) for name, file in files.items()}

    @functools.cached_property
    def _originals(self) -> dict[tuple[str, ...], dict[str, str]]:
        return {}

    def _before(self, users: tuple[str, ...]) -> dict[str, str]:
        """Return the digests of objects without a mistake."""
        if users not in self._originals:
            self._originals[users] = self.objects.original(users)
        return self._originals[users]

    def _who(self, *what: object) -> str:
        """Return the key of a mistake, or of the objects that it makes."""
        return digest(_RECIPE, self.target.arch.name, self.target.abi, *what)

    def _key(self, who: str, verdict: Verdict) -> str:
        """Return under what a verdict is kept: what it depends on.

        A kill is one for as long as the program that noticed is the same.
        """
        if verdict.word == KILLED:
            program = verdict.by.partition(":")[0]
            return digest(who, program, self._programs.get(program, ""))
        if verdict.word == SURVIVED:
            kernel = self.objects.tree.kernel
            return digest(who, kernel.digest, self.bundle.digest)
        return digest(who)

    def _note(self, who: str, verdict: Verdict) -> None:
        def fill(folder: Path) -> None:
            (folder / "verdict.json").write_text(json.dumps(asdict(verdict)))

        self.lab.cache.make(_KIND, self._key(who, verdict), fill)

    def _recall(self, who: str) -> Verdict | None:
        """Return the verdict that is kept of one, if there is one that holds."""
        nobody = Verdict("", 0, "", "", "", EQUAL)
        guesses = [
            nobody,
            replace(nobody, word=SURVIVED),
            *(
                replace(nobody, word=KILLED, by=name)
                for name in (steps.BOOT, *self._programs)
            ),
        ]
        for guess in guesses:
            if made := self.lab.cache.find(_KIND, self._key(who, guess)):
                return Verdict(**json.loads((made / "verdict.json").read_text()))
        return None

    def _attempt(self, mutant: Mutant, text: bytes, users: tuple[str, ...]) -> Verdict:
        edit = mutant.edit
        verdict = Verdict(
            mutant.file,
            edit.line,
            edit.function,
            self.coverage.texts.get((mutant.file, edit.line), ""),
            mutant.change,
            BROKEN,
        )
        start = time.monotonic()
        with self.objects.compile(mutant.file, edit.apply(text), users) as made:
            if isinstance(made, str):
                return replace(verdict, why=made)
            if dict(made.code) == self._before(users):
                return replace(verdict, word=EQUAL)
            tests = self._tests(mutant)
            if not tests:
                return replace(verdict, word=SURVIVED, why="no test runs its function")
            compiled_in = time.monotonic() - start
            done = self._try_object(verdict, made, tests)
        return replace(done, built_in=round(done.built_in + compiled_in, 1))

    def _try_object(
        self, verdict: Verdict, made: Compiled, tests: Sequence[str]
    ) -> Verdict:
        """Return what becomes of objects, trying them if no other edit has made the same.

        Two edits of a condition often do.
        """
        before = self._before(tuple(made.code))
        who = self._who(verdict.function, dict(made.code), before)
        if known := self._recall(who):
            return replace(
                verdict,
                word=known.word,
                by=known.by,
                why=known.why,
                ran=known.ran,
                twin=True,
            )
        with tempfile.TemporaryDirectory(prefix="umcglab-") as tmp:
            done = self._link_and_run(verdict, made, tests, Path(tmp) / "make.log")
        self._note(who, done)
        return done

    def _link_and_run(
        self, verdict: Verdict, made: Compiled, tests: Sequence[str], log: Path
    ) -> Verdict:
        start = time.monotonic()
        try:
            kernel = self.objects.link(made, log)
        except LabError as e:
            return replace(verdict, why=e.message)
        built_in = time.monotonic() - start
        ran = self._run(kernel, tests)
        failed = ran.failed
        return replace(
            verdict,
            word=KILLED if failed else SURVIVED,
            by=failed[0] if failed else "",
            why=ran.died or (ran.splats[0] if ran.splats else ""),
            ran=len(ran.ended) + bool(ran.current),
            built_in=built_in,
            ran_in=round(ran.duration, 1),
        )

    def _run(self, kernel: Kernel, tests: Sequence[str]) -> steps.Ran:
        plan = {step.name: step for step in self._plan(0)}
        ran = self._run_steps(kernel, [plan[name] for name in tests], 1)
        for cpus, more in self._with_cpus():
            if not ran.failed:
                ran += self._run_steps(kernel, more, cpus)
        return ran

    def _with_cpus(self) -> Iterator[tuple[int, list[steps.Step]]]:
        """Yield the steps that want several CPUs, and how many."""
        for cpus in sorted({p.exact_cpus for p in self.bundle.manifest.programs} - {0}):
            if plan := self._plan(cpus):
                yield cpus, plan

    def try_without(self, progress: Progress) -> None:
        """Run what coverage has not run without a mistake; InfraError if that fails.

        It would pass for a kill.
        """
        for cpus, plan in self._with_cpus():
            progress.phase(f"without a mistake, {cpus} CPUs")
            ran = self._run_steps(self.objects.tree.kernel, plan, cpus)
            if ran.failed:
                raise InfraError(
                    f"{ran.failed[0]} fails on the kernel without a mistake: "
                    f"{ran.died or 'it did not pass'}"
                )

    def _plan(self, cpus: int) -> list[steps.Step]:
        kernel = self.objects.tree.kernel
        return coverage.plan(self.bundle, kernel, self.target.abi, cpus)

    def _run_steps(
        self, kernel: Kernel, plan: Sequence[steps.Step], cpus: int
    ) -> steps.Ran:
        with tempfile.TemporaryDirectory(prefix="umcglab-") as tmp:
            return steps.run(
                self.lab,
                kernel,
                self.bundle.dir,
                plan,
                folder=Path(tmp),
                stop=True,
                cpu_limit=_CPU_LIMIT * cpus,
                memory=self.target.memory,
                smp=cpus,
            )

    def _tests(self, mutant: Mutant) -> list[str]:
        """Return the tests that may notice: those that run what is changed, first.

        Then those that run the rest of its function, for where the compiler has made
        two ways of one, a line's instructions are not all there is of it.
        """
        edit, known = mutant.edit, self.coverage
        lines = range(edit.line, edit.last_line + 1)
        first = {n for x in lines for n in known.of_line((mutant.file, x))}
        rest = known.of_function(mutant.file, edit.function)
        return [
            *sorted(first, key=lambda n: known.tests[n].instructions),
            *(n for n in rest if n not in first),
        ]

    def _users(self, mutant: Mutant) -> tuple[str, ...]:
        """Return the objects that the function of a mutant is in."""
        names, code = self.coverage.names, self.coverage.code
        sources = {
            insn.source
            for insn in code.insns.values()
            for line in insn.lines
            if line[0] == mutant.file and names.get(line) == mutant.edit.function
        }
        return self.objects.users(mutant.file, sources or code.sources(mutant.file))


def chosen(mutants: Sequence[Mutant], wanted: Wanted) -> list[Mutant]:
    """Return the mutants to try, in the order to try them in."""
    found = [m for m in mutants if _fits(m, wanted.files)]
    if wanted.files and not found:
        raise UserError(f"{', '.join(wanted.files)}: no line of the series is there")
    if wanted.sample:
        # By seed alone, so that the same are chosen whatever was tried before.
        random.Random(wanted.seed).shuffle(found)
    return found[wanted.shard.index - 1 :: wanted.shard.count]


def _fits(mutant: Mutant, files: Sequence[str]) -> bool:
    if not files:
        return True
    for word in files:
        name, _, function = word.partition(":")
        is_file = mutant.file == name or mutant.file.endswith(f"/{name}")
        if is_file and function in ("", mutant.edit.function):
            return True
    return False


def execute(
    lab: Lab,
    targets: Sequence[Target],
    wanted: Wanted,
    command: str,
    cores: int,
    display: Display,
) -> int:
    """Try generated mutants on targets; return the exit status: 1 for a new survivor."""
    started, git = datetime.now(UTC), session.lab_git(lab.root)
    lab.cache.claim()
    name = f"{started:%Y%m%dT%H%M%SZ}-{git[:7]}-generated"
    top = session.make_folder(lab.results, name).path
    display.tee(top / "lab.log")
    display.say(f"results go to {top}")
    built = artifacts.build(lab, targets, cores, display)
    ready = [session.ready(target, built) for target in targets]
    hunts, known = [], []
    with artifacts.pool(lab, cores, display) as jobs:
        for target, made in zip(targets, ready, strict=True):
            folder = top / target.name
            folder.mkdir()
            hunts.append(
                jobs.submit(
                    f"generated {target.name}",
                    hunt_all,
                    lab,
                    target,
                    made.bundle,
                    wanted,
                    folder,
                    cores,
                )
            )
        jobs.wait()
    status = 0
    for target, made in zip(targets, ready, strict=True):
        verdicts = read(top / target.name)
        listed = survivors(lab.patches / target.abi / "mutants")
        for line in table(target.name, verdicts, listed):
            display.say(line)
        study = studies.keep_mutants(
            session.subject(lab, made),
            tuple(_facts(v, listed) for v in verdicts if v.counts),
            f"{started:%Y-%m-%d}",
        )
        known.append((target.name, study))
        if any(v.word == SURVIVED and _key(v) not in listed for v in verdicts):
            status = 1
    files.write(top / "report.html", html.render_studies(name, known))
    display.say(f"report: {top / 'report.html'}")
    for error in map(outcome, hunts):
        if isinstance(error, LabError):
            display.say("\n".join(error.lines()))
            status = status or error.exit_code
    return status


def hunt_all(
    lab: Lab,
    target: Target,
    bundle: Bundle,
    wanted: Wanted,
    folder: Path,
    jobs: int,
    progress: Progress,
) -> None:
    """Try the mutants that are wanted; what comes of each is in the folder at once."""
    with trees.hold(target, lab, progress, jobs) as tree:
        known = objects.of(tree)
        covered = coverage.measure(lab, target, bundle, tree, progress)
        hunt = Hunt(lab, target, bundle, known, covered, folder)
        hunt.try_without(progress)
        todo, found = chosen(hunt.mutants(), wanted), 0
        try:
            with (folder / "verdicts.jsonl").open("a") as log:
                for number, mutant in enumerate(todo, 1):
                    verdict = hunt.try_one(mutant, progress)
                    log.write(json.dumps(asdict(verdict)) + "\n")
                    log.flush()
                    progress.advance(number, len(todo))
                    found += verdict.counts
                    if verdict.word == SURVIVED:
                        progress.say(f"survived: {mutant.name}")
                    if wanted.sample and found == wanted.sample:
                        break
        finally:
            known.restore()


def read(folder: Path) -> list[Verdict]:
    """Return the verdicts that a hunt has left in its folder."""
    log = folder / "verdicts.jsonl"
    text = log.read_text() if log.exists() else ""
    return [Verdict(**json.loads(line)) for line in text.splitlines()]


Key = tuple[str, str, str]


def _key(verdict: Verdict) -> Key:
    return verdict.file, verdict.function, verdict.change


def survivors(folder: Path) -> dict[Key, str]:
    """Return why each listed mutant may survive; UserError with file, line, column."""
    file = folder / SURVIVORS
    node = yamlfile.compose(file) if file.exists() else None
    if node is None:
        return {}
    reader = yamlfile.Reader(file)
    return {
        (name, function, change): reader.text(why, f"why of {change}")
        for name, body in reader.mapping(node, "the files").items()
        for function, rows in reader.mapping(body, name).items()
        for change, why in reader.mapping(rows, function).items()
    }


def _facts(v: Verdict, listed: Mapping[Key, str]) -> MutantFacts:
    why = listed.get(_key(v), "") if v.word == SURVIVED else ""
    return MutantFacts(
        v.file, v.line, v.function, v.text, v.change, v.word, v.by, v.ran, why
    )


def score(verdicts: Sequence[Verdict]) -> tuple[int, int]:
    """Return how many were killed, of how many that could be."""
    counts = [v for v in verdicts if v.counts]
    return sum(v.word == KILLED for v in counts), len(counts)


def table(
    target: str, verdicts: Sequence[Verdict], listed: Mapping[Key, str]
) -> Iterator[str]:
    """Return the lines of the report: scores, survivors, and what it has taken."""
    words = Counter(v.word for v in verdicts)
    killed, of = score(verdicts)
    told = ", ".join(f"{n} {word}" for word, n in words.items())
    yield f"{target}: {len(verdicts)} mutants: {told or 'none'}"
    if not of:
        return
    yield f"  {killed / of:6.1%}  {killed} of {of} killed"
    for file in sorted({v.file for v in verdicts}):
        mine = [v for v in verdicts if v.file == file]
        yield from _row("  ", file, mine)
        for function in sorted({v.function for v in mine}):
            yield from _row(
                "    ", function, [v for v in mine if v.function == function]
            )
    for v in verdicts:
        if v.word == SURVIVED:
            why = listed.get(_key(v)) or f"NOT LISTED{f', {v.why}' if v.why else ''}"
            yield f"  survived: {v.file}:{v.line} {v.function}: {v.text}"
            yield f"    {v.change}  ({v.ran} tests)  [{why}]"
    tried = [v for v in verdicts if v.ran and not v.twin]
    if tried:
        build = sum(v.built_in for v in tried) / len(tried)
        ran = sum(v.ran_in for v in tried) / len(tried)
        yield f"  in the mean {build:.1f} s to build, {ran:.1f} s to run"


def _row(indent: str, name: str, verdicts: Sequence[Verdict]) -> Iterator[str]:
    killed, of = score(verdicts)
    if of:
        yield f"{indent}{killed / of:6.1%}  {killed:4} of {of:4}  {name}"


def _short(code: str) -> str:
    return " ".join(code.split())
