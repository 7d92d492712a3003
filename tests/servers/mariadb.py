"""A MariaDB server of the tests' own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.choice import absent
from tests.servers.loopback import free_port, until

__all__ = ["MariaServer"]

TIMEOUT = 60.0
"""Seconds for the server to end, and to make its system tables."""


def find_program(name: str) -> str:
    """The path of one of its programs, some of which Debian keeps off PATH; fails or skips the test without it."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin") or absent(
        "mariadb", f"there is no {name} on PATH"
    )


class MariaServer:
    """Starts, stops and kills one server, on loopback and in a directory that goes with it.

    Started by root, it runs as ``user``.
    """

    def __init__(self, *settings: str, user: str = "root") -> None:
        self._programs = {name: find_program(name) for name in ("mariadb-install-db", "mariadbd")}
        self._settings = settings
        self._as_user = [f"--user={user}"] if os.geteuid() == 0 else []
        self.directory = Path(tempfile.mkdtemp(prefix="leaderlock-mariadb-"))
        if self._as_user:
            shutil.chown(self.directory, user)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self) -> Iterator[MariaServer]:
        try:
            made = self._run("mariadb-install-db", "--auth-root-authentication-method=normal", "--skip-test-db")
            assert made.wait(TIMEOUT) == 0, self.log
            self.start()
            self._create_database()
            yield self
        finally:
            self.stop(signal.SIGKILL)
            shutil.rmtree(self.directory)

    def url(self, driver: str = "pymysql") -> str:
        return f"mariadb+{driver}://root@127.0.0.1:{self.port}/leaderlock?charset=utf8mb4"

    def start(self) -> None:
        # Each commit goes to the operating system, so that a killed server keeps it; to the disk is not needed here.
        settings = ["innodb-flush-log-at-trx-commit=2", "skip-name-resolve", "innodb-buffer-pool-size=16M"]
        places = [f"--port={self.port}", "--bind-address=127.0.0.1", f"--socket={self.directory / 'socket'}"]
        self._process = self._run("mariadbd", *places, *(f"--{setting}" for setting in (*settings, *self._settings)))
        until(self._answers, f"MariaDB answers; see {self.directory / 'log'}")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(TIMEOUT)
            self._process = None

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text("utf-8", "replace")

    def _answers(self) -> bool:
        import pymysql

        assert self._process is not None
        assert self._process.poll() is None, self.log
        try:
            with pymysql.connect(host="127.0.0.1", port=self.port, user="root") as connection:
                connection.cursor().execute("SHOW TABLES IN mysql")  # a node of a cluster is not ready at once
        except pymysql.OperationalError:
            return False
        return True

    def _create_database(self) -> None:
        import pymysql

        with pymysql.connect(host="127.0.0.1", port=self.port, user="root") as connection:
            connection.cursor().execute("CREATE DATABASE IF NOT EXISTS leaderlock CHARACTER SET utf8mb4")

    def _run(self, program: str, *words: str) -> subprocess.Popen[bytes]:
        place = f"--datadir={self.directory / 'data'}"
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                [self._programs[program], "--no-defaults", place, *self._as_user, *words],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
