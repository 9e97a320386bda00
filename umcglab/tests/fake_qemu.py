# SPDX-License-Identifier: MIT
"""A QEMU that plays a part: console, monitor, SSH server and exit, no guest.

Tests put it first on PATH under QEMU's name. The part is JSON in the
environment's FAKE_QEMU:

  console   lines the guest prints, first of all
  later     lines it prints after those, each with a pause of `pause` seconds before
  flood     how many bytes it prints then
  stderr    what QEMU complains of
  exit      exit at once, with this status
  ssh       "yes", "refuse" (closes connections), "other-key"
  pc        what the monitor says the program counter is
  monitor   false: connect, and never answer
  output    what arrives at the exact guest's UART
  late      seconds that a command's output stays behind its status
  promise   seconds before a command is said to be run, and is

With `-S` it prints nothing before a debugger has sent a byte. Its SSH server takes
the keys out of the initrd, as the real init does, and runs commands on the host, with
FAKE_QEMU_PID in their environment.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

PART = json.loads(os.environ["FAKE_QEMU"])
go_on = threading.Event()
"""Not set while a debugger is waited for."""


def option(name: str, start: str) -> dict[str, str] | None:
    """Return the sub-options of the option `name` whose value begins with `start`."""
    for key, value in zip(sys.argv, sys.argv[1:], strict=False):
        if key == name and value.startswith(start):
            parts = value.split(",")[1:]
            return dict(part.partition("=")[::2] for part in parts)
    return None


def unpack(data: bytes) -> dict[str, bytes]:
    """Return the files of a newc archive."""
    files: dict[str, bytes] = {}
    at = 0
    while True:
        size, name_size = (int(data[at + n : at + n + 8], 16) for n in (54, 94))
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        start = at + 110 + name_size
        start += -start % 4
        if name == "TRAILER!!!":
            return files
        files[name] = data[start : start + size]
        at = start + size
        at += -at % 4


class Console:
    """The console's log, and whoever is attached."""

    def __init__(self) -> None:
        to_socket = option("-chardev", "socket,id=console")
        to_file = option("-chardev", "file,id=console")
        self.peer = None
        if to_socket:
            self.peer = socket.socket(fileno=int(to_socket["fd"]))
        path = (to_socket or {}).get("logfile") or (to_file or {})["path"]
        self.log = Path(path).open("wb", buffering=0)

    def print(self, text: str) -> None:
        data = text.encode()
        self.log.write(data)
        if self.peer:
            try:
                self.peer.sendall(data)
            except OSError:
                self.peer = None


def monitor(port: int) -> None:
    """Answer QMP: `info usernet` and `info registers`."""
    told = option("-chardev", "socket,id=qmp")
    assert told
    peer = socket.socket(fileno=int(told["fd"]))
    if not PART.get("monitor", True):
        time.sleep(3600)
    answers = {
        "info usernet": f"  TCP[HOST_FORWARD]  12  127.0.0.1 {port}  10.0.2.15    22\n",
        "info registers -a": f"RAX=0000000000000000\nRIP={PART.get('pc', '0' * 16)}\n",
    }
    version = {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}
    say(peer, {"QMP": {"version": version, "capabilities": []}})
    text = ""
    while data := peer.recv(65536):
        # Requests need not end with a newline.
        text += data.decode()
        request, end = json.JSONDecoder().raw_decode(text)
        text = text[end:].lstrip()
        command = request.get("arguments", {}).get("command-line")
        reply = {"return": answers[command] if command else {}}
        say(peer, reply | ({"id": request["id"]} if "id" in request else {}))


def await_debugger() -> None:
    """Listen where `-gdb` says, and go on when a debugger sends something."""
    value = sys.argv[sys.argv.index("-gdb") + 1]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(value.removeprefix("unix:").split(",")[0])
    listener.listen()

    def accept() -> None:
        connection, _ = listener.accept()
        if connection.recv(1):
            go_on.set()

    threading.Thread(target=accept, daemon=True).start()


def say(peer: socket.socket, message: object) -> None:
    peer.sendall(json.dumps(message).encode() + b"\r\n")


def main() -> None:
    # Only the parent's death or its kill ends this, as with a guest that hangs.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # A guest that powers off by itself.
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(0))
    sys.stderr.write(PART.get("stderr", ""))
    sys.stderr.flush()
    if "exit" in PART and "console" not in PART:
        os._exit(PART["exit"])
    port = 0
    if PART.get("ssh"):
        # Most have none, and start in a fifth of the time without it.
        # Half of what paramiko takes to be imported is this, which it can do without.
        sys.modules["invoke"] = None  # type: ignore[assignment]
        from umcglab.tests import fake_ssh

        path = sys.argv[sys.argv.index("-initrd") + 1]
        port = fake_ssh.listen(PART, unpack(Path(path).read_bytes()))
    if "-S" in sys.argv:
        await_debugger()
    else:
        go_on.set()
    threading.Thread(target=monitor, args=(port,), daemon=True).start()
    go_on.wait()
    if (uart := option("-chardev", "file,id=exact")) and "output" in PART:
        Path(uart["path"]).write_text(PART["output"])
    console = Console()
    console.print("".join(f"{line}\r\n" for line in PART.get("console", [])))
    for line in PART.get("later", []):
        time.sleep(PART["pause"])
        console.print(f"{line}\r\n")
    console.print("x" * PART.get("flood", 0))
    if "exit" in PART:
        os._exit(PART["exit"])
    while True:
        time.sleep(3600)


main()
