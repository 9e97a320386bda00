# SPDX-License-Identifier: MIT
"""The manifest of the guest suite, against the programs it plans and ABI.md."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from umcglab.errors import UserError
from umcglab.guest.suite import inputs
from umcglab.host.cache import Cache, digest, tree_digest
from umcglab.kernel import kbuild, series
from umcglab.lab.arch import X86_64
from umcglab.lab.config import ROOT
from umcglab.lab.manifest import STUB, Manifest, Program, abis, load_manifest, load_plan
from umcglab.tests.conftest import slow
from umcglab.verdict import contract

SUITE = ROOT / "guest-tests"
ABIS = tuple(abi for abi in abis(SUITE) if abi != STUB)
"""Those that some kernel has."""

FUZZED = tuple(abi for abi in ABIS if (SUITE / f"abi/{abi}/fuzz").exists())

SHARED = {p.stem for p in (SUITE / "shared").glob("*.c")} | {
    p.stem.removeprefix("test_") for p in (SUITE / "shared/py").glob("test_*.py")
}
"""Programs that are built once for each ABI, by name."""

WORDS = {p.stem for p in (SUITE / "state-word").glob("*.c")}
"""Those for ABIs that have a state word, each of which plans what it wants of them."""

EPISODES = {
    "umcg-2022": "9108d2422221bd24529757bb4b41d27c3351131a2039b636eace4faa291aac3e",
    "umcg-v0.5": "c9cc8976e3f13bb00bf6b66151852677d1ad02d6a0953515efb8889ac4e153ea",
    "umcg-v0.9.1": "a0b2ffb8110647c4a654f456e74081f298ea88dc330ed788adb8171c59f2e63f",
}
"""Digest of what the fuzzer chooses for some seeds, as it has since it was written."""

one_abi = pytest.mark.parametrize(
    "abi",
    [ABIS[0], *map(slow, ABIS[1:])],
    indirect=True,
)
"""For tests of what is the same for all: `make check` has one of them."""

UAPI = "include/uapi/linux/umcg.h"


@pytest.fixture(scope="module", params=ABIS)
def abi(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def manifest(abi: str) -> Manifest:
    return load_plan(SUITE, abi)


@pytest.fixture(scope="module")
def suite(abi: str, tmp_path_factory: pytest.TempPathFactory, kept: Cache) -> Path:
    """Return the suite built for this host, which has no UMCG: ENOSYS throughout.

    Its one UAPI header comes out of the series, as a kernel build would have it.
    """
    folder = tmp_path_factory.mktemp("suite")
    for patch in series.load(ROOT / "kernel-patches" / abi, "6.12", kept).patches:
        if UAPI in patch.files:
            only = ["git", "apply", f"--include={UAPI}", str(patch.path)]
            subprocess.run(only, cwd=folder, check=True)
    out = folder / "out"
    numbers = " -D__NR_umcg_ctl=-1 -D__NR_umcg_wait=-1 -D__NR_umcg_kick=-1"
    make_suite(SUITE, abi, out, kept, folder / "include/uapi", numbers)
    return out


def make_suite(
    sources: Path,
    abi: str,
    out: Path,
    cache: Cache,
    headers: Path | None = None,
    flags: str = "",
) -> None:
    """Build a suite, with or without UAPI headers, or copy it if it was built before.

    It is kept in the lab's cache, as bundles are, under all that it is made from.
    """
    flags = f"-O0{flags}"

    def fill(made: Path) -> None:
        argv = ["make", "-s", f"-j{os.cpu_count()}", "-C", str(sources), f"O={made}",
                f"ABI={abi}", f"KHDR={headers or made / 'none'}", f"CFLAGS={flags}"]  # fmt: skip
        with tempfile.TemporaryDirectory() as objects:
            argv.append(f"OBJ={objects}")
            done = subprocess.run(argv, check=False, text=True, stderr=subprocess.PIPE)
        assert done.returncode == 0, done.stderr

    compiler = kbuild.compiler(X86_64)
    uapi = tree_digest(headers) if headers else ""
    key = digest("for the host", abi, compiler, flags, uapi, *inputs(sources, abi))
    shutil.copytree(cache.make("bundles", key, fill), out)


def run(argv: list[str], cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k != "UMCGLAB_CONTROL_RELEASE"}
    return subprocess.run(
        [sys.executable if a == "python3" else a for a in argv],
        cwd=cwd,
        env={**clean, **env},
        check=False,
        text=True,
        stdout=subprocess.PIPE,
    )


def is_shared(program: Program) -> bool:
    """Say whether it is built from a file that is of no ABI."""
    name = program.name.partition("/")[2]
    own = SUITE / f"abi/{program.abi}/tests/{name}.c"
    return program.abi is not None and name in SHARED | WORDS and not own.exists()


def planned(program: Program) -> list[str]:
    """Return what `-l` should print: of shared programs only the manifest has clauses."""
    clauses = {} if is_shared(program) else program.clauses
    return [f"{t}\t{' '.join(clauses.get(t, ()))}" for t in program.tests]


def test_plan_is_what_the_programs_have(suite: Path, manifest: Manifest) -> None:
    for program in manifest.of_kind("test", "py", "fuzz"):
        said = run([*program.argv, "-l"], suite)
        assert said.returncode == 0
        assert said.stdout.splitlines() == planned(program), (
            f"{program.name}: its manifest and -l differ"
        )


def test_every_program_is_planned(suite: Path, manifest: Manifest) -> None:
    built = {
        str(path.relative_to(suite))
        for folder in ("bin", "bench")
        for path in (suite / folder).rglob("*")
        if path.is_file() and "helpers" not in path.parts
    }
    built |= {
        f"test {p.relative_to(suite / 'py')}" for p in (suite / "py").rglob("test_*.py")
    }
    plan = {
        f"test {p.argv[-1]}" if p.kind == "py" else p.argv[0] for p in manifest.programs
    }
    assert plan == built


def test_every_clause_has_a_test(abi: str, manifest: Manifest) -> None:
    text = (ROOT / "kernel-patches" / abi / "ABI.md").read_text()
    clauses = contract.clauses(text)
    cited = {
        cite
        for program in manifest.programs
        for cites in program.clauses.values()
        for cite in cites
    }
    holes = sorted({c.id for c in clauses} - cited)
    assert not holes
    races = set(re.findall(r"\bR\d+\b", text))
    assert not cited - {c.id for c in clauses} - races, "no such clause"


def test_without_umcg_it_fails(abi: str, suite: Path) -> None:
    """ENOSYS is a failure on every kernel that is not known to be the control."""
    for env in ({}, {"UMCGLAB_CONTROL_RELEASE": "6.12.117-control-0123456789ab"}):
        said = run([f"bin/{abi}/ctl", "-t", "register_server"], suite, **env)
        assert said.returncode == 1
        assert "not ok 1 register_server" in said.stdout
        assert "ENOSYS" in said.stdout


def test_on_the_control_all_that_needs_umcg_skips(
    suite: Path, manifest: Manifest
) -> None:
    env = {"UMCGLAB_CONTROL_RELEASE": platform.release()}
    for program in manifest.of_kind("test", "py", "fuzz"):
        if not program.needs_umcg:
            continue
        said = run([*program.argv], suite, **env)
        assert said.returncode == 4, said.stdout
        assert said.stdout.count("# SKIP the control") == len(program.tests)
        assert "not ok" not in said.stdout


def passes(program: Program, suite: Path) -> None:
    """Have what needs no UMCG run on this host, as on a control; all of it passes."""
    assert not program.needs_umcg
    # Those keep a CPU from everybody else for a while: they are for guests.
    chosen = [t for t in program.tests if "does_not_schedule" not in t]
    argv = [*program.argv, *(arg for test in chosen for arg in ("-t", test))]
    said = run(argv, suite, UMCGLAB_CONTROL_RELEASE=platform.release())
    assert said.returncode == 0, said.stdout
    assert said.stdout.count("\nok ") == len(chosen)


@one_abi
def test_the_harness_passes(suite: Path, manifest: Manifest) -> None:
    (program,) = (p for p in manifest.programs if p.name == "harness/selftest")
    passes(program, suite)


def test_on_the_control_the_rest_passes(
    abi: str, suite: Path, manifest: Manifest
) -> None:
    (program,) = (p for p in manifest.programs if p.name == f"{abi}/presence")
    passes(program, suite)


@pytest.mark.parametrize("abi", FUZZED, indirect=True)
def test_a_seed_stands_for_the_same_episodes(abi: str, suite: Path) -> None:
    """Those in results/fuzz-seeds.txt, and what people have in their notes.

    A new operation or weight changes them: then the kept seeds say nothing any more.
    """
    plans = hashlib.sha256()
    for seed in (1, 2, 5):
        for episode in range(40):
            said = run([f"bin/{abi}/fuzz", "--plan", f"{seed}:{episode}"], suite)
            assert said.stdout.startswith(f"episode {seed}:{episode}: ")
            plans.update(said.stdout.encode())
    assert plans.hexdigest() == EPISODES[abi]


@one_abi
def test_python_tests_report_failures(abi: str, suite: Path) -> None:
    """The runner, seen to tell pass, failure, error and time-out apart."""
    victims = suite / "py" / abi / "test_victims.py"
    victims.write_text(
        "import time, pytest\n"
        "@pytest.fixture\n"
        "def broken(): raise OSError('in the fixture')\n"
        "@pytest.mark.clauses('SIG-1 R2')\n"
        "def test_good(): print('unseen')\n"
        "def test_bad(): print('seen'); assert 1 + 1 == 3\n"
        "def test_broken(broken): pass\n"
        "@pytest.mark.deadline(1)\n"
        "def test_late(): time.sleep(1000)\n"
    )
    runner = ["python3", "py/run.py", f"{abi}/test_victims.py"]
    said = run(runner, suite)
    assert said.returncode == 1
    assert said.stdout.startswith("KTAP version 1\n1..4\n# RUN good\n")
    assert "\n# clause: SIG-1 R2\nok 1 good\n" in said.stdout
    assert "\nnot ok 2 bad\n" in said.stdout
    assert "\nnot ok 3 broken\n" in said.stdout
    assert "\nnot ok 4 late\n" in said.stdout
    assert "TimeoutError: timed out after 1 s" in said.stdout
    assert "assert (1 + 1) == 3" in said.stdout
    assert "# seen" in said.stdout
    assert "unseen" not in said.stdout
    assert "in the fixture" in said.stdout
    assert run([*runner, "-t", "good"], suite).returncode == 0
    nothing = run([*runner, "-t", "nothing"], suite)
    assert (nothing.returncode, nothing.stdout) == (2, "")
    victims.write_text("import no_such_module\n")
    said = run(runner, suite)
    assert said.returncode == 1
    assert "no_such_module" in said.stdout
    victims.unlink()


@one_abi
def test_python_tests_fail_where_a_cpu_does_not_schedule(suite: Path) -> None:
    """With a watch that says so; harness/selftest has a CPU that does not, in a guest."""
    (suite / "py/test_two.py").write_text("def test_a(): pass\ndef test_b(): pass\n")
    watch = suite / "bin/helpers/watch_cpus"
    real = watch.rename(watch.with_name("real"))
    # It is asked twice for each test: before, which does not count, and after.
    watch.write_text(
        "#!/bin/sh\nfor said in '5000 0' '1000 1' '5000 0' '999 0'; do\n"
        'read _ && echo "$said"\ndone\nread _\n'
    )
    watch.chmod(0o755)
    said = run(["python3", "py/run.py", "test_two.py"], suite)
    assert said.returncode == 1
    assert "# a: CPU 1 did not schedule for 1000 ms\nnot ok 1 a\n" in said.stdout
    assert "\nok 2 b\n" in said.stdout
    slow = run(["python3", "py/run.py", "test_two.py"], suite, UMCGLAB_SLOW="2")
    assert slow.returncode == 0
    real.rename(watch)
    (suite / "py/test_two.py").unlink()


GOOD = """\
harness/selftest:
  kind: test
  tests: {one: , two: WAIT-1 R2}
