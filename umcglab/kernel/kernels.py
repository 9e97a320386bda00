# SPDX-License-Identifier: MIT
"""Kernels: configured, built and kept by the digest of what they are made from."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from umcglab.errors import InfraError, LabError, PatchError, UserError
from umcglab.host import files
from umcglab.host.cache import digest, file_digest
from umcglab.host.progress import Progress
from umcglab.kernel import kbuild, kconfig, kept, prebuilt, series, source, version
from umcglab.kernel.kbuild import Build, Ccache, Reads
from umcglab.kernel.kconfig import Option
from umcglab.kernel.patchfile import Patch
from umcglab.kernel.series import Series
from umcglab.kernel.source import Source
from umcglab.lab import flavor
from umcglab.lab.arch import Arch
from umcglab.lab.config import Lab, Target

_KIND = "kernels"
_HEADERS = "headers"
_LONGEST = 64
"""Characters of a release that the kernel has room for."""
_SAID = 5
"""Changed files to name; of more it is said how many."""
_RECIPE = 2
"""Changes when the way of building does, so that old artifacts are not used."""


@dataclass(frozen=True)
class Kernel:
    """A built kernel, complete and in the cache."""

    dir: Path
    digest: str
    release: str
    """What `uname -r` says in the guest."""
    arch: Arch
    image: Path
    vmlinux: Path
    system_map: Path
    config: Path
    headers: Path
    """`include`, as headers_install made it."""
    log: Path
    identity: dict[str, object]
    """What it was made from, and the facts of its build."""


@dataclass(frozen=True)
class Headers:
    """What a kernel exports, made from its source alone, complete and in the cache."""

    headers: Path
    """`include`, as headers_install made it."""


@dataclass(frozen=True)
class _Recipe:
    """Everything a kernel is made from."""

    target: Target
    source: Source
    series: tuple[Series, ...]
    fragments: tuple[Path, ...]
    compiler: str
    reads: Reads = Reads.PREPROCESSED
    """How to compile; decides no byte of the kernel."""

    @property
    def patches(self) -> tuple[Patch, ...]:
        return tuple(patch for series in self.series for patch in series.patches)

    @functools.cached_property
    def inputs(self) -> dict[str, object]:
        """What decides the bytes of the kernel; JSON-able.

        As it was when first asked for: files that change during a build do not
        change what it is called.
        """
        return {
            "recipe": _RECIPE,
            "arch": self.target.arch.name,
            "abi": self.target.abi,
            "flavor": self.target.flavor,
            "source": {
                "name": self.source.spec.name,
                "kind": self.source.spec.kind,
                "version": self.source.version,
                "digest": self.source.digest,
            },
            "patches": [
                {"name": p.name, "subject": p.subject, "sha256": p.sha256}
                for p in self.patches
                if p.is_of_kernel
            ],
            "fragments": {_fragment(p): _fragment_digest(p) for p in self.fragments},
            "compiler": self.compiler,
        }

    @property
    def key(self) -> str:
        return digest(self.inputs)

    @property
    def is_built(self) -> bool:
        """Whether there is nothing to make: the source is a kernel."""
        return self.source.spec.is_built

    @property
    def release(self) -> str:
        if self.is_built:
            return self.source.version
        return f"{self.source.version}-{self.target.abi}-{self.key[:12]}"


def build(
    target: Target, lab: Lab, progress: Progress, jobs: int, *, shares: bool = True
) -> Kernel:
    """Return the target's kernel, building it first if it is not in the cache.

    `shares` says that other kernels will have most of its objects.
    """
    progress.phase("source")
    fetched = source.fetch(target.source, lab.cache, progress)
    recipe = _recipe(target, lab, fetched)
    if found := _load(recipe, lab):
        return found
    if not shares:
        recipe = replace(recipe, reads=Reads.ONCE)
    lab.cache.make(
        _KIND,
        recipe.key,
        lambda tmp: _fill(recipe, lab, tmp, progress, jobs),
        progress.say,
    )
    kernel = _load(recipe, lab)
    assert kernel is not None
    return kernel


def headers(
    target: Target, lab: Lab, progress: Progress, jobs: int
) -> Headers | Kernel:
    """Return the headers of the target's kernel, which need not be built for them.

    The kernel itself if it is in the cache, or was built elsewhere.
    """
    progress.phase("source")
    fetched = source.fetch(target.source, lab.cache, progress)
    recipe = _recipe(target, lab, fetched)
    if recipe.is_built:
        return build(target, lab, progress, jobs)
    if found := _load(recipe, lab):
        return found

    def fill(tmp: Path) -> None:
        with _logged(recipe, lab, tmp):
            built = _build_in(recipe, lab, tmp, jobs)
            _patch(recipe, lab, built, progress)
            progress.phase("headers")
            built.make("headers_install", INSTALL_HDR_PATH=str(tmp))
        shutil.rmtree(built.tree)

    made = lab.cache.make(_HEADERS, recipe.key, fill, progress.say)
    return Headers(made / "include")


def find_headers(target: Target, lab: Lab) -> Headers | Kernel | None:
    """Return the headers of the target's kernel if they are made already."""
    fetched = source.find(target.source, lab.cache)
    if fetched is None:
        return None
    recipe = _recipe(target, lab, fetched)
    alone = lab.cache.find(_HEADERS, recipe.key)
    return _load(recipe, lab) or (Headers(alone / "include") if alone else None)


