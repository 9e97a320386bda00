# SPDX-License-Identifier: MIT
"""Booting, running and losing guests, played by a fake QEMU."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import paramiko
import pytest
from qemu.qmp import QMPClient, Runstate

from umcglab.errors import InfraError
from umcglab.guest import console, hang, initrd, qemu, ssh
from umcglab.guest.accel import Accel
from umcglab.guest.console import GuestExit, GuestHang, KernelPanic
from umcglab.guest.image import Image
from umcglab.guest.initrd import File
from umcglab.guest.ssh import Guest
from umcglab.kernel.kernels import Kernel
from umcglab.lab.arch import X86_64
from umcglab.lab.config import Lab

Play = Callable[..., None]
READY = ["[    0.100000] Run /init as init process", "umcglab-init: ready"]
PANIC = [
    "[    0.500000] ------------[ cut here ]------------",
    "[    0.500100] kernel BUG at kernel/sched/umcg.c:77!",
    "[    0.500200] Kernel panic - not syncing: Fatal exception",
]
IN_UMCG_SPIN = "ffffffff81001234"
TCG = Accel("tcg", "test")


class Booter:
    """Boots the fixtures' kernel with a short deadline."""

    def __init__(self, lab: Lab, kernel: Kernel, log: Path) -> None:
        self.lab = lab
        self.kernel = kernel
        self.log = log

    def __call__(
        self, timeout: float = 20.0, keep: bool = False
    ) -> contextlib.AbstractContextManager[Guest]:
        image = Image(dir=self.log.parent, digest="", arch=X86_64, identity={})
        return ssh.boot(
            self.lab,
            self.kernel,
            image,
            console_log=self.log,
            accel=TCG,
            timeout=timeout,
            keep=keep,
        )


@pytest.fixture
def boot(lab: Lab, kernel: Kernel, tmp_path: Path) -> Booter:
    return Booter(lab, kernel, tmp_path / "target" / "console-1.log")


waited = qemu._waited


