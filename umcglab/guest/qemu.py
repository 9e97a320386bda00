# SPDX-License-Identifier: MIT
"""QEMU: the one command line, and a process that cannot be left behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from qemu.qmp import QMPClient, QMPError

from umcglab.errors import InfraError
from umcglab.lab.arch import Arch

T = TypeVar("T")

# What the client has to say arrives as an exception too.
logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())

SEED = 1
"""Which of the few modes a kernel's timing falls into; any will do, but one."""

_QMP_TIMEOUT = 60.0
"""Seconds: it answers once the guest is made, which a busy host makes long."""

_FORWARD = re.compile(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s")

_OPEN = re.compile(r"TCP\[(?!HOST_FORWARD|TIME_WAIT|CLOSED)")

_STARVED = 0.8
"""The part of its time that a guest has to wait for a CPU to be no fault of its own."""
_CRASHES = {signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV}
"""What a program that has gone wrong sends to itself."""

# An exact guest is recorded, although nobody reads the recording, because QEMU's threads
# then run one at a time. If they do not, its main loop may see an idle CPU before that
# CPU's last instructions are counted, and move the clock on too far. QEMU records no guest
# of several CPUs.
_RECORD = ",rr=record,rrfile=/dev/null"

_MIGRATION_TIMEOUT = 120.0

# Between the fork and its own prctl(), setpriv would not notice that its
# parent is gone: the shell looks before it becomes QEMU.
_GUARD = ("setpriv", "--pdeathsig", "KILL", "sh", "-c")
_LOOK = 'test "$PPID" = "$0" && exec "$@"'


@dataclass(frozen=True)
class Exact:
    """A guest whose every run is the same: see `argv`."""

    output: Path
    """What arrives at the second UART, byte for byte."""
    seed: int = SEED
    plugin: str = ""
    """A TCG plugin and its arguments, as `-plugin` takes them."""


@dataclass(frozen=True)
class Kept:
    """A guest that others go on from: what its memory holds is copied as they write to it."""

    memory: Path
    """A file as large as its memory, made by `memory_file`."""
    state: Path
    """All the rest: CPUs and devices."""


@dataclass(frozen=True)
class Vm:
    """A guest as QEMU is told it; file descriptors are those QEMU inherits."""

    arch: Arch
    kernel: Path
    initrd: Path
    console_log: Path
    cmdline: tuple[str, ...] = ()
    accel: str = "tcg"
    memory: int = 1024
    smp: int = 1
    threads: int = 1
    """Of those, how many make a core."""
    cpu: str = ""
    hypervisor: bool = False
    """It may run guests of its own."""
    disk: Path | None = None
    ssh: bool = False
    exact: Exact | None = None
    kept: Kept | None = None
    """Where it can be kept as it is; its memory is there from its start."""
    resumed: bool = False
    """It begins as it was when it was kept there; its console's log goes on."""
    gdb: Path | None = None
    """A socket on which it waits for a debugger, before its first instruction."""
    console_fd: int | None = None
    qmp_fd: int | None = None


def argv(vm: Vm) -> tuple[str, ...]:
    """Return the command line of `vm`.

    Nothing the user or QEMU has as a default is in the guest. Its NIC reaches
    nothing but the host's forwarded port, which is bound to 127.0.0.1. An exact
    guest has neither disk nor NIC: whatever completes when the host is ready
    makes two runs differ.
    """
    arch = vm.arch
    # nokaslr: System.map can be read as it is. panic: -no-reboot makes it an exit.
    cmdline = (f"console={arch.console}", "nokaslr", "panic=-1")
    # fmt: off
    args = [
        arch.qemu,
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display", "none",
        *arch.machine_args,
        *(arch.hypervisor if vm.hypervisor else ()),
        "-accel", vm.accel,
        "-cpu", vm.cpu or arch.cpus[0],
        "-smp", f"{vm.smp},threads={vm.threads}" if vm.threads > 1 else str(vm.smp),
        "-m", str(vm.memory),
        "-kernel", str(vm.kernel),
        "-initrd", str(vm.initrd),
        "-append", " ".join((*cmdline, *vm.cmdline)),
        "-chardev", _console(vm),
        "-serial", "chardev:console",
    ]
    if vm.qmp_fd is not None:
        args += [
            "-chardev", f"socket,id=qmp,fd={vm.qmp_fd}",
            "-mon", "chardev=qmp,mode=control",
        ]
    if vm.disk:
        args += [
            "-drive", f"if=none,id=root,format=raw,read-only=on,file={option_value(vm.disk)}",
            "-device", f"{arch.disk},drive=root",
        ]
    if vm.ssh:
        args += [
            "-netdev", "user,id=net,ipv6=off,restrict=on,hostfwd=tcp:127.0.0.1:0-:22",
            "-device", f"{arch.nic},netdev=net",
        ]
    if vm.kept:
        share = "off" if vm.resumed else "on"
        file = f"share={share},mem-path={option_value(vm.kept.memory)}"
        args += [
            "-object", f"memory-backend-file,id=ram,size={vm.memory}M,{file}",
            "-machine", "memory-backend=ram",
        ]
        if vm.resumed:
            args += ["-incoming", "defer"]
    if vm.gdb:
        args += ["-S", "-gdb", f"unix:{option_value(vm.gdb)},server=on,wait=off"]
    if vm.exact:
        args += [
            "-icount", "shift=0,sleep=off" + (_RECORD if vm.smp == 1 else ""),
            "-rtc", "base=2026-01-01,clock=vm",
            "-seed", str(vm.exact.seed),
            "-chardev", f"file,id=exact,path={option_value(vm.exact.output)}",
            *arch.exact_serial,
        ]
        if vm.exact.plugin:
            args += ["-plugin", vm.exact.plugin]
    # fmt: on
    return tuple(args)


def _console(vm: Vm) -> str:
    log = option_value(vm.console_log)
    if vm.console_fd is None:
        append = ",append=on" if vm.resumed else ""
        return f"file,id=console,path={log}{append}"
    append = ",logappend=on" if vm.resumed else ""
    return f"socket,id=console,fd={vm.console_fd},logfile={log}{append}"


def option_value(path: Path) -> str:
    """Quote a path for the inside of an option."""
    return str(path).replace(",", ",,")


class Qemu:
    """A running QEMU."""

    def __init__(
        self,
        vm: Vm,
        process: subprocess.Popen[bytes],
        console: socket.socket | None,
        monitor: socket.socket,
        errors: Path,
    ) -> None:
        self.vm = vm
        self.argv = argv(vm)
        self.process = process
        self.console = console
        self._monitor = monitor
        self._errors = errors
        self._loop = asyncio.new_event_loop()
        self._qmp: QMPClient | None = None
        self._left_running = False
        self._started = time.monotonic()

    def running(self) -> bool:
        return self.process.poll() is None

    def wait(self, timeout: float) -> bool:
        """Wait for QEMU to exit; return whether it has."""
        if not self.running():
            return True
        # Not Popen.wait(), which looks only every 50 ms.
        pidfd = os.pidfd_open(self.process.pid)
        try:
            select.select([pidfd], [], [], timeout)
        finally:
            os.close(pidfd)
        return not self.running()

    def starved(self) -> InfraError | None:
        """Return the error for a guest that ran out of time because of the host, if so.

        That is, one of its CPUs was ready to run and had none of the host's for most of
        the time since it was started. Half of it is nothing unusual on a busy host.
        """
        passed = time.monotonic() - self._started
        waited = _waited(self.process.pid)
        if waited < passed * _STARVED:
            return None
        return InfraError(
            f"the host let the guest wait for a CPU in {waited:.0f} of {passed:.0f} s",
            hint="run less beside the lab, or give it the time: `boot-timeout`",
        )

    def failure(self) -> InfraError | None:
        """Return what QEMU itself complained of when it exited, if it did."""
        if not self.process.poll():
            return None
        words = self._errors.read_text(errors="replace").strip().splitlines()
        said = words[-1] if words else "it did not say why"
        number = -self.process.returncode
        if number in _CRASHES:
            return InfraError(
                f"{self.vm.arch.qemu} crashed ({signal.strsignal(number)}): {said}",
                hint=shlex.join(self.argv),
            )
        if number > 0:
            return InfraError(
                f"{self.vm.arch.qemu} was killed from outside by signal {number} "
                f"({signal.strsignal(number)})",
                hint="see whether the host ran out of memory: dmesg",
            )
        return InfraError(
            f"{self.vm.arch.qemu} exited with status {self.process.returncode}: {said}",
            hint=shlex.join(self.argv),
        )

    def _connect(self) -> QMPClient:
        client = QMPClient()
        try:
            self._await(client.connect(self._monitor))
        except AssertionError as e:
            # How connect() finds that QEMU has gone since it answered.
            with contextlib.suppress(OSError, EOFError, QMPError):
                self._await(client.disconnect())
            raise EOFError("it has gone") from e
        return client

    def monitor(self, line: str) -> str:
        """Return what the human monitor answers to `line`; InfraError if nothing."""
        return str(self._execute("human-monitor-command", {"command-line": line}))

    def _execute(self, command: str, arguments: Mapping[str, object]) -> object:
        try:
            if self._qmp is None:
                self._qmp = self._connect()
            return self._await(self._qmp.execute(command, arguments))
        except (OSError, EOFError, QMPError) as e:
            asked = shlex.join((command, *map(str, arguments.values())))
            raise InfraError(f"QEMU's monitor does not answer `{asked}`: {e!r}") from e

    def _await(self, awaitable: Awaitable[T]) -> T:
        # Not qemu.qmp.legacy, whose connect() may wait for ever.
        return self._loop.run_until_complete(asyncio.wait_for(awaitable, _QMP_TIMEOUT))

    def ssh_port(self) -> int:
        """Return the port on 127.0.0.1 that QEMU forwards to the guest's SSH."""
        answer = self.monitor("info usernet")
        match = _FORWARD.search(answer)
        if match is None:
            raise InfraError(f"QEMU does not say which port it forwards: {answer!r}")
        return int(match[1])

    def connected(self) -> bool:
        """Whether a connection to the guest's SSH is open, or on its way to close."""
        return bool(_OPEN.search(self.monitor("info usernet")))

    def keep(self) -> None:
        """Stop the guest and keep it as it is, for others to go on from."""
        self.monitor("stop")
        self._migrate("migrate", "wb")

    def go_on(self) -> None:
        """Have a guest that is resumed go on from where it was kept."""
        self._migrate("migrate-incoming", "rb")
        self.monitor("cont")

    def _migrate(self, command: str, mode: str) -> None:
        """Write or read all of the guest but the memory that it has in a file."""
        assert self.vm.kept
        capability = {"capability": "x-ignore-shared", "state": True}
        self._execute("migrate-set-capabilities", {"capabilities": [capability]})
        assert self._qmp
        with self.vm.kept.state.open(mode) as file:
            self._qmp.send_fd_scm(file.fileno())
            self._execute("getfd", {"fdname": "state"})
        self._execute(command, {"uri": "fd:state"})
        limit = time.monotonic() + _MIGRATION_TIMEOUT
        while "completed" not in (said := self.monitor("info migrate")):
            if "failed" in said or time.monotonic() > limit:
                raise InfraError(
                    f"QEMU cannot keep or resume the guest: {said.strip()}"
                )
            time.sleep(0.002)

    def detach(self) -> None:
        """Let go of the console: a client that does not read freezes the guest."""
        if self.console is not None:
            self.console.close()
            self.console = None

    def leave_running(self) -> None:
        """Let this QEMU go on when its context ends; it was started to be kept."""
        self._left_running = True

    def end(self) -> None:
        """End this QEMU, whose context stays."""
        if self.running():
            self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End this QEMU, and only it, or let go of it if it is left running."""
        if not self._left_running:
            self.end()
        self.detach()
        if self._qmp is not None:
            with contextlib.suppress(OSError, EOFError, QMPError):
                self._await(self._qmp.disconnect())
        self._loop.close()
        self._monitor.close()


def _waited(pid: int) -> float:
    """Return how many seconds a thread of a process has waited for a CPU, at most."""
    waited = [0]
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            waited.append(int(path.read_text().split()[1]))
    return max(waited) / 1e9


@contextlib.contextmanager
def start(vm: Vm, *, attach: bool, keep: bool = False) -> Iterator[Qemu]:
    """Run `vm` until the context ends, with its console attached or only logged.

    The kernel kills QEMU when the *thread* that called this ends, however it
    ends (PR_SET_PDEATHSIG): do not start a guest in a thread it must outlive.
    With `keep` it does not, so that leave_running() can be called. An interrupt
    from the terminal does not reach a QEMU that is kept, or has a debugger.
    """
    if not shutil.which(vm.arch.qemu):
        raise InfraError(f"{vm.arch.qemu} is not installed", hint="make setup")
    # What an earlier guest said must not be taken for this one's.
    if not vm.resumed:
        vm.console_log.unlink(missing_ok=True)
    if vm.exact:
        vm.exact.output.unlink(missing_ok=True)
    with contextlib.ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="umcglab-"))
        )
        monitor, theirs = _pair(stack)
        console = None
        vm = replace(vm, qmp_fd=theirs.fileno(), console_fd=None)
        inherit = [theirs]
        if attach:
            console, other = _pair(stack)
            vm = replace(vm, console_fd=other.fileno())
            inherit.append(other)
        errors = folder / "stderr"
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                argv(vm) if keep else guarded(argv(vm)),
                process_group=0 if keep or vm.gdb else None,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                pass_fds=[sock.fileno() for sock in inherit],
            )
        qemu = Qemu(vm, process, console, monitor, errors)
        stack.callback(qemu.close)
        for sock in inherit:
            sock.close()
        yield qemu


def guarded(command: Sequence[str]) -> tuple[str, ...]:
    """Return `command` such that it cannot outlive this process's thread."""
    return (*_GUARD, _LOOK, str(os.getpid()), *command)


def _pair(stack: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    """Return a connected pair: no path to clash, no connection to wait for."""
    ours, theirs = socket.socketpair()
    stack.callback(ours.close)
    stack.callback(theirs.close)
    return ours, theirs


@contextlib.contextmanager
def memory_file() -> Iterator[Path]:
    """Yield the path of a file in memory, which QEMU can open until the context ends."""
    fd = os.memfd_create("umcglab")
    try:
        yield Path(f"/proc/{os.getpid()}/fd/{fd}")
    finally:
        os.close(fd)


def version(arch: Arch) -> str:
    """Return QEMU's own version line."""
    try:
        done = subprocess.run(
            [arch.qemu, "--version"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as e:
        raise InfraError(f"{arch.qemu} does not run: {e}", hint="make setup") from e
    return done.stdout.partition("\n")[0]
