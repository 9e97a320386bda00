# SPDX-License-Identifier: MIT
"""Which lines of a series run, under which test, in the kernel that ships.

The tests run one by one in an exact guest (`guest.steps`) whose QEMU notes, by a plugin
of ours, which instructions of the series are executed and which way branches go. The
kernel is the one that is tested and measured, with nothing added. What it does is the
same each time, so that coverage is an artifact like any other.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from umcglab.errors import InfraError, UserError
from umcglab.guest import steps
from umcglab.guest.initrd import SOURCES
from umcglab.guest.qemu import option_value
from umcglab.guest.steps import Step
from umcglab.guest.suite import Bundle
from umcglab.host import files
from umcglab.host.cache import digest, file_digest, tree_digest
from umcglab.host.display import Display
from umcglab.host.progress import Progress
from umcglab.kernel import codemap, ours, series, trees
from umcglab.kernel.codemap import CodeMap, Line
from umcglab.kernel.kernels import Kernel
from umcglab.kernel.trees import Tree
from umcglab.lab import yamlfile
from umcglab.lab.config import Lab, Target
from umcglab.report import html
from umcglab.results import studies
from umcglab.results.studies import CodeFacts, CoverageFacts
from umcglab.run import artifacts, session
from umcglab.study import anatomy

_KIND = "coverage"
_RECIPE = 1
_CPU_LIMIT = 300.0
"""Seconds of the host's CPU that one test may take."""

UNREACHED = "unreached.yaml"


@dataclass(frozen=True)
class Cover:
    """What one test has run."""

    status: int
    instructions: int
    """Of all of the guest, while it ran."""
    insns: frozenset[int]
    sides: frozenset[tuple[int, bool]]
    """Branches, and whether they were taken."""

    @property
    def passed(self) -> bool:
        return self.status == 0


@dataclass(frozen=True)
class Coverage:
    """What the tests of a suite have run of one kernel."""

    code: CodeMap
    ours: Mapping[str, frozenset[int]]
    names: Mapping[Line, str]
    texts: Mapping[Line, str]
    tests: Mapping[str, Cover]
    """Those that passed or did not, by `program:test`, in the order of the plan."""

    @cached_property
    def run(self) -> frozenset[int]:
        """The instructions that some test has run that passed."""
        return frozenset().union(*(t.insns for t in self.tests.values() if t.passed))

    @cached_property
    def sides(self) -> frozenset[tuple[int, bool]]:
        """The sides of branches that some test has taken that passed."""
        return frozenset().union(*(t.sides for t in self.tests.values() if t.passed))

    def never(self) -> list[Line]:
        """Return the lines that became code, of which nothing ever ran."""
        lines = self.code.lines().items()
        return sorted(line for line, insns in lines if not insns & self.run)

    def one_way(self) -> list[tuple[Line, Line]]:
        """Return lines that branch, each with a line that they never lead to.

        A branch that was compiled several times, inlined, goes where one copy goes.
        """
        could: set[tuple[Line, Line]] = set()
        went: set[tuple[Line, Line]] = set()
        for insn in self.code.insns.values():
            if not insn.next or insn.address not in self.run:
                continue
            for taken, end in ((True, insn.target), (False, insn.next)):
                if end in self.code.beyond:
                    side = (insn.lines[0], self.code.beyond[end])
                    could.add(side)
                    if (insn.address, taken) in self.sides:
                        went.add(side)
        return sorted(could - went)

    def of_line(self, line: Line) -> list[str]:
        """Return the tests that run a line, cheapest first.

        If it has become no instruction of its own, those that run its function.
        """
        wanted = self.code.lines().get(line)
        if not wanted:
            return self.of_function(line[0], self.names.get(line, ""))
        return self._of(wanted)

    def of_function(self, file: str, function: str) -> list[str]:
        """Return the tests that run some line of a function, cheapest first."""
        return self._of(
            {
                address
                for line, insns in self.code.lines().items()
                if line[0] == file and self.names.get(line) == function
                for address in insns
            }
        )

    def _of(self, wanted: Collection[int]) -> list[str]:
        tests = self.tests.items()
        found = [n for n, t in tests if t.passed and not t.insns.isdisjoint(wanted)]
        return sorted(found, key=lambda name: self.tests[name].instructions)

    def alone(self) -> dict[str, int]:
        """Return how many instructions and sides each test alone runs."""
        seen: dict[object, int] = {}
        for cover in self.tests.values():
            for one in (*cover.insns, *cover.sides):
                seen[one] = seen.get(one, 0) + 1
        return {
            name: sum(seen[one] == 1 for one in (*cover.insns, *cover.sides))
            for name, cover in self.tests.items()
        }


