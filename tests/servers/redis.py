"""Redis and Valkey servers: processes of the tests' own, containers, or whatever a URL leads to."""

from __future__ import annotations

import shutil
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.servers.choice import absent
from tests.servers.containers import Nodes
from tests.servers.launching import Launch, Running, as_process
from tests.servers.loopback import PATIENCE, free_port, until

__all__ = [
    "PATIENCE",
    "RedisContainer",
    "RedisGiven",
    "RedisServer",
    "find_server",
    "free_port",
    "open_several",
    "until",
]

TIMEOUT = 15.0
"""Seconds for one command, and for a server to end."""


def find_server(program: str = "redis-server") -> str:
    """The path of the program; fails or skips the test where there is none."""
    return shutil.which(program) or absent(program.removesuffix("-server"), f"there is no {program} on PATH")


def ask(port: int, *words: str | bytes) -> bytes:
    """A command as a person would type it, on a connection of its own; what came back, as it travels."""
    packed = [word.encode() if isinstance(word, str) else word for word in words]
    data = b"*%d\r\n" % len(packed) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in packed)
    with closing(socket.create_connection(("127.0.0.1", port), TIMEOUT)) as connection:
        connection.sendall(data)
        return connection.recv(1 << 16)


def do(port: int, *words: str | bytes) -> bytes:
    """The same, for a command that succeeds."""
    reply = ask(port, *words)
    assert not reply.startswith(b"-"), reply
    return reply


def is_serving(port: int) -> bool:
    try:
        return ask(port, "PING").startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False


def open_several(backend, server: RedisServer, count: int = 4) -> None:
    """Have a backend ask a server on several connections at once, which are idle from then on."""
    server.do("CLIENT", "PAUSE", "300")
    with ThreadPoolExecutor(count) as threads:
        list(threads.map(lambda _: backend.read([], timeout=TIMEOUT), range(count)))


class RedisServer:
    """Starts, stops, kills and freezes one server; what it keeps on disk is in its directory."""

    def __init__(
        self,
        directory: Path,
        *settings: str,
        program: str = "redis-server",
        port: int | None = None,
        launch: Launch = as_process,
    ) -> None:
        self.program = find_server(program) if launch is as_process else program
        self._launch = launch
        self.directory = directory
        self.settings = settings
        self.port = port or free_port()
        self._process: Running | None = None

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
        self._process = self._launch(command, self.directory / "log")
        until(self._answers, f"{self.program} answers; see {self.directory / 'log'}")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(TIMEOUT)
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
        return do(self.port, *words)

    def wipe(self, namespace: str) -> None:
        self.do("FLUSHALL")

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self.directory / "log").read_text()
        return is_serving(self.port)


class RedisContainer(Nodes):
    """The service ``redis`` or ``valkey``, which writes to disk before it answers."""

    def __init__(self, service: str) -> None:
        super().__init__(service, is_serving=lambda container: is_serving(container.port))
        (container,) = self.all
        self.port = container.port
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def do(self, *words: str | bytes) -> bytes:
        return do(self.port, *words)

    def wipe(self, namespace: str) -> None:
        self.do("FLUSHALL")


class RedisGiven:
    """Somebody's server, of which nothing but the namespaces of the tests is touched."""

    def __init__(self, url: str) -> None:
        self.url = url

    def do(self, *words: str | bytes) -> object:
        import redis

        with closing(redis.Redis.from_url(self.url.replace("valkey", "redis", 1))) as client:
            return client.execute_command(*words)

    def wipe(self, namespace: str) -> None:
        import redis

        with closing(redis.Redis.from_url(self.url.replace("valkey", "redis", 1))) as client:
            for key in client.scan_iter(f"leaderlock:{{{namespace}}}:*"):
                client.delete(key)

    def kill(self) -> None:
        pytest.skip("the server was given by URL: it is not ours to stop")

    start = outage = frozen = kill