def find(target: Target, lab: Lab) -> Kernel | None:
    """Return the target's kernel if it is built already; download nothing."""
    fetched = source.find(target.source, lab.cache)
    if fetched is None:
        return None
    recipe = _recipe(target, lab, fetched)
    return _load(recipe, lab)


def release(target: Target, lab: Lab) -> str:
    """Return what `uname -r` will say, as far as that is known without a download."""
    return known(target, lab, source.find(target.source, lab.cache))[0]


def known(target: Target, lab: Lab, fetched: Source | None) -> tuple[str, bool]:
    """Return what `uname -r` will say and whether the kernel is built.

    `fetched` is what source.find() says of the target's source.
    """
    if fetched is None:
        return f"{target.source.name}-{target.abi} (source not fetched yet)", False
    recipe = _recipe(target, lab, fetched)
    return recipe.release, _load(recipe, lab) is not None


def check_config(target: Target, lab: Lab, progress: Progress, jobs: int) -> None:
    """Patch and configure the target's kernel, and keep only that it was fine."""
    recipe = _recipe(target, lab, source.fetch(target.source, lab.cache, progress))

    def fill(tmp: Path) -> None:
        with _logged(recipe, lab, tmp):
            built = _prepare(recipe, lab, tmp, progress, jobs, recipe.fragments)
        shutil.rmtree(built.tree)

    lab.cache.make("checks", digest("config", recipe.inputs), fill)


def check_without_abi(target: Target, lab: Lab, progress: Progress, jobs: int) -> None:
    """Compile what the patches touch, with the ABI off; PatchError at a warning.

    Nothing is kept but that it was fine.
    """
    kernel = build(target, lab, progress, jobs)
    recipe = _recipe(target, lab, source.fetch(target.source, lab.cache, progress))
    added = {name for patch in recipe.patches for name in patch.added}
    touched = kernel.identity["touched"]
    assert isinstance(touched, list)

    def fill(tmp: Path) -> None:
        with _logged(recipe, lab, tmp):
            plain = plain_fragments(target, lab)
            built = _prepare(recipe, lab, tmp, progress, jobs, plain)
            progress.phase("compile without the ABI")
            objects = [_object(name) for name in touched if name not in added]
            built.make(*objects, KCFLAGS="-Werror")
        shutil.rmtree(built.tree)

    lab.cache.make("checks", digest("without-abi", recipe.inputs), fill)