def in_tree(
    lab: Lab, target: Target, bundle: Bundle, cores: int, progress: Progress
) -> Coverage:
    """Measure the coverage of a target, with its tree unpacked for as long."""
    with trees.hold(target, lab, progress, cores) as tree:
        return measure(lab, target, bundle, tree, progress)


def execute(
    lab: Lab,
    target: Target,
    command: str,
    cores: int,
    display: Display,
    *,
    words: Sequence[str] = (),
) -> int:
    """Measure and print the coverage of a target; return the exit status.

    With `words`, lines such as `umcg.c:132`, print only which tests run them.
    """
    started, git = datetime.now(UTC), session.lab_git(lab.root)
    lab.cache.claim()
    built = artifacts.build(lab, [target], cores, display)
    ready = session.ready(target, built)
    bundle = ready.bundle
    with artifacts.pool(lab, cores, display) as jobs:
        done = jobs.submit(
            f"coverage {target.name}", in_tree, lab, target, bundle, cores, cores=cores
        )
        jobs.wait()
    coverage = done.result(timeout=0)
    if words:
        for word in words:
            line = line_of(word, coverage)
            print(f"{word}: {coverage.texts.get(line, '')}")
            for name in coverage.of_line(line):
                print(f"  {name}")
        return 0
    listed = unreached(lab.patches / target.abi)
    report = list(table(coverage, listed))
    name = f"{started:%Y%m%dT%H%M%SZ}-{git[:7]}-coverage"
    folder = session.make_folder(lab.results, name).path / target.name
    folder.mkdir()
    (folder / "coverage.txt").write_text("\n".join(report) + "\n")
    _write(coverage.tests, folder / "coverage.json")
    (folder / "lines.json").write_text(json.dumps(by_line(coverage), indent=1))
    study = studies.keep_coverage(
        session.subject(lab, ready), facts(coverage, listed, f"{started:%Y-%m-%d}")
    )
    page = folder / "report.html"
    files.write(page, html.render_studies(name, [(target.name, study)]))
    print(*report, sep="\n")
    for program in left_out(bundle, target.abi):
        print(f"not measured, for it is no C test: {program}")
    print(f"in {folder}")
    return 1 if unlisted(coverage, listed) else 0


def by_line(coverage: Coverage) -> dict[str, dict[str, object]]:
    """Return, for each line that became code, who runs it; JSON-able."""
    return {
        f"{line[0]}:{line[1]}": {
            "function": coverage.names.get(line, ""),
            "text": coverage.texts.get(line, ""),
            "tests": coverage.of_line(line),
        }
        for line in sorted(coverage.code.lines())
    }


def plan(bundle: Bundle, kernel: Kernel, abi: str, cpus: int = 0) -> list[Step]:
    """Return each test of an ABI's C programs that a kernel can run as a step.

    Those of programs that want an exact guest with so many CPUs; 0: that want none.
    """
    return [
        Step(
            f"{program.name}:{test}", (*program.argv, "-t", test), int(program.timeout)
        )
        for program in bundle.manifest.of_config(kernel.config.read_text()).programs
        if program.kind == "test"
        and program.name.startswith(f"{abi}/")
        and not program.absent
        and program.exact_cpus == cpus
        for test in program.tests
    ]


def left_out(bundle: Bundle, abi: str) -> list[str]:
    """Return the programs that are no such steps: they need Python or CPUs, or take long."""
    return [
        p.name
        for p in bundle.manifest.of_kind("test", "py", "fuzz")
        if p.name.startswith(f"{abi}/") and (p.kind != "test" or p.exact_cpus)
    ]


def lines(lab: Lab, target: Target, tree: Tree) -> dict[str, frozenset[int]]:
    """Return the lines of C that a target's series add, by file."""
    patches = [p for one in series.of(target, lab) for p in one.patches]
    code = {n: f for n, f in tree.originals.items() if n.endswith((".c", ".h"))}
    return {n: x for n, x in ours.lines(tree.originals, patches).items() if n in code}


