"""etcd servers of our own, for tests: on loopback, in directories that vanish, ended by their process ids."""

import base64
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE = 30.0


def etcd_program() -> str:
    """Where etcd is; without one, tests are skipped by name, or fail where stores are required."""
    program = shutil.which("etcd")
    if program is None:
        if os.environ.get("LEADERLOCK_REQUIRE_STORES") == "1":
            pytest.fail("LEADERLOCK_REQUIRE_STORES=1, and there is no etcd on PATH: install etcd-server")
        pytest.skip("no etcd on PATH: install etcd-server to run the tests of leaderlock_etcd")
    return program


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now. Another process may be faster; a server that cannot start says so."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class EtcdServer:
    """One member. Its flags stay the same through restarts and wipes, so that its cluster id does."""

    def __init__(self, directory: Path, *extra: str, name: str = "one", ports=None, cluster: str | None = None) -> None:
        self.directory = directory
        self.port, self.peer_port = ports or free_ports(2)
        self.process: subprocess.Popen[bytes] | None = None
        peer = f"http://127.0.0.1:{self.peer_port}"
        client = f"{'https' if '--cert-file' in extra else 'http'}://127.0.0.1:{self.port}"
        self._flags = [
            *("--name", name, "--data-dir", str(directory / "data"), "--logger", "zap", "--log-level", "error"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", cluster or f"{name}={peer}", "--initial-cluster-token", "leaderlock-tests"),
            # The lowest that etcd takes as plausible, so that a cluster finds its next leader in half a second.
            *("--heartbeat-interval", "50", "--election-timeout", "500"),
            *extra,
        ]

    def start(self, *, wait: bool = True) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen([etcd_program(), *self._flags], stdout=log, stderr=log)
        if wait:
            self.wait_until_healthy()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        self.kill()
        self.start()

    def wipe(self) -> None:
        """A disk that was exchanged: the same flags, nothing else."""
        self.kill()
        self.forget()
        self.start()

    def forget(self) -> None:
        """Lose the disk of a member that does not run."""
        shutil.rmtree(self.directory / "data")

    def wait_until_healthy(self) -> None:
        until = time.monotonic() + PATIENCE
        while not self.is_healthy():
            if self.process is None or self.process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"etcd did not start:\n{(self.directory / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def is_healthy(self) -> bool:
        """Whether it answers, and knows a leader."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5.0)
        try:
            connection.request("GET", "/health")
            return json.loads(connection.getresponse().read())["health"] == "true"
        except (OSError, http.client.HTTPException, ValueError):
            return False
        finally:
            connection.close()

    @contextmanager
    def outage(self):
        self.kill()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def frozen(self):
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        self._wait_until_stopped(self.process.pid)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    @staticmethod
    def _wait_until_stopped(pid: int) -> None:
        # The signal is sent at once, and obeyed by each thread when it next leaves the kernel.
        tasks = list(Path(f"/proc/{pid}/task").glob("*/stat"))
        while any(task.read_text().rpartition(")")[2].split()[0] != "T" for task in tasks):
            time.sleep(0.001)

    def ask(self, method: str, message: dict[str, object]) -> dict[str, object]:
        """Ask through etcd's JSON gateway: another way in than the driver's own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5.0)
        try:
            connection.request("POST", f"/v3/{method}", json.dumps(message))
            answer = connection.getresponse()
            body = json.loads(answer.read())
            if answer.status != 200:
                raise ValueError(f"{method}: {body}")
            return body
        finally:
            connection.close()

    def put(self, key: bytes, value: bytes) -> None:
        self.ask("kv/put", {"key": _text(key), "value": _text(value)})

    def delete(self, key: bytes, end: bytes = b"") -> None:
        self.ask("kv/deleterange", {"key": _text(key), **({"range_end": _text(end)} if end else {})})

    def cluster_id(self) -> str:
        return self.ask("kv/range", {"key": _text(b"x")})["header"]["cluster_id"]


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
