# SPDX-License-Identifier: MIT
"""Do the tests notice? Kernels that are wrong in one place, and what fails on them.

`kernel-patches/<abi>/mutants/` has patches of one hunk each on top of a series,
and an index that says what each breaks and which tests are to notice. Each is
built, booted, and shown these tests. That they pass without a mutant is tried
first. A mutant under which all of them pass has survived.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import yaml
from junitparser import Failure, JUnitXml, TestCase, TestSuite

from umcglab.errors import Fault, LabError, UserError, worst
from umcglab.host.cache import Cache
from umcglab.host.display import Display
from umcglab.host.pool import outcome
from umcglab.host.progress import Progress
from umcglab.kernel import patchfile, series, trees
from umcglab.kernel.patchfile import Patch
from umcglab.kernel.trees import Tree
from umcglab.lab import yamlfile
from umcglab.lab.config import Lab, Target
from umcglab.lab.manifest import Manifest, Program, abis, load_plan
from umcglab.results import codec, facts
from umcglab.results.rundir import RunDir
from umcglab.run import artifacts, lanes, session
from umcglab.run.lanes import Ready
from umcglab.study import models
from umcglab.verdict import runs
from umcglab.verdict.ktap import Outcome

UNCHANGED = "unchanged"
"""What the kernel without a mutant is called."""

_FLAVOR = "probed"

_KEYS = ("breaks", "killed-by", "unseen", "model")


@dataclass(frozen=True)
class Mutant:
    """One way in which a series could be wrong."""

    name: str
    breaks: str
    tests: Mapping[str, tuple[str, ...]]
    """Those of which at least one must notice, by program."""
    patch: Patch
    unseen: str = ""
    """Why no test can notice, and what is there instead."""
    model: str = ""
    """The switch of the ABI's models that makes the same mistake."""


@dataclass(frozen=True)
class Verdict:
    """What became of one mutant on one target."""

    mutant: str
    target: str
    word: str
    """`killed`, `killed by a model` or `passes` if all is well; else what is not."""
    by: tuple[str, ...] = ()
    """The tests that noticed."""
    missed: tuple[str, ...] = ()
    """Those that should have as well."""
    why: str = ""
    fault: int = 0


def load(
    folder: Path,
    manifest: Manifest,
    cache: Cache | None = None,
    others: Collection[str] = (),
) -> tuple[Mutant, ...]:
    """Read the mutants of an ABI; raise UserError with file, line and column.

    Those of a part that several ABIs have may name programs of `others`, other ABIs:
    one that names no program of this ABI is left out. In `cache` it is noted what is in
    their patches.
    """
    file = folder / "index.yaml"
    if cache:
        # One that is none is told below, with its place in the index.
        with contextlib.suppress(LabError):
            every = sorted(folder.glob("*.patch"))
            patchfile.read_all(every, patchfile.note(cache, folder))
    node = yamlfile.compose(file)
    if node is None:
        raise UserError("empty: it has no mutants", where=str(file))
    reader = _Reader(file, {p.name: p for p in manifest.programs}, others)
    found = tuple(
        reader.mutant(name, body)
        for name, body in reader.mapping(node, "the mutants").items()
    )
    extra = {p.stem for p in folder.glob("*.patch")} - {m.name for m in found}
    if extra:
        raise UserError(
            f"{', '.join(sorted(extra))}: not in the index", where=str(file)
        )
    return tuple(m for m in found if m.tests or m.unseen)