@pytest.fixture(autouse=True)
def idle_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nobody wait for a CPU, as it may be on the host of the tests."""
    monkeypatch.setattr(qemu, "_waited", lambda pid: 0)


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """No test may leave a QEMU behind, whatever it did to it."""
    yield
    assert not pids_with(str(tmp_path / "target"))


def pids_with(word: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return [pid for pid in found if pid != os.getpid()]


def wait_until(condition: Callable[[], bool], timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_guest_is_up_when_a_command_has_run(boot: Booter, play: Play) -> None:
    play(console=READY, ssh="yes")
    with boot() as vm:
        assert vm.uname == os.uname().release
        assert 0 < vm.to_ssh < 20
        assert vm.alive()
        assert vm.argv[0] == X86_64.qemu
        assert "umcglab-init: ready" in vm.console_text()
        assert vm.console_size() == len("\r\n".join([*READY, ""]))


@pytest.mark.parametrize("leave", [True, False])
def test_a_guest_that_is_kept_can_be_entered_and_ended(
    boot: Booter, play: Play, leave: bool
) -> None:
    play(console=READY, ssh="yes")
    with boot(keep=True) as vm:
        pid, line = vm.pid, vm.ssh_command()
        # What a terminal sends to the lab when somebody interrupts it.
        assert os.getpgid(pid) != os.getpgrp()
        if leave:
            vm.leave_running()
    alive = Path(f"/proc/{pid}/cmdline")
    try:
        assert (alive.exists() and alive.read_bytes() != b"") == leave
        if leave:
            command = [*line, "echo $FAKE_QEMU_PID"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert done.stdout.strip() == str(pid), done.stderr
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive.exists() or alive.read_bytes() == b"")


def test_output_arrives_in_the_log_as_it_is_printed(
    boot: Booter, play: Play, tmp_path: Path
) -> None:
    play(console=READY, ssh="yes")
    log, fifo = tmp_path / "logs" / "program.log", tmp_path / "fifo"
    os.mkfifo(fifo)
    with boot() as vm:
        # The command waits for us between its halves.
        reader = subprocess.Popen(
            [
                "sh",
                "-c",
                f"until grep -q first {log} 2>/dev/null; do sleep 0.05; done; "
                f"echo seen > {fifo}",
            ]
        )
        done = vm.run(
            f"echo first; read x < {fifo}; printf 'a\\377b' >&2; exit 3",
            log=log,
            timeout=20,
        )
        reader.wait()
    assert (done.exit_status, done.timed_out, done.lost) == (3, False, False)
    assert log.read_bytes() == b"first\na\xffb"


def test_a_status_counts_that_comes_just_before_the_end(
    boot: Booter, play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(console=READY, ssh="yes")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with boot() as vm:

        def is_just_gone() -> bool:
            with contextlib.suppress(OSError):
                os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
            time.sleep(1.0)
            return False

        monkeypatch.setattr(vm, "alive", is_just_gone)
        done = vm.run(f": < {fifo}; exit 3", log=tmp_path / "log", timeout=20)
    assert (done.exit_status, done.timed_out, done.lost) == (3, False, False)


class LateChannel:
    """A channel on which all comes between a look for output and one for the end."""

    def __init__(self) -> None:
        self.closed = self.eof_received = False
        self.exit_status = -1
        self.waiting = b""

    def settimeout(self, _: float) -> None:
        pass

    def recv_ready(self) -> bool:
        return bool(self.waiting)

    def recv(self, _: int) -> bytes:
        if not self.waiting and not self.eof_received:
            raise TimeoutError
        data, self.waiting = self.waiting, b""
        return data

    def end(self) -> bool:
        """Let the command end; return that the guest lives."""
        self.waiting, self.eof_received, self.exit_status = b"said\n", True, 0
        return True


def test_output_counts_that_comes_after_the_last_look() -> None:
    vm = Guest.__new__(Guest)
    late, out = LateChannel(), io.BytesIO()
    # What is asked between the two looks.
    vm.alive = late.end  # type: ignore[method-assign]
    channel = cast(paramiko.Channel, late)
    done = vm._collect(channel, out, 0.0, time.monotonic() + 20)
    assert (done.exit_status, out.getvalue()) == (0, b"said\n")


def test_output_counts_that_is_later_than_the_status(
    boot: Booter, play: Play, tmp_path: Path
) -> None:
    play(console=READY, ssh="yes", late=2.0)
    log = tmp_path / "log"
    with boot() as vm:
        done = vm.run("echo said", log=log, timeout=20)
    assert (done.exit_status, log.read_text()) == (0, "said\n")


def mute_uname(folder: Path, times: int) -> None:
    """Put a `uname` first on PATH that says nothing so many times."""
    tool = folder / "bin" / "uname"
    tool.write_text(
        f"#!/bin/sh\necho >> {folder}/asked\n"
        f"[ $(wc -l < {folder}/asked) -le {times} ] || echo 6.99-fake\n"
    )
    tool.chmod(0o755)


def test_a_guest_that_does_not_say_its_name_is_asked_again(
    boot: Booter, play: Play, tmp_path: Path
) -> None:
    play(console=READY, ssh="yes")
    mute_uname(tmp_path, times=1)
    with boot() as vm:
        assert vm.uname == "6.99-fake"


def test_a_guest_that_never_says_its_name_is_the_labs_fault(
    boot: Booter, play: Play, tmp_path: Path
) -> None:
    play(console=READY, ssh="yes")
    mute_uname(tmp_path, times=1000)
    with pytest.raises(ssh.Nameless, match="printed nothing"), boot():
        pass
    assert ssh.Nameless.exit_code == 3


def test_the_suite_is_in_the_initrd_with_its_modes(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, names in (
        (first, ("bin/a", "py/run.py")),
        (second, ("bin/a", "bin/b")),
    ):
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"{folder.name} {name}")
    (second / "bin/a").chmod(0o755)
    files = ssh.suite_files([first, second], skip={"bin/b"})
    assert set(files) == {"suite/bin/a", "suite/py/run.py"}
    assert files["suite/bin/a"] == File(b"second bin/a", 0o755)
    assert files["suite/py/run.py"].mode == 0o644


def test_the_environment_and_a_signal_arrive(
    boot: Booter, play: Play, tmp_path: Path
) -> None:
    play(console=READY, ssh="yes")
    log = tmp_path / "log"
    with boot() as vm:
        done = vm.run(
            "echo $RELEASE; exec sh -c 'kill -SEGV $$'",
            log=log,
            timeout=20,
            env={"RELEASE": 'it\'s; a "test"'},
        )
    assert done.exit_status == 128 + signal.SIGSEGV
    assert log.read_text().startswith('it\'s; a "test"\n')


def test_a_background_child_does_not_hold_a_command(
    boot: Booter, play: Play, tmp_path: Path
) -> None:
    play(console=READY, ssh="yes")
    with boot() as vm:
        done = vm.run("sleep 1000 & echo $!", log=tmp_path / "log", timeout=20)
        os.kill(int((tmp_path / "log").read_text()), signal.SIGKILL)
    assert done.exit_status == 0
    assert done.duration < 10


def test_a_program_that_never_ends_times_out_in_a_good_guest(
    boot: Booter, play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = ("init inet_csk_accept", "a program umcg_wait", "dropbear poll", "spin 0")
    monkeypatch.setattr(hang, "TASKS", f"printf '%s\\n' {shlex.join(tasks)}")
    play(console=READY, ssh="yes", pc=IN_UMCG_SPIN)
    with boot() as vm:
        done = vm.run("echo $$; exec sleep 1000", log=tmp_path / "log", timeout=0.5)
        os.kill(int((tmp_path / "log").read_text()), signal.SIGKILL)
        assert vm.where_stuck() == ("a program: umcg_wait", "spin: running")
    assert (done.exit_status, done.timed_out, done.lost) == (None, True, False)


def test_a_guest_that_stands_still_is_lost(
    boot: Booter, play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "_ANSWER_TIMEOUT", 0.5)
    play(console=READY, ssh="yes", pc=IN_UMCG_SPIN)
    with boot() as vm:
        # What it ends with could get out before all threads of the fake have stopped.
        command = "sleep 0.2; kill -STOP $FAKE_QEMU_PID; sleep 5"
        done = vm.run(command, log=tmp_path / "log", timeout=0.5)
        monkeypatch.setattr(qemu, "_QMP_TIMEOUT", 0.5)
        assert vm.where_stuck() == ("an unknown place",)
    assert (done.exit_status, done.timed_out, done.lost) == (None, True, True)


def stop(pid: int) -> None:
    """Stop a process, and return when none of its threads goes on."""
    os.kill(pid, signal.SIGSTOP)

    def goes_on(thread: Path) -> bool:
        with contextlib.suppress(OSError):
            return thread.read_text().rpartition(")")[2].split()[0] != "T"
        return False

    wait_until(lambda: not any(map(goes_on, Path(f"/proc/{pid}/task").glob("*/stat"))))


def test_a_guest_that_stops_before_it_answers_is_lost(
    boot: Booter, play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "_ANSWER_TIMEOUT", 0.5)
    play(console=READY, ssh="yes", pc=IN_UMCG_SPIN)
    real = paramiko.Channel.exec_command
    with boot() as vm:

        def stop_first(channel: paramiko.Channel, command: str) -> None:
            stop(vm._qemu.process.pid)
            real(channel, command)

        monkeypatch.setattr(paramiko.Channel, "exec_command", stop_first)
        done = vm.run("true", log=tmp_path / "log", timeout=60)
        monkeypatch.setattr(qemu, "_QMP_TIMEOUT", 0.5)
        assert vm.where_stuck() == ("an unknown place",)
    assert (done.exit_status, done.timed_out, done.lost) == (None, False, True)


def test_a_guest_that_dies_is_lost_at_once(
    boot: Booter, play: Play, tmp_path: Path
) -> None:
    play(console=READY, ssh="yes")
    log = tmp_path / "log"
    with boot() as vm:
        done = vm.run(
            "echo ok 1; sleep 0.5; kill -USR1 $FAKE_QEMU_PID; sleep 5",
            log=log,
            timeout=60,
        )
        assert (done.exit_status, done.timed_out, done.lost) == (None, False, True)
        assert done.duration < 30
        assert log.read_text() == "ok 1\n"
        assert not vm.alive()
        again = vm.run("true", log=tmp_path / "log2", timeout=20)
        assert again.lost
        with pytest.raises(GuestExit, match="reset or powered off by itself"):
            vm.output("true")


def test_a_connection_that_ends_is_replaced_and_no_hang(
    boot: Booter, play: Play, tmp_path: Path
) -> None:
    play(console=READY, ssh="yes")
    with boot() as vm:
        end = threading.Timer(0.5, vm._ssh.close)
        end.start()
        done = vm.run("sleep 5", log=tmp_path / "log", timeout=60)
        assert (done.exit_status, done.timed_out, done.lost) == (None, False, False)
        assert vm.output("echo still here") == "still here\n"


def test_a_command_ends_after_it_was_promised_however_late(
    boot: Booter, play: Play
) -> None:
    play(console=READY, ssh="yes", promise=0.2)
    with boot() as vm:
        assert vm.output("echo so") == "so\n"


def test_a_first_command_that_is_cut_off_is_given_again(
    boot: Booter, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(console=READY, ssh="yes")
    real, given = paramiko.Channel.exec_command, []

    def cut_first(channel: paramiko.Channel, command: str) -> None:
        given.append(command)
        if len(given) == 1:
            channel.get_transport().close()
        real(channel, command)

    monkeypatch.setattr(paramiko.Channel, "exec_command", cut_first)
    with boot() as vm:
        assert vm.uname
    assert [command for command in given if "uname" in command] == [given[0], given[2]]


def test_a_qemu_that_is_killed_from_outside_is_not_the_patchs_fault(
    boot: Booter, play: Play, tmp_path: Path
) -> None:
    play(console=READY, ssh="yes")
    log = tmp_path / "log"
    with boot() as vm:
        with pytest.raises(InfraError, match="killed from outside by signal 9"):
            vm.run(
                "echo ok 1; sleep 0.5; kill -KILL $FAKE_QEMU_PID; sleep 5",
                log=log,
                timeout=60,
            )
        assert log.read_text() == "ok 1\n"
        with pytest.raises(InfraError, match="killed from outside by signal 9"):
            vm.output("true")


def test_a_qemu_that_crashes_is_not_said_to_have_been_killed(
    boot: Booter, play: Play, tmp_path: Path
) -> None:
    play(console=READY, ssh="yes")
    with boot() as vm, pytest.raises(InfraError, match=r"crashed \(Aborted\)"):
        vm.run("kill -ABRT $FAKE_QEMU_PID; sleep 5", log=tmp_path / "log", timeout=60)


@pytest.mark.parametrize("text", ["ok 1", "x" * 1_000_000])
def test_a_log_on_a_full_disk_is_the_labs_fault(
    boot: Booter, play: Play, tmp_path: Path, text: str
) -> None:
    play(console=READY, ssh="yes")
    log = tmp_path / "log"
    log.symlink_to("/dev/full")
    (tmp_path / "text").write_text(text)
    with boot() as vm:
        with pytest.raises(InfraError, match=r"cannot write .*log: No space") as caught:
            vm.run(f"cat {tmp_path}/text", log=log, timeout=60)
        assert "make room" in (caught.value.hint or "")
        assert vm.alive()


def test_a_qemu_that_ends_as_its_monitor_is_asked_is_an_error_of_ours(
    boot: Booter, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = QMPClient._establish_session

    async def answer_last(client: QMPClient) -> None:
        await real(client)
        assert client._writer and client._reader
        client._writer.close()
        client._reader.feed_eof()
        while client.runstate == Runstate.RUNNING:
            await asyncio.sleep(0.01)

    monkeypatch.setattr(QMPClient, "_establish_session", answer_last)
    play(console=READY, ssh="yes")
    with pytest.raises(InfraError, match=r"monitor does not answer .*it has gone"):
        with boot():
            pass


def test_a_panic_at_boot_is_named_with_its_cause(boot: Booter, play: Play) -> None:
    play(console=PANIC, exit=0)
    with pytest.raises(KernelPanic) as caught, boot():
        pass
    assert caught.value.exit_code == 1
    assert "Fatal exception" in caught.value.message
    assert "kernel BUG at kernel/sched/umcg.c:77!" in caught.value.message
    assert caught.value.log == boot.log
    assert any("umcg.c:77" in line for line in caught.value.lines()[2:])


def test_a_panic_ends_the_wait_even_if_qemu_stays(boot: Booter, play: Play) -> None:
    play(console=PANIC)
    start = time.monotonic()
    with pytest.raises(KernelPanic), boot(timeout=300):
        pass
    assert time.monotonic() - start < 60


OOPS = [
    "[    0.500000] BUG: kernel NULL pointer dereference, address: 0000000000000008",
    "[    0.500100] Oops: Oops: 0000 [#1] PREEMPT SMP",
    "[    0.500200] RIP: 0010:umcg_spin+0x1/0x2",
    "[    0.500300] Call Trace:",
    "[    0.500400]  umcg_spin+0x1/0x2",
]


@pytest.mark.timeout(120)
def test_an_oops_that_leaves_the_boot_hanging_is_told_long_before_the_deadline(
    boot: Booter, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The deadline is an hour: only bad news can end this.
    monkeypatch.setattr(console, "_GRACE", 0.3)
    play(console=OOPS, pc=IN_UMCG_SPIN)
    with pytest.raises(GuestHang, match="hangs in umcg_spin") as caught:
        with boot(timeout=3600):
            pass
    assert "it said: BUG: kernel NULL pointer" in caught.value.message
    assert "umcg_spin+0x1/0x2" in caught.value.excerpt


@pytest.mark.timeout(120)
@pytest.mark.parametrize("splat", [OOPS, ["[    0.1] WARNING: CPU: 0 PID: 1 at a.c:1"]])
def test_a_splat_that_does_not_stop_the_boot_does_not_end_it(
    boot: Booter, play: Play, monkeypatch: pytest.MonkeyPatch, splat: list[str]
) -> None:
    # Longer than the grace in all, and never without a word for as long.
    monkeypatch.setattr(console, "_GRACE", 2.0)
    words = [f"[    {n}.000000] going on" for n in range(1, 10)]
    play(console=splat, later=[*words, *READY], pause=0.4, ssh="yes")
    with boot(timeout=60) as vm:
        assert vm.output("echo up").strip() == "up"


def test_a_panic_after_an_oops_is_a_panic(boot: Booter, play: Play) -> None:
    play(console=[*OOPS, *PANIC[2:]], exit=0)
    with pytest.raises(KernelPanic, match="after: BUG: kernel NULL pointer"), boot():
        pass


def test_a_reset_without_a_word_is_an_exit(boot: Booter, play: Play) -> None:
    play(console=["[    0.000000] Linux version 6.99"], exit=0)
    with pytest.raises(GuestExit, match="while booting") as caught, boot():
        pass
    assert "Linux version 6.99" in caught.value.excerpt


def test_silence_ends_at_the_deadline_and_says_where(boot: Booter, play: Play) -> None:
    play(pc=IN_UMCG_SPIN)
    with pytest.raises(GuestHang, match="hangs in umcg_spin") as caught:
        with boot(timeout=1.0):
            pass
    assert caught.value.exit_code == 1


def test_a_guest_that_the_host_let_wait_is_the_labs_fault(
    boot: Booter, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu, "_waited", lambda pid: 3600)
    play(console=["[    0.100000] Linux"], pc=IN_UMCG_SPIN)
    with pytest.raises(InfraError, match="wait for a CPU in 3600 of ") as caught:
        with boot(timeout=1.0):
            pass
    assert caught.value.log == boot.log
    assert "`boot-timeout`" in (caught.value.hint or "")


def test_what_the_kernel_complained_of_counts_on_a_busy_host(
    boot: Booter, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu, "_waited", lambda pid: 3600)
    play(console=OOPS, pc=IN_UMCG_SPIN)
    with pytest.raises(GuestHang, match="it said: BUG: kernel NULL pointer"):
        with boot(timeout=1.0):
            pass


def test_who_waits_for_a_cpu_is_known() -> None:
    """Two programs on one CPU: each waits while the other runs."""
    cpu = str(min(os.sched_getaffinity(0)))
    spin = ("taskset", "-c", cpu, sys.executable, "-c", "while True: pass")
    pair = [subprocess.Popen(spin) for _ in range(2)]
    try:
        wait_until(lambda: all(waited(process.pid) > 0.3 for process in pair))
    finally:
        for process in pair:
            process.kill()
            process.wait()
    assert waited(pair[0].pid) == 0, "gone"


def test_a_missing_qemu_is_the_labs_fault(
    boot: Booter, monkeypatch: pytest.MonkeyPatch, lab: Lab, kernel: Kernel
) -> None:
    initrd.program("guest", kernel.arch, lab.cache)
    found = shutil.which
    monkeypatch.setattr(
        "shutil.which", lambda name: None if "qemu" in name else found(name)
    )
    with pytest.raises(InfraError, match=f"{X86_64.qemu} is not installed"), boot():
        pass


def test_a_qemu_that_refuses_is_quoted(boot: Booter, play: Play) -> None:
    play(stderr="qemu-system-x86_64: unsupported machine type\n", exit=1)
    with pytest.raises(InfraError, match="unsupported machine type") as caught, boot():
        pass
    assert caught.value.hint and caught.value.hint.startswith(X86_64.qemu)


def test_a_monitor_that_never_answers_is_the_labs_fault(
    boot: Booter, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu, "_QMP_TIMEOUT", 0.5)
    play(console=READY, monitor=False)
    with pytest.raises(InfraError, match="monitor does not answer"), boot():
        pass


def test_an_init_that_fails_is_the_labs_fault(boot: Booter, play: Play) -> None:
    play(console=["umcglab-init: failed: mount erofs on /disk: No such device"], exit=0)
    with pytest.raises(InfraError, match="mount erofs on /disk: No such device"):
        with boot():
            pass


@pytest.mark.parametrize(
    ("ssh", "why"),
    [("refuse", "SSH does not come up"), ("other-key", "host key is not the lab's")],
)
def test_an_ssh_that_never_comes_up_is_the_labs_fault(
    boot: Booter, play: Play, ssh: str, why: str
) -> None:
    play(console=READY, ssh=ssh)
    with pytest.raises(InfraError, match=why), boot():
        pass


def test_a_console_that_floods_does_not_freeze_the_guest(
    boot: Booter, play: Play
) -> None:
    play(console=READY, flood=2_000_000, ssh="yes")
    with boot() as vm:
        wait_until(lambda: vm.console_size() > 2_000_000)


def test_qemu_dies_with_a_parent_that_is_killed(
    play: Play, tmp_path: Path, kernel: Kernel
) -> None:
    play(console=READY)
    log = tmp_path / "target" / "console.log"
    log.parent.mkdir()
    code = (
        "import time\n"
        "from pathlib import Path\n"
        "from umcglab.guest import qemu\n"
        "from umcglab.lab.arch import X86_64\n"
        f"log = Path({str(log)!r})\n"
        "vm = qemu.Vm(arch=X86_64, kernel=log, initrd=log, console_log=log)\n"
        "with qemu.start(vm, attach=True):\n"
        "    print('started', flush=True)\n"
        "    time.sleep(1000)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert parent.stdout and parent.stdout.readline() == b"started\n"
        wait_until(log.exists)
        (child,) = set(pids_with(str(log.parent))) - {parent.pid}
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not Path(f"/proc/{child}").exists())


def test_a_command_whose_parent_is_gone_already_does_not_start() -> None:
    command = list(qemu.guarded(["echo", "started"]))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "started\n"
    command[command.index(str(os.getpid()))] = "1"
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == ""


def test_locate_names_functions_once_and_user_space() -> None:
    system_map = "ffff800080000000 T _text\nffff800080010000 t el1h_64_irq\n"
    system_map += "ffff800081000000 D vdso_data\nffff800080020000 T _etext\n"
    registers = " PC=ffff800080010044 X00=0\n PC=ffff800080010048\n PC=0000aaaae0\n"
    assert hang.locate(registers, system_map) == ("el1h_64_irq", "user space")
    assert hang.locate("CPU#0\nRIP=ffffffff81002004 RFL=2\n", system_map) == (
        "user space",
    )


def test_a_floor_needs_a_guest_that_powered_off(
    lab: Lab, kernel: Kernel, play: Play, tmp_path: Path
) -> None:
    log = tmp_path / "floor.log"
    play(console=["[    0.300000] reboot: Power down"], exit=0)
    assert 0 < ssh.floor(lab, kernel, TCG, console_log=log) < 20
    play(console=PANIC, exit=0)
    with pytest.raises(KernelPanic):
        ssh.floor(lab, kernel, TCG, console_log=log)
    play(console=["[    0.100000] Linux"], exit=0)
    with pytest.raises(GuestExit):
        ssh.floor(lab, kernel, TCG, console_log=log)


@pytest.mark.timeout(120)
def test_a_floor_that_an_oops_stops_is_told_long_before_the_deadline(
    lab: Lab,
    kernel: Kernel,
    play: Play,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is the first guest of a target, so it is the one that meets such a kernel."""
    monkeypatch.setattr(console, "_GRACE", 0.3)
    play(console=OOPS, pc=IN_UMCG_SPIN)
    with pytest.raises(GuestHang, match="hangs in umcg_spin") as caught:
        ssh.floor(lab, kernel, TCG, console_log=tmp_path / "log", timeout=3600)
    assert "it said: BUG: kernel NULL pointer" in caught.value.message


@pytest.mark.timeout(120)
def test_a_floor_with_a_splat_that_goes_on_is_one(
    lab: Lab,
    kernel: Kernel,
    play: Play,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(console, "_GRACE", 2.0)
    words = [f"[    {n}.000000] going on" for n in range(1, 7)]
    play(console=OOPS, later=[*words, console.POWER_OFF], pause=0.6, exit=0)
    assert ssh.floor(lab, kernel, TCG, console_log=tmp_path / "log") > 2


def test_the_ssh_command_pins_the_host_key(boot: Booter, play: Play) -> None:
    play(console=READY, ssh="yes")
    with boot() as vm:
        done = subprocess.run(
            [*vm.ssh_command(), "echo $0"], capture_output=True, text=True, timeout=30
        )
        assert (done.stdout, done.returncode) == ("sh\n", 0)
        known = Path(next(w for w in done.args if "UserKnown" in w).partition("=")[2])
        other = paramiko.ECDSAKey.generate()
        known.write_text(f"umcglab-guest {other.get_name()} {other.get_base64()}\n")
        done = subprocess.run(
            [*vm.ssh_command(), "true"], capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 255
