"""ZooKeeper servers for tests, on loopback: started, killed, frozen, wiped.

Debian's package ``zookeeper`` brings what is needed; ``LEADERLOCK_ZOOKEEPER_CLASSPATH`` names another installation.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

VARIABLE = "LEADERLOCK_ZOOKEEPER_CLASSPATH"
DEBIAN = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-nop.jar"
PATIENCE = 40.0


def needed_classpath() -> str:
    """Where ZooKeeper's classes are; without them tests are skipped by name, or fail where stores are required."""
    classpath = os.environ.get(VARIABLE, DEBIAN)
    missing = "" if shutil.which("java") else "there is no java on PATH"
    missing = missing or ("" if Path(classpath.split(":")[0]).exists() else f"there is no {classpath.split(':')[0]}")
    if not missing:
        return classpath
    reason = f"ZooKeeper was NOT tested: {missing}; install Debian's `zookeeper`, or set {VARIABLE}"
    if os.environ.get("LEADERLOCK_REQUIRE_STORES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


class Server:
    """One server process; member of an ensemble where ``peers`` are given."""

    def __init__(self, folder: Path, port: int, *, number: int = 1, peers: tuple[str, ...] = ()) -> None:
        self.classpath = needed_classpath()
        self.port = port
        self.address = f"127.0.0.1:{port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
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
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["java", *options, "-cp", self.classpath, main, str(self._folder / "zoo.cfg")],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def mode(self) -> str:
        """``standalone``, ``leader`` or ``follower``; nothing while it does not serve."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as link:
                link.sendall(b"srvr")
                answer = b"".join(iter(lambda: link.recv(4096), b""))
        except OSError:
            return ""
        _, found, rest = answer.decode(errors="replace").partition("Mode: ")
        return rest.split()[0] if found else ""

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
    def away(self) -> Generator[None]:
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
