"""PgBouncer in front of a PostgreSQL server of the tests' own."""

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
from tests.servers.postgres import somebody

__all__ = ["PgBouncer"]

TIMEOUT = 30.0
"""Seconds for it to end."""


def find_program() -> str:
    """Its path, which Debian keeps off PATH; fails or skips the test without it."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or absent(
        "pgbouncer", "there is no pgbouncer on PATH"
    )


class PgBouncer:
    """Starts and ends one pooler, on loopback and in a directory that goes with it.

    It has few connections to the server, so that even two clients share them.
    """

    def __init__(self, server_port: int, mode: str, size: int = 2) -> None:
        self._program = find_program()
        # It refuses to run as root, and gives root up by itself for the user that its settings name.
        self._user = somebody() if os.geteuid() == 0 else None
        self.server_port, self.mode, self.size = server_port, mode, size
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="leaderlock-pgbouncer-"))

    @contextmanager
    def running(self) -> Iterator[PgBouncer]:
        process = None
        try:
            process = self._start()
            until(lambda: self._answers(process), f"PgBouncer answers; see {self.directory / 'log'}")
            yield self
        finally:
            if process is not None:
                process.send_signal(signal.SIGKILL)
                process.wait(TIMEOUT)
            shutil.rmtree(self.directory)

    def url(self, driver: str = "psycopg") -> str:
        return f"postgresql+{driver}://leaderlock@127.0.0.1:{self.port}/postgres"

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text("utf-8", "replace")

    def _start(self) -> subprocess.Popen[bytes]:
        users, settings = self.directory / "users", self.directory / "settings"
        users.write_text('"leaderlock" ""\n', "utf-8")
        settings.write_text(
            f"[databases]\npostgres = host=127.0.0.1 port={self.server_port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {users}\npool_mode = {self.mode}\ndefault_pool_size = {self.size}\n",
            "utf-8",
        )
        if self._user is not None:
            for place in (self.directory, users, settings):
                os.chown(place, self._user, -1)
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                [self._program, str(settings)],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
            )

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        import psycopg

        assert process.poll() is None, self.log
        try:
            psycopg.connect(host="127.0.0.1", port=self.port, user="leaderlock", dbname="postgres").close()
        except psycopg.OperationalError:
            return False
        return True