def measure(
    lab: Lab, target: Target, bundle: Bundle, tree: Tree, progress: Progress
) -> Coverage:
    """Return what the tests run of a target's kernel, running them if that is not known."""
    kernel = tree.kernel
    mine = lines(lab, target, tree)
    progress.phase("line tables")
    code = codemap.read(kernel, mine)
    key = digest(
        _RECIPE,
        kernel.digest,
        bundle.digest,
        tree_digest(anatomy.PLUGIN),
        [file_digest(SOURCES / name) for name in ("steps.c", "init.h")],
        [step.argv for step in plan(bundle, kernel, target.abi)],
        sorted(code.insns),
    )

    def fill(folder: Path) -> None:
        progress.phase("coverage")
        covers = _run(lab, target, kernel, bundle, code)
        _write(covers, folder / "coverage.json")

    found = lab.cache.make(_KIND, key, fill, progress.say) / "coverage.json"
    texts = {
        (name, number): text.strip()
        for name in mine
        for number, text in enumerate(
            tree.originals[name].read_text(errors="replace").split("\n"), 1
        )
        if number in mine[name]
    }
    names = codemap.names(tree.originals, mine)
    return Coverage(code, mine, names, texts, _read(found))


def _run(
    lab: Lab, target: Target, kernel: Kernel, bundle: Bundle, code: CodeMap
) -> dict[str, Cover]:
    """Run the tests in an exact guest with the plugin, and return what each ran."""
    with tempfile.TemporaryDirectory(prefix="umcglab-") as tmp:
        places, out = Path(tmp) / "places", Path(tmp) / "out"
        places.write_text(_places(code))
        plugin = anatomy.build_plugin(lab.cache, "cover")
        arguments = (
            f"mark={_mark(kernel):x},places={option_value(places)},"
            f"out={option_value(out)}"
        )
        ran = steps.run(
            lab,
            kernel,
            bundle.dir,
            plan(bundle, kernel, target.abi),
            folder=Path(tmp) / "guest",
            stop=False,
            cpu_limit=_CPU_LIMIT,
            memory=target.memory,
            plugin=f"{option_value(plugin)},{arguments}",
        )
        if ran.died:
            raise InfraError(f"coverage, in {ran.current or 'the boot'}: {ran.died}")
        # The first is the boot.
        told = read_steps(out.read_text())[1:]
    if len(told) != len(ran.ended):
        raise InfraError(
            f"the plugin saw {len(told)} tests, the guest ran {len(ran.ended)}"
        )
    return {
        end.name: Cover(end.status, n, insns, sides)
        for end, (n, insns, sides) in zip(ran.ended, told, strict=True)
    }


def _places(code: CodeMap) -> str:
    rows = [
        f"b {i.address:x} {i.target:x} {i.next:x}\n" if i.next else f"i {i.address:x}\n"
        for i in code.insns.values()
    ]
    return "".join([*rows, *(f"i {address:x}\n" for address in sorted(code.beyond))])


def _mark(kernel: Kernel) -> int:
    for row in map(str.split, kernel.system_map.read_text().splitlines()):
        if steps.MARK.fullmatch(row[2]):
            return int(row[0], 16)
    raise InfraError(f"{kernel.system_map}: has no setdomainname()")


Told = tuple[int, frozenset[int], frozenset[tuple[int, bool]]]


def read_steps(text: str) -> list[Told]:
    """Return what the plugin wrote: instructions, places and sides of each step."""
    if not text.endswith("done\n"):
        raise InfraError("what QEMU's plugin wrote is not complete")
    found: list[Told] = []
    for part in re.split(r"^step ", text.removesuffix("done\n"), flags=re.M)[1:]:
        count, *rows = part.splitlines()
        words = [row.split() for row in rows]
        found.append((
            int(count),
            frozenset(int(w[1], 16) for w in words if w[0] == "i"),
            frozenset((int(w[1], 16), w[2] == "t") for w in words if w[0] == "b"),
        ))  # fmt: skip
    return found


def _write(covers: Mapping[str, Cover], path: Path) -> None:
    """Write what tests ran, addresses by their number in one list."""
    places = sorted(frozenset().union(*(c.insns for c in covers.values())))
    index = {address: n for n, address in enumerate(places)}
    tests = {
        name: {
            "status": c.status,
            "instructions": c.instructions,
            "insns": sorted(index[a] for a in c.insns),
            "taken": sorted(index[a] for a, taken in c.sides if taken),
            "passed-by": sorted(index[a] for a, taken in c.sides if not taken),
        }
        for name, c in covers.items()
    }
    path.write_text(json.dumps({"schema": 1, "places": places, "tests": tests}))


def _read(path: Path) -> dict[str, Cover]:
    data = json.loads(path.read_text())
    places = data["places"]
    return {
        name: Cover(
            t["status"],
            t["instructions"],
            frozenset(places[n] for n in t["insns"]),
            frozenset(
                [*((places[n], True) for n in t["taken"]),
                 *((places[n], False) for n in t["passed-by"])]
            ),
        )
        for name, t in data["tests"].items()
    }  # fmt: skip


