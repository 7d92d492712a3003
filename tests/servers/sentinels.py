"""What Sentinels say of the group that they watch; and the group in containers, of the profile ``sentinel``."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import closing

from tests.servers.containers import Container, Nodes
from tests.servers.loopback import PATIENCE, until
from tests.servers.redis import is_serving

__all__ = ["SentinelContainers", "facts_of", "has_moved", "is_whole", "master_of", "replies"]

NUMBERS = ("1", "2", "3")


def replies(port: int, *words: str) -> list[str]:
    """The lines of what a server answers."""
    data = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    with closing(socket.create_connection(("127.0.0.1", port), PATIENCE)) as connection:
        connection.sendall(data.encode())
        return connection.recv(1 << 16).decode(errors="replace").split("\r\n")


def master_of(sentinel: int, name: str) -> int:
    """The port of what that Sentinel takes for the master."""
    return int(replies(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)[4])


def facts_of(sentinel: int, name: str) -> dict[str, str]:
    """What that Sentinel knows of the master."""
    words = replies(sentinel, "SENTINEL", "MASTER", name)[2::2]
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


def has_moved(sentinels: Sequence[int], name: str, old: int) -> bool:
    """Whether all of them name another master, and it knows."""
    ports = {master_of(sentinel, name) for sentinel in sentinels}
    return (
        len(ports) == 1
        and old not in ports
        and any("role:master" in line for line in replies(ports.pop(), "INFO", "replication"))
    )


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

    def has_moved(self, old: Container) -> bool:
        return has_moved(self.sentinels, self.name, _port(old))


def _port(container: Container) -> int:
    """Where it listens: a container without a network of its own publishes nothing, but its command says so."""
    words = container.command
    return int(words[words.index("--port") + 1] if "--port" in words else words[1])
