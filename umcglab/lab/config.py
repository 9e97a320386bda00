# SPDX-License-Identifier: MIT
"""lab.yaml: what to build, boot and measure.

The file is read as YAML nodes, not values: nodes know their line and column,
so every complaint can say where, and scalars keep their spelling, so that the
source `6.10` does not become the number 6.1.
"""

from __future__ import annotations

import fnmatch
import functools
import itertools
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

import yaml

from umcglab.errors import UserError
from umcglab.host.cache import Cache
from umcglab.lab import flavor, yamlfile
from umcglab.lab.arch import ARCHES, Arch
from umcglab.lab.flavor import Flavor

ROOT = Path(__file__).resolve().parent.parent.parent
"""The checkout this package is part of."""

CONTROL = "control"
"""The ABI of an unpatched kernel."""

SourceKind: TypeAlias = Literal["debian", "tarball", "git", "tree", "image", "build"]

_SOURCE_KEYS: Mapping[SourceKind, tuple[str, ...]] = {
    "debian": ("version", "sha256"),
    "tarball": ("sha256",),
    "git": ("ref",),
    "tree": (),
    "image": ("headers", "vmlinux"),
    "build": (),
}
"""What each kind of source needs beside its location."""

_OPTIONAL_KEYS: Mapping[SourceKind, tuple[str, ...]] = {"debian": ("suite",)}
"""What a kind of source may have, too."""

_SUITE = r"[a-z][a-z0-9-]*"
"""It becomes a word of a sources.list."""

_TOP_KEYS = ("sources", "defaults", "targets", "cache", "cache-size", "results")
_TARGET_KEYS = ("arch", "source", "abi", "base", "flavor", "smp", "memory",
                "cpu", "cmdline", "boot-timeout", "nightly", "patches", "with")  # fmt: skip
_DEFAULT_KEYS = ("flavor", "smp", "memory", "cmdline", "boot-timeout", "nightly")
"""What a target can have from `defaults`: what means the same for any of them."""
_AXES = ("arch", "source", "abi", "flavor")
"""What can be a list, so that an entry is a target for each combination."""
_PLACE = re.compile(r"\{([^{}]*)\}")
"""Where the name of such an entry has a value."""
_MAX_SMP = 8
"""NR_CPUS of our kernels."""
_MAX_NAME = 100
"""Files and folders are called after a target, with more added."""


@dataclass(frozen=True)
class SourceSpec:
    """A kernel source as lab.yaml names it."""

    name: str
    kind: SourceKind
    location: str
    """Package, URL or absolute path."""
    version: str | None = None
    sha256: str | None = None
    ref: str | None = None
    suite: str | None = None
    """The Debian suite that has the package; None for those the machine uses."""
    headers: str | None = None
    vmlinux: str | None = None
    """Absolute paths of what belongs to an image."""
    until: str | None = None
    """The last commit of a git range, whose first comes after `ref`."""
    where: str | None = field(default=None, compare=False)
    """`lab.yaml:line:column`, for complaints."""

    @property
    def is_built(self) -> bool:
        """Whether it is a kernel that is built already, and not a source of one."""
        return self.kind in ("image", "build")


@dataclass(frozen=True)
class Target:
    """One kernel to build, boot, test and measure."""

    name: str
    arch: Arch
    source: SourceSpec
    base: str
    """Which series fits the source, such as `6.12`."""
    abi: str
    flavor: str = "bench"
    smp: int = 1
    cpu: str = ""
    """QEMU's name of the processor; empty for the architecture's default."""
    memory: int = 1024
    """MiB."""
    cmdline: str = ""
    """Added to the kernel command line of its SSH guests."""
    boot_timeout: int = 60
    """Seconds from QEMU's start to the first SSH command, of a fast flavor."""
    patched: bool = False
    """Whether its source has the ABI already, so that no series is applied to it."""
    nightly: bool = False
    """Whether it is left out where nothing asks for it."""
    extra: str = ""
    """A folder of kernel-patches whose series is between plumbing and ABI; or none.

    What there is of it for one ABI alone, in `<extra>-<abi>`, comes after the ABI.
    """

    @property
    def is_control(self) -> bool:
        """Whether its kernel is unpatched."""
        return self.abi == CONTROL

    @property
    def threads(self) -> int:
        """How many of its virtual CPUs make a core."""
        return self.traits.threads if self.smp % self.traits.threads == 0 else 1

    @property
    def traits(self) -> Flavor:
        """What its flavor means for the lab."""
        return flavor.of(self.flavor)