umcg-x/idle:
  kind: py
  needs-umcg: true
  timeout: 7
  needs-config: FTRACE UPROBE_EVENTS
  tests: {three: SIG-2}
yard/futex: {kind: bench}
scale/x: {kind: bench, sizes: 1 10}
"""


def test_a_good_one(tmp_path: Path) -> None:
    file = tmp_path / "manifest.yaml"
    file.write_text(GOOD)
    read = load_manifest(file)
    first, second, third, fourth = read.programs
    assert (first.kind, first.argv) == ("test", ("bin/harness/selftest",))
    assert first.tests == ("one", "two")
    assert first.clauses == {"two": ("WAIT-1", "R2")}
    assert not first.needs_umcg
    assert first.timeout == 120
    assert second.argv == ("python3", "py/run.py", "umcg-x/test_idle.py")
    assert second.needs_umcg
    assert second.timeout == 7
    assert third.argv == ("bench/yard/futex",)
    assert (third.sizes, fourth.sizes) == ((), (1, 10))
    assert read.of_kind("bench") == (third, fourth)
    both = "CONFIG_UPROBE_EVENTS=y\nCONFIG_FTRACE=y\n"
    assert read.of_config(both) == read
    for text in (both.replace("FTRACE", "TRACE"), "# CONFIG_FTRACE is not set\n"):
        assert read.of_config(text).programs == (first, third, fourth)


def test_one_that_some_kernels_cannot_run(tmp_path: Path) -> None:
    file = tmp_path / "manifest.yaml"
    file.write_text(GOOD.replace("needs-config", "lacks-config"))
    read = load_manifest(file)
    assert read.of_config("CONFIG_TRACE=y\n# CONFIG_FTRACE is not set\n") == read
    for option in ("FTRACE", "UPROBE_EVENTS"):
        names = [p.name for p in read.of_config(f"CONFIG_{option}=y\n").programs]
        assert names == ["harness/selftest", "yard/futex", "scale/x"]


@pytest.mark.parametrize(
    ("old", "new", "where", "says"),
    [
        ("kind: py", "kind: tset", "5:9", "unknown kind 'tset'; did you mean 'test'?"),
        ("needs-umcg: true", "needs-umcg: no", "6:15", "can only be `true`"),
        ("timeout: 7", "timeout: 0", "7:12", "from 1 to 3600"),
        ("  timeout", "  timeuot", "7:3", "did you mean 'timeout'?"),
        ("timeout: 7", "starts: harness/self", "7:11", "unknown starts 'harness/self'"),
        ("UPROBE_EVENTS", "CONFIG_UPROBES", "8:17", "'CONFIG_UPROBES' is no option"),
        ("FTRACE UPROBE_EVENTS", "' '", "8:17", "'' is no option"),
        ("SIG-2", "SIG2", "9:18", "'SIG2' is no clause"),
        ("{three: SIG-2}", "{}", "9:10", "there are no tests"),
        ("  tests: {three: SIG-2}\n", "", "5:3", "'tests' is missing"),
        ("{kind: bench}", "{kind: bench, tests: {a: }}", "10:34", "has no tests"),
        ("sizes: 1 10", "sizes: 1 0", "11:31", "whole numbers"),
        ("sizes: 1 10", "sizes: 10 1", "11:31", "in order"),
        ("scale/x:", "scale/x-10:", "11:13", "ends as a size does"),
        (
            "  tests: {one",
            "  sizes: 1\n  tests: {one",
            "3:10",
            "only a bench has sizes",
        ),
        (
            "sizes: 1 10",
            "exact-cpus: 2",
            "11:36",
            "only a test asks for an exact guest",
        ),
        ("yard/futex", "harness/selftest", "10:1", "is there twice"),
        ("yard/futex", "futex", "10:8", "<family>/<name>"),
    ],
)
def test_mistakes_have_a_place(
    tmp_path: Path, old: str, new: str, where: str, says: str
) -> None:
    file = tmp_path / "manifest.yaml"
    assert GOOD.count(old) == 1
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(UserError) as caught:
        load_manifest(file)
    assert says in caught.value.message
    assert caught.value.where == f"{file}:{where}"


def test_programs_of_an_abi_have_its_name(tmp_path: Path) -> None:
    file = tmp_path / "manifest.yaml"
    file.write_text("umcg-x/a: {kind: test, absent: no locks, tests: {one: }}\n")
    (program,) = load_manifest(file, "umcg-x").programs
    assert (program.abi, program.absent) == ("umcg-x", "no locks")
    with pytest.raises(UserError, match=r"program of umcg-y is called `umcg-y/<name>`"):
        load_manifest(file, "umcg-y")


def test_an_abi_can_say_which_benches_it_lacks(tmp_path: Path) -> None:
    for part, text in {
        "harness": "harness/a: {kind: test, tests: {one: }}\n",
        "bench": "yard/a: {kind: bench}\nswitch/b: {kind: bench, needs-umcg: true}\n",
    }.items():
        (tmp_path / part).mkdir()
        (tmp_path / part / "manifest.yaml").write_text(text)
    file = tmp_path / "abi/umcg-x/manifest.yaml"
    file.parent.mkdir(parents=True)
    own = "umcg-x/a: {kind: test, tests: {one: }}\n"
    file.write_text(own + "switch/b: {kind: bench, absent: no switches}\n")
    plan = load_plan(tmp_path, "umcg-x").programs
    assert [(p.name, p.absent) for p in plan] == [
        ("harness/a", None), ("umcg-x/a", None), ("yard/a", None),
        ("switch/b", "no switches"),
    ]  # fmt: skip
    assert plan[-1].needs_umcg
    for bench in ("yard/a", "switch/c"):
        file.write_text(own + f"{bench}: {{kind: bench, absent: no switches}}\n")
        with pytest.raises(UserError, match=f"{bench}: not a bench that needs UMCG"):
            load_plan(tmp_path, "umcg-x")
    file.write_text(own + "switch/b: {kind: bench, needs-umcg: true}\n")
    with pytest.raises(UserError, match="can only say why it is `absent`"):
        load_plan(tmp_path, "umcg-x")


@pytest.mark.parametrize("abi", abis(SUITE), scope="module")
def test_every_abi_plans_all_that_is_shared(abi: str) -> None:
    """It runs them, with clauses of its own ABI.md, or says why it cannot."""
    plan = {
        p.name.partition("/")[2]: p for p in load_plan(SUITE, abi).programs if p.abi
    }
    assert plan.keys() >= SHARED
    for name in SHARED:
        assert plan[name].needs_umcg
        assert plan[name].absent or all(
            plan[name].clauses.get(t) for t in plan[name].tests
        )


def test_a_name_says_where_a_program_is_from() -> None:
    """Several ABIs have each program of state-word/, and none has a test in its place."""
    assert not SHARED & WORDS
    plans = {
        abi: {
            p.name.partition("/")[2]
            for p in load_plan(SUITE, abi).programs
            if is_shared(p)
        }
        for abi in ABIS
    }
    for name in WORDS:
        assert sum(name in plan for plan in plans.values()) > 1, name


def includes(path: Path) -> set[str]:
    return set(re.findall(r'^#\s*include "([^"]+)"', path.read_text(), re.M))


def headers(*folders: str) -> set[str]:
    return {p.name for f in folders for p in (SUITE / f).glob("*.h")}


PORTABLE = ("port", "kit", "harness", "bench", "mn", "shared", "fuzz")


def names(text: str) -> set[str]:
    """Return what a source has of UMCG: functions, types, constants, fields."""
    return set(re.findall(r"\b(?:umcg|UMCG)_\w+\b|(?<=->task\.)\w+|__NR_umcg\w+", text))


def test_what_is_shared_includes_no_abi() -> None:
    port = headers(*PORTABLE)
    for folder in PORTABLE:
        for path in (SUITE / folder).rglob("*.[ch]"):
            assert includes(path) <= port, path
            assert "linux/umcg.h" not in path.read_text(), path
            assert "UMCG_TASK_" not in path.read_text(), path
            assert "UMCG_TF_" not in path.read_text(), path


def test_what_is_shared_has_names_of_the_port_only() -> None:
    """No word of any ABI, and no clause: those are in the table of the ABI."""
    port = names((SUITE / "port/port.h").read_text()) | {"UMCG_TEST_MAIN"}
    for folder in PORTABLE:
        for path in (SUITE / folder).rglob("*.[ch]"):
            text = path.read_text()
            assert names(text) <= port, path
            assert not re.search(r'"[A-Z]+-[0-9]+"', text), path


def test_it_would_be_seen() -> None:
    for file in ("words.c", "server.c", "hostile.c"):
        text = (SUITE / "abi/umcg-v0.5/fuzz" / file).read_text()
        assert names(text) - names((SUITE / "port/port.h").read_text())


def test_an_abi_includes_no_other() -> None:
    """Its tests may stand on those that have a state word; what they test may not."""
    for abi in abis(SUITE):
        own = f"abi/{abi}"
        mine = headers("port", "kit", "harness", "fuzz", own, f"{own}/fuzz")
        words = headers(own, "state-word")
        for path in (SUITE / own).rglob("*.[ch]"):
            for_tests = path.suffix == ".h" or path.parent.name == "tests"
            assert includes(path) <= (mine | words if for_tests else mine), path


def plans_words(abi: str) -> bool:
    """Say whether it has programs of state-word/, and not only its own by such names."""
    own = {p.stem for p in (SUITE / f"abi/{abi}/tests").glob("*.c")}
    plan = {p.name.partition("/")[2] for p in load_plan(SUITE, abi).programs if p.abi}
    return bool(plan & (WORDS - own))


def test_what_has_a_state_word_names_no_abi() -> None:
    """What differs is in abi.h, under the same names, and clauses in the manifests."""
    ours = set.intersection(
        *(headers(f"abi/{abi}") for abi in ABIS if plans_words(abi))
    )
    mine = headers("port", "kit", "harness", "state-word") | ours
    for path in (SUITE / "state-word").glob("*.[ch]"):
        text = path.read_text()
        assert includes(path) <= mine, path
        assert "linux/umcg.h" not in text, path
        assert "UMCG_ABI_" not in text, path
        assert ".clauses" not in text, path


def compile_only(source: str, folder: Path, *flags: str) -> str:
    """Return what gcc has against a file that is compiled like the shared ones."""
    (folder / "a.c").write_text(source)
    paths = [f"-I{SUITE / name}" for name in ("harness", "kit", "port", "mn", "bench")]
    argv = ["gcc", "-D_GNU_SOURCE", "-fsyntax-only", *paths, *flags, "a.c"]
    return subprocess.run(
        argv, cwd=folder, check=False, text=True, stderr=subprocess.PIPE
    ).stderr


def test_the_header_of_an_abi_refuses_strangers(tmp_path: Path) -> None:
    stub = f"-I{SUITE / 'abi/stub'}"
    ours = '#include "abi.h"\nstruct umcg u;\n'
    assert "abi.h: No such file" in compile_only(ours, tmp_path)
    assert "abi.h of stub is not for this ABI" in compile_only(ours, tmp_path, stub)
    other = "-DUMCG_ABI_umcg_v0_5"
    assert "is not for this ABI" in compile_only(ours, tmp_path, stub, other)
    assert not compile_only(ours, tmp_path, stub, "-DUMCG_ABI_stub")
    inside = '#include "port.h"\nint f(struct umcg *u) { return u->task.state; }\n'
    assert "no member named" in compile_only(inside, tmp_path)


def skips_for_its_reason(out: Path, plan: Manifest) -> None:
    for program in (p for p in plan.programs if p.abi):
        said = run([*program.argv], out)
        assert said.returncode == 4, said.stdout
        assert said.stdout.count(f"# SKIP {program.absent}") == len(program.tests)
    benches = [b for b in plan.of_kind("bench") if b.needs_umcg]
    assert benches
    for bench in benches:
        said = run([*bench.argv, "--sched", "fair"], out)
        assert said.returncode == 4, said.stdout
        assert json.loads(said.stdout)["skip"] == bench.absent


def test_the_stub_needs_no_kernel_and_skips(tmp_path: Path, kept: Cache) -> None:
    make_suite(SUITE, STUB, tmp_path / "out", kept)
    skips_for_its_reason(tmp_path / "out", load_plan(SUITE, STUB))


def test_an_editor_is_told_how_files_are_compiled(tmp_path: Path) -> None:
    """In a copy: the file is for the folder it lies in. The stub has no state word."""
    suite = tmp_path / "guest-tests"
    left = shutil.ignore_patterns("umcg-*", "build", "state-word")
    shutil.copytree(SUITE, suite, ignore=left)
    make = ["make", "-s", "-C", str(suite), "ABI=stub", "compile_commands.json"]
    subprocess.run(make, check=True)
    entries = json.loads((suite / "compile_commands.json").read_text())
    files = {entry["file"] for entry in entries}
    assert files == {str(p.relative_to(suite)) for p in suite.rglob("*.c")}
    for name in ("fuzz/ops.c", "abi/stub/fuzz/ops.c", "shared/mn.c"):
        (entry,) = (e for e in entries if e["file"] == name)
        argv = [*shlex.split(entry["command"]), "-fsyntax-only"]
        subprocess.run(argv, cwd=entry["directory"], check=True)


def test_one_folder_adds_an_abi(tmp_path: Path, kept: Cache) -> None:
    """In a copy of the suite, with nothing else changed."""
    suite = tmp_path / "guest-tests"
    shutil.copytree(SUITE, suite, ignore=shutil.ignore_patterns("umcg-*", "stub"))
    assert abis(suite) == ()
    stub = SUITE / "abi/stub"
    for path in (p for p in stub.rglob("*") if p.is_file()):
        new = suite / "abi/umcg-new" / path.relative_to(stub)
        new.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text().replace("UMCG_ABI_stub", "UMCG_ABI_umcg_new")
        new.write_text(re.sub(r"^stub/", "umcg-new/", text, flags=re.M))
    assert abis(suite) == ("umcg-new",)
    make_suite(suite, "umcg-new", tmp_path / "out", kept)
    skips_for_its_reason(tmp_path / "out", load_plan(suite, "umcg-new"))


def test_empty_and_missing(tmp_path: Path) -> None:
    file = tmp_path / "manifest.yaml"
    with pytest.raises(UserError, match="cannot read"):
        load_manifest(file)
    file.write_text("# nothing\n")
    with pytest.raises(UserError, match="plans nothing"):
        load_manifest(file)


def test_some_fragment_asks_for_what_a_program_needs_or_is_without(
    manifest: Manifest,
) -> None:
    needed = {
        option
        for p in manifest.programs
        for option in (*p.needs_config, *p.lacks_config)
    }
    fragments = (ROOT / "kernel-patches/kconfig").rglob("*.config")
    lines = {line for path in fragments for line in path.read_text().splitlines()}
    assert needed
    assert {f"CONFIG_{option}=y" for option in needed} <= lines


def test_the_table_has_every_clause_that_cites_a_race(abi: str) -> None:
    text = (ROOT / "kernel-patches" / abi / "ABI.md").read_text()
    rows = dict(re.findall(r"^\| (R\d+) \|.*\|(.*)\|.*\|$", text, re.M))
    for clause in contract.clauses(text):
        for race in re.findall(r"\bR\d+\b", clause.text):
            assert clause.id in re.findall(r"[A-Z]+-\d+", rows[race]), race


def test_every_race_is_in_the_table_and_has_its_tests(
    abi: str, manifest: Manifest
) -> None:
    cited: dict[str, set[str]] = {}
    for program in manifest.programs:
        for test, clauses in program.clauses.items():
            name = f"{program.name.partition('/')[2]}:{test}"
            for race in (c for c in clauses if re.fullmatch(r"R\d+", c)):
                cited.setdefault(race, set()).add(name)

    text = (ROOT / "kernel-patches" / abi / "ABI.md").read_text()
    rows = re.findall(r"^\| (R\d+) \|(.*)\|(.*)\|(.*)\|(.*)\|$", text, re.M)
    assert [race for race, *_ in rows] == [f"R{n}" for n in range(1, 60)]
    for race, _, here, clauses, tests in rows:
        if "does not apply" in here:
            assert (clauses.strip(), tests.strip()) == ("-", "-"), race
            assert race not in cited
        else:
            named = set(re.findall(r"`([^`]+)`", tests))
            assert named, race
            assert named <= cited[race], race
            assert set(re.findall(r"[A-Z]+-\d+", clauses)), race
