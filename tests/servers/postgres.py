"""A PostgreSQL server of the tests' own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.choice import absent
from tests.servers.loopback import free_port, until

__all__ = ["PostgresServer"]

TIMEOUT = 30.0
"""Seconds for the server to end."""


def find_program(name: str) -> str:
    """The path of one of its programs, which Debian keeps off PATH; fails or skips the test where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which(name)
    if on_path is None and not found:
        absent("postgresql", f"there is no {name} on PATH, nor in /usr/lib/postgresql")
    return on_path or str(found[-1])


class PostgresServer:
    """Starts, stops and kills one server, on loopback and in a directory that goes with it.

    PostgreSQL refuses to run as root, and then runs as whom Debian made for it, or as nobody.
    """

    def __init__(self) -> None:
        self._programs = {name: find_program(name) for name in ("initdb", "postgres")}
        self._user = somebody() if os.geteuid() == 0 else None
        self.directory = Path(tempfile.mkdtemp(prefix="leaderlock-postgres-"))
        if self._user is not None:
            os.chown(self.directory, self._user, -1)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self) -> Iterator[PostgresServer]:
        try:
            # What a power cut would lose does not matter here; what a killed server would lose, is kept all the same.
            made = self._run("initdb", "--username=leaderlock", "--auth=trust", "--no-sync", "--encoding=UTF8")
            assert made.wait(TIMEOUT) == 0, self.log
            self.start()
            yield self
        finally:
            self.stop(signal.SIGKILL)
            shutil.rmtree(self.directory)

    def url(self, driver: str = "psycopg") -> str:
        return f"postgresql+{driver}://leaderlock@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "max_connections=60"]
        self._process = self._run("postgres", "-p", str(self.port), *(f"--{setting}" for setting in settings))
        until(self._answers, f"PostgreSQL answers; see {self.directory / 'log'}")

    def stop(self, number: int = signal.SIGINT) -> None:
        """At once. While one of its processes is left, another server refuses to start on the same data."""
        if self._process is not None:
            children = _children(self._process.pid)
            self._process.send_signal(number)
            self._process.wait(TIMEOUT)
            self._process = None
            until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), "its processes end")

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text("utf-8", "replace")

    def _answers(self) -> bool:
        import psycopg

        assert self._process is not None
        assert self._process.poll() is None, self.log
        try:
            psycopg.connect(host="127.0.0.1", port=self.port, user="leaderlock", dbname="postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *words: str) -> subprocess.Popen[bytes]:
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                [self._programs[program], "-D", str(self.directory / "data"), *words],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
            )


def _children(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:  # it has ended by itself
        return []


def somebody() -> int:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    return absent("postgresql", "it does not run as root, and there is neither a user postgres nor a user nobody")
