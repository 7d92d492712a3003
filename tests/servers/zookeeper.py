"""ZooKeeper servers: processes of the tests' own, containers, or whatever a URL leads to.

Debian's package ``zookeeper`` brings what is needed; ``LEADERLOCK_ZOOKEEPER_CLASSPATH`` names another installation.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.choice import absent
from tests.servers.containers import Container, Nodes
from tests.servers.launching import Launch, Running, as_process
from tests.servers.loopback import PATIENCE, free_ports

__all__ = ["PATIENCE", "Ensemble", "Server", "ZooKeeperContainers", "ZooKeeperGiven", "free_ports", "mode_of"]

VARIABLE = "LEADERLOCK_ZOOKEEPER_CLASSPATH"
DEBIAN = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-nop.jar"


def why_no_program() -> str:
    """Why a server cannot be started here; nothing where it can."""
    jar = os.environ.get(VARIABLE, DEBIAN).split(":")[0]
    if not shutil.which("java"):
        return "there is no java on PATH"
    return "" if Path(jar).exists() else f"there is no {jar} (Debian: zookeeper; elsewhere: {VARIABLE})"


def needed_classpath() -> str:
    """Where ZooKeeper's classes are; without them tests are skipped by name, or fail where stores are required."""
    if why := why_no_program():
        absent("zookeeper", why)
    return os.environ.get(VARIABLE, DEBIAN)


def mode_of(port: int) -> str:
    """``standalone``, ``leader`` or ``follower``; nothing while it does not serve."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as link:
            link.sendall(b"srvr")
            answer = b"".join(iter(lambda: link.recv(4096), b""))
    except OSError:
        return ""
    _, found, rest = answer.decode(errors="replace").partition("Mode: ")
    return rest.split()[0] if found else ""


class Server:
    """One server process; member of an ensemble where ``peers`` are given."""

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        number: int = 1,
        peers: tuple[str, ...] = (),
        launch: Launch = as_process,
    ) -> None:
        self.classpath = needed_classpath() if launch is as_process else DEBIAN
        self._launch = launch
        self.port = port
        self.address = self.hosts = f"127.0.0.1:{port}"
        self.url = f"zk://{self.address}"
        self._folder = folder
        self._process: Running | None = None
        folder.mkdir(parents=True)
        (folder / "myid").write_text(str(number))
        lines = [
            "tickTime=200",
            "initLimit=50",
            "syncLimit=10",
            "minSessionTimeout=400",
            "maxSessionTimeout=60000",
            f"dataDir={folder}",
            f"clientPort={port}",
            "clientPortAddress=127.0.0.1",
            "admin.enableServer=false",
            "4lw.commands.whitelist=srvr",
            "maxClientCnxns=0",
            "forceSync=no",
            *peers,
        ]
        (folder / "zoo.cfg").write_text("\n".join(lines) + "\n")

    def launch(self) -> None:
        """Start it, without waiting until it answers."""
        main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        options = ["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dzookeeper.jmx.log4j.disable=true"]
        words = ["java", *options, "-cp", self.classpath, main, str(self._folder / "zoo.cfg")]
        self._process = self._launch(words, self._folder / "log")

    def mode(self) -> str:
        return mode_of(self.port)

    def wait(self) -> None:
        """Until it serves."""
        until = time.monotonic() + PATIENCE
        while not self.mode():
            assert time.monotonic() < until, (self._folder / "log").read_text()[-2000:]
            time.sleep(0.05)

    def start(self) -> None:
        self.launch()
        self.wait()

    def kill(self) -> None:
        """As ``kill -9`` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        # The signal is on its way only; each of the threads may still answer until all have stopped.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def thaw(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    @contextmanager
    def frozen(self) -> Generator[None]:
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    @contextmanager
    def outage(self) -> Generator[None]:
        self.kill()
        try:
            yield
        finally:
            self.start()


class Ensemble:
    """Three servers."""

    def __init__(self, folder: Path) -> None:
        ports = free_ports(9)
        peers = tuple(
            f"server.{number + 1}=127.0.0.1:{ports[3 * number + 1]}:{ports[3 * number + 2]}" for number in range(3)
        )
        self.servers = [
            Server(folder / str(number), ports[3 * number], number=number + 1, peers=peers) for number in range(3)
        ]
        self.hosts = ",".join(server.address for server in self.servers)

    def start(self) -> None:
        for server in self.servers:
            server.launch()
        for server in self.servers:
            server.wait()

    def kill(self) -> None:
        for server in self.servers:
            server.kill()

    @property
    def leader(self) -> Server:
        """The server that leads now."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            for server in self.servers:
                if server.mode() == "leader":
                    return server
            time.sleep(0.05)
        raise AssertionError("the ensemble has elected nobody")


class ZooKeeperContainers(Nodes):
    """The ensemble of three."""

    networks = ("clients", "zookeeper-peers")

    def __init__(self) -> None:
        services = (f"zookeeper-{number}" for number in (1, 2, 3))
        super().__init__(*services, is_serving=lambda container: mode_of(container.port))
        self.hosts = ",".join(container.place for container in self.all)
        self.url = f"zk://{self.hosts}"

    def leader(self, besides: Container | None = None) -> Container | None:
        """The one that says it leads; nothing while none does."""
        others = [container for container in self.all if besides is None or container.service != besides.service]
        return next((container for container in others if mode_of(container.port) == "leader"), None)


class ZooKeeperGiven:
    """Somebody's ensemble, of which nothing but the namespaces of the tests is touched."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.hosts = url.partition("://")[2]

    def kill(self) -> None:
        pytest.skip("the ensemble was given by URL: it is not ours to stop")

    start = outage = frozen = kill
