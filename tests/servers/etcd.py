"""etcd servers: processes of the tests' own, in directories that vanish; containers; or whatever a URL leads to."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.servers.choice import absent
from tests.servers.containers import Container, Nodes
from tests.servers.launching import Launch, Running, as_process
from tests.servers.loopback import PATIENCE, free_ports

__all__ = ["EtcdContainers", "EtcdGiven", "EtcdServer", "ask", "etcd_program", "free_ports"]


def etcd_program() -> str:
    """Where etcd is; without one, tests are skipped by name, or fail where stores are required."""
    return shutil.which("etcd") or absent("etcd", "there is no etcd on PATH (Debian: etcd-server)")


def ask(address: str, method: str, message: dict[str, object]) -> dict[str, object]:
    """Ask through etcd's JSON gateway: another way in than the driver's own."""
    connection = http.client.HTTPConnection(address, timeout=5.0)
    try:
        connection.request("POST", f"/v3/{method}", json.dumps(message))
        answer = connection.getresponse()
        body = json.loads(answer.read())
        if answer.status != 200:
            raise ValueError(f"{method}: {body}")
        return body
    finally:
        connection.close()


def is_healthy(address: str) -> bool:
    """Whether it answers, and knows a leader."""
    connection = http.client.HTTPConnection(address, timeout=5.0)
    try:
        connection.request("GET", "/health")
        return json.loads(connection.getresponse().read())["health"] == "true"
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()


def put(address: str, key: bytes, value: bytes) -> None:
    ask(address, "kv/put", {"key": _text(key), "value": _text(value)})


def delete(address: str, key: bytes, end: bytes = b"") -> None:
    ask(address, "kv/deleterange", {"key": _text(key), **({"range_end": _text(end)} if end else {})})


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


class EtcdServer:
    """One member. Its flags stay the same through restarts and wipes, so that its cluster id does."""

    def __init__(
        self,
        directory: Path,
        *extra: str,
        name: str = "one",
        ports=None,
        cluster: str | None = None,
        launch: Launch = as_process,
    ) -> None:
        self.directory = directory
        self._launch = launch
        self.port, self.peer_port = ports or free_ports(2)
        self.process: Running | None = None
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
        program = etcd_program() if self._launch is as_process else "etcd"
        self.process = self._launch([program, *self._flags], self.directory / "log")
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
        return is_healthy(self.address)

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

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"etcd://{self.address}"

    def ask(self, method: str, message: dict[str, object]) -> dict[str, object]:
        return ask(self.address, method, message)

    def put(self, key: bytes, value: bytes) -> None:
        put(self.address, key, value)

    def delete(self, key: bytes, end: bytes = b"") -> None:
        delete(self.address, key, end)

    def cluster_id(self) -> str:
        return self.ask("kv/range", {"key": _text(b"x")})["header"]["cluster_id"]


class EtcdContainers(Nodes):
    """The cluster of three."""

    networks = ("clients", "etcd-peers")

    def __init__(self) -> None:
        super().__init__("etcd-1", "etcd-2", "etcd-3", is_serving=lambda container: is_healthy(container.place))
        self.addresses = [container.place for container in self.all]
        self.url = f"etcd://{','.join(self.addresses)}"

    def leader(self, besides: Container | None = None) -> Container | None:
        """The one that says it leads; nothing while none does."""
        others = [container for container in self.all if besides is None or container.service != besides.service]
        return next((container for container in others if self._leads(container)), None)

    @staticmethod
    def _leads(container: Container) -> bool:
        status = ask(container.place, "maintenance/status", {})
        return status.get("leader") == status["header"]["member_id"]

    def wipe(self) -> None:
        """All disks were exchanged: the same flags, nothing else."""
        self.lose_disks()

    def put(self, key: bytes, value: bytes) -> None:
        put(self.addresses[0], key, value)

    def delete(self, key: bytes, end: bytes = b"") -> None:
        delete(self.addresses[0], key, end)


class EtcdGiven:
    """Somebody's cluster, of which nothing but the namespaces of the tests is touched."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.address = urlsplit(url).netloc.split(",")[0]

    def put(self, key: bytes, value: bytes) -> None:
        put(self.address, key, value)

    def delete(self, key: bytes, end: bytes = b"") -> None:
        delete(self.address, key, end)

    def wipe(self) -> None:
        pytest.skip("the cluster was given by URL: it is not ours to wipe or to stop")

    kill = start = outage = frozen = wipe
