# SPDX-License-Identifier: MIT
"""A booted guest: commands and files over SSH, and evidence when it breaks.

The one live thing of the lab. `boot` yields a `Guest` that a command has run in;
when the context ends its QEMU is gone, whatever happened.
"""

from __future__ import annotations

import contextlib
import io
import logging
import secrets
import shlex
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import paramiko

from umcglab.errors import InfraError, LabError
from umcglab.guest import hang, initrd, qemu
from umcglab.guest.accel import Accel
from umcglab.guest.console import Console, wait_for_init
from umcglab.guest.image import HOST_ALIAS, Image, Keys, keys
from umcglab.guest.initrd import File
from umcglab.guest.qemu import Kept, Qemu, Vm
from umcglab.host import files
from umcglab.kernel.kernels import Kernel
from umcglab.lab.config import Lab

SUITE = "/run/umcglab"
"""Where the tests lie in a guest; its init sees to that."""

BOOT_TIMEOUT = 120.0
"""Seconds until init must be ready. An idle host needs one or two."""

# What paramiko has to say arrives as an exception too.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

_NO_SUITE: Mapping[str, File] = {}
_SSH_TIMEOUT = 60.0
_ANSWER_TIMEOUT = 15.0
"""Seconds in which a guest that is not hung runs `true`."""
_TICK = 0.25
_LINGER = 1.0
_DRAIN = 5.0
"""Seconds in which the output of a command that has ended arrives, if no EOF does."""
_MOMENT = 0.05
_ASKED = 3
"""How often a guest is asked for its kernel's name."""


@dataclass(frozen=True)
class Exec:
    """How a command in the guest ended."""

    exit_status: int | None
    """None if it did not: `timed_out`, `lost`, or its shell was killed."""
    duration: float
    timed_out: bool = False
    lost: bool = False
    """The guest is gone or does not answer: it is of no further use."""


class Output(Protocol):
    """Where what a command prints goes."""

    def write(self, data: bytes, /) -> object:
        """Take all of `data`."""


@dataclass(frozen=True)
class _Kept:
    """A log on the host: that it cannot be written is not taken for a lost guest."""

    path: Path
    out: io.FileIO

    def write(self, data: bytes, /) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[self.out.write(left) or 0 :]
        except OSError as e:
            raise files.unwritten(self.path, e) from e