def work_tree(
    target: Target,
    lab: Lab,
    folder: Path,
    progress: Progress,
    jobs: int,
    *,
    with_abi: bool = True,
) -> Build:
    """Return the target's kernel as a compiled tree in `folder`, made if it is not.

    It is the caller's to change, and to hold against others. Without its ABI it is
    patched like any other, but configured as the control is.
    """
    recipe = _recipe(target, lab, source.fetch(target.source, lab.cache, progress))
    fragments = recipe.fragments if with_abi else plain_fragments(target, lab)
    complete = folder / "complete"
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with _logged(recipe, lab, folder):
            built = _prepare(recipe, lab, folder, progress, jobs, fragments)
            _compile(recipe, built, folder, progress)
        complete.touch()
    return _build_in(recipe, lab, folder, jobs)


@contextlib.contextmanager
def source_tree(target: Target, lab: Lab, progress: Progress) -> Iterator[Path | None]:
    """Yield the folder of the target's source as it was compiled, or None.

    It is patched and not configured. What was built elsewhere was compiled where its
    vmlinux is.
    """
    fetched = source.fetch(target.source, lab.cache, progress)
    if target.source.is_built:
        vmlinux = target.source.vmlinux
        yield Path(vmlinux).parent if vmlinux else Path(target.source.location)
        return
    recipe = _recipe(target, lab, fetched)
    key = digest("source", recipe.key, os.getpid())
    with lab.cache.scratch("trees", key) as folder:
        progress.phase("unpack")
        source.unpack(fetched, lab.cache, folder / "linux")
        series.apply(recipe.series, folder / "linux", progress)
        yield folder / "linux"


def configure(
    built: Build, wanted: Mapping[str, Option], goal: str = "allnoconfig"
) -> None:
    """Configure a tree by one of kbuild's goals, with what is wanted otherwise."""
    merged = built.log.with_name("wanted.config")
    merged.write_text(kconfig.text(wanted))
    built.make(goal, KCONFIG_ALLCONFIG=str(merged))
    merged.unlink()


def fragments(target: Target, lab: Lab) -> tuple[Path, ...]:
    """Return the fragments of the target's configuration; those of its ABI are last."""
    return plain_fragments(target, lab) + abi_fragments(target, lab)


def abi_fragments(target: Target, lab: Lab) -> tuple[Path, ...]:
    """Return what a kernel is configured without that has its ABI off."""
    if target.is_control:
        return ()
    own = lab.patches / target.abi / "config"
    if not target.extra:
        return (own,)
    return (lab.patches / f"kconfig/with/{target.extra}.config", own)


def plain_fragments(target: Target, lab: Lab) -> tuple[Path, ...]:
    """Return what a kernel is configured with whatever its ABI."""
    folder = lab.patches / "kconfig"
    names = ["base.config", f"arch/{target.arch.name}.config"]
    of_arch = []
    for layer in flavor.of(target.flavor).layers:
        of_arch.append(f"flavor/{target.arch.name}/{layer}.config")
        names += [f"flavor/{layer}.config", of_arch[-1]]
    found = []
    for name in names:
        if name not in of_arch or (folder / name).exists():
            found.append(folder / name)
        # What another kernel calls otherwise, or does not have.
        if (of_base := folder / target.base / name).exists():
            found.append(of_base)
    return tuple(found)


def _recipe(target: Target, lab: Lab, fetched: Source) -> _Recipe:
    if fetched.spec.is_built:
        return _Recipe(target, fetched, series=(), fragments=(), compiler="")
    recipe = _Recipe(
        target=target,
        source=fetched,
        series=series.of(target, lab),
        fragments=fragments(target, lab),
        compiler=kbuild.compiler(target.arch),
    )
    over = len(recipe.release) - _LONGEST
    if over > 0:
        raise UserError(
            f"{target.name}: {recipe.release} is {over} longer than the {_LONGEST} "
            "characters that `uname -r` can say",
            where=fetched.spec.where,
            hint=f"shorten the version of the source ({fetched.version}, from its "
            f"Makefile) or the name of the ABI ({target.abi})",
        )
    return recipe


