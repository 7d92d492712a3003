"""What Sentinels say of the group that they watch; one; and the group in containers, of the profile ``sentinel``."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tests.servers.containers import Container, Nodes
from tests.servers.launching import Launch, Running, as_process
from tests.servers.loopback import PATIENCE, free_port, until
from tests.servers.redis import find_server, is_serving

__all__ = ["NAME", "Sentinel", "SentinelContainers", "facts_of", "has_moved", "is_whole", "master_of", "replies"]

NUMBERS = ("1", "2", "3")
NAME = "mymaster"
"""What a group is called whose Sentinels the tests start themselves."""


def replies(port: int, *words: str, timeout: float = PATIENCE) -> list[str]:
    """The lines of what a server answers."""
    data = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    with closing(socket.create_connection(("127.0.0.1", port), timeout)) as connection:
        connection.sendall(data.encode())
        return connection.recv(1 << 16).decode(errors="replace").split("\r\n")


def master_of(sentinel: int, name: str, *, timeout: float = PATIENCE) -> int:
    """The port of what that Sentinel takes for the master."""
    return int(replies(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", name, timeout=timeout)[4])


def facts_of(sentinel: int, name: str, *, timeout: float = PATIENCE) -> dict[str, str]:
    """What that Sentinel knows of the master."""
    words = replies(sentinel, "SENTINEL", "MASTER", name, timeout=timeout)[2::2]
    return dict(zip(words[::2], words[1::2], strict=False))


def is_whole(sentinels: Sequence[int], name: str, *, replicas: int) -> bool:
    """Whether all of them know each other and one master, and its replicas follow it."""
    known = [facts_of(sentinel, name) for sentinel in sentinels]
    masters = {int(facts["port"]) for facts in known}
    expected = (replicas, len(sentinels) - 1, "master")
    return (
        len(masters) == 1
        and all(
            (int(facts["num-slaves"]), int(facts["num-other-sentinels"]), facts["flags"]) == expected for facts in known
        )
        and sum("state=online" in line for line in replies(masters.pop(), "INFO", "replication")) == replicas
    )


def has_moved(sentinels: Sequence[int], name: str, old: int, *, replicas: int = 0) -> bool:
    """Whether all of them name another master, and it knows, and has so many replicas."""
    ports = {master_of(sentinel, name) for sentinel in sentinels}
    if len(ports) > 1 or old in ports:
        return False
    lines = replies(ports.pop(), "INFO", "replication")
    return "role:master" in lines and sum("state=online" in line for line in lines) >= replicas


class Sentinel:
    """One that watches the master at ``master``. What it learns it writes into its own file."""

    def __init__(
        self,
        directory: Path,
        master: tuple[str, int],
        quorum: int,
        *lines: str,
        port: int | None = None,
        listen: str = "127.0.0.1",
        launch: Launch = as_process,
    ) -> None:
        directory.mkdir(parents=True)
        self.directory = directory
        self.port = port or free_port()
        self._launch = launch
        self._process: Running | None = None
        host, at = master
        (directory / "conf").write_text(
            f"port {self.port}\nbind {listen}\nprotected-mode no\ndir {directory}\n"
            f"sentinel monitor {NAME} {host} {at} {quorum}\n"
            f"sentinel down-after-milliseconds {NAME} 400\nsentinel failover-timeout {NAME} 2000\n"
            + "".join(f"{line}\n" for line in lines)
        )

    def start(self) -> None:
        program = find_server() if self._launch is as_process else "redis-server"
        self._process = self._launch([program, str(self.directory / "conf"), "--sentinel"], self.directory / "log")
        until(self._answers, f"a Sentinel answers; see {self.directory / 'log'}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            self._process = None

    def master(self) -> int:
        """The port of what it takes for the master."""
        return master_of(self.port, NAME)

    def _answers(self) -> bool:
        try:
            return bool(replies(self.port, "PING")[0])
        except OSError:
            return False


class SentinelContainers(Nodes):
    """A primary, two replicas and three Sentinels, which live in the network of one idle container."""

    networks = ()
    name = "leaderlock"

    def __init__(self) -> None:
        members = [f"{kind}-{number}" for kind in ("sentinel-redis", "sentinel") for number in NUMBERS]
        super().__init__("sentinel-host", *members, is_serving=lambda one: one.port or is_serving(_port(one)))

    def wait(self) -> None:
        super().wait()
        until(lambda: is_whole(self.sentinels, self.name, replicas=2), "one is the primary, two follow, and all know")

    @property
    def sentinels(self) -> list[int]:
        """Their ports."""
        return [_port(each) for each in self.all if each.service in {f"sentinel-{number}" for number in NUMBERS}]

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self.sentinels)}/{self.name}"

    def primary(self) -> Container:
        """The container of whom the Sentinels call the master."""
        port = master_of(self.sentinels[0], self.name)
        return next(each for each in self.all if each.service.startswith("sentinel-redis-") and _port(each) == port)

    def failovers(self) -> int:
        """How many there were."""
        return int(facts_of(self.sentinels[0], self.name)["config-epoch"])

    def has_moved(self, old: Container, *, replicas: int = 0) -> bool:
        return has_moved(self.sentinels, self.name, _port(old), replicas=replicas)


def _port(container: Container) -> int:
    """Where it listens: a container without a network of its own publishes nothing, but its command says so."""
    words = container.command
    return int(words[words.index("--port") + 1] if "--port" in words else words[1])
