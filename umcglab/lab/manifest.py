# SPDX-License-Identifier: MIT
"""The manifests of guest-tests: the plan of what there is to run.

They say which tests there must be, not which happened to report.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias, cast, get_args

import yaml

from umcglab.errors import UserError
from umcglab.lab import yamlfile

STUB = "stub"
"""The ABI that no kernel has: controls run its bundle, and all of that skips."""

Kind: TypeAlias = Literal["test", "py", "fuzz", "bench"]

_KEYS = ("kind", "needs-umcg", "needs-config", "lacks-config", "starts", "timeout",
         "exact-cpus", "sizes", "absent", "tests")  # fmt: skip
_TIMEOUT = 120
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)+", re.ASCII)
_CLAUSE = re.compile(r"[A-Z]+-[0-9]+|R[0-9]+")


@dataclass(frozen=True)
class Program:
    """One program of the suite."""

    name: str
    kind: Kind
    argv: tuple[str, ...]
    """Relative to the bundle's folder."""
    tests: tuple[str, ...] = ()
    """The tests it must report; none for a bench."""
    clauses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What of ABI.md, and which races, a test pins."""
    abi: str | None = None
    """The one ABI it tests, if it does not run with every one."""
    needs_umcg: bool = False
    """Whether all of it skips on the control kernel."""
    needs_config: tuple[str, ...] = ()
    """Kernel options, without `CONFIG_`; kernels without one of them do not run this."""
    lacks_config: tuple[str, ...] = ()
    """Likewise; kernels with one of them do not run this."""
    starts: str | None = None
    """Another program of the manifest that this one starts, by name."""
    timeout: float = _TIMEOUT
    """Seconds after which the program as a whole hangs."""
    absent: str | None = None
    """Why its ABI lacks what it tests, so that all of it skips; None if it does not."""
    exact_cpus: int = 0
    """It runs in an exact guest of its own, with so many CPUs; 0 if in one with SSH."""
    sizes: tuple[int, ...] = ()
    """A bench is run once with each, and is a result of its own each time."""
    attempt: int = 0
    """Which of several runs of it this is; 0 if it is run once."""

    @property
    def label(self) -> str:
        """What results call this run of it."""
        return f"{self.name}@{self.attempt}" if self.attempt else self.name


@dataclass(frozen=True)
class Manifest:
    """What is to run, in order."""

    programs: tuple[Program, ...]

    def of_kind(self, *kinds: Kind) -> tuple[Program, ...]:
        """Return the programs of `kinds`."""
        return tuple(p for p in self.programs if p.kind in kinds)

    def of_config(self, config: str) -> Manifest:
        """Return the manifest without what a kernel with this .config cannot run."""
        lines = set(config.splitlines())

        def has(option: str) -> bool:
            return f"CONFIG_{option}=y" in lines

        return Manifest(
            tuple(
                p
                for p in self.programs
                if all(map(has, p.needs_config)) and not any(map(has, p.lacks_config))
            )
        )


def abis(sources: Path) -> tuple[str, ...]:
    """Return the ABIs that guest-tests has a folder for."""
    return tuple(sorted(p.parent.name for p in sources.glob("abi/*/manifest.yaml")))


def load_plan(sources: Path, abi: str) -> Manifest:
    """Return what the suite in `sources` has for `abi`: harness, its tests, benches.

    Raise UserError with file, line and column.
    """
    file = sources / "abi" / abi / "manifest.yaml"
    own = load_manifest(file, abi)
    benches = load_manifest(sources / "bench/manifest.yaml").programs
    absent = {p.name: p.absent for p in own.of_kind("bench")}
    if unknown := sorted(absent.keys() - {b.name for b in benches if b.needs_umcg}):
        raise UserError(
            f"{unknown[0]}: not a bench that needs UMCG",
            where=str(file),
            hint=f"{sources / 'bench/manifest.yaml'} has those",
        )
    return Manifest(
        (
            *load_manifest(sources / "harness/manifest.yaml").programs,
            *own.of_kind("test", "py", "fuzz"),
            *(replace(b, absent=absent.get(b.name)) for b in benches),
        )
    )


def load_manifest(file: Path, abi: str | None = None) -> Manifest:
    """Read and check a manifest; raise UserError with file, line and column.

    That of an ABI has programs called `<abi>/<name>`, benches that it cannot have, and
    no others.
    """
    node = yamlfile.compose(file)
    if node is None:
        raise UserError("empty: it plans nothing", where=str(file))
    reader = _Reader(file, abi)
    programs = reader.mapping(node, "the manifest")
    return Manifest(
        tuple(reader.program(n, body, programs.keys()) for n, body in programs.items())
    )


@dataclass(frozen=True)
class _Reader(yamlfile.Reader):
    """Reads a manifest."""

    abi: str | None = None

    def program(self, name: str, node: yaml.Node, names: Collection[str]) -> Program:
        if not _NAME.fullmatch(name):
            raise self.error(node, f"{name!r}: a program is called `<family>/<name>`")
        pairs = self.mapping(node, name, _KEYS)
        word = self.one_of(
            self.need(node, pairs, name, "kind"), "kind", map(str, get_args(Kind))
        )
        kind = cast(Kind, word)
        if self.abi and kind == "bench" and pairs.keys() != {"kind", "absent"}:
            raise self.error(
                node, f"{name}: of a bench, {self.abi} can only say why it is `absent`"
            )
        if self.abi and kind != "bench" and name.partition("/")[0] != self.abi:
            raise self.error(
                node, f"{name!r}: a program of {self.abi} is called `{self.abi}/<name>`"
            )
        if "exact-cpus" in pairs and kind != "test":
            raise self.error(
                pairs["exact-cpus"], f"{name}: only a test asks for an exact guest"
            )
        clauses: dict[str, tuple[str, ...]] = {}
        if kind == "bench":
            if "tests" in pairs:
                raise self.error(pairs["tests"], f"{name}: a bench has no tests")
            if re.search(r"-[0-9]+$", name):
                raise self.error(node, f"{name}: no bench's name ends as a size does")
        elif "sizes" in pairs:
            raise self.error(pairs["sizes"], f"{name}: only a bench has sizes")
        else:
            tests = self.need(node, pairs, name, "tests")
            clauses = {
                test: self.clauses(test, cites)
                for test, cites in self.mapping(tests, f"tests of {name}").items()
            }
            if not clauses:
                raise self.error(tests, f"{name}: there are no tests")
        return Program(
            name=name,
            kind=kind,
            argv=_argv(name, kind),
            tests=tuple(clauses),
            clauses={test: cites for test, cites in clauses.items() if cites},
            abi=self.abi,
            needs_umcg="needs-umcg" in pairs and self.yes(pairs["needs-umcg"]),
            needs_config=self.options(pairs, "needs-config"),
            lacks_config=self.options(pairs, "lacks-config"),
            starts=self.one_of(pairs["starts"], "starts", names)
            if "starts" in pairs
            else None,
            timeout=self.number(pairs["timeout"], "timeout", 1, 3600)
            if "timeout" in pairs
            else _TIMEOUT,
            exact_cpus=int(self.number(pairs["exact-cpus"], "exact-cpus", 1, 8))
            if "exact-cpus" in pairs
            else 0,
            absent=self.text(pairs["absent"], "absent") if "absent" in pairs else None,
            sizes=self.sizes(pairs["sizes"]) if "sizes" in pairs else (),
        )

    def options(self, pairs: Mapping[str, yaml.Node], key: str) -> tuple[str, ...]:
        """Return names of kernel options, without `CONFIG_`; none without the key."""
        if key not in pairs:
            return ()
        node = pairs[key]
        names = tuple(self.text(node, key).split())
        for name in names or ("",):
            if not re.fullmatch(r"(?!CONFIG_)[A-Z0-9_]+", name):
                raise self.error(
                    node, f"{name!r} is no option", "such as UPROBE_EVENTS"
                )
        return names

    def sizes(self, node: yaml.Node) -> tuple[int, ...]:
        """Return the sizes of a bench: numbers on one line, each larger."""
        words = self.text(node, "sizes").split()
        if not all(re.fullmatch(r"[1-9][0-9]{0,5}", word) for word in words):
            raise self.error(node, "sizes are whole numbers from 1 to 999999")
        made = tuple(map(int, words))
        if list(made) != sorted(set(made)):
            raise self.error(node, "sizes must be in order, each once")
        return made

    def clauses(self, test: str, node: yaml.Node) -> tuple[str, ...]:
        """Return the clauses a test cites: words on one line, or nothing."""
        if isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null"):
            return ()
        cites = tuple(self.text(node, f"clauses of {test}").split())
        for cite in cites:
            if not _CLAUSE.fullmatch(cite):
                raise self.error(
                    node,
                    f"{test}: {cite!r} is no clause",
                    "they are like WAIT-1 or R13",
                )
        return cites


def _argv(name: str, kind: Kind) -> tuple[str, ...]:
    if kind == "bench":
        return (f"bench/{name}",)
    if kind in ("test", "fuzz"):
        return (f"bin/{name}",)
    folder, _, program = name.rpartition("/")
    return ("python3", "py/run.py", f"{folder}/test_{program}.py")
