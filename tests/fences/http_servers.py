"""Real servers with two worker processes, and a connection to each of these."""

from __future__ import annotations

import fcntl
import http.client
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from leaderlock.fences.gate import Gate
from leaderlock.fences.http import fencing_headers, raise_for_stale
from tests.servers.loopback import free_port, until

ROOT = Path(__file__).parents[2]

COMMANDS = {
    "uvicorn": "uvicorn tests.fences.http_service:asgi --workers 2 --port {port} --timeout-keep-alive 60 "
    "--timeout-worker-healthcheck 10 --log-level warning",
    "gunicorn": "gunicorn tests.fences.http_service:wsgi --workers 2 --threads 8 --bind 127.0.0.1:{port} "
    "--keep-alive 60 --log-level warning",
}


class Answer:
    """A response that was read."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.worker = int(response.headers.get("worker", "0"))
        self.body = response.read()


class Client:
    """One connection, which stays with its worker."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.worker = self.send("GET", "/count").worker

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def send(self, method: str, path: str, token: int | None = None) -> Answer:
        self._connection.request(method, path, headers={} if token is None else fencing_headers(token))
        return Answer(self._connection.getresponse())

    def write(self, token: int) -> None:
        """Add one, as a leader does."""
        answer = self.send("POST", "/add", token)
        raise_for_stale(answer)
        assert answer.status == 200, answer.body


class Work:
    """A request that goes on until it is told to end."""

    def __init__(self, files: Path, sent: Future[Answer]) -> None:
        self._files = files
        self.sent = sent

    @property
    def has_begun(self) -> bool:
        return self._files.with_suffix(".started").exists()

    def end(self) -> Answer:
        self._files.with_suffix(".go").touch()
        return self.sent.result(30)


class Service:
    """``tests/fences/http_service.py`` behind a server with two workers."""

    def __init__(self, server: str, folder: Path, *, timeout: float) -> None:
        self.server, self.folder, self.port = server, folder, free_port()
        self._names = (f"{self.port}-{number}" for number in itertools.count())
        self._threads = ThreadPoolExecutor(32)
        self._variables = {"SERVICE_FOLDER": str(folder), "SERVICE_TIMEOUT": f"{timeout}", "PYTHONPATH": str(ROOT)}
        self.gate = Gate(folder / "watermark")
        self.start()

    def start(self) -> None:
        words = [sys.executable, "-m", *COMMANDS[self.server].format(port=self.port).split()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                words, stdout=log, stderr=log, env={**os.environ, **self._variables}, start_new_session=True
            )
        self.connect().__exit__()

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its workers are in its group
        self._process.wait()

    def connect(self) -> Client:
        def connected() -> Client | None:
            with suppress(OSError, http.client.HTTPException):
                return Client(self.port)
            assert self._process.poll() is None, (self.folder / "log").read_text()
            return None

        return until(connected, f"{self.server} answers")

    def connect_to(self, wanted: Callable[[int], bool]) -> Client:
        """A connection to a worker of which this is true."""

        def found() -> Client | None:
            client = self.connect()
            if wanted(client.worker):
                return client
            client.__exit__()
            return None

        return until(found, "a connection to the worker that is wanted")

    def in_background(self, client: Client, method: str, path: str, token: int) -> Future[Answer]:
        return self._threads.submit(client.send, method, path, token)

    def begin(self, client: Client, kind: str, token: int) -> Work:
        """A request of that kind; it is at work when this returns."""
        work = self.begin_soon(client, kind, token)
        until(lambda: work.has_begun, f"{kind} begins")
        return work

    def begin_soon(self, client: Client, kind: str, token: int) -> Work:
        name = next(self._names)
        return Work(self.folder / name, self.in_background(client, "POST", f"/{kind}/{name}", token))

    def upload_and_vanish(self, token: int) -> None:
        """A client whose request is at work, and which is gone before it has sent the whole of it."""
        begun = self.folder / f"{next(self._names)}.started"
        with socket.create_connection(("127.0.0.1", self.port)) as one:
            head = f"POST /upload/{begun.stem} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nFencing-Token: {token}"
            one.sendall(f"{head}\r\n\r\nthe beginning".encode())
            until(begun.exists, "the upload begins")

    @property
    def highest(self) -> int:
        return self.gate.highest

    @property
    def has_somebody_in_the_door(self) -> bool:
        try:
            with open(self.folder / ".watermark.fence-door", "rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            pass
        return False

    @property
    def counter(self) -> int:
        return int((self.folder / "counter").read_text())


@contextmanager
def service(server: str, folder: Path, *, timeout: float = 10.0) -> Iterator[Service]:
    folder.mkdir(exist_ok=True)
    (folder / "counter").write_text("0")
    running = Service(server, folder, timeout=timeout)
    try:
        yield running
    finally:
        running.stop()


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