class Guest:
    """A running guest with an SSH connection."""

    def __init__(
        self, vm: Qemu, ssh: paramiko.Transport, secret: Keys, port: int, symbols: Path
    ) -> None:
        self.argv = vm.argv
        self.to_ssh = 0.0
        """Seconds from QEMU's start to the end of the first SSH command."""
        self.uname = ""
        """What `uname -r` says, which was that command."""
        self.console = Console(vm.vm.console_log)
        self._qemu = vm
        self._ssh = ssh
        self._keys = secret
        self._port = port
        self._symbols = symbols
        self._lost = False

    def alive(self) -> bool:
        return self._qemu.running() and self._ssh.is_active()

    def console_size(self) -> int:
        """Return how many bytes are in the console's log."""
        return self.console.size()

    def console_text(self, start: int = 0) -> str:
        """Return what the console has said from byte `start` on."""
        return self.console.text(start)

    def run(
        self,
        command: str,
        *,
        log: Path,
        timeout: float,
        env: Mapping[str, str] | None = None,
    ) -> Exec:
        """Run one command; stdout and stderr go to `log` as they arrive.

        A command that timed out may still be running, so the caller must discard
        the guest.
        """
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            out = log.open("wb", buffering=0)
        except OSError as e:
            raise files.unwritten(log, e) from e
        with out:
            done = self._exec(command, _Kept(log, out), timeout, env or {})
        if done.lost:
            self._qemu.wait(1.0)
            # A QEMU that was killed says nothing about the patch.
            if failure := self._qemu.failure():
                raise failure
        return done

    def output(self, command: str, timeout: float = _SSH_TIMEOUT) -> str:
        """Return what a command prints; raise if it fails or the guest does."""
        out = io.BytesIO()
        done = self._exec(command, out, timeout, {})
        text = out.getvalue().decode(errors="replace")
        if done.exit_status != 0:
            raise self._failure(command, done, text)
        return text

    def where_stuck(self) -> tuple[str, ...]:
        """Return what programs wait in; of a guest that is lost, where its CPUs are."""
        if not self._lost:
            # Not output(), which asks this for the error that it raises.
            said = io.BytesIO()
            if self._exec(hang.TASKS, said, _SSH_TIMEOUT, {}).exit_status == 0:
                return hang.tasks(said.getvalue().decode(errors="replace"))
        return hang.cpus(self._qemu, self._symbols)

    @property
    def pid(self) -> int:
        """QEMU's process."""
        return self._qemu.process.pid

    def leave_running(self) -> None:
        """Let the guest go on when its context ends; it was booted to be kept."""
        self._qemu.leave_running()

    def settle(self) -> None:
        """Wait until the kernel has freed what was left to it, and said what it has to.

        For a guest that is about to end: what it does a moment later is not seen.
        """
        self._exec("/proc/1/exe settle", io.BytesIO(), _ANSWER_TIMEOUT, {})

    def snapshot(self) -> Snapshot:
        """End the guest, and return what others can be had from that go on from here.

        Its context must stay until the last of them has ended. Its connection ends
        first, so that no process that serves it is in each of them.
        """
        self._ssh.close()
        limit = time.monotonic() + _SSH_TIMEOUT
        while self._qemu.connected():
            if time.monotonic() > limit:
                raise InfraError(
                    "the guest does not close its connection", log=self.console.path
                )
            time.sleep(_MOMENT)
        self._qemu.keep()
        self._qemu.end()
        return Snapshot(self._qemu.vm, self._keys, self._symbols)

    def shell(self) -> int:
        """Give the terminal to a root shell in the guest; return its exit status."""
        return subprocess.run(self.ssh_command("-t")).returncode

    def ssh_command(self, *options: str) -> tuple[str, ...]:
        """Return the `ssh` command line that reaches this guest."""
        return ssh_command(self._keys, self._port, *options)

    def _open(self, command: str) -> paramiko.Channel:
        channel = self._ssh.open_session(timeout=_ANSWER_TIMEOUT)
        channel.set_combine_stderr(True)
        channel.settimeout(_ANSWER_TIMEOUT)
        # paramiko would wait for ever for a guest that stops before it answers.
        limit = threading.Timer(_ANSWER_TIMEOUT, channel.close)
        limit.start()
        try:
            channel.exec_command(command)
        finally:
            limit.cancel()
        return channel

    def _exec(
        self, command: str, out: Output, timeout: float, env: Mapping[str, str]
    ) -> Exec:
        exports = "".join(f"export {k}={shlex.quote(v)}; " for k, v in env.items())
        # The outer shell turns a signal into an exit status: paramiko reports a
        # command killed by a signal and a broken connection the same way.
        wrapped = f"{exports}({command}\n); exit $?"
        start = time.monotonic()
        try:
            with self._open(wrapped) as channel:
                return self._collect(channel, out, start, start + timeout)
        except (OSError, EOFError, paramiko.SSHException):
            # Even a guest that is only out of memory or of pids may be lost to us.
            took = time.monotonic() - start
            return Exec(None, took, lost=not self.answers())

    def _collect(
        self, channel: paramiko.Channel, out: Output, start: float, deadline: float
    ) -> Exec:
        """Copy a channel's output until its command or its time ends."""
        channel.settimeout(_TICK)
        ended = None
        while True:
            with contextlib.suppress(TimeoutError):
                if data := channel.recv(65536):
                    out.write(data)
                    continue
                channel.status_event.wait(_TICK)
            now = time.monotonic()
            # Asked before the status is, which comes first and may come meanwhile.
            over = channel.closed or not self.alive()
            if channel.exit_status >= 0:
                # A child left in the background may hold the pipe for ever.
                ended = ended or now
                if channel.eof_received or now > ended + _DRAIN:
                    _drain(channel, out)
                    return Exec(channel.exit_status, now - start)
            elif over:
                _drain(channel, out)
                return Exec(None, now - start, lost=not self.answers())
            elif now > deadline:
                return Exec(None, now - start, timed_out=True, lost=not self.answers())

    def answers(self) -> bool:
        """Whether the guest still runs a command; if not, it is lost for good.

        It is asked over a new connection if the old one has ended: whatever ended that,
        such as a test that killed its server, need not have stopped the guest.
        """
        try:
            if self._qemu.running() and not self._ssh.is_active():
                self._ssh.close()
                self._ssh = _connect(
                    self._qemu, self._keys, self._port, _ANSWER_TIMEOUT
                )
            start = time.monotonic()
            with self._open("true") as channel:
                left = start + _ANSWER_TIMEOUT - time.monotonic()
                self._lost = not channel.status_event.wait(left)
        except (OSError, EOFError, LabError, paramiko.SSHException):
            self._lost = True
        return not self._lost

    def close(self) -> None:
        """End the connection."""
        self._ssh.close()

    def _failure(self, what: str, done: Exec, said: str) -> LabError:
        """Return the error for a command that had to succeed."""
        self._qemu.wait(1.0)
        if not self._qemu.running():
            return self._qemu.failure() or self.console.death(what)
        if done.lost or done.timed_out:
            stuck = self.where_stuck()
            return self.console.death(what, stuck, self._qemu.starved())
        if done.exit_status is None:
            return Unanswered(
                f"`{what}` was cut off in the guest, which runs other commands",
                log=self.console.path,
            )
        words = said.strip().splitlines()
        return InfraError(
            f"`{what}` failed in the guest with status {done.exit_status}"
            + (f": {words[-1]}" if words else ""),
            log=self.console.path,
        )