@dataclass(frozen=True)
class Lab:
    """lab.yaml, checked, and the folders around it."""

    file: Path
    root: Path
    """The checkout: kernel-patches/, rootfs/, guest-tests/."""
    cache: Cache
    results: Path
    cache_size: int
    """Bytes that artifacts and ccache together may take."""
    sources: Mapping[str, SourceSpec]
    targets: tuple[Target, ...]

    @property
    def patches(self) -> Path:
        """The folder of kernel-patches."""
        return self.root / "kernel-patches"

    def bundle_targets(self, target: Target) -> tuple[Target, ...]:
        """Return the patched targets whose bundles `target` runs: its own.

        A control runs that of every ABI of its base, each once.
        """
        if not target.is_control:
            return (target,)
        found: dict[str, Target] = {}
        for other in self.targets:
            same = (other.arch, other.base) == (target.arch, target.base)
            if same and not other.is_control:
                found.setdefault(other.abi, other)
        if found:
            return tuple(found.values())
        raise UserError(
            f"{target.name}: no patched target of {target.arch.name} on {target.base}, "
            "and a control runs the tests built against one",
            where=str(self.file),
            hint="add such a target",
        )


def load(file: Path, root: Path = ROOT) -> Lab:
    """Read and check lab.yaml; raise UserError with file, line and column."""
    node = yamlfile.compose(
        file, f"--lab FILE names another; {ROOT / 'lab.yaml'} comes with the lab"
    )
    reader = _Reader(file, root)
    if node is None:
        raise UserError("empty; it needs `sources` and `targets`", where=str(file))
    return reader.lab(node)


def command(file: Path, verb: str, *words: str) -> str:
    """Return a line to type that does `verb` with the lab of `file`."""
    lab = () if file == Path("lab.yaml") else ("--lab", str(file))
    return shlex.join(["umcglab", verb, *lab, *words])


def select(lab: Lab, only: Sequence[str], nightly: bool = False) -> tuple[Target, ...]:
    """Return the targets named by `only` (names, globs, comma lists).

    If it names none, all: those that are nightly if `nightly`.
    """
    patterns = [p.strip() for item in only for p in item.split(",") if p.strip()]
    if not patterns:
        return tuple(t for t in lab.targets if nightly or not t.nightly)
    names = [target.name for target in lab.targets]
    wanted: set[str] = set()
    for pattern in patterns:
        found = fnmatch.filter(names, pattern)
        if not found:
            raise UserError(
                f"no target {pattern!r}{yamlfile.did_you_mean(pattern, names)}",
                where=str(lab.file),
                hint=f"targets are {', '.join(names)}",
            )
        wanted.update(found)
    return tuple(target for target in lab.targets if target.name in wanted)


def _expand(text: str, where: str) -> Path:
    """Return a path with its `~` replaced."""
    try:
        return Path(text).expanduser()
    except RuntimeError as e:
        raise UserError(f"{text!r}: no such home folder", where=where) from e


