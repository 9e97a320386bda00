# SPDX-License-Identifier: MIT
"""The SSH server of a guest that fake_qemu.py plays."""

from __future__ import annotations

import base64
import io
import os
import socket
import subprocess
import threading
import time
from typing import Any, cast

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_SUCCEEDED,
    cMSG_CHANNEL_SUCCESS,
)


class Server(paramiko.ServerInterface):
    """Lets in the holder of the one key, and runs commands."""

    def __init__(self, part: dict[str, Any], authorized: str) -> None:
        self.part = part
        self.authorized = authorized

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        same = f"{key.get_name()} {key.get_base64()}" == self.authorized
        return AUTH_SUCCESSFUL if same else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_exec_request(
        self, channel: paramiko.Channel, command: bytes
    ) -> bool:
        args = (self.part, channel, command.decode())
        transport = cast(Transport, channel.get_transport())
        transport.promised.append(threading.Thread(target=serve, args=args))
        return True


class Transport(paramiko.Transport):
    """Starts a command after it has said that it will, as dropbear does.

    A client that is told the end of a command first takes it for a refusal.
    """

    def __init__(self, connection: socket.socket, late: float) -> None:
        super().__init__(connection)
        self.promised: list[threading.Thread] = []
        self.late = late

    def _send_user_message(self, data: paramiko.Message) -> None:
        success = data.asbytes().startswith(cMSG_CHANNEL_SUCCESS)
        if success:
            time.sleep(self.late)
        super()._send_user_message(data)  # type: ignore[misc]
        if success:
            self.promised.pop().start()


def serve(part: dict[str, Any], channel: paramiko.Channel, command: str) -> None:
    """Run one command with the channel as its standard streams."""
    process = subprocess.Popen(
        ["sh", "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "FAKE_QEMU_PID": str(os.getpid())},
    )
    assert process.stdin and process.stdout
    threading.Thread(target=feed, args=(channel, process.stdin), daemon=True).start()
    status = threading.Thread(target=wait, args=(channel, process), daemon=True)
    status.start()
    while data := os.read(process.stdout.fileno(), 65536):
        if part.get("late"):
            status.join()
            time.sleep(part["late"])
        channel.sendall(data)
    # A status that comes after the close is none.
    status.join()
    channel.close()


def wait(channel: paramiko.Channel, process: subprocess.Popen[bytes]) -> None:
    """Tell the status as soon as there is one, as dropbear does."""
    channel.send_exit_status(process.wait())


def feed(channel: paramiko.Channel, stdin: io.BufferedWriter) -> None:
    while data := channel.recv(65536):
        stdin.write(data)
        stdin.flush()
    stdin.close()


def listen(part: dict[str, Any], initrd: dict[str, bytes]) -> int:
    """Listen as hostfwd does; return the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    raw = initrd["keys/host_key"][-64:-32]
    if part["ssh"] == "other-key":
        raw = bytes(32)
    pem = Ed25519PrivateKey.from_private_bytes(raw).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    key = paramiko.Ed25519Key(file_obj=io.StringIO(pem.decode()))
    authorized = initrd["keys/authorized_keys"].decode().strip()
    base64.b64decode(authorized.split()[1], validate=True)

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            if part["ssh"] == "refuse":
                connection.close()
                continue
            transport = Transport(connection, part.get("promise", 0.0))
            transport.add_server_key(key)
            transport.start_server(
                event=threading.Event(), server=Server(part, authorized)
            )

    threading.Thread(target=accept, daemon=True).start()
    return int(listener.getsockname()[1])