@dataclass(frozen=True)
class _Reader(yamlfile.Reader):
    """Reads index.yaml."""

    programs: Mapping[str, Program]
    others: Collection[str]

    def mutant(self, name: str, node: yaml.Node) -> Mutant:
        pairs = self.mapping(node, name, _KEYS)
        path = self.file.parent / f"{name}.patch"
        if not path.exists():
            raise self.error(node, f"{name}: there is no {path.name}")
        patch = patchfile.read(path)
        hunks = len(re.findall(rb"^@@ ", b"".join(patch.diffs), re.M))
        if hunks != 1 or len(patch.files) != 1:
            raise self.error(node, f"{name}: {hunks} hunks, a mutant has one")
        if ("killed-by" in pairs) == ("unseen" in pairs):
            raise self.error(node, f"{name} must have `killed-by` or `unseen`")
        if "model" in pairs and "unseen" not in pairs:
            raise self.error(pairs["model"], f"{name}: `model` is for what is unseen")
        tests = self.mapping(pairs["killed-by"], name) if "killed-by" in pairs else {}
        return Mutant(
            name=name,
            breaks=self.text(self.need(node, pairs, name, "breaks"), "breaks"),
            tests={
                program: self.tests(program, node)
                for program, node in tests.items()
                if program.partition("/")[0] not in self.others
            },
            patch=patch,
            unseen=self.text(pairs["unseen"], "unseen") if "unseen" in pairs else "",
            model=self.text(pairs["model"], "model") if "model" in pairs else "",
        )

    def tests(self, program: str, node: yaml.Node) -> tuple[str, ...]:
        if program not in self.programs:
            close = yamlfile.did_you_mean(program, self.programs)
            raise self.error(node, f"no program {program!r}{close}")
        words = tuple(self.text(node, f"tests of {program}").split())
        for word in words:
            known = self.programs[program].tests
            if word not in known:
                close = yamlfile.did_you_mean(word, known)
                raise self.error(node, f"{program} has no test {word!r}{close}")
        return words


def of(lab: Lab, target: Target) -> tuple[Mutant, ...]:
    """Return the mutants of what a target is built with, or of its ABI; if any."""
    names = [part.name for part in series.own_parts(target, lab)]
    if target.extra:
        names.remove(target.abi)
    folders = [lab.patches / name / "mutants" for name in names]
    folders = [folder for folder in folders if folder.exists()]
    if not folders:
        return ()
    suite = lab.root / "guest-tests"
    plan, others = load_plan(suite, target.abi), {*abis(suite)} - {target.abi}
    return tuple(m for folder in folders for m in load(folder, plan, lab.cache, others))


def targets(lab: Lab, chosen: Sequence[Target], all_of_them: bool) -> list[Target]:
    """Return which of the chosen to do this on: one of each architecture and series.

    `all_of_them` if they were chosen by name.
    """
    fit = [
        t
        for t in chosen
        if t.flavor == "bench"
        and not t.source.is_built
        and any(m.tests for m in of(lab, t))
    ]
    if not fit:
        raise UserError("no target of flavor bench has mutants that its tests notice")
    if all_of_them:
        return fit
    return list({(t.arch, t.abi, t.extra): t for t in fit[::-1]}.values())


