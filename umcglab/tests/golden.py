# SPDX-License-Identifier: MIT
"""Runs as the lab leaves them, made up: one that is good, and ways to break it.

python -m umcglab.tests.golden FOLDER    # every scenario, with its report
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from umcglab.results import codec
from umcglab.results.facts import (
    AccelFacts,
    BenchPlanFacts,
    BootFacts,
    ErrorFacts,
    ExactFacts,
    ExactRunFacts,
    KernelFacts,
    PlanFacts,
    ProgramFacts,
    RunFacts,
    TargetFacts,
)
from umcglab.results.rundir import RunDir
from umcglab.verdict import contract

DATA = Path(__file__).parent / "data"
ABI = """\
# UMCG v0.5

## umcg_ctl

**CTL-1** `UMCG_CTL_REGISTER` with a valid `self` registers the calling thread
as a server and returns 0.

**CTL-2** `self` NULL, or not aligned: EINVAL, and nothing is read. (R16)

**CTL-6** Registering a thread that is registered: EINVAL.

## Wait

**WAIT-1** The caller sleeps while its word is IDLE.

**WAIT-2** The word decides. (R1, R2)

**TIME-1** `abs_timeout` is an absolute time on CLOCK_REALTIME.
"""
TARGETS = (
    "x86_64-control",
    "x86_64-umcg-v0.5",
    "arm64-control",
    "arm64-umcg-v0.5",
)
TESTS = {
    "harness/selftest": (
        "pass_is_reported",
        "assert_stops_the_test",
        "expect_in_thread_fails",
        "deadline_kills_the_group",
    ),
    "umcg/ctl": ("register", "register_null", "register_twice"),
    "umcg/wait": ("wait_wake", "wake_before_wait", "timeout_in_the_past"),
    "py/proc": ("test_state_of_a_waiter", "test_gdb_attaches"),
}
CLAUSES = {
    "register": ("CTL-1",),
    "register_null": ("CTL-2", "R16"),
    "register_twice": ("CTL-6",),
    "wait_wake": ("WAIT-1",),
    "wake_before_wait": ("WAIT-2", "R1"),
    "test_state_of_a_waiter": ("WAIT-1",),
}
# x86_64, arm64; each fair, fifo: instructions per operation
COSTS = {
    "yard/syscall": ((203, 203), (261, 261)),
    "yard/swapcontext": ((322, 322), (410, 410)),
    "yard/sched_yield": ((1781, 1075), (1960, 1288)),
    "yard/futex": ((2811, 2752), (3204, 3127)),
    "yard/eventfd": ((2893, 2611), (3301, 2987)),
    "yard/pipe": ((3702, 3470), (4188, 3954)),
    "yard/condvar": ((6095, 3598), (6950, 4102)),
    "switch/server-server": ((2401, 1874), (2798, 2201)),
}
OPS = {
    "yard/syscall": "one getppid(2)",
    "yard/swapcontext": "one swapcontext(3)",
    "switch/server-server": "one-way hand-off: umcg_wait(2) that switches",
}
PATCHES = (
    (
        "plumbing/0001-uaccess-cmpxchg-on-user-words.patch",
        "uaccess: cmpxchg on user words",
    ),
    ("umcg-v0.5/0001-sched-umcg-servers.patch", "sched/umcg: add servers"),
    ("umcg-v0.5/0002-sched-umcg-wait.patch", "sched/umcg: add umcg_wait()"),
)
BATCHES = 60
OPS_PER_BATCH = 40


def umcg(name: str) -> bool:
    return name.startswith(("umcg/", "py/", "switch/"))


def ktap(tests: Sequence[str], skip: bool = False) -> str:
    """Return what a program prints whose tests all pass, or all skip."""
    lines = ["KTAP version 1", f"1..{len(tests)}"]
    for n, test in enumerate(tests, 1):
        lines.append(f"# RUN {test}")
        if test in CLAUSES:
            lines.append(f"# clause: {' '.join(CLAUSES[test])}")
        why = " # SKIP umcg_ctl(2): ENOSYS on the control kernel" if skip else ""
        lines.append(f"ok {n} {test}{why}")
    counts = (0, len(tests)) if skip else (len(tests), 0)
    lines.append(f"# Totals: pass:{counts[0]} fail:0 skip:{counts[1]}")
    return "\n".join(lines) + "\n"


def histogram(per_op: int, bench: str, sched: str) -> list[list[int]]:
    """Return batch totals around `per_op`, wider in the fair class."""
    middle = per_op * OPS_PER_BATCH
    step = max(1, middle // (2000 if sched == "fifo" else 260))
    if bench in ("yard/syscall", "yard/swapcontext"):
        return [[middle, BATCHES - 1], [middle + 12, 1]]
    weights = (3, 11, 27, 12, 5, 2)
    return [[middle + (i - 2) * step, n] for i, n in enumerate(weights)]


BUILD_LOG = """\
  CC      kernel/sched/umcg.o
