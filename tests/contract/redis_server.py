"""A Redis server of the tests' own, on a free port and in a directory of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

__all__ = ["RedisServer", "find_server", "free_port", "until"]

PATIENCE = 15.0


def find_server() -> str:
    """The path of redis-server; fails or skips the test where there is none."""
    program = shutil.which("redis-server")
    if program is None and os.environ.get("LEADERLOCK_REQUIRE_STORES") == "1":
        pytest.fail("redis-server is not on PATH, and LEADERLOCK_REQUIRE_STORES=1 asks for it")
    if program is None:
        pytest.skip("redis-server is not on PATH: nothing of Redis was tested")
    return program


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(condition, what: str):
    """The first true answer of ``condition``; fails the test where none comes."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"did not happen within {PATIENCE:g} s: {what}"
        threading.Event().wait(0.01)
    return answer


class RedisServer:
    """Starts, stops, kills and freezes one server; what it keeps on disk is in its directory."""

    def __init__(self, directory: Path, *settings: str) -> None:
        self.program = find_server()
        self.directory = directory
        self.settings = settings
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @contextmanager
    def running(self) -> Iterator[RedisServer]:
        self.start()
        try:
            yield self
        finally:
            self.kill()

    def start(self) -> None:
        command = [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        command += ["--unixsocket", str(self.directory / "socket"), *self.settings]
        if "--save" not in self.settings:
            command += ["--save", ""]
        with open(self.directory / "log", "ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self._answers, f"{self.program} answers; see {self.directory / 'log'}")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(PATIENCE)
            self._process = None

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    @contextmanager
    def outage(self) -> Iterator[None]:
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def do(self, *words: str | bytes) -> bytes:
        """A command as a person would type it, on a connection of its own; what came back, as it travels."""
        reply = self._ask(*words)
        assert not reply.startswith(b"-"), reply
        return reply

    def _ask(self, *words: str | bytes) -> bytes:
        packed = [word.encode() if isinstance(word, str) else word for word in words]
        data = b"*%d\r\n" % len(packed) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in packed)
        with closing(socket.create_connection(("127.0.0.1", self.port), PATIENCE)) as connection:
            connection.sendall(data)
            return connection.recv(1 << 16)

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self.directory / "log").read_text()
        try:
            return self._ask("PING").startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False