def _fragment(path: Path) -> str:
    """Return a fragment's name within kernel-patches."""
    parts = path.parts
    return "/".join(parts[parts.index("kernel-patches") + 1 :])


def _fragment_digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as e:
        raise UserError(f"cannot read the fragment {path}: {e.strerror}") from e


def _load(recipe: _Recipe, lab: Lab) -> Kernel | None:
    folder = lab.cache.find(_KIND, recipe.key)
    if folder is None:
        return None
    try:
        identity = dict(files.read_json(folder / "kernel.json"))
    except (OSError, ValueError, TypeError):
        lab.cache.drop(folder)
        return None
    return Kernel(
        dir=folder,
        digest=folder.name,
        release=recipe.release,
        arch=recipe.target.arch,
        image=folder / Path(recipe.target.arch.image).name,
        vmlinux=folder / "vmlinux",
        system_map=folder / "System.map",
        config=folder / "config",
        headers=folder / "include",
        log=folder / "build.log",
        identity=identity,
    )


def _build_in(
    recipe: _Recipe, lab: Lab, folder: Path, jobs: int, log: Path | None = None
) -> Build:
    return Build(
        name=recipe.target.name,
        arch=recipe.target.arch,
        tree=folder / "linux",
        log=log or folder / "build.log",
        cache=lab.cache.root,
        ccache_size=lab.cache_size // 4,
        jobs=jobs,
        blame=InfraError if recipe.target.is_control else PatchError,
        reads=recipe.reads,
    )


def _prepare(
    recipe: _Recipe,
    lab: Lab,
    tmp: Path,
    progress: Progress,
    jobs: int,
    fragments: Sequence[Path],
) -> Build:
    """Unpack, patch and configure a tree in `tmp`; return the build to go on with."""
    built = _build_in(recipe, lab, tmp, jobs)
    _configure(recipe, lab, built, progress, fragments)
    return built


def _configure(
    recipe: _Recipe,
    lab: Lab,
    built: Build,
    progress: Progress,
    fragments: Sequence[Path],
) -> None:
    _patch(recipe, lab, built, progress)
    progress.phase("configure")
    wanted = kconfig.read(fragments)
    configure(built, wanted)
    if wrong := kconfig.missing(wanted, built.objects / ".config"):
        # Without patches it is the source that lab.yaml chose that does not fit.
        fault = UserError if recipe.target.is_control else PatchError
        said = "; ".join(f"{option} is {actual}" for option, actual in wrong)
        raise fault(
            f"{recipe.target.name}: the final .config is not what was asked for: {said}",
            where=wrong[0][0].where,
            hint="see in the kernel's Kconfig files what the option depends on",
        )
    config = (built.objects / ".config").read_text()
    if named := re.search(r'^CONFIG_LOCALVERSION="..*"$', config, re.M):
        raise UserError(
            f"{recipe.target.name}: {named[0]} would change what the kernel calls "
            "itself, by which the lab knows it",
            hint="take it out of the fragments in kernel-patches/kconfig",
        )


def _patch(recipe: _Recipe, lab: Lab, built: Build, progress: Progress) -> None:
    """Unpack the source and apply the patches."""
    progress.phase("unpack")
    source.unpack(recipe.source, lab.cache, built.tree)
    try:
        series.apply(recipe.series, built.tree, progress)
    except PatchError as e:
        raise _there_already(recipe) or e from e
    _check_name(recipe, built.tree)


