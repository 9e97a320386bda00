# SPDX-License-Identifier: MIT
"""Is the protocol right? Models of it, every state of which `spin` visits.

`kernel-patches/<abi>/model/` has the models, and an index of the configurations
that are to hold, and of switches; so has `kernel-patches/handover/`. Models that several
of them search are in `kernel-patches/plumbing/model/`, and so are parts that several
models include. A switch
takes a barrier or a check away, or puts a race back; then the checker must find the
fault that the index tells, with a trail that leads there. So a model that would accept
anything does not pass.

A search that ended early proves nothing and is the lab's fault, whatever it found
until then.

What a search said is kept in the cache, under a digest of the model and of all else that
it depends on, and read anew each time.
"""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from umcglab.errors import InfraError, UserError
from umcglab.host import command
from umcglab.host.cache import Cache, digest
from umcglab.lab import yamlfile
from umcglab.lab.config import Lab
from umcglab.lab.manifest import Program, abis, load_plan

HOLDS = ""
"""What a search found that visited every state and found nothing."""
DEADLOCK = "invalid end state"
"""Somebody waits, and nothing can happen any more: of a wakeup that was lost, say."""

SHARED = "plumbing/model"
"""Beside the ABIs: models, and parts of some, that are not one ABI's."""

_KIND = "models"
_RECIPE = 1
"""Changes when the way of searching does, so that what is kept of old ones is not used."""
_SAID = "said"
_TRAIL = "trail"

_DEPTH = 100_000
_MEMORY = 1500
"""Of a search, in MB."""

_PARTS = ("configurations", "switches", "elsewhere")
_CONFIGURATION = ("model", "with", "shows", "nightly")
_SWITCH = ("takes", "mutants", "no-mutant", "races", "found-in", "harmless-in", "finds",
           "tests")  # fmt: skip
_MANY = re.compile(r"\s+")


@dataclass(frozen=True)
class Configuration:
    """A model with its bounds, of which every state is visited."""

    name: str
    model: str
    defines: tuple[str, ...]
    shows: str
    nightly: bool = False


@dataclass(frozen=True)
class Switch:
    """What a model has otherwise than the kernel, if this is defined."""

    name: str
    takes: str
    found_in: tuple[Configuration, ...]
    """Those in which it must be found."""
    harmless_in: tuple[Configuration, ...]
    """Those that hold all the same: what does not tell the two apart."""
    finds: str
    mutants: tuple[str, ...] = ()
    races: tuple[str, ...] = ()
    tests: Mapping[str, tuple[str, ...]] | None = None
    """Those of the guest suite that replay the trail, or provoke the race."""


@dataclass(frozen=True)
class Index:
    """What there is to run."""

    folder: Path
    abi: str
    """That of the tests which the switches name."""
    configurations: tuple[Configuration, ...]
    switches: tuple[Switch, ...]
    elsewhere: Mapping[str, str]
    """Races that no model has, and why."""


@dataclass(frozen=True)
class Search:
    """One run of the checker, to its end."""

    found: str
    """`HOLDS`, `DEADLOCK` or `assertion NAME`."""
    depth: int
    states: int
    trail: str = ""
    """What led there, step by step."""
    cached: bool = False
    """Whether it was done before, and what it said was kept."""


@dataclass(frozen=True)
class Result:
    """A search, and whether it is what the index has."""

    configuration: Configuration
    switch: Switch | None
    search: Search
    expected: str

    @property
    def good(self) -> bool:
        return self.search.found == self.expected


def path(folder: Path, model: str) -> Path:
    """Return the file of a model: the ABI's own, or else the shared one."""
    own = folder / f"{model}.pml"
    return own if own.exists() else folder.parent.parent / SHARED / own.name


def parts(file: Path) -> tuple[Path, ...]:
    """Return the file of a model, and those that it is made of.

    UserError if it has an include of another form, which would not be seen.
    """
    found = [file]
    for part in found:
        for line, rest in re.findall(
            r"^(\s*#\s*include\b(.*))$", part.read_text(), re.M
        ):
            if not (m := re.fullmatch(r' "(.+)"', rest)):
                raise UserError(f'not `#include "FILE"`: {line}', where=str(part))
            if (other := (part.parent / m[1]).resolve()) not in found:
                found.append(other)
    return tuple(found)


def load(folder: Path, sources: Path) -> Index:
    """Read the index of models; raise UserError with line and column.

    `sources` is the folder of the guest tests, of which the index names some.
    """
    file = folder / "index.yaml"
    node = yamlfile.compose(file)
    if node is None:
        raise UserError("empty: it has no models", where=str(file))
    return _Reader(file, sources).index(node)


