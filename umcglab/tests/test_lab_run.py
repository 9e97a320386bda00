# SPDX-License-Identifier: MIT
"""The whole lab on real kernels: the run a person makes, and each way it can go wrong.

Kernels come from the shared cache, or are built first. Each test here is one
row of the promise that whatever breaks gives one clear message, the right exit
status and no leftover process, and keeps what was measured before.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from umcglab.guest import exact, suite
from umcglab.host import display
from umcglab.host.progress import Silent
from umcglab.kernel import kernels
from umcglab.lab import config
from umcglab.lab.config import Lab
from umcglab.lab.manifest import STUB, abis, load_plan
from umcglab.results import codec, facts
from umcglab.results.rundir import RunDir
from umcglab.run import artifacts, lanes, session
from umcglab.run.artifacts import Built
from umcglab.tests import scope
from umcglab.tests.provoke import provoked, run_programs
from umcglab.tests.scope import ARCHES
from umcglab.verdict import bench_output
from umcglab.verdict.runs import Run
from umcglab.verdict.targets import TargetResult

pytestmark = pytest.mark.lab

ROOT = config.ROOT
PATCHED = "{}-umcg-v0.5"


def umcglab(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "umcglab", *argv],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def qemus_of(folder: Path) -> list[str]:
    """Return the command lines of running QEMUs that use `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "qemu-system" in line and str(folder) in line:
            found.append(line)
    return found


@pytest.fixture(scope="module")
def lab_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab.yaml like the project's, with results of its own."""
    folder = tmp_path_factory.mktemp("lab")
    path = folder / "lab.yaml"
    path.write_text((ROOT / "lab.yaml").read_text() + f"\nresults: {folder}/results\n")
    return path


@pytest.fixture(scope="module")
def lab(lab_file: Path) -> Lab:
    return config.load(lab_file)


@pytest.fixture(scope="module")
def built(lab: Lab) -> Built:
    """Everything that is tested here, built."""
    with display.Display() as shown:
        made = artifacts.build(lab, scope.targets(lab), artifacts.cores(None), shown)
    assert made.errors() == ()
    return made


@pytest.fixture(autouse=True)
def no_qemu_left(lab: Lab) -> Iterator[None]:
    yield
    assert qemus_of(lab.results) == []


@pytest.fixture(scope="module")
def whole_run(lab: Lab, lab_file: Path, built: Built) -> Run:
    """One run of the lab as a user starts it, of all programs and benches."""
    done = umcglab(
        "run", "--lab", lab_file, "--only", ",".join(scope.BENCH),
        "--fuzz-ops", scope.FUZZ_OPS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return session.render(RunDir((lab.results / "latest").resolve()))


@pytest.mark.timeout(3600)
def test_every_target_end_to_end(whole_run: Run) -> None:
    for name in ("report.html", "junit.xml", "run.json", "lab.log", "lab.yaml"):
        assert (whole_run.path / name).stat().st_size
    assert {t.name for t in whole_run.targets} == set(scope.BENCH)
    for target in whole_run.targets:
        assert_all_is_well(target)
        assert target.exact and target.exact.identical
        assert target.facts.floor


PLAIN = ("yard/signal", "yard/io_uring")
"""What tasks do that have nothing to do with UMCG and pass its hooks."""


def more_than_a_look(arch: str, control: float, patched: float) -> float:
    """Return what a patched kernel takes beyond a look at one pointer.

    That is 2 instructions. arm64 has `current` in a system register, and reads that first.
    """
    return patched - control - {"x86_64": 2, "arm64": 3}[arch]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("bench", PLAIN)
def test_tasks_without_umcg_pay_little(whole_run: Run, arch: str, bench: str) -> None:
    """A look at one pointer ahead of signals. What else there may be is none of UMCG's:

    - x86_64, signal: 8 more, and io_uring 6 less. With retpolines x64_sys_call() is a
      tree of comparisons, which two more system calls balance otherwise (1e3ad78334a6
      ("x86/syscall: Don't force use of indirect calls for system calls"), v6.9). `umcglab
      anatomy` shows tgkill() and rt_sigreturn() by 4 longer each, io_uring_enter() by 6
      shorter; else only the exit loop differs, by 2.
    - arm64: a nop that aligns a loop of __send_signal_locked().
    """
    control, patched = (
        {
            (case.name, case.sched): figure.per_op
            for target in whole_run.targets
            if target.name == f"{arch}-{abi}"
            for case, figure in target.figures.items()
        }
        for abi in ("control", "umcg-v0.5")
    )
    noise = {"x86_64": 8, "arm64": 1}[arch] if bench == "yard/signal" else 0
    for sched in ("fair", "fifo"):
        case = bench, sched
        assert more_than_a_look(arch, control[case], patched[case]) <= noise


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("arch", ARCHES)
def test_they_pay_little_on_the_newest_base(
    lab: Lab, tmp_path: Path, arch: str
) -> None:
    """`make test` has no control of that base. Nothing there has to be explained."""
    targets = config.select(lab, [f"{arch}-control-7.3", f"{arch}-umcg-v0.5-7.3"])
    control, patched = (kernels.build(t, lab, Silent(), 2) for t in targets)
    bundle = suite.build(lab, targets[1].arch, patched, targets[1].abi, Silent())
    plan = {p: s for p, s in lanes.benches(bundle).items() if p.case.name in PLAIN}
    costs = []
    for kernel in (control, patched):
        done = exact.run(
            lab,
            kernel,
            bundle.dir,
            [*plan.values()],
            output=tmp_path / kernel.release / "output",
            console_log=tmp_path / kernel.release / "console",
        )
        read = bench_output.parse_uart(done.output.read_text(), [*plan])
        assert not read.problems
        costs.append({case: figure.per_op for case, figure in read.figures.items()})
    assert costs[0].keys() == costs[1].keys() == {p.case for p in plan}
    more = {c: more_than_a_look(arch, costs[0][c], costs[1][c]) for c in costs[0]}
    assert max(more.values()) <= 0, more


@pytest.mark.timeout(3600)
def test_controls_run_the_bundle_of_every_abi(whole_run: Run) -> None:
    """All of it skips; that of the stub for the reason that its manifest gives."""
    suite = ROOT / "guest-tests"
    for target in (t for t in whole_run.targets if t.facts.is_control):
        programs = {p.name: p for p in target.programs}
        assert {name.partition("/")[0] for name in programs} >= {*abis(suite)}
        for program in load_plan(suite, STUB).programs:
            if program.abi != STUB:
                continue
            found = {(t.name, t.reason) for t in programs[program.name].tests}
            assert found == {(test, program.absent) for test in program.tests}


def assert_all_is_well(target: TargetResult) -> None:
    """Every test of a target passed, or skipped where the control has no UMCG."""
    outcomes = {test.name: test.outcome for p in target.programs for test in p.tests}
    assert outcomes
    skipped = {name for name, outcome in outcomes.items() if outcome == "SKIP"}
    needs = {n for p in target.facts.programs for n in p.needs_umcg}
    assert skipped == (needs if target.facts.is_control else set())
    assert target.facts.boots[0].to_ssh


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("tests", [scope.SMOKE, scope.nightly("*")])
def test_a_kernel_with_detectors_end_to_end(
    lab: Lab, lab_file: Path, built: Built, tests: str
) -> None:
    done = umcglab("run", "--lab", lab_file, "--only", scope.DEBUG, "--tests", tests)
    assert done.returncode == 0, done.stderr
    (target,) = session.render(RunDir((lab.results / "latest").resolve())).targets
    assert_all_is_well(target)
    assert not target.facts.benches
    assert target.programs[-1].name == "kernel/kmemleak"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("arch", ARCHES)
def test_report_renders_an_old_run_again(whole_run: Run, arch: str) -> None:
    report = whole_run.path / "report.html"
    report.unlink()
    done = umcglab("report", whole_run.path)
    assert done.returncode == 0, done.stderr
    assert PATCHED.format(arch) in report.read_text()


BREAKS = {"WARNING": "warning", "BUG": "bug", "PANIC": "panic", "HARDLOCKUP": None}
"""What lkdtm does to the kernel, and the kind of splat that shows it, if any."""
BASES = ("", "-7.3")
"""Those whose kernels are made to break, for each words its reports otherwise."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("arch", ARCHES)
def test_a_kernel_that_breaks_under_a_passing_test_fails_it(
    lab: Lab, built: Built, arch: str, base: str
) -> None:
    programs = [provoked("lab/first", "")]
    for what in BREAKS:
        programs += [provoked(f"lab/{what}", what), provoked(f"lab/after-{what}", "")]
    result = run_programs(lab, built, PATCHED.format(arch) + base, *programs)
    first, *others = result.targets[0].programs
    assert first.outcome == "PASS"
    for what, broken, after in zip(BREAKS, others[::2], others[1::2], strict=True):
        assert broken.outcome == "FAIL", what
        assert after.outcome == "PASS", what
        if kind := BREAKS[what]:
            assert kind in [splat.kind for splat in broken.splats]
            (shown,) = (f.splats for f in result.findings if f.subject == broken.name)
            assert "lkdtm/bugs.c:" in "".join(s.excerpt for _, s in shown), "decoded"
        else:
            assert broken.facts
            assert any("lkdtm" in name for name in broken.facts.stuck)
    # Each had a guest of its own, which went on from the one boot.
    assert len(result.targets[0].facts.boots) == 1
    assert result.exit_code == 1


def booted(lab: Lab, built: Built, name: str, cmdline: str, timeout: int) -> Run:
    """Boot a real target with something wrong on its command line."""
    target = replace(
        config.select(lab, [name])[0], cmdline=cmdline, boot_timeout=timeout
    )
    run_dir = session.begin(lab, [target], session.Options(command="test", cores=2))
    made = replace(session.ready(target, built), programs=(provoked("lab/never", ""),))
    state = session.write_plan(made, run_dir, benches=())
    lanes.test_lane(lab, made, state, run_dir, Silent())
    return session.render(run_dir)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("base", [BASES[0], *map(scope.nightly, BASES[1:])])
@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize(
    ("cmdline", "fault", "message"),
    [
        ("lkdtm.cpoint_name=DIRECT lkdtm.cpoint_type=PANIC", 1, "panic"),
        (
            "lkdtm.cpoint_name=DIRECT lkdtm.cpoint_type=HARDLOCKUP",
            1,
            "lkdtm_HARDLOCKUP",
        ),
        ("initcall_blacklist=virtio_net_driver_init", 3, "eth0"),
    ],
    ids=["panic", "hang", "no-network"],
)
def test_a_boot_that_fails_says_why(
    lab: Lab, built: Built, arch: str, base: str, cmdline: str, fault: int, message: str
) -> None:
    result = booted(lab, built, PATCHED.format(arch) + base, cmdline, 20)
    target = result.targets[0]
    (error,) = target.facts.errors
    assert error.fault == result.exit_code == fault
    assert message in f"{error.message} {error.where} {error.hint}"
    assert error.log and Path(error.log).stat().st_size
    assert target.programs[0].outcome == "MISSING"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_ending_the_lab_in_the_middle(
    lab: Lab, lab_file: Path, built: Built, signum: int
) -> None:
    latest = lab.results / "latest"
    before = latest.resolve()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "umcglab",
            "run",
            "--lab",
            lab_file,
            "--only",
            ",".join(map(PATCHED.format, ARCHES)),
        ],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stderr
    # In the middle: a first program has finished, others have not.
    deadline = time.monotonic() + 120
    while latest.resolve() == before or not list(latest.glob("*/programs/*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signum)
    process.communicate(timeout=60)
    wait_for(lambda: not qemus_of(lab.results))
    done = [p for p in latest.glob("*/programs/*.json")]
    assert done
    if signum == signal.SIGKILL:
        # Nobody was left to write it; what was measured can still be rendered.
        umcglab("report", latest)
    else:
        assert process.returncode == session.INTERRUPTED
        state = codec.read(latest / "run.json", facts.RunFacts)
        assert state.interrupted
    result = json.loads((latest / "run.json").read_text())["result"]
    outcomes = {
        test["outcome"]
        for target in result["targets"]
        for program in target["programs"]
        for test in program["tests"]
    }
    assert outcomes >= {"PASS", "MISSING"}
    assert (latest / "report.html").stat().st_size


def wait_for(true: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until `true()`; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.1)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("arch", ARCHES)
def test_shell_runs_what_is_piped_into_it(
    lab_file: Path, built: Built, arch: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "umcglab", "shell", "--lab", lab_file, "--only",
         PATCHED.format(arch)],
        input="uname -r; ls /run/umcglab; exit 7\n",
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    kernel = built.kernels[PATCHED.format(arch)]
    assert not isinstance(kernel, Exception)
    assert kernel.release in done.stdout
    assert {"bench", "bin", "py"} <= set(done.stdout.split())
    assert done.returncode == 7