def _there_already(recipe: _Recipe) -> UserError | None:
    """Return the error for series that do not apply since their files are there."""
    there = [
        (one.name, name)
        for one in recipe.series
        for patch in one.patches
        for name in patch.added
        if (recipe.source.path / name).exists()
    ]
    if not there:
        return None
    (series_name, file), name = there[0], recipe.target.name
    return UserError(
        f"{name}: source {recipe.source.spec.name!r} has the patches of {series_name} "
        f"already: {file} is there",
        where=recipe.source.spec.where,
        hint=f"write `patches: none` in target {name} of lab.yaml",
    )


def _check_name(recipe: _Recipe, tree: Path) -> None:
    """Raise an error if the patches change the version that a tree states."""
    spec = recipe.source.spec
    stated = version.of(tree, spec)
    if stated != recipe.source.version:
        raise PatchError(
            f"{recipe.target.name}: the patches make the version {stated}; it was "
            f"{recipe.source.version}, and the lab knows the kernel by it",
            where=spec.where,
            hint="leave Makefile's version and localversion files to the source",
        )


def _fill(recipe: _Recipe, lab: Lab, tmp: Path, progress: Progress, jobs: int) -> None:
    """Build the kernel in `tmp`, and leave only what is kept."""
    with _logged(recipe, lab, tmp):
        if recipe.is_built:
            progress.phase("copy")
            kernel = prebuilt.of(recipe.source.spec)
            kernel.take(recipe.target.arch, tmp, recipe.source.digest)
            touched, ccache = list[str](), Ccache(0, 0)
        elif recipe.source.is_tree:
            touched, ccache = _fill_again(recipe, lab, tmp, progress, jobs)
        else:
            built = _prepare(recipe, lab, tmp, progress, jobs, recipe.fragments)
            touched, ccache = _finish(recipe, built, tmp, progress, shutil.move)
    shutil.rmtree(tmp / "linux", ignore_errors=True)
    (tmp / "ccache.log").unlink(missing_ok=True)
    if not recipe.is_built:
        progress.say(f"{recipe.target.name}: {ccache}")
    facts = {
        "release": recipe.release,
        "config_sha256": file_digest(tmp / "config"),
        "ccache": asdict(ccache),
        "touched": touched,
    }
    (tmp / "kernel.json").write_text(json.dumps({**recipe.inputs, **facts}, indent=1))


def _fill_again(
    recipe: _Recipe, lab: Lab, tmp: Path, progress: Progress, jobs: int
) -> tuple[list[str], Ccache]:
    """Build a developer's tree, in the folder of its last build if that can be."""
    entries = recipe.source.entries
    key = digest("kept", str(recipe.source.path), _without_digest(recipe.inputs))
    with lab.cache.keep(kept.KIND, key) as folder:
        if folder is None:
            # Another run is at work in it, and what it makes of it is its own.
            built = _prepare(recipe, lab, tmp, progress, jobs, recipe.fragments)
            return _finish(recipe, built, tmp, progress, shutil.move)
        last = kept.Kept(folder)
        built = _build_in(recipe, lab, folder, jobs, tmp / "build.log")
        patched = {name for patch in recipe.patches for name in patch.files}
        changed = last.update(recipe.source, entries, patched)
        if changed is None:
            _configure(recipe, lab, built, progress, recipe.fragments)
        else:
            progress.say(f"{recipe.target.name}: {_told(changed)} since its last build")
        try:
            done = _finish(recipe, built, tmp, progress, shutil.copyfile)
        except (PatchError, UserError):
            # What patches are to blame for is looked for in the log of all of it.
            if not recipe.patches:
                last.settle(entries)
            raise
        last.settle(entries)
    return done


def _without_digest(inputs: dict[str, object]) -> dict[str, object]:
    """Return what decides a kernel but the text of its source."""
    source = inputs["source"]
    assert isinstance(source, dict)
    rest = {name: value for name, value in source.items() if name != "digest"}
    return {**inputs, "source": rest}


