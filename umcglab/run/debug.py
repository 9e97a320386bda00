# SPDX-License-Identifier: MIT
"""A target under gdb, from its kernel's first instruction on.

No step has a time limit here: the guest stands still whenever gdb says so. That is why
neither `ssh.boot` nor paramiko is used, whose waits all end, but the `ssh` command.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from umcglab.errors import InfraError
from umcglab.guest import accel, qemu, ssh
from umcglab.guest.console import READY, Console
from umcglab.guest.image import keys
from umcglab.guest.qemu import Qemu, Vm
from umcglab.host import command
from umcglab.kernel.kernels import Kernel
from umcglab.lab.arch import Arch
from umcglab.lab.config import Lab
from umcglab.lab.manifest import Program
from umcglab.run import lanes
from umcglab.run.lanes import Ready

_COMMANDS = ("gdb-multiarch", "gdb")
_TICK = 0.2
"""Seconds between two looks for the guest's init and gdb's end."""
_GRACE = 2.0
"""Seconds that a program has to end when gdb has: it may be about to."""
_LINES = 20
"""Lines of the program's output to show at the end."""


def find_gdb(arch: Arch) -> str:
    """Return a gdb that knows `arch`; InfraError says how to install one."""
    for name in _COMMANDS:
        if shutil.which(name):
            knows = [name, "-nx", "-batch", "-ex", f"set architecture {arch.gdb}"]
            if command.run(knows).returncode == 0:
                return name
    raise InfraError(
        f"no gdb for {arch.name} is installed",
        hint="apt-get install --no-install-recommends gdb-multiarch",
    )


def gdb_command(gdb: str, kernel: Kernel, tree: Path | None, socket: Path) -> list[str]:
    """Return the command line of gdb; `tree` has the sources and perhaps scripts."""
    argv = [gdb, "-q", str(kernel.vmlinux)]
    if tree is not None:
        # vmlinux names `../kernel/fork.c`, relative to any folder of the tree.
        argv += ["-ex", f"directory {tree / 'kernel'}:{tree}"]
        # Those that kbuild makes with CONFIG_GDB_SCRIPTS: lx-dmesg, lx-ps, ...
        if (scripts := tree / "vmlinux-gdb.py").exists():
            argv += ["-ex", f"source {scripts}"]
    return [*argv, "-ex", f"target remote {socket}"]


def session(
    lab: Lab, ready: Ready, program: Program | None, tree: Path | None, folder: Path
) -> int:
    """Run gdb on `ready`, whose guest runs `program` once it is up; return its status.

    `folder` gets the console's log and what the program prints. The guest ends with gdb.
    """
    gdb = find_gdb(ready.target.arch)
    secret = keys(lab)
    suite = lanes.suite(ready, lanes.unplanned(ready) if program else ())
    with tempfile.TemporaryDirectory(prefix="umcglab-") as name:
        vm = Vm(
            arch=ready.target.arch,
            kernel=ready.kernel.image,
            initrd=ssh.ramdisk(lab, ready.kernel, secret, Path(name), suite),
            console_log=folder / "console.log",
            cmdline=(
                *ready.target.arch.clocked_cmdline,
                *ready.target.traits.cmdline,
                *ready.target.cmdline.split(),
            ),
            accel=accel.choose(ready.target, ready.kernel, lab.cache).name,
            memory=ready.target.memory,
            smp=ready.target.smp,
            threads=ready.target.threads,
            cpu=ready.target.cpu,
            hypervisor=ready.target.traits.hypervisor,
            disk=ready.image.disk,
            ssh=True,
            gdb=Path(name) / "gdb",
        )
        with qemu.start(vm, attach=False) as machine, _interrupts_are_gdbs():
            line = ssh.ssh_command(secret, _port(machine), "-o", "BatchMode=yes")
            output = folder / "program.log"
            for said in _introduction(vm, line, program, output):
                print(said, file=sys.stderr)
            assert vm.gdb
            argv = gdb_command(gdb, ready.kernel, tree, vm.gdb)
            debugger = subprocess.Popen(argv, env=command.environment())
            guest = None
            if program:
                guest = _Guest(ready, program, vm.console_log, line, output)
                guest.start()
            try:
                status = debugger.wait()
            except BaseException:
                debugger.kill()
                raise
            finally:
                if guest:
                    guest.over.set()
                    guest.join()
    if guest:
        print(*guest.end(), sep="\n")
    return status


def _port(machine: Qemu) -> int:
    try:
        return machine.ssh_port()
    except InfraError as e:
        machine.wait(1.0)
        raise machine.failure() or e from e


def _introduction(
    vm: Vm, line: Sequence[str], program: Program | None, output: Path
) -> Iterator[str]:
    yield "the kernel waits at its first instruction: set breakpoints, then `continue`"
    yield f"console: {vm.console_log}"
    if program:
        yield f"{program.name} runs when the guest is up, its output is in {output}"
    yield f"enter the guest then: {shlex.join(line)}"


class _Guest(threading.Thread):
    """Waits for the guest's init, and runs the program."""

    def __init__(
        self,
        ready: Ready,
        program: Program,
        console_log: Path,
        line: Sequence[str],
        output: Path,
    ) -> None:
        super().__init__()
        self.over = threading.Event()
        """Set when nobody waits for the guest any more."""
        self._ready = ready
        self._program = program
        self._console_log = console_log
        self._line = line
        self._output = output
        self._status: int | None = None

    def run(self) -> None:
        console = Console(self._console_log)
        while not (self._console_log.exists() and READY in console.text()):
            if self.over.wait(_TICK):
                return
        with self._output.open("wb") as out:
            remote = subprocess.Popen(
                qemu.guarded([*self._line, self._script()]),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                # Ctrl-C in gdb is not for it.
                process_group=0,
            )
            while remote.poll() is None and not self.over.wait(_TICK):
                pass
            try:
                self._status = remote.wait(_GRACE)
            except subprocess.TimeoutExpired:
                remote.kill()
                remote.wait()

    def _script(self) -> str:
        variables = lanes.environment(self._ready).items()
        exports = [f"export {k}={shlex.quote(v)}" for k, v in variables]
        return " && ".join([*exports, lanes.command(self._ready, self._program)])

    def end(self) -> Iterator[str]:
        """Yield how the program ended, and the last of what it printed."""
        if self._output.exists():
            said = self._output.read_text(errors="replace").splitlines()
            yield from said[-_LINES:]
        how = "did not end" if self._status is None else f"ended with {self._status}"
        yield f"{self._program.name} {how}"


@contextlib.contextmanager
def _interrupts_are_gdbs() -> Iterator[None]:
    """Let SIGINT, which a terminal sends to gdb and to us, be only gdb's.

    A handler, and not SIG_IGN, which gdb would inherit.
    """
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