def ssh_command(secret: Keys, port: int, *options: str) -> tuple[str, ...]:
    """Return the `ssh` command line that reaches the guest behind `port`."""
    # fmt: off
    return (
        "ssh",
        "-F", "none",
        "-i", str(secret.client),
        "-p", str(port),
        "-o", "IdentitiesOnly=yes",
        "-o", f"HostKeyAlias={HOST_ALIAS}",
        "-o", f"UserKnownHostsFile={secret.known_hosts}",
        "-o", "StrictHostKeyChecking=yes",
        "-o", "LogLevel=ERROR",
        *options,
        "root@127.0.0.1",
    )
    # fmt: on


def _drain(channel: paramiko.Channel, out: Output) -> None:
    """Copy what came after the last look for output and before the end was seen."""
    while channel.recv_ready():
        out.write(channel.recv(65536))


@contextlib.contextmanager
def boot(
    lab: Lab,
    kernel: Kernel,
    image: Image,
    *,
    console_log: Path,
    accel: Accel,
    suite: Mapping[str, File] = _NO_SUITE,
    smp: int = 1,
    threads: int = 1,
    cpu: str = "",
    hypervisor: bool = False,
    memory: int = 1024,
    cmdline: Sequence[str] = (),
    timeout: float = BOOT_TIMEOUT,
    keep: bool = False,
    snapshots: bool = False,
) -> Iterator[Guest]:
    """Boot `kernel` on `image`; yield the guest once it has run `uname -r`.

    `suite` is what `suite_files` makes of the bundles whose files lie in SUITE.
    `keep` is for a guest that may be told to leave_running(), `snapshots` for one
    that may be told to become a snapshot().
    """
    secret = keys(lab)
    console_log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="umcglab-"))
        )
        vm = Vm(
            arch=kernel.arch,
            kernel=kernel.image,
            initrd=ramdisk(lab, kernel, secret, folder, suite),
            console_log=console_log,
            cmdline=(*kernel.arch.clocked_cmdline, *cmdline),
            accel=accel.name,
            memory=memory,
            smp=smp,
            threads=threads,
            cpu=cpu,
            hypervisor=hypervisor,
            disk=image.disk,
            ssh=True,
        )
        if snapshots:
            held = stack.enter_context(qemu.memory_file())
            vm = replace(vm, kept=Kept(held, folder / "state"))
        start = time.monotonic()
        with qemu.start(vm, attach=True, keep=keep) as machine:
            port = _await_init(machine, kernel.system_map, start + timeout)
            with _entered(machine, secret, port, kernel.system_map, start) as guest:
                yield guest


@dataclass(frozen=True)
class Snapshot:
    """A guest as it was after its boot, of which any number can be had, one at a time."""

    vm: Vm
    keys: Keys
    symbols: Path

    def beside(self, console_log: Path) -> Snapshot:
        """Return the same for guests that run while others of this one do.

        What they say is in `console_log`, which is empty at first.
        """
        try:
            console_log.touch()
        except OSError as e:
            raise files.unwritten(console_log, e) from e
        return replace(self, vm=replace(self.vm, console_log=console_log))

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line of QEMU."""
        return qemu.argv(replace(self.vm, resumed=True))

    @contextlib.contextmanager
    def resume(self, *, keep: bool = False) -> Iterator[Guest]:
        """Yield a guest that goes on from there, with the time and a seed of its own."""
        start = time.monotonic()
        with qemu.start(replace(self.vm, resumed=True), attach=False, keep=keep) as vm:
            try:
                vm.go_on()
                port = vm.ssh_port()
            except InfraError as e:
                vm.wait(1.0)
                raise vm.failure() or e from e
            seed = secrets.token_hex(16)
            first = f"/proc/1/exe {time.time():.0f} {seed} && "
            with _entered(vm, self.keys, port, self.symbols, start, first) as guest:
                yield guest


@contextlib.contextmanager
def _entered(
    machine: Qemu, secret: Keys, port: int, symbols: Path, start: float, first: str = ""
) -> Iterator[Guest]:
    """Yield a guest that has run `first` and said its name over a new connection."""
    ssh = _connect(machine, secret, port)
    with contextlib.closing(Guest(machine, ssh, secret, port, symbols)) as guest:
        guest.uname = _uname(guest, first)
        guest.to_ssh = time.monotonic() - start
        yield guest


def suite_files(bundles: Sequence[Path], skip: Collection[str] = ()) -> dict[str, File]:
    """Return the files of the folders `bundles` but `skip`, as `boot` takes them.

    What several have is that of the last.
    """
    return initrd.tree(bundles, "suite", skip)


def ramdisk(
    lab: Lab,
    kernel: Kernel,
    secret: Keys,
    folder: Path,
    suite: Mapping[str, File] = _NO_SUITE,
) -> Path:
    """Write the initrd of a guest with SSH into `folder`; return it."""
    path = folder / "initrd"
    path.touch(mode=0o600)
    path.write_bytes(
        initrd.archive(
            {
                "init": initrd.program("guest", kernel.arch, lab.cache),
                "keys/authorized_keys": File(secret.client_public.encode() + b"\n"),
                "keys/host_key": File(secret.host, 0o600),
                **suite,
            }
        )
    )
    return path


class Unanswered(InfraError):
    """A command, or the connection that it was given over, ended without a status."""


class Nameless(InfraError):
    """A guest ran a command and did not say its kernel's name: boot another."""