def _told(names: Sequence[str]) -> str:
    if len(names) <= _SAID:
        return f"{', '.join(names) or 'nothing'} changed"
    return f"{', '.join(names[:_SAID])} and {len(names) - _SAID} more changed"


def _finish(
    recipe: _Recipe,
    built: Build,
    tmp: Path,
    progress: Progress,
    put: Callable[[Path, Path], object],
) -> tuple[list[str], Ccache]:
    """Compile, and `put` what is kept into `tmp`.

    Return which files patches touch, and how ccache served.
    """
    _compile(recipe, built, tmp, progress)
    ccache = built.ccache()
    touched = _touched(recipe, built)
    _keep(recipe, built, tmp, put)
    _warnings(recipe, built, touched, progress)
    return touched, ccache


def _compile(recipe: _Recipe, built: Build, headers: Path, progress: Progress) -> None:
    # How many steps to expect is what the last build of this kind took.
    again = "-again" if (built.objects / "vmlinux").exists() else ""
    kind = f"{recipe.target.arch.name}-{recipe.target.flavor}{again}"
    memory = built.cache / "steps" / kind
    expected = None
    with contextlib.suppress(OSError, ValueError):
        expected = int(memory.read_text()) or None
    progress.phase("compile", expected)
    steps = built.make(
        Path(recipe.target.arch.image).name,
        "headers_install",
        progress=progress,
        expected=expected,
        LOCALVERSION=_localversion(recipe),
        INSTALL_HDR_PATH=str(headers),
    )
    files.write(memory, str(steps))
    said = (built.objects / "include/config/kernel.release").read_text().strip()
    if said != recipe.release:
        raise InfraError(
            f"{recipe.target.name}: the kernel calls itself {said}, not {recipe.release}"
        )


def _localversion(recipe: _Recipe) -> str:
    return recipe.release.removeprefix(recipe.source.version)


def _warnings(
    recipe: _Recipe, built: Build, touched: Sequence[str], progress: Progress
) -> None:
    """Raise PatchError if what the patches touch, or with W=1 add, has warnings."""
    names = [name for patch in recipe.patches for name in patch.files]
    image = Path(recipe.target.arch.image).name
    if found := built.warnings(names, image, localversion=_localversion(recipe)):
        raise PatchError(f"{recipe.target.name} does not build cleanly: {found[0]}")
    added = {name for patch in recipe.patches for name in patch.added}
    if objects := [_object(name) for name in touched if name in added]:
        progress.phase("check with W=1")
        built.make(*objects, W="1", KCFLAGS="-Werror")


def _touched(recipe: _Recipe, built: Build) -> list[str]:
    """Return the source files that the patches change and the build compiled."""
    names = dict.fromkeys(name for patch in recipe.patches for name in patch.files)
    return [
        name
        for name in names
        if name.endswith((".c", ".S")) and (built.objects / _object(name)).exists()
    ]


def _object(name: str) -> str:
    return str(Path(name).with_suffix(".o"))


def _keep(
    recipe: _Recipe, built: Build, tmp: Path, put: Callable[[Path, Path], object]
) -> None:
    image = recipe.target.arch.image
    names = {"vmlinux": "vmlinux", "System.map": "System.map", image: Path(image).name}
    for name, as_kept in names.items():
        put(built.objects / name, tmp / as_kept)
    # Since 7.3 no object can be compiled without.
    shutil.copyfile(built.objects / ".config", tmp / "config")


@contextlib.contextmanager
def _logged(recipe: _Recipe, lab: Lab, tmp: Path) -> Iterator[None]:
    """Keep the log of a build that fails; its folder goes."""
    try:
        yield
    except LabError as e:
        log = tmp / "build.log"
        if log.exists():
            folder = lab.cache.root / "logs"
            folder.mkdir(exist_ok=True)
            e.log = folder / f"{recipe.target.name}-{recipe.key}.log"
            shutil.move(log, e.log)
        raise