@dataclass(frozen=True)
class Unreached:
    """A line that no test runs, and why that is so."""

    file: str
    function: str
    text: str
    """The line, without the spaces around it."""
    why: str


def unreached(folder: Path) -> tuple[Unreached, ...]:
    """Read an ABI's list of lines not run; raise UserError with file, line and column."""
    file = folder / UNREACHED
    if not file.exists():
        return ()
    node = yamlfile.compose(file)
    if node is None:
        return ()
    reader = yamlfile.Reader(file)
    found = []
    for name, body in reader.mapping(node, "the files").items():
        for function, rows in reader.mapping(body, name).items():
            for text, why in reader.mapping(rows, function).items():
                found.append(
                    Unreached(name, function, text, reader.text(why, f"why of {text}"))
                )
    return tuple(found)


def unlisted(coverage: Coverage, listed: Collection[Unreached]) -> list[Line]:
    """Return the lines never run that a list does not have."""
    known = {(u.file, u.function, u.text) for u in listed}
    return [
        line
        for line in coverage.never()
        if (line[0], coverage.names.get(line, ""), coverage.texts.get(line, ""))
        not in known
    ]


def table(coverage: Coverage, listed: Collection[Unreached]) -> Iterator[str]:
    """Return the lines of the report."""
    became = coverage.code.lines()
    never, bad = set(coverage.never()), set(unlisted(coverage, listed))
    yield f"{len(became)} lines became code, {len(became) - len(never)} of them run"
    yield ""
    yield f"never run: {len(never)} lines, {len(bad)} of them with no reason given"
    reasons = {(u.file, u.function, u.text): u.why for u in listed}
    for line in sorted(never):
        text = coverage.texts.get(line, "")
        function = coverage.names.get(line, "")
        why = reasons.get((line[0], function, text), "NOT LISTED")
        yield f"  {line[0]}:{line[1]} {function}: {text}  [{why}]"
    sides = coverage.one_way()
    yield ""
    yield f"taken one way only: {len(sides)} sides of branches never seen"
    for line, end in sides:
        to = f":{end[1]}" if end[0] == line[0] else f" {end[0]}:{end[1]}"
        text = coverage.texts.get(line, "")
        yield f"  {line[0]}:{line[1]} never goes to{to}: {text}"
    alone = coverage.alone()
    needless = [name for name, n in alone.items() if not n]
    yield ""
    yield f"tests that run nothing that another does not: {len(needless)} of {len(alone)}"
    by_program: dict[str, list[str]] = {}
    for name in needless:
        program, _, test = name.partition(":")
        by_program.setdefault(program, []).append(test)
    for program, tests in by_program.items():
        yield f"  {program}: {' '.join(tests)}"
    failed = [name for name, cover in coverage.tests.items() if not cover.passed]
    yield ""
    yield f"not counted, for they do not pass in an exact guest: {len(failed)}"
    for name in failed:
        yield f"  {name}: status {coverage.tests[name].status}"


def facts(
    coverage: Coverage, listed: Collection[Unreached], when: str
) -> CoverageFacts:
    """Return what of it is kept for reports."""
    reasons = {(u.file, u.function, u.text): u.why for u in listed}
    place = {name: n for n, name in enumerate(coverage.tests)}
    ends: dict[Line, list[str]] = {}
    for line, end in coverage.one_way():
        ends.setdefault(line, []).append(f"{end[0]}:{end[1]}")
    never, lines = set(coverage.never()), []
    for line in sorted(coverage.code.lines()):
        function = coverage.names.get(line, "")
        text = coverage.texts.get(line, "")
        lines.append(
            CodeFacts(
                *line,
                function,
                text,
                tuple(place[name] for name in coverage.of_line(line)),
                reasons.get((line[0], function, text), "") if line in never else "",
                tuple(ends.get(line, ())),
            )
        )
    return CoverageFacts(
        when,
        tuple(coverage.tests),
        tuple(lines),
        tuple(name for name, n in coverage.alone().items() if not n),
        tuple(name for name, cover in coverage.tests.items() if not cover.passed),
    )


def line_of(word: str, coverage: Coverage) -> Line:
    """Return the line that `FILE:LINE` names; the end of a name is enough."""
    name, _, number = word.rpartition(":")
    files = [f for f in coverage.ours if f == name or f.endswith(f"/{name}")]
    if len(files) != 1 or not number.isdecimal():
        raise UserError(
            f"{word}: names no line of the series",
            hint=f"FILE:LINE, of {', '.join(sorted(coverage.ours))}",
        )
    return files[0], int(number)