def of(lab: Lab, part: str) -> Index | None:
    """Return the models of a part of kernel-patches, an ABI mostly; if it has any."""
    folder = lab.patches / part / "model"
    return load(folder, lab.root / "guest-tests") if folder.exists() else None


@dataclass(frozen=True)
class _Reader(yamlfile.Reader):
    """Reads index.yaml."""

    sources: Path

    def index(self, node: yaml.Node) -> Index:
        top = self.mapping(node, "models", ("abi", *_PARTS))
        parts = {
            key: self.mapping(self.need(node, top, "models", key), key)
            for key in _PARTS
        }
        abi = self.file.parent.parent.name
        if "abi" in top:
            abi = self.one_of(top["abi"], "abi", abis(self.sources))
        plan = load_plan(self.sources, abi)
        programs = {program.name: program for program in plan.programs}
        known = {
            n: self.configuration(n, b) for n, b in parts["configurations"].items()
        }
        return Index(
            folder=self.file.parent,
            abi=abi,
            configurations=tuple(known.values()),
            switches=tuple(
                self.switch(n, b, known, programs) for n, b in parts["switches"].items()
            ),
            elsewhere={r: self.line(b, r) for r, b in parts["elsewhere"].items()},
        )

    def configuration(self, name: str, node: yaml.Node) -> Configuration:
        pairs = self.mapping(node, name, _CONFIGURATION)
        model = self.text(self.need(node, pairs, name, "model"), "model")
        if not path(self.file.parent, model).exists():
            raise self.error(pairs["model"], f"{name}: there is no {model}.pml")
        return Configuration(
            name=name,
            model=model,
            defines=self.words(pairs, "with"),
            shows=self.line(self.need(node, pairs, name, "shows"), "shows"),
            nightly="nightly" in pairs and self.yes(pairs["nightly"]),
        )

    def switch(
        self,
        name: str,
        node: yaml.Node,
        known: Mapping[str, Configuration],
        programs: Mapping[str, Program],
    ) -> Switch:
        pairs = self.mapping(node, name, _SWITCH)
        tests = self.mapping(self.need(node, pairs, name, "tests"), name)
        found = self.need(node, pairs, name, "found-in")
        finds = self.verdict(self.need(node, pairs, name, "finds"))
        if not pairs.keys() & {"mutants", "no-mutant", "races"}:
            raise self.error(
                node, f"{name} must have `mutants`, `races` or a reason: `no-mutant`"
            )
        return Switch(
            name=name,
            takes=self.line(self.need(node, pairs, name, "takes"), "takes"),
            found_in=self.configurations(found, known),
            harmless_in=self.configurations(pairs.get("harmless-in"), known),
            finds=finds,
            mutants=self.words(pairs, "mutants"),
            races=self.words(pairs, "races"),
            tests={p: self.tests(p, node, programs) for p, node in tests.items()},
        )

    def verdict(self, node: yaml.Node) -> str:
        found = self.text(node, "verdict")
        if not re.fullmatch(rf"{DEADLOCK}|assertion \w+", found):
            raise self.error(node, f"what is found is `{DEADLOCK}` or `assertion NAME`")
        return found

    def configurations(
        self, node: yaml.Node | None, known: Mapping[str, Configuration]
    ) -> tuple[Configuration, ...]:
        if node is None:
            return ()
        names = self.text(node, "configurations").split()
        for name in names:
            if name not in known:
                close = yamlfile.did_you_mean(name, known)
                raise self.error(node, f"no configuration {name!r}{close}")
        return tuple(known[name] for name in names)

    def tests(
        self, program: str, node: yaml.Node, programs: Mapping[str, Program]
    ) -> tuple[str, ...]:
        if program not in programs:
            close = yamlfile.did_you_mean(program, programs)
            raise self.error(node, f"no program {program!r}{close}")
        words = tuple(self.text(node, f"tests of {program}").split())
        for word in words:
            if word not in (known := programs[program].tests):
                close = yamlfile.did_you_mean(word, known)
                raise self.error(node, f"{program} has no test {word!r}{close}")
        return words

    def words(self, pairs: Mapping[str, yaml.Node], key: str) -> tuple[str, ...]:
        return tuple(self.text(pairs[key], key).split()) if key in pairs else ()

    def line(self, node: yaml.Node, what: str) -> str:
        return _MANY.sub(" ", self.text(node, what)).strip()