def execute(
    lab: Lab,
    chosen: Sequence[Target],
    names: Sequence[str],
    command: str,
    cores: int,
    display: Display,
) -> int:
    """Try mutants (all, or those named) on targets; return the exit status.

    The kernels are of flavor `probed`: that of `targets` lacks options that the tests
    of some mutants need (`needs-config`), and what is not run notices nothing.
    """
    chosen = [replace(target, flavor=_FLAVOR) for target in chosen]
    wanted = {target.name: pick(of(lab, target), names) for target in chosen}
    started, git = datetime.now(UTC), session.lab_git(lab.root)
    name = f"{started:%Y%m%dT%H%M%SZ}-{git[:7]}-mutants"
    lab.cache.claim()
    top = session.make_folder(lab.results, name).path
    display.tee(top / "lab.log")
    display.say(f"results go to {top}")
    built = artifacts.build(lab, chosen, cores, display)
    hunts = []
    with artifacts.pool(lab, cores, display) as jobs:
        for target in chosen:
            ready = session.ready(target, built)
            tried = [None, *(m for m in wanted[target.name] if not m.unseen)]
            for mutant in tried:
                folder = run_dir(top, mutant, target)
                session.describe(folder, lab, [target], command, started, git)
            hunts.append(
                jobs.submit(
                    f"mutants {target.name}",
                    hunt,
                    lab,
                    ready,
                    tried,
                    wanted[target.name],
                    top,
                    max(1, cores // 2),
                )
            )
        jobs.wait()
    errors = [e for e in map(outcome, hunts) if isinstance(e, LabError)]
    verdicts = [
        verdict
        for target in chosen
        for verdict in judged(lab, wanted[target.name], target, top)
    ]
    for error in errors:
        display.say("\n".join(error.lines()))
    codec.write_json(top / "mutants.json", [vars(v) for v in verdicts])
    junit(verdicts, top / "junit.xml")
    for line in table(wanted, verdicts):
        display.say(line)
    display.say(f"logs: {top}")
    faults = [v.fault for v in verdicts if v.fault]
    faults += [e.exit_code for e in errors]
    return worst(faults)


def pick(mutants: Sequence[Mutant], names: Sequence[str]) -> tuple[Mutant, ...]:
    """Return the mutants of these names, or all."""
    known = [m.name for m in mutants]
    for name in names:
        if name not in known:
            close = yamlfile.did_you_mean(name, known)
            raise UserError(f"no mutant {name!r}{close}")
    return tuple(m for m in mutants if not names or m.name in names)


def run_dir(top: Path, mutant: Mutant | None, target: Target) -> RunDir:
    """Return where the run of a mutant on a target is: a run like any other."""
    return RunDir(top / target.name / (mutant.name if mutant else UNCHANGED))


def hunt(
    lab: Lab,
    ready: Ready,
    tried: Sequence[Mutant | None],
    wanted: Sequence[Mutant],
    top: Path,
    jobs: int,
    progress: Progress,
) -> None:
    """Try one mutant after the other on a target."""
    with trees.hold(ready.target, lab, progress, jobs) as tree:
        for mutant in tried:
            tests = mutant.tests if mutant else every_test(wanted)
            folder = run_dir(top, mutant, ready.target)
            attempt(lab, ready, tree, mutant, tests, folder, progress)


def every_test(mutants: Sequence[Mutant]) -> dict[str, tuple[str, ...]]:
    """Return all tests that some mutant names."""
    found: dict[str, dict[str, None]] = {}
    for mutant in mutants:
        for program, tests in mutant.tests.items():
            found.setdefault(program, {}).update(dict.fromkeys(tests))
    return {program: tuple(tests) for program, tests in found.items()}


def attempt(
    lab: Lab,
    ready: Ready,
    tree: Tree,
    mutant: Mutant | None,
    tests: Mapping[str, tuple[str, ...]],
    folder: RunDir,
    progress: Progress,
) -> None:
    """Run tests on the kernel with a mutant; what comes of it is in the folder."""
    try:
        kernel = tree.kernel
        if mutant:
            progress.phase(f"{mutant.name}: make")
            log = folder.path / "make.log"
            kernel = tree.remake(mutant.patch, log, progress)
    except LabError as e:
        session.write_unbuilt(ready.target, e, folder)
    else:
        programs = tuple(
            replace(p, tests=tests[p.name]) for p in ready.programs if p.name in tests
        )
        made = replace(ready, kernel=kernel, programs=programs, select=True)
        state = session.write_plan(made, folder, ())
        lanes.test_lane(lab, made, state, folder, progress)
    state_of_run = codec.read(folder.run, facts.RunFacts)
    codec.write(folder.run, replace(state_of_run, finished=lanes.now()))


def judged(
    lab: Lab, mutants: Sequence[Mutant], target: Target, top: Path
) -> Iterator[Verdict]:
    """Return what became of the kernel without and with each mutant."""
    for mutant in (None, *mutants):
        if mutant and mutant.model:
            yield by_model(lab, mutant, target)
        elif mutant and mutant.unseen:
            yield Verdict(mutant.name, target.name, "unseen", why=mutant.unseen)
        else:
            yield judge_one(mutant, target.name, run_dir(top, mutant, target).path)


def by_model(lab: Lab, mutant: Mutant, target: Target) -> Verdict:
    """Return whether the models find what no guest can show."""

    def verdict(word: str, fault: int, why: str, by: Sequence[str] = ()) -> Verdict:
        return Verdict(mutant.name, target.name, word, tuple(by), (), why, fault)

    try:
        index = models.of(lab, mutant.patch.path.parent.parent.name)
        found = models.kills(index, mutant.name, lab.cache) if index else ()
    except LabError as e:
        return verdict("not tried", e.exit_code, e.message)
    switches = {r.switch.name for r in found if r.switch}
    if switches != {mutant.model}:
        why = f"the model's index has {', '.join(switches) or 'no switch'} for it"
        return verdict("not tried", Fault.USER, why)
    if survived := [models.words(r) for r in found if not r.good]:
        return verdict("SURVIVED", Fault.PATCH, survived[0])
    by = [f"{mutant.model} on {r.configuration.name}" for r in found]
    return verdict("killed by a model", 0, "", by)


def judge_one(mutant: Mutant | None, target: str, folder: Path) -> Verdict:
    """Return what the run of one kernel says."""
    (seen,) = runs.collect(folder).targets
    # What did not run, for the guest did not boot say, has noticed nothing.
    ran = [p for p in seen.programs if p.facts]
    outcomes = {f"{p.plan.program}:{t.name}": t.outcome for p in ran for t in p.tests}
    noticed = tuple(
        t for t, o in outcomes.items() if o in (Outcome.FAIL, Outcome.MISSING)
    )
    missed = tuple(t for t in outcomes if t not in noticed)
    problems = [*(e.facts.message for e in seen.errors),
                *(p.text for p in seen.all_problems())]  # fmt: skip
    why = problems[0] if problems else ""
    name = mutant.name if mutant else UNCHANGED

    def verdict(word: str, fault: int) -> Verdict:
        return Verdict(name, target, word, noticed, missed, why, fault)

    if seen.facts.status == "planned":
        return verdict("not tried", Fault.LAB)
    if mutant is None:
        if seen.outcome is Outcome.PASS:
            return verdict("passes", 0)
        return verdict("fails without a mutant", worst(seen.faults) or Fault.LAB)
    if any(e.facts.stage == "build" for e in seen.errors):
        return verdict("not built", seen.errors[0].facts.fault)
    if noticed and Fault.PATCH in seen.faults:
        return verdict("killed", 0)
    if seen.errors:
        return verdict("not tried", worst(seen.faults))
    return verdict("SURVIVED", Fault.PATCH)


def table(
    wanted: Mapping[str, Sequence[Mutant]], verdicts: Sequence[Verdict]
) -> Iterator[str]:
    """Return the lines that say what became of each mutant on each target."""
    breaks = {m.name: m.breaks for mutants in wanted.values() for m in mutants}
    for name in dict.fromkeys(v.mutant for v in verdicts):
        yield f"{name}: {breaks.get(name, 'the series as it is')}"
        for v in verdicts:
            if v.mutant == name:
                yield f"  {v.target}: {_words(v)}"
    words = [v.word for v in verdicts if v.mutant != UNCHANGED]
    counts = (f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    yield f"mutants: {', '.join(counts)}"


def _words(v: Verdict) -> str:
    if v.word == "killed by a model":
        return f"{v.word}: {', '.join(v.by)}"
    if v.word == "killed":
        missed = f", not by {', '.join(v.missed)}" if v.missed else ""
        return f"killed by {', '.join(v.by)}{missed}"
    if v.word == "passes":
        return f"passes {len(v.missed)} tests"
    return f"{v.word}{f': {v.why}' if v.why else ''}"


def junit(verdicts: Sequence[Verdict], path: Path) -> None:
    """Write a suite for each target and a case for each mutant."""
    xml = JUnitXml("umcglab mutants")
    for target in dict.fromkeys(v.target for v in verdicts):
        suite = TestSuite(f"{target}.mutants")
        for v in verdicts:
            if v.target == target:
                case = TestCase(v.mutant, classname=suite.name)
                if v.fault:
                    case.result = [Failure(_words(v), v.word)]
                suite.add_testcase(case)
        xml.add_testsuite(suite)
    xml.update_statistics()  # type: ignore[no-untyped-call]
    xml.write(str(path), pretty=True)