@dataclass(frozen=True)
class _Reader(yamlfile.Reader):
    """Turns nodes into values, complaining with their place in the file."""

    root: Path

    @functools.cached_property
    def bases(self) -> Mapping[str, Sequence[str]]:
        """The parts of kernel-patches, and the bases that each has a series for."""
        found: dict[str, list[str]] = {}
        for path in self.root.glob("kernel-patches/*/*.series"):
            found.setdefault(path.parent.name, []).append(path.stem)
        return found

    @functools.cached_property
    def abis(self) -> Sequence[str]:
        """The parts of kernel-patches that are ABIs."""
        return sorted(p.parent.name for p in self.root.glob("kernel-patches/*/config"))

    @functools.cached_property
    def flavors(self) -> Sequence[str]:
        """The flavors that there are fragments for."""
        folder = self.root / "kernel-patches/kconfig/flavor"
        return sorted(p.stem for p in folder.glob("*.config"))

    def path(self, node: yaml.Node, what: str) -> Path:
        """Return a path, absolute; in the file it is relative to the file."""
        path = _expand(self.text(node, what), self.at(node))
        # Unlike resolve(), which raises something of its own at a loop of links.
        here = Path(os.path.realpath(self.file)).parent
        return Path(os.path.realpath(here / path))

    def size(self, node: yaml.Node) -> int:
        text = self.text(node, "cache-size")
        match = re.fullmatch(r"([0-9]{1,9}) ?([MGT])(?:i?B)?", text)
        if not match:
            raise self.error(node, "cache-size must be like 500M, 20G or 1T")
        return int(match[1]) << {"M": 20, "G": 30, "T": 40}[match[2]]

    def lab(self, node: yaml.Node) -> Lab:
        top = self.mapping(node, "the lab", _TOP_KEYS)
        sources_node = self.need(node, top, "the lab", "sources")
        sources = {
            name: self.source(name, value)
            for name, value in self.mapping(sources_node, "sources").items()
        }
        defaults: Mapping[str, yaml.Node] = {}
        if "defaults" in top:
            defaults = self.mapping(top["defaults"], "defaults", _DEFAULT_KEYS)
            for key, value in defaults.items():
                if not isinstance(value, yaml.ScalarNode):
                    raise self.error(value, f"defaults: {key} must be one value")
        targets_node = self.need(node, top, "the lab", "targets")
        targets = self.targets(targets_node, defaults, sources)
        if not targets:
            raise self.error(targets_node, "targets: there are none")
        results = self.root / "results"
        if "results" in top:
            results = self.path(top["results"], "results")
        return Lab(
            file=self.file,
            root=self.root,
            cache=Cache(self.cache(top.get("cache"))),
            results=results,
            cache_size=self.size(top["cache-size"])
            if "cache-size" in top
            else 20 << 30,
            sources=sources,
            targets=targets,
        )

    def targets(
        self,
        node: yaml.Node,
        defaults: Mapping[str, yaml.Node],
        sources: Mapping[str, SourceSpec],
    ) -> tuple[Target, ...]:
        """Return all targets in order; no two may have one name."""
        found: dict[str, Target] = {}
        for pattern, value in self.mapping(node, "targets").items():
            own = self.mapping(value, f"target {pattern!r}", _TARGET_KEYS)
            for name, pairs in self.product(pattern, value, {**defaults, **own}):
                if name in found:
                    raise self.error(
                        value,
                        f"target {pattern!r}: there is a target {name!r} already",
                    )
                found[name] = self.target(name, value, pairs, sources)
        return tuple(found.values())

    def product(
        self, pattern: str, node: yaml.Node, pairs: Mapping[str, yaml.Node]
    ) -> Iterator[tuple[str, dict[str, yaml.Node]]]:
        """Yield name and pairs of each target that an entry stands for.

        The last of its lists changes fastest. `{arch}` in its name is the arch, and so on.
        """
        what = f"target {pattern!r}"
        places = _PLACE.findall(pattern)
        for place in places:
            if place not in _AXES or place not in pairs:
                known = [axis for axis in _AXES if axis in pairs]
                raise self.error(
                    node,
                    f"{what}: no {place!r} to put into the name"
                    f"{yamlfile.did_you_mean(place, known)}",
                    f"it may have {', '.join(f'{{{axis}}}' for axis in known)}",
                )
        lists = {
            axis: self.values(pairs[axis], axis) for axis in _AXES if axis in pairs
        }
        for axis, values in lists.items():
            if len(values) > 1 and axis not in places:
                raise self.error(
                    pairs[axis],
                    f"{what}: {axis} is a list, so the name needs {{{axis}}}",
                    f"such as {pattern}-{{{axis}}}",
                )
        for chosen in itertools.product(*lists.values()):
            own = dict(zip(lists, chosen, strict=True))
            name = pattern
            for axis in places:
                name = name.replace(f"{{{axis}}}", self.text(own[axis], axis))
            yield name, {**pairs, **own}

    def values(self, node: yaml.Node, what: str) -> tuple[yaml.Node, ...]:
        """Return the items of a list, each different; what is no list is one item."""
        if not isinstance(node, yaml.SequenceNode):
            return (node,)
        if not node.value:
            raise self.error(node, f"{what}: the list is empty")
        seen: set[str] = set()
        for item in node.value:
            if (text := self.text(item, what)) in seen:
                raise self.error(item, f"{what}: {text!r} is there twice")
            seen.add(text)
        return tuple(node.value)

    def cache(self, node: yaml.Node | None) -> Path:
        """Return where the cache is: the environment wins over the file."""
        if from_env := os.environ.get("UMCGLAB_CACHE"):
            path, where = _expand(from_env, "UMCGLAB_CACHE").absolute(), "UMCGLAB_CACHE"
        elif node is not None:
            path, where = self.path(node, "cache"), self.at(node)
        else:
            base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
            path = _expand(base, "XDG_CACHE_HOME or HOME").absolute() / "umcglab"
            where = str(self.file)
        if re.search(r"[\s:]", str(path)):
            raise UserError(
                f"cache {str(path)!r}: kernels do not build in folders with spaces or "
                "colons in their names",
                where=where,
            )
        try:
            path.exists()
        except OSError as e:
            raise UserError(f"cache {str(path)!r}: {e.strerror}", where=where) from e
        return path

    def source(self, name: str, node: yaml.Node) -> SourceSpec:
        what = f"source {name!r}"
        given = (k for keys in _SOURCE_KEYS.values() for k in keys)
        all_keys = (*_SOURCE_KEYS, *given, "suite")
        pairs = self.mapping(node, what, all_keys)
        kinds = [kind for kind in _SOURCE_KEYS if kind in pairs]
        if len(kinds) != 1:
            raise self.error(
                node, f"{what} must have exactly one of {', '.join(_SOURCE_KEYS)}"
            )
        kind = kinds[0]
        for key in _SOURCE_KEYS[kind]:
            self.need(node, pairs, f"{what} ({kind})", key)
        # Now that the kind is known, a key of another kind is a mistake.
        keys = (*_SOURCE_KEYS[kind], *_OPTIONAL_KEYS.get(kind, ()))
        self.mapping(node, f"{what} ({kind})", (kind, *keys))
        spec = SourceSpec(
            name=name,
            kind=kind,
            location=self.location(kind, pairs[kind]),
            where=self.at(node),
        )
        if kind == "image":
            paths = {key: str(self.path(pairs[key], key)) for key in _SOURCE_KEYS[kind]}
            return replace(spec, headers=paths["headers"], vmlinux=paths["vmlinux"])
        texts = {key: self.text(pairs[key], key) for key in keys if key in pairs}
        if "sha256" in texts and not re.fullmatch(r"[0-9a-f]{64}", texts["sha256"]):
            raise self.error(pairs["sha256"], "sha256 must be 64 hex digits")
        if "suite" in texts and not re.fullmatch(_SUITE, texts["suite"]):
            raise self.error(
                pairs["suite"],
                "suite must be a suite of Debian's, like trixie-backports",
            )
        ref, until = texts.get("ref"), None
        if ref and ".." in ref:
            ref, until = ref.split("..", 1)
            if not ref or not until or "." in (until[0], ref[-1]) or ".." in until:
                raise self.error(
                    pairs["ref"],
                    "ref must be a branch, tag or commit, or a range like v7.3..mine",
                )
        return replace(
            spec,
            version=texts.get("version"),
            sha256=texts.get("sha256"),
            ref=ref,
            until=until,
            suite=texts.get("suite"),
        )

    def location(self, kind: SourceKind, node: yaml.Node) -> str:
        text = self.text(node, kind)
        is_path = kind in ("tree", "image", "build") or (
            kind in ("tarball", "git")
            and not re.match(r"[a-z+]+://|[^/]+@[^/]+:", text)
        )
        return str(self.path(node, kind)) if is_path else text

    def target(
        self,
        name: str,
        node: yaml.Node,
        pairs: Mapping[str, yaml.Node],
        sources: Mapping[str, SourceSpec],
    ) -> Target:
        """Return the target that `node`, or one choice of its lists, describes."""
        what = f"target {name!r}"
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise self.error(node, f"{what}: names are of letters, digits and . _ -")
        if len(name) > _MAX_NAME:
            raise self.error(
                node,
                f"target {name[:20]}...: a name has at most {_MAX_NAME} characters, "
                f"this has {len(name)}",
            )
        arch = self.one_of(self.need(node, pairs, what, "arch"), "arch", ARCHES)
        source = self.one_of(self.need(node, pairs, what, "source"), "source", sources)
        abi_node = self.need(node, pairs, what, "abi")
        abi = self.one_of(abi_node, "abi", (CONTROL, *self.abis))
        base = self.text(pairs["base"], "base") if "base" in pairs else source
        # What is built already takes no patch, and a range of commits has its own.
        patched = "patches" in pairs or sources[source].is_built
        if "patches" in pairs:
            self.one_of(pairs["patches"], "patches", ("none",))
            if sources[source].until:
                raise self.error(
                    pairs["patches"],
                    f"{what}: source {source!r} is a range, of which the commits are "
                    "the patches",
                )
        extra = ""
        if "with" in pairs:
            if abi == CONTROL or patched or sources[source].until:
                raise self.error(
                    pairs["with"], f"{what}: `with` is for a kernel that takes a series"
                )
            parts = self.bases.keys()
            both = {f"{part}-{abi}" for part in parts for abi in self.abis}
            known = sorted(parts - {"plumbing", "debug", *self.abis} - both)
            extra = self.one_of(pairs["with"], "with", known)
        if abi != CONTROL and not patched and not sources[source].until:
            for part in filter(None, ("plumbing", extra, abi)):
                bases = sorted(self.bases.get(part, ()))
                if base not in bases:
                    raise self.error(
                        pairs.get("base", abi_node),
                        f"{what}: no series kernel-patches/{part}/{base}.series",
                        f"bases of {part} are {', '.join(bases) or 'none'}; `base:` "
                        "names the one that fits the source",
                    )
        target = Target(
            name=name,
            arch=ARCHES[arch],
            source=sources[source],
            base=base,
            abi=abi,
            patched=patched,
            extra=extra,
        )
        if "flavor" in pairs:
            flavor = self.one_of(pairs["flavor"], "flavor", self.flavors)
            target = replace(target, flavor=flavor)
        if "smp" in pairs:
            target = replace(target, smp=self.number(pairs["smp"], "smp", 1, _MAX_SMP))
        if "cpu" in pairs:
            cpu = self.one_of(pairs["cpu"], "cpu", target.arch.cpus)
            target = replace(target, cpu=cpu)
        if "memory" in pairs:
            memory = self.number(pairs["memory"], "memory", 128, 1 << 20)
            target = replace(target, memory=memory)
        if "cmdline" in pairs:
            target = replace(target, cmdline=self.text(pairs["cmdline"], "cmdline"))
        if "boot-timeout" in pairs:
            seconds = self.number(pairs["boot-timeout"], "boot-timeout", 1, 3600)
            target = replace(target, boot_timeout=seconds)
        if "nightly" in pairs:
            target = replace(target, nightly=self.yes(pairs["nightly"]))
        return target
