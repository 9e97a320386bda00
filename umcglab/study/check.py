# SPDX-License-Identifier: MIT
"""`umcglab check`: what the author of a series wants to know before mailing it.

What the series touch is compiled, in each configuration of variants.py and after each
patch by itself, with the ABI on and off, and a warning is an error; and so are selftests
that they add. checkpatch.pl of the tree reads every patch, and sparse what they add.
Nothing is booted, and no kernel is linked but user-mode Linux, which takes its seconds to
run KUnit.
"""

from __future__ import annotations

import fnmatch
import functools
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from umcglab.errors import LabError, PatchError, UserError, worst
from umcglab.host import command
from umcglab.host.cache import digest
from umcglab.host.display import Display
from umcglab.host.pool import outcome
from umcglab.host.progress import Progress
from umcglab.kernel import kbuild, patchfile, series, source
from umcglab.kernel.kbuild import Build, Reads
from umcglab.kernel.patchfile import Patch
from umcglab.lab import yamlfile
from umcglab.lab.arch import Arch
from umcglab.lab.config import Lab, Target
from umcglab.run import artifacts
from umcglab.study import variants
from umcglab.study.variants import OWN, NotHereError, Variant

# What checkpatch.pl says that is not to be heeded, and why not. Each is looked for in
# `TYPE: text`. A missing sign-off is by design: --no-signoff.
IGNORED = {
    r"FILE_PATH_CHANGES: ": "nobody maintains these patches yet: they are for the lab",
    r"BIT_MACRO: ": "flags are defined as those above and below them are",
    r"SPACING: spaces preferred around that '%'": "an operand of inline assembly",
    r"ALLOC_WITH_SIZEOF: ": "older bases have no kzalloc_obj(), and the text is one",
    r"MACRO_ARG_\w+: Macro argument (reuse )?'(w|word_t)'": "it is pasted into a name",
}

IGNORED_IN_TESTS = (
    "ARRAY_SIZE|BIT_MACRO|CAMELCASE|EMBEDDED_FUNCTION_NAME|ENOSYS|FUNCTION_ARGUMENTS|"
    "LINE_SPACING|MACRO_\\w+|PREFER_DEFINED_ATTRIBUTE_MACRO|SPACING|VOLATILE"
)
"""Types that are of kernel code, and not of programs and their harness."""

_BALANCE = "context imbalance in "
"""Of sparse: it does not know that a guard() unlocks at the end of its scope."""
_GUARDS_KNOWN = "sparse doesn't call the cleanup function"
"""In <linux/rcupdate.h>, from where on the guards of Linux tell it another story."""

_FOUND = re.compile(r"^.*:(\d+): (?:ERROR|WARNING|CHECK):(\w+): (.*)$", re.MULTILINE)
_OBJTOOL = re.compile(r"^(\S+\.o: warning: objtool: .*)$", re.MULTILINE)


@dataclass(frozen=True)
class Verdict:
    """What one step came to."""

    step: str
    word: str
    """`ok`, `FAILED`, or `skipped` if it cannot be done here."""
    why: str = ""
    error: LabError | None = None


@dataclass
class Steps:
    """The steps of one job, done one after the other in one tree of the target."""

    target: Target
    lab: Lab
    job: str
    folder: Path
    progress: Progress
    jobs: int
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def tree(self) -> Path:
        return self.folder / "linux"

    def log(self, step: str) -> Path:
        """Return the file that a step writes."""
        slug = re.sub(r"\W+", "-", f"{self.job} {step}").strip("-")[:100]
        return self.folder / f"{self.target.name}-{slug}.log"

    def build(self, step: str, arch: Arch | None = None) -> Build:
        """Return what to make the objects of a step with."""
        return Build(
            name=f"{self.target.name}, {self.job}, {step}",
            arch=arch or self.target.arch,
            tree=self.tree,
            log=self.log(step),
            cache=self.lab.cache.root,
            ccache_size=self.lab.cache_size // 4,
            jobs=self.jobs,
            blame=PatchError,
            reads=Reads.SOURCE,
        )

    def do(self, step: str, work: Callable[[], str]) -> bool:
        """Do a step, say its verdict, and go on whatever it is; return if all is well.

        `work` returns a few words, or raises NotHereError or a LabError.
        """
        self.progress.phase(step)
        try:
            verdict = Verdict(step, "ok", work())
        except NotHereError as e:
            verdict = Verdict(step, "skipped", str(e))
        except LabError as e:
            self._keep_log(step, e)
            verdict = Verdict(step, "FAILED", e.message, e)
        self.verdicts.append(verdict)
        why = f", {verdict.why}" if verdict.why else ""
        self.progress.say(f"{step}: {verdict.word}{why}")
        return verdict.word == "ok"

    def _keep_log(self, step: str, error: LabError) -> None:
        """Move the log of a step that failed to where it stays."""
        log = self.log(step)
        if not log.exists():
            return
        kept = self.lab.cache.root / "logs"
        kept.mkdir(exist_ok=True)
        error.log = kept / f"{log.stem}-{digest(self.target.name, self.job)}.log"
        shutil.copyfile(log, error.log)