def search(
    folder: Path,
    model: str,
    defines: Sequence[str],
    cache: Cache | None = None,
    *,
    depth: int = _DEPTH,
    memory: int = _MEMORY,
) -> Search:
    """Visit every state of a model; InfraError if that could not be done.

    With a cache, one that was done before is not done again.
    """
    file = path(folder.resolve(), model)
    name = f"{model} {' '.join(defines)}".strip()

    def fill(made: Path) -> None:
        _search(file, defines, depth, memory, made)
        # What is no whole search is not kept.
        _read(made, name)

    if cache is None:
        with tempfile.TemporaryDirectory(prefix="umcglab-") as tmp:
            fill(Path(tmp))
            return _read(Path(tmp), name)
    texts = [(part.name, part.read_text()) for part in parts(file)]
    key = digest(_RECIPE, _tools(), texts, list(defines), depth, memory)
    if kept := cache.find(_KIND, key):
        return replace(_read(kept, name), cached=True)
    return _read(cache.make(_KIND, key, fill), name)


@functools.cache
def _tools() -> str:
    """Return what identifies what searches."""
    versions = (["spin", "-V"], ["gcc", "--version"])
    return ", ".join(command.output(argv).splitlines()[0] for argv in versions)


def _search(
    file: Path, defines: Sequence[str], depth: int, memory: int, made: Path
) -> None:
    """Search, and write what the checker printed, and the trail it left, to `made`."""
    flags = [f"-D{define}" for define in defines]
    with tempfile.TemporaryDirectory(prefix="umcglab-") as name:
        tmp = Path(name)
        command.output(["spin", "-a", *flags, str(file)], cwd=tmp)
        # Not optimized: most of these searches are over before that would pay.
        limits = ["-DSAFETY", f"-DMEMLIM={memory}"]
        # In two steps, of which ccache, where gcc is that, can serve the first.
        command.output(["gcc", "-w", *limits, "-c", "pan.c"], cwd=tmp)
        command.output(["gcc", "-o", "pan", "pan.o"], cwd=tmp)
        done = command.run([str(tmp / "pan"), f"-m{depth}", "-n"], cwd=tmp)
        (made / _SAID).write_text(done.stdout)
        trail = tmp / f"{file.name}.trail"
        if trail.exists():
            steps = command.output(
                ["spin", "-t", "-p", "-g", "-k", str(trail), *flags, str(file)], cwd=tmp
            )
            # By the names of the files: the next clone that reads this lies elsewhere.
            where = re.compile(rf"{re.escape(str(file.parent))}/(?:\S*/)?")
            (made / _TRAIL).write_text(where.sub("", steps))


def _read(made: Path, name: str) -> Search:
    """Return what `_search` has written."""
    found = judge((made / _SAID).read_text(), name)
    if found.found == HOLDS:
        return found
    if not (made / _TRAIL).exists():
        raise InfraError(f"{name}: {found.found}, and no trail")
    return replace(found, trail=(made / _TRAIL).read_text())


def judge(output: str, name: str) -> Search:
    """Read what the checker printed, which must be that of a whole search."""

    def bad(why: str) -> InfraError:
        return InfraError(f"{name}: {why}", hint="bounds are in the model's index.yaml")

    ends = re.search(
        r"^State-vector \d+ byte, depth reached (\d+), errors: (\d+)$", output, re.M
    )
    states = re.search(r"^ *(\d+) states, stored", output, re.M)
    if not ends or not states:
        last = output.strip().splitlines()[-1:] or ["nothing"]
        raise bad(f"the search has no result; it said {last[0]}")
    for said in ("max search depth too small", "out of memory", "MEMLIM bound"):
        if said in output:
            raise bad(f"the search was cut: {said}")
    for what in ("Full statespace search", "assertion violations\t+",
                 "invalid end states\t+"):  # fmt: skip
        if what not in output:
            raise bad(f"the search was none for {what.split(chr(9))[0]}")
    faults = re.findall(r"^pan:\d+: (.*) \(at depth (\d+)\)$", output, re.M)
    depth, errors, count = int(ends[1]), int(ends[2]), int(states[1])
    if errors == 0 and not faults:
        if "Search not completed" in output:
            raise bad("the search was not completed")
        return Search(HOLDS, depth, count)
    if errors != 1 or len(faults) != 1:
        raise bad(f"{errors} errors, of which {len(faults)} are told")
    ((what, at),) = faults
    named = re.fullmatch(r"assertion violated +!\((\w+)\)", what)
    if named:
        what = f"assertion {named[1]}"
    return Search(what, int(at), count)