def _uname(guest: Guest, first: str) -> str:
    """Return what the guest's kernel is called; no test may run on an unknown one."""
    for _ in range(_ASKED):
        with contextlib.suppress(Unanswered):
            if name := guest.output(f"{first}uname -r").strip():
                return name
    raise Nameless(
        f"`uname -r` printed nothing in the guest, {_ASKED} times",
        log=guest.console.path,
    )


def _await_init(machine: Qemu, system_map: Path, deadline: float) -> int:
    """Wait until init listens; return the port that leads to it."""
    console = Console(machine.vm.console_log)
    assert machine.console is not None
    try:
        port = machine.ssh_port()
        outcome = wait_for_init(machine.console, deadline)
    except InfraError:
        if not machine.wait(1.0):
            raise
        outcome = "exit"
    machine.detach()
    if outcome == "ready":
        return port
    if outcome == "silence":
        where = hang.cpus(machine, system_map)
        raise console.death("while booting", where, machine.starved())
    machine.wait(_LINGER)
    if why := console.init_failure():
        raise InfraError(f"the guest's init failed: {why}", log=console.path)
    raise machine.failure() or console.death("while booting")


def _connect(
    machine: Qemu, secret: Keys, port: int, timeout: float = _SSH_TIMEOUT
) -> paramiko.Transport:
    """Return an authenticated connection; only the pinned host key will do."""
    try:
        sock = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        ssh = paramiko.Transport(sock)
        ssh.banner_timeout = ssh.auth_timeout = timeout
        try:
            ssh.start_client(timeout=timeout)
            key = ssh.get_remote_server_key()
            if f"{key.get_name()} {key.get_base64()}" != secret.host_public:
                raise paramiko.SSHException("the host key is not the lab's")
            ssh.auth_publickey("root", paramiko.Ed25519Key(filename=str(secret.client)))
        except BaseException:
            ssh.close()
            raise
    except (OSError, EOFError, paramiko.SSHException) as e:
        console = Console(machine.vm.console_log)
        machine.wait(1.0)
        if not machine.running():
            raise machine.failure() or console.death("before SSH was up") from e
        raise InfraError(
            f"init was ready, and SSH does not come up: {e or type(e).__name__}",
            log=console.path,
        ) from e
    return ssh


def floor(
    lab: Lab,
    kernel: Kernel,
    accel: Accel,
    *,
    console_log: Path,
    cmdline: Sequence[str] = (),
    timeout: float = BOOT_TIMEOUT,
) -> float:
    """Return the seconds from QEMU's start to a static init's power-off."""
    console = Console(console_log)
    with tempfile.TemporaryDirectory(prefix="umcglab-") as folder:
        ramdisk = Path(folder) / "initrd"
        ramdisk.write_bytes(
            initrd.archive({"init": initrd.program("floor", kernel.arch, lab.cache)})
        )
        vm = Vm(
            arch=kernel.arch,
            kernel=kernel.image,
            initrd=ramdisk,
            console_log=console_log,
            cmdline=(*kernel.arch.clocked_cmdline, *cmdline),
            accel=accel.name,
        )
        start = time.monotonic()
        with qemu.start(vm, attach=False) as machine:
            ended = console.await_end(machine.wait, timeout)
            took = time.monotonic() - start
            if not ended:
                where = hang.cpus(machine, kernel.system_map)
                raise console.death("in the floor guest", where, machine.starved())
            if failure := machine.failure():
                raise failure
    if not console.powered_off():
        raise console.death("in the floor guest")
    return took