kernel/sched/umcg.c: In function 'umcg_do_wait':
kernel/sched/umcg.c:412:9: error: implicit declaration of function 'umcg_wake_up'
  412 |         umcg_wake_up(next);
      |         ^~~~~~~~~~~~
cc1: all warnings being treated as errors
make[4]: *** [scripts/Makefile.build:229: kernel/sched/umcg.o] Error 1
make[4]: *** Waiting for unfinished jobs....
  CC      kernel/sched/fair.o
make: *** [Makefile:224: __sub-make] Error 2
"""


class Golden:
    """A run folder; made good, then broken by the methods below."""

    def __init__(self, path: Path, targets: Sequence[str] = TARGETS) -> None:
        self.dir = RunDir(path)
        self.run = RunFacts(
            id=path.name,
            started="2026-01-01T10:00:00+00:00",
            finished="2026-01-01T10:01:37+00:00",
            command="umcglab run",
            lab_git="4e3c11b0d9a2f6c1e7b85d40a9f3c2e1d0b4a596",
            plan=tuple(targets),
            host={"os": "Debian GNU/Linux 12", "kernel": "6.1.0-32-amd64", "cpus": 2},
            clauses={"umcg-v0.5": contract.clauses(ABI)},
        )
        codec.write(self.dir.run, self.run)
        (path / "lab.yaml").write_text("targets: {}\n")
        for name in targets:
            self.good(name)

    def change_run(self, **changes: object) -> None:
        self.run = replace(self.run, **changes)  # type: ignore[arg-type]
        codec.write(self.dir.run, self.run)

    def target(self, name: str) -> TargetFacts:
        return codec.read(self.dir.target(name), TargetFacts)

    def change(self, name: str, **changes: object) -> None:
        made = replace(self.target(name), **changes)  # type: ignore[arg-type]
        codec.write(self.dir.target(name), made)

    def program(self, target: str, name: str) -> ProgramFacts:
        return codec.read(self.dir.program(target, name), ProgramFacts)

    def change_program(
        self, target: str, name: str, log: str | None = None, **changes: object
    ) -> None:
        made = replace(self.program(target, name), **changes)  # type: ignore[arg-type]
        codec.write(self.dir.program(target, name), made)
        if log is not None:
            self.dir.program_log(target, name).write_text(log)

    def good(self, name: str) -> None:
        """Write a target of which everything is as it should be."""
        arch, _, abi = name.partition("-")
        release = (
            f"6.12.117-{abi}-{'0d4c62f1a9be' if arch == 'arm64' else 'c0ffee5eed42'}"
        )
        control = abi == "control"
        boot = (DATA / f"boot/{arch}.log").read_text()
        console = self.dir.console(name, 1)
        console.parent.mkdir(parents=True, exist_ok=True)
        console.write_text(boot)
        self.dir.build_log(name).write_text("  CC      kernel/sched/core.o\n")
        plans = tuple(
            PlanFacts(
                program,
                kind=program.partition("/")[0] if program[:2] == "py" else "test",
                tests=tests,
                needs_umcg=tests if umcg(program) else (),
                clauses={t: CLAUSES[t] for t in tests if t in CLAUSES},
            )
            for program, tests in TESTS.items()
        )
        benches = tuple(
            BenchPlanFacts(f"{bench}:{sched}", bench, sched, umcg(bench))
            for bench in COSTS
            for sched in ("fair", "fifo")
        )
        codec.write(
            self.dir.target(name),
            TargetFacts(
                name=name,
                arch=arch,
                abi=abi,
                base="6.12",
                flavor="bench",
                status="done",
                programs=plans,
                benches=benches,
                kernel=KernelFacts(
                    release[-12:],
                    release,
                    {
                        "arch": arch,
                        "source": {
                            "name": "6.12",
                            "kind": "debian",
                            "version": "6.12.117",
                            "digest": "3f0a2ccd6a58938a",
                        },
                        "patches": [
                            {"name": patch, "subject": subject, "sha256": "ab12" * 16}
                            for patch, subject in (() if control else PATCHES)
                        ],
                        "fragments": {"kconfig/base.config": "a207" * 16},
                        "config_sha256": "9d3f" * 16,
                        "compiler": "gcc (Debian 12.2.0-14+deb12u1) 12.2.0",
                    },
                ),
                image="5a1e5a1e5a1e5a1e",
                bundle="b0d1b0d1b0d1b0d1",
                qemu="7.2.22",
                accel=AccelFacts("tcg", "a probe guest did not boot under KVM in 4 s"),
                floor=1.62,
                boots=(
                    BootFacts(
                        1,
                        ("qemu-system-" + arch, "-machine", "q35", "-m", "1024"),
                        to_ssh=2.75,
                        uname=release,
                    ),
                ),
                started="2026-01-01T10:00:04+00:00",
                finished="2026-01-01T10:01:20+00:00",
            ),
        )
        for program, tests in TESTS.items():
            skip = control and umcg(program)
            codec.write(
                self.dir.program(name, program),
                ProgramFacts(
                    program,
                    boot=1,
                    exit_status=4 if skip else 0,
                    duration=0.8,
                    console_from=len(boot),
                    console_to=len(boot),
                    reproduce=f"umcglab run --only {name} --tests {program}",
                ),
            )
            self.dir.program_log(name, program).write_text(ktap(tests, skip))
        self.measure(name)

    def measure(self, name: str, scale: float = 1.0) -> None:
        """Write both exact guests of a target, the same to the bit."""
        target = self.target(name)
        assert target.kernel
        runs = []
        text = ""
        for plan in target.benches:
            text += f"@@ begin {plan.name}\n"
            if plan.needs_umcg and target.is_control:
                body = {"schema": 1, "bench": plan.bench, "sched": plan.sched}
                text += json.dumps(body | {"skip": "umcg_ctl(2): ENOSYS"}) + "\n"
                text += f"@@ end {plan.name} 4\n"
                continue
            cost = COSTS[plan.bench][target.arch == "arm64"][plan.sched == "fifo"]
            hist = histogram(round(cost * scale), plan.bench, plan.sched)
            values = [value for value, _ in hist]
            line = {
                "schema": 1,
                "bench": plan.bench,
                "version": 1,
                "sched": plan.sched,
                "unit": "ns",
                "clock": "monotonic" if target.arch == "arm64" else "tsc",
                "clock_overhead": 29,
                "warmup": 4,
                "batches": BATCHES,
                "ops_per_batch": OPS_PER_BATCH,
                "min": values[0],
                "max": values[-1],
                "sum": sum(value * n for value, n in hist),
                "hist": hist,
                "op": OPS.get(plan.bench, "one-way hand-off"),
            }
            text += json.dumps(line) + f"\n@@ end {plan.name} 0\n"
        for n in (1, 2):
            out = self.dir.exact_output(name, n)
            out.parent.mkdir(exist_ok=True)
            out.write_text(text + "@@ done\n")
            self.dir.exact_console(name, n).write_text(
                f"[    0.000000] Linux version {target.kernel.release} (lab@lab)\n"
            )
            argv = ("qemu-system-" + target.arch, "-icount", "shift=0,sleep=off")
            runs.append(ExactRunFacts(n, argv, duration=9.4))
        codec.write(self.dir.exact(name), ExactFacts(seed=1, runs=tuple(runs)))

    def splat(self, target: str, sample: str, boot: int = 1) -> int:
        """Append a kernel report to a console; return where it then ends."""
        console = self.dir.console(target, boot)
        text = (DATA / f"splat/{sample}.log").read_text()
        with console.open("a") as f:
            f.write(text)
        return console.stat().st_size


X86 = "x86_64-umcg-v0.5"
ARM = "arm64-umcg-v0.5"


def passing(path: Path) -> None:
    """Everything as it should be."""
    Golden(path)


def failing(path: Path) -> None:
    """Two tests fail in one program, with diagnostics."""
    golden = Golden(path)
    log = ktap(TESTS["umcg/wait"])
    log = log.replace(
        "ok 2 wake",
        "# tests/umcg/wait.c:88: Expected 0 (0) == rc (-110)\nnot ok 2 wake",
    ).replace(
        "# clause: WAIT-1\nok 1 wait_wake",
        "# wait_wake: killed by signal 11 (Segmentation fault)\nnot ok 1 wait_wake",
    )
    golden.change_program(X86, "umcg/wait", log=log, exit_status=1)


def splat(path: Path) -> None:
    """A program passes, but the kernel complains and goes on."""
    golden = Golden(path)
    before = golden.program(X86, "umcg/wait").console_from
    end = golden.splat(X86, "warning-x86_64")
    golden.change_program(X86, "umcg/wait", console_from=before, console_to=end)
    golden.change_program(X86, "py/proc", console_from=end, console_to=end)


def lost(path: Path) -> None:
    """The guest dies in the middle of a program; the rest runs after a reboot."""
    golden = Golden(path)
    whole = ktap(TESTS["umcg/ctl"])
    cut = whole[: whole.index("ok 2") - 12]
    before = golden.program(ARM, "umcg/ctl").console_from
    golden.splat(ARM, "oops-arm64")
    end = golden.splat(ARM, "panic-init")
    golden.change_program(
        ARM,
        "umcg/ctl",
        log=cut,
        exit_status=None,
        lost=True,
        console_from=before,
        console_to=end,
    )
    boot = (DATA / "boot/arm64.log").read_bytes()
    golden.dir.console(ARM, 2).write_bytes(boot)
    first = golden.target(ARM).boots[0]
    golden.change(ARM, boots=(first, replace(first, n=2, to_ssh=2.61)))
    golden.change_program(ARM, "harness/selftest", console_to=before)
    for program in ("umcg/wait", "py/proc"):
        golden.change_program(
            ARM, program, boot=2, console_from=len(boot), console_to=len(boot)
        )


def hang(path: Path) -> None:
    """A program never ends; the guest is killed where it stands."""
    golden = Golden(path)
    whole = ktap(TESTS["umcg/wait"])
    golden.change_program(
        X86,
        "umcg/wait",
        log=whole[: whole.index("ok 2")],
        exit_status=None,
        timed_out=True,
        duration=60.0,
        stuck=("umcg_spin", "umcg_wait"),
    )
    golden.dir.program(X86, "py/proc").unlink()
    golden.dir.program_log(X86, "py/proc").unlink()
    error = ErrorFacts(
        1, "the kernel did not boot again: no console line in 20 s", "boot",
        log=str(golden.dir.console(X86, 2)),
    )  # fmt: skip
    golden.dir.console(X86, 2).write_text("")
    golden.change(X86, errors=(error,), status="error")


def inexact(path: Path) -> None:
    """The two exact guests of a target do not agree."""
    golden = Golden(path)
    second = golden.dir.exact_output(ARM, 2)
    second.write_text(
        second.read_text().replace('"clock_overhead": 29', '"clock_overhead": 31', 7)
    )


def unbuilt(path: Path) -> None:
    """A patch does not compile; the other targets run."""
    golden = Golden(path)
    for arch in ("x86_64", "arm64"):
        name = f"{arch}-umcg-v0.5"
        for file in golden.dir.target(name).parent.rglob("*"):
            if file.is_file():
                file.unlink()
        plain = TargetFacts(name, arch, "umcg-v0.5", "6.12", "bench")
        error = ErrorFacts(
            1,
            f"{name}: kernel/sched/umcg.c:412:9: error: implicit declaration of "
            "function 'umcg_wake_up'",
            "build",
            where="kernel-patches/umcg-v0.5/6.12/0003-sched-umcg-wait-and-wake.patch",
            hint="the whole log says more",
            log="/root/.cache/umcglab/kernels/.tmp/build.log",
        )
        codec.write(
            golden.dir.target(name), replace(plain, status="error", errors=(error,))
        )
        golden.dir.build_log(name).write_text(BUILD_LOG)


def interrupted(path: Path) -> None:
    """Ctrl-C in the middle: some targets done, one half, one not begun."""
    golden = Golden(path)
    golden.change_run(interrupted="interrupted by SIGINT")
    arm = golden.dir.target(ARM).parent
    for file in arm.rglob("*"):
        if file.is_file() and file.name != "target.json":
            file.unlink()
    golden.change(ARM, status="planned", boots=(), floor=None, finished=None)
    golden.change(X86, status="running", finished=None)
    for program in ("umcg/wait", "py/proc"):
        golden.dir.program(X86, program).unlink()
    for file in (golden.dir.target(X86).parent / "exact").iterdir():
        file.unlink()


def lab_error(path: Path) -> None:
    """SSH never comes up on one target, a download failed for another."""
    golden = Golden(path)
    for name, error in (
        (
            "arm64-control",
            ErrorFacts(
                3,
                "arm64-control: init said ready, but SSH did not answer in 30 s",
                "boot",
                hint="umcglab shell --only arm64-control shows the console",
                log=str(golden.dir.console("arm64-control", 1)),
            ),
        ),
    ):
        for program in TESTS:
            golden.dir.program(name, program).unlink()
            golden.dir.program_log(name, program).unlink()
        golden.change(name, errors=(error,), status="error", boots=())


def off_reference(path: Path) -> None:
    """Everything passes, but the control costs 20 % more than its reference."""
    Golden(path).measure("x86_64-control", scale=1.2)


def over_limit(path: Path) -> None:
    """Everything passes, but a hand-off of a patched kernel costs too much."""
    Golden(path).measure(X86, scale=1.2)


def two_bases(path: Path) -> None:
    """Everything passes; one ABI was measured on two bases of one architecture."""
    golden = Golden(path)
    golden.change(ARM, arch="x86_64", base="6.1")
    golden.measure(ARM, scale=1.5)


CAPABILITIES = """| capability | here | clauses |
|---|---|---|
| timeouts | {timeouts} | TIME-1 |
| preemption | no | - |
"""
RACES = """| R | what went wrong | here | clauses | tests |
|---|---|---|---|---|
| R1 | waiter tests the word, then sleeps past the wake | {R1}: so | WAIT-2 | `wait:wakes` |
| R59 | 32-bit callers reach a 64-bit ABI | closed: they do not | - | - |
"""


def two_abis(path: Path) -> None:
    """Everything passes; two ABIs were measured on one base of one architecture."""
    other = "x86_64-umcg-v0.9.1"
    golden = Golden(path, (X86, other))
    golden.measure(other, scale=0.9)
    abis = {
        "umcg-v0.5": {"timeouts": "of servers", "R1": "closed"},
        "umcg-v0.9.1": {"timeouts": "no: none", "R1": "open by contract"},
    }
    golden.change_run(
        capabilities={
            abi: contract.capabilities(CAPABILITIES.format(**words))
            for abi, words in abis.items()
        },
        races={
            abi: contract.races(RACES.format(**words)) for abi, words in abis.items()
        },
    )


def repeated(path: Path) -> None:
    """One program was run three times, and a test of it failed the second time."""
    golden = Golden(path)
    name = "umcg/wait"
    programs = golden.target(X86).programs
    (plan,) = (p for p in programs if p.program == name)
    others = [p for p in programs if p is not plan]
    ran = golden.program(X86, name)
    log = ktap(TESTS[name])
    bad = log.replace("ok 1", "# wait.c:71: it was woken twice\nnot ok 1")
    again = []
    for n, said in enumerate((log, bad, log), 1):
        label = f"{name}@{n}"
        again.append(replace(plan, program=label, repeats=name))
        status = int(said is bad)
        made = replace(ran, program=label, exit_status=status)
        codec.write(golden.dir.program(X86, label), made)
        golden.dir.program_log(X86, label).write_text(said)
    golden.dir.program(X86, name).unlink()
    golden.dir.program_log(X86, name).unlink()
    golden.change(X86, programs=(*others, *again))


SCENARIOS: dict[str, Callable[[Path], None]] = {
    made.__name__: made
    for made in (
        passing,
        failing,
        splat,
        lost,
        hang,
        inexact,
        unbuilt,
        interrupted,
        lab_error,
        off_reference,
        over_limit,
        two_bases,
        two_abis,
        repeated,
    )
}


def main(folder: Path) -> None:
    """Write every scenario and its report."""
    from umcglab.run import session

    for name, make in SCENARIOS.items():
        make(folder / name)
        session.render(RunDir(folder / name))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