@dataclass(frozen=True)
class Cited:
    """A function of the kernel that a model stands for, or a line in it."""

    where: str
    """File and line of the model."""
    file: str
    function: str
    line: str = ""
    """A barrier, with its comment, if not the function as such."""


def cited(model: Path) -> tuple[Cited, ...]:
    """Read the structured comments of a model; UserError if one makes no sense.

    `// stands for FILE: NAME() ...`, or `no function: WHY`, is over each process.
    `// barrier FILE: NAME(): LINE` is what must be in a function.
    """
    return tuple(one for part in parts(model) for one in _cited_by(part))


def _cited_by(part: Path) -> Iterator[Cited]:
    told = False
    for number, line in enumerate(part.read_text().splitlines(), 1):
        where = f"{part.name}:{number}"
        if line.startswith("// stands for "):
            told = True
            if re.fullmatch(r"// stands for no function: .+", line):
                continue
            if not (m := re.fullmatch(r"// stands for (\S+):((?: \w+\(\))+)", line)):
                raise UserError("not `stands for FILE: NAME() ...`", where=where)
            for name in m[2].split():
                yield Cited(where, m[1], name[:-2])
        elif line.startswith("// barrier "):
            if not (m := re.fullmatch(r"// barrier (\S+): (\w+)\(\): (.+)", line)):
                raise UserError("not `barrier FILE: NAME(): LINE`", where=where)
            yield Cited(where, m[1], m[2], m[3])
        elif re.match(r"(active )?proctype ", line):
            if not told:
                raise UserError("a process that stands for nothing", where=where)
            told = False
        elif line.startswith("inline "):
            told = False


def missing(one: Cited, source: str) -> str:
    """Return what of a citation is not in the source of its file, or nothing."""
    name = re.escape(one.function)
    head = rf"^(?:SYSCALL_DEFINE\d\({name},|[^\s#/*}}][^;\n]*\b{name}\()"
    for begins in re.finditer(head, source, re.M):
        body = source[begins.start() :]
        opens, ends = body.find("{"), body.find(";")
        # A declaration ends before it has a body.
        if opens < 0 or 0 <= ends < opens:
            continue
        text = _MANY.sub(" ", body[: body.find("\n}")])
        return "" if _MANY.sub(" ", one.line) in text else one.line
    return f"{one.function}()"


def run(
    index: Index,
    configuration: Configuration,
    switch: Switch | None,
    cache: Cache | None = None,
) -> Result:
    """Search a configuration, with a switch or as it is."""
    defines = (*configuration.defines, *([switch.name] if switch else []))
    expected = switch.finds if switch and configuration in switch.found_in else HOLDS
    done = search(index.folder, configuration.model, defines, cache)
    return Result(configuration, switch, done, expected)


def planned(
    index: Index, names: Sequence[str], nightly: bool
) -> Iterator[tuple[Configuration, Switch | None]]:
    """Yield what to search: all that is not nightly, or what is named."""
    known = [c.name for c in index.configurations] + [s.name for s in index.switches]
    for name in names:
        if name not in known:
            close = yamlfile.did_you_mean(name, known)
            raise UserError(f"no configuration or switch {name!r}{close}")

    def is_wanted(name: str, configuration: Configuration) -> bool:
        return name in names if names else nightly or not configuration.nightly

    for configuration in index.configurations:
        if is_wanted(configuration.name, configuration):
            yield configuration, None
    for switch in index.switches:
        # What is to be found is found long before a search ends.
        for configuration in switch.found_in:
            if not names or switch.name in names:
                yield configuration, switch
        for configuration in switch.harmless_in:
            if is_wanted(switch.name, configuration):
                yield configuration, switch


def kills(index: Index, mutant: str, cache: Cache | None = None) -> tuple[Result, ...]:
    """Search with the switches that stand for a mutant; what comes of each."""
    return tuple(
        run(index, configuration, switch, cache)
        for switch in index.switches
        if mutant in switch.mutants
        for configuration in switch.found_in
    )


def words(result: Result) -> str:
    """Return the line that says what came of a search."""
    name = f"{result.switch.name} on " if result.switch else ""
    found = result.search.found
    if result.good:
        said = f"found: {found}" if found else "holds"
    elif not found:
        said = f"NOT FOUND: {result.expected}"
    else:
        said = f"FAILS: {found}" + (
            f", not {result.expected}" if result.expected else ""
        )
    counts = f"{result.search.states} states, depth {result.search.depth}"
    counts += ", cached" if result.search.cached else ""
    return f"{name}{result.configuration.name}: {said} ({counts})"