def execute(
    lab: Lab,
    target: Target,
    cores: int,
    display: Display,
    *,
    quick: bool = False,
    only: Sequence[str] = (),
) -> int:
    """Check the series of a target; return the exit status.

    `quick` leaves out each patch by itself, and the configurations that take long;
    `only`, if it is not empty, all but jobs of these names or patterns.
    """
    patches = _patches(target, lab)
    if not patches:
        raise UserError(
            f"{target.name} has no patches of kernel-patches to check",
            where=str(lab.file),
            hint="umcglab list has the targets; one with an ABI has patches",
        )
    names = _choose([name for name, _ in _jobs(target, patches, quick)], only)
    kbuild.compiler(target.arch)
    lab.cache.claim()
    lab.cache.hold()
    share, many = max(1, cores // artifacts.width(cores)), artifacts.make_jobs(cores)
    with artifacts.pool(lab, cores, display) as jobs:
        submitted = {
            name: jobs.submit(
                f"{target.name} {name}", _in_tree, lab, target, name, many, cores=share
            )
            for name in names
        }
        jobs.wait()
    done: dict[str, _Done] = {n: outcome(future) for n, future in submitted.items()}
    for line in summary(target, done):
        display.say(line)
    return worst(error.exit_code for _, error in _errors(done))


_Work = Callable[[Steps], None]
_Done = Sequence[Verdict] | LabError


def _choose(jobs: Sequence[str], only: Sequence[str]) -> Sequence[str]:
    """Return the jobs of these names or patterns, or all."""
    for pattern in only:
        if not fnmatch.filter(jobs, pattern):
            raise UserError(
                f"no job {pattern!r}{yamlfile.did_you_mean(pattern, jobs)}",
                hint=f"the jobs are {'; '.join(jobs)}",
            )
    return [n for n in jobs if not only or any(fnmatch.fnmatch(n, p) for p in only)]


def _jobs(
    target: Target, patches: Sequence[Patch], quick: bool
) -> Iterator[tuple[str, _Work]]:
    """Yield the jobs, each with its name."""
    yield "style", lambda steps: _style(steps, patches)
    if tests := _selftests(patches):
        yield "selftests", lambda steps: _build_selftests(steps, patches, tests)
    for variant in variants.VARIANTS:
        if target.arch.name in variant.only and (variant.quick or not quick):
            yield variant.name, _variant(variant, patches)
    for with_abi in () if quick else (False, True):
        name = f"each patch, ABI {'on' if with_abi else 'off'}"
        yield name, _each_patch(patches, with_abi)


def _in_tree(
    lab: Lab, target: Target, name: str, jobs: int, progress: Progress
) -> list[Verdict]:
    """Do the job `name` in a tree of the target's source."""
    work = dict(_jobs(target, _patches(target, lab), quick=False))[name]
    progress.phase("source")
    fetched = source.fetch(target.source, lab.cache, progress)
    key = digest("check", target.name, name)
    with lab.cache.scratch("checks", key) as folder:
        progress.phase("unpack")
        steps = Steps(target, lab, name, folder, progress, jobs)
        source.unpack(fetched, lab.cache, steps.tree)
        work(steps)
        progress.phase("remove the tree")
    return steps.verdicts


def _patches(target: Target, lab: Lab) -> tuple[Patch, ...]:
    return tuple(p for one in series.of(target, lab) for p in one.patches)


def summary(target: Target, done: Mapping[str, _Done]) -> Iterator[str]:
    """Yield what failed, each once, with where and the log; and a line of all."""
    verdicts = [v for d in done.values() if not isinstance(d, LabError) for v in d]
    told: set[str] = set()
    for _, error in _errors(done):
        if error.message not in told:
            told.add(error.message)
            yield from error.lines()
    words = [v.word for v in verdicts]
    words += ["FAILED" for d in done.values() if isinstance(d, LabError)]
    counts = (f"{words.count(word)} {word}" for word in sorted(set(words)))
    yield f"check {target.name}: {', '.join(counts)}"


def _errors(done: Mapping[str, _Done]) -> Iterator[tuple[str, LabError]]:
    for job, result in done.items():
        if isinstance(result, LabError):
            yield job, result
        else:
            yield from ((v.step, v.error) for v in result if v.error)


# Compiling.


def _compile(built: Build, patches: Sequence[Patch], progress: Progress) -> str:
    """Compile what patches touch, and with W=1 what they add; say how much it was."""
    names = dict.fromkeys(name for patch in patches for name in patch.files)
    if not (goals := variants.goals(names, built)):
        return "nothing to compile"
    strict = "-Werror"
    if built.arch.kernel_arch == "um":
        # user-offsets.c, made on the way, has none in 6.1, and is not the series'.
        strict += " -Wno-error=missing-prototypes"
    built.make("--keep-going", *goals, progress=progress, KCFLAGS=strict)
    if added := _added(built, patches):
        built.make(*added, progress=progress, W="1", KCFLAGS=strict)
    said = built.log.read_text(errors="replace")
    if found := _OBJTOOL.search(said):
        raise PatchError(f"{built.name}: {found[1]}")
    return ", ".join(goals)


def _added(built: Build, patches: Sequence[Patch]) -> list[str]:
    """Return the objects that were compiled of files that patches add."""
    names = (name for patch in patches for name in patch.added)
    return [
        str(Path(name).with_suffix(".o"))
        for name in dict.fromkeys(names)
        if name.endswith((".c", ".S"))
        and (built.objects / name).with_suffix(".o").exists()
    ]


def _apply(patches: Sequence[Patch], tree: Path) -> None:
    for patch in patches:
        patchfile.apply(patch, tree)


def _variant(variant: Variant, patches: Sequence[Patch]) -> _Work:
    """Return the job of one configuration."""

    def compile_it(steps: Steps, step: str, *, with_abi: bool) -> str:
        arch = variants.machine(variant, steps.target)
        built = steps.build(step, arch)
        variants.configure(variant, steps.target, steps.lab, built, with_abi=with_abi)
        said = _compile(built, patches, steps.progress)
        if with_abi and variant == OWN:
            _all_added(built, patches, kunit=False)
        if variant.user_mode and not with_abi:
            _all_added(built, patches, kunit=True)
        return said

    def work(steps: Steps) -> None:
        _apply(patches, steps.tree)
        # Off first: then what is compiled with it on was not there before.
        off = steps.do("ABI off", lambda: compile_it(steps, "ABI off", with_abi=False))
        if off and variant.user_mode:
            _user_mode(variant, steps)
        on = steps.do("ABI on", lambda: compile_it(steps, "ABI on", with_abi=True))
        if on and variant == OWN:
            steps.do("sparse", lambda: _sparse(steps.build("sparse"), patches))

    return work


def _all_added(built: Build, patches: Sequence[Patch], *, kunit: bool) -> None:
    """Raise PatchError if a file that patches add was not compiled.

    A KUnit suite is compiled where KUnit is, in user mode; see if those are, or others.
    """
    made = _added(built, patches)
    of_kernel = (patch for patch in patches if patch.is_of_kernel)
    names = (n for patch in of_kernel for n in patch.added if n.endswith((".c", ".S")))
    for name in names:
        if (
            name.endswith("_kunit.c") == kunit
            and not name.startswith("arch/")
            and str(Path(name).with_suffix(".o")) not in made
        ):
            raise PatchError(f"{built.name}: {name} is not compiled")


def _sparse(built: Build, patches: Sequence[Patch]) -> str:
    """Have sparse read what patches add."""
    if shutil.which("sparse") is None:
        raise NotHereError("sparse is not installed")
    added = _added(built, patches)
    built.make(*added, C="2")
    found = built.warnings(name for patch in patches for name in patch.added)
    rcu = built.tree / "include" / "linux" / "rcupdate.h"
    blind = rcu.exists() and _GUARDS_KNOWN not in rcu.read_text()
    if minded := [f for f in found if not (blind and _BALANCE in f)]:
        raise PatchError(f"{built.name}: {minded[0]}")
    # Where it complains of every guard, it says nothing of locks.
    return ", ".join(added) + (", but for locks" if blind else "")


def _selftests(patches: Sequence[Patch]) -> list[str]:
    """Return the folders of selftests that patches add programs to."""
    names = (n for p in patches for n in p.added if n.startswith(patchfile.TESTS))
    folders = (str(Path(n).parent) for n in names if n.endswith("/Makefile"))
    return [folder.removeprefix(patchfile.TESTS) for folder in folders]


def _build_selftests(
    steps: Steps, patches: Sequence[Patch], tests: Sequence[str]
) -> None:
    """Build selftests against the headers of the patched tree."""

    def build(name: str) -> str:
        built = steps.build(name)
        variants.configure(OWN, steps.target, steps.lab, built, with_abi=True)
        built.make(
            "kselftest-all",
            progress=steps.progress,
            TARGETS=name,
            USERCFLAGS="-Werror",
            FORCE_TARGETS="1",
        )
        made = (built.objects / "kselftest" / name).glob("*")
        programs = sorted(path.name for path in made if os.access(path, os.X_OK))
        if not programs:
            raise PatchError(f"{built.name}: {patchfile.TESTS}{name} makes no program")
        return ", ".join(programs)

    _apply(patches, steps.tree)
    for name in tests:
        steps.do(name, functools.partial(build, name))


def _user_mode(variant: Variant, steps: Steps) -> None:
    """Link user-mode Linux, and run a KUnit suite in it."""

    def link() -> str:
        built = steps.build("link", variants.machine(variant, steps.target))
        built.make("all", progress=steps.progress)
        return ""

    if steps.do("link", link):
        steps.do("KUnit", lambda: _kunit(steps, steps.build("KUnit")))


def _kunit(steps: Steps, built: Build) -> str:
    """Run the KUnit tests of user-mode Linux; return how many passed."""
    script = steps.tree / "tools/testing/kunit/kunit.py"
    argv = [sys.executable, str(script), "exec", f"--build_dir={built.objects}"]
    # By allnoconfig no suite of 7.3 runs by itself.
    argv.append("--kernel_args=kunit.autorun=1")
    done = command.run(argv, cwd=steps.tree)
    console = built.objects / "test.log"
    shown = console.read_text(errors="replace") if console.exists() else ""
    built.log.write_text(done.stdout + done.stderr + shown)
    said = re.search(r"Testing complete\. .*", done.stdout)
    if done.returncode or not said:
        raise PatchError(f"{built.name}: {said[0] if said else 'kunit.py failed'}")
    return said[0].removeprefix("Testing complete. ")


def _each_patch(patches: Sequence[Patch], with_abi: bool) -> _Work:
    """Return the job that compiles what is touched after each patch."""

    def work(steps: Steps) -> None:
        is_configured = False
        for number, patch in enumerate(patches, 1):
            _apply([patch], steps.tree)
            so_far = patches[:number]
            if with_abi and not _has_abi(steps, so_far):
                continue
            touches_kconfig = any("Kconfig" in Path(n).name for n in patch.files)
            configure = touches_kconfig or not is_configured
            step = f"{patch.path.parts[-3]} {patch.path.stem}"
            is_configured = _one_patch(steps, step, so_far, configure, with_abi)

    return work


def _one_patch(
    steps: Steps, step: str, patches: Sequence[Patch], configure: bool, with_abi: bool
) -> bool:
    """Compile what was touched so far; return whether the tree is configured."""
    configured = not configure

    def compile_it() -> str:
        nonlocal configured
        built = steps.build(step)
        if configure:
            variants.configure(OWN, steps.target, steps.lab, built, with_abi=with_abi)
            configured = True
        return _compile(built, patches, steps.progress)

    steps.do(step, compile_it)
    return configured


def _has_abi(steps: Steps, patches: Sequence[Patch]) -> bool:
    """Whether the tree has the symbols that the ABI's fragment names, to be chosen.

    What is a type and no prompt (`bool`) waits for the ABI to make it a choice.
    """
    names = {n for p in patches for n in p.files if "Kconfig" in Path(n).name}
    text = "\n".join((steps.tree / name).read_text() for name in names)
    return all(
        re.search(
            rf"^(?:menu)?config {option.removeprefix('CONFIG_')}\n(?!\s+bool\n)",
            text,
            re.M,
        )
        for option in variants.abi_options(steps.target, steps.lab)
    )


# Reading.


def _style(steps: Steps, patches: Sequence[Patch]) -> None:
    """Have checkpatch.pl of the tree read each patch."""
    for patch in patches:
        step = f"checkpatch {patch.path.parts[-3]} {patch.path.stem}"
        steps.do(step, functools.partial(_checkpatch, steps, step, patch))


def _checkpatch(steps: Steps, step: str, patch: Patch) -> str:
    script = steps.tree / "scripts" / "checkpatch.pl"
    if not script.exists():
        raise NotHereError("the tree has no scripts/checkpatch.pl")
    argv = ["perl", str(script), "--no-signoff", "--strict", "--terse", "--show-types",
            "--color=never", str(patch.path)]  # fmt: skip
    done = command.run(argv, cwd=steps.tree)
    log = steps.log(step)
    log.write_text(done.stdout + done.stderr)
    said = list(_FOUND.finditer(done.stdout))
    if done.returncode and not said:
        raise command.failure(argv, done)
    if found := [m for m in said if not _is_ignored(m, patch)]:
        first, *more = found
        others = f" (and {len(more)} more)" if more else ""
        raise PatchError(
            f"{patch.name}: {first[2]}: {first[3]}{others}",
            where=f"{patch.path}:{first[1]}",
        )
    return ""


def _is_ignored(found: re.Match[str], patch: Patch) -> bool:
    if not patch.is_of_kernel and re.fullmatch(IGNORED_IN_TESTS, found[2]):
        return True
    return any(re.match(pattern, f"{found[2]}: {found[3]}") for pattern in IGNORED)
