# SPDX-License-Identifier: MIT
"""A lab on real kernels, and each way it can go wrong.

Whatever breaks gives one clear message, the right exit status and no leftover process,
and what was measured before is kept.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from umcglab.guest import qemu
from umcglab.host.progress import Silent
from umcglab.lab import config
from umcglab.lab.config import Lab
from umcglab.results import codec, facts
from umcglab.run import lanes, session
from umcglab.run.artifacts import Built
from umcglab.tests import reallab, scope
from umcglab.tests.provoke import provoked, run_programs
from umcglab.tests.scope import ARCHES
from umcglab.verdict.runs import Run

pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(3600),
    pytest.mark.usefixtures("no_qemu_left"),
]


@pytest.fixture(scope="module")
def lab(lab_file: Path) -> Lab:
    return config.load(lab_file)


BREAKS = {"WARNING": "warning", "BUG": "bug", "PANIC": "panic", "HARDLOCKUP": None}
"""What lkdtm does to the kernel, and the kind of splat that shows it, if any."""
BASES = ("", "-7.3")
"""Those whose kernels are made to break, for each words its reports otherwise."""


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("arch", ARCHES)
def test_a_kernel_that_breaks_under_a_passing_test_fails_it(
    lab: Lab, built: Built, arch: str, base: str
) -> None:
    programs = [provoked("lab/first", "")]
    for what in BREAKS:
        programs += [provoked(f"lab/{what}", what), provoked(f"lab/after-{what}", "")]
    result = run_programs(lab, built, reallab.PATCHED.format(arch) + base, *programs)
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


@pytest.mark.parametrize("base", [BASES[0], *map(scope.nightly, BASES[1:])])
@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize(
    ("cmdline", "timeout", "fault", "message"),
    [
        ("lkdtm.cpoint_name=DIRECT lkdtm.cpoint_type=PANIC", 600, 1, "panic"),
        # The limit has to pass here, and on a busy host it takes 20 s to come so far.
        (
            "lkdtm.cpoint_name=DIRECT lkdtm.cpoint_type=HARDLOCKUP",
            40,
            1,
            "lkdtm_HARDLOCKUP",
        ),
        ("initcall_blacklist=virtio_net_driver_init", 600, 3, "eth0"),
    ],
    ids=["panic", "hang", "no-network"],
)
def test_a_boot_that_fails_says_why(
    lab: Lab,
    built: Built,
    arch: str,
    base: str,
    cmdline: str,
    timeout: int,
    fault: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Else a guest that hangs is no fault of the kernel where the host is busy.
    monkeypatch.setattr(qemu, "_waited", lambda pid: 0.0)
    result = booted(lab, built, reallab.PATCHED.format(arch) + base, cmdline, timeout)
    target = result.targets[0]
    (error,) = target.facts.errors
    assert error.fault == result.exit_code == fault
    assert message in f"{error.message} {error.where} {error.hint}"
    assert error.log and Path(error.log).stat().st_size
    assert target.programs[0].outcome == "MISSING"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_ending_the_lab_in_the_middle(
    lab: Lab, lab_file: Path, built: Built, signum: int
) -> None:
    latest = lab.results / "latest"
    before = latest.resolve()
    command = [sys.executable, "-m", "umcglab", "run", "--lab", str(lab_file),
               "--only", ",".join(map(reallab.PATCHED.format, ARCHES))]  # fmt: skip
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=config.ROOT
    ) as process:
        try:
            # In the middle: a first program has finished, others have not.
            while latest.resolve() == before or not measured(latest):
                assert process.poll() is None
                time.sleep(0.1)
            process.send_signal(signum)
            process.communicate()
        finally:
            process.kill()
    while reallab.qemus_of(lab.results):
        time.sleep(0.1)
    assert measured(latest)
    if signum == signal.SIGKILL:
        # Nobody was left to write it; what was measured can still be rendered.
        reallab.umcglab("report", latest)
    else:
        assert process.returncode == session.INTERRUPTED
        state = codec.read(latest / "run.json", facts.RunFacts)
        assert state.interrupted
    result = json.loads((latest / "run.json").read_text())["result"]
    outcomes = [
        {test["outcome"] for program in target["programs"] for test in program["tests"]}
        for target in result["targets"]
    ]
    assert len(outcomes) == len(ARCHES)
    assert any("PASS" in those for those in outcomes)
    # No job went on to the end of its target after the lab had ended.
    assert all("MISSING" in those for those in outcomes)
    assert (latest / "report.html").stat().st_size


def measured(run: Path) -> list[Path]:
    """Return the records of those programs of a run that have finished."""
    return list(run.glob("*/programs/*.json"))


@pytest.mark.parametrize("arch", ARCHES)
def test_shell_runs_what_is_piped_into_it(
    lab_file: Path, built: Built, arch: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "umcglab", "shell", "--lab", lab_file, "--only",
         reallab.PATCHED.format(arch)],
        input="uname -r; ls /run/umcglab; exit 7\n",
        capture_output=True, text=True, check=False, cwd=config.ROOT,
    )  # fmt: skip
    kernel = built.kernels[reallab.PATCHED.format(arch)]
    assert not isinstance(kernel, Exception)
    assert kernel.release in done.stdout
    assert {"bench", "bin", "py"} <= set(done.stdout.split())
    assert done.returncode == 7
