"""Redis servers that take over from each other: some with Sentinels, and clusters."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from tests.servers.redis import RedisServer, free_port, until
from tests.servers.sentinels import NAME, Sentinel, has_moved, is_whole, replies

__all__ = ["NAME", "Cluster", "Group", "Sentinel"]


class Group:
    """A master, its replicas, and the Sentinels that appoint another when it is away."""

    def __init__(
        self, directory: Path, *settings: str, replicas: int = 1, sentinels: int = 3, lines=(), master_port: int = 0
    ) -> None:
        self._stack = ExitStack()
        self.servers: list[RedisServer] = []
        for number in range(1 + replicas):
            place = directory / f"server{number}"
            place.mkdir()
            following = ["--replicaof", "127.0.0.1", str(self.servers[0].port)] if number else []
            quick = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]
            self.servers.append(RedisServer(place, *quick, *following, *settings))
        watched = ("127.0.0.1", master_port or self.servers[0].port)
        self.sentinels = [
            Sentinel(directory / f"sentinel{number}", watched, sentinels // 2 + 1, *lines)
            for number in range(sentinels)
        ]

    def __enter__(self) -> Group:
        for one in (*self.servers, *self.sentinels):
            self._stack.callback(one.kill)
            one.start()
        until(self.is_whole, "all Sentinels know each other and the replicas, and these follow")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def is_whole(self) -> bool:
        return is_whole([each.port for each in self.sentinels], NAME, replicas=len(self.servers) - 1)

    @property
    def hosts(self) -> str:
        return ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)

    @property
    def url(self) -> str:
        return f"redis+sentinel://{self.hosts}/{NAME}"

    def has_moved(self, old: RedisServer) -> bool:
        """Whether all Sentinels name another master, and it knows."""
        return has_moved([each.port for each in self.sentinels], NAME, old.port)

    def fail_over(self) -> None:
        """As an operator does it: with the old master alive."""
        replies(self.sentinels[0].port, "SENTINEL", "FAILOVER", NAME)
        until(lambda: self.has_moved(self.servers[0]), "another master was appointed")


class Cluster:
    """Nodes that keep a share of the slots each; with replicas, one for each of the first nodes."""

    def __init__(self, directory: Path, *settings: str, masters: int = 3, replicas: int = 0) -> None:
        self._stack = ExitStack()
        self.nodes: list[RedisServer] = []
        self.masters = masters
        for number in range(masters + replicas):
            place = directory / f"node{number}"
            place.mkdir()
            cluster = ["--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--cluster-node-timeout", "600"]
            quick = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]
            self.nodes.append(RedisServer(place, *cluster, *quick, *settings))

    def __enter__(self) -> Cluster:
        for node in self.nodes:
            self._stack.callback(node.kill)
            node.start()
        share = -(-16384 // self.masters)
        for number, node in enumerate(self.nodes[: self.masters]):
            node.do("CLUSTER", "ADDSLOTSRANGE", str(number * share), str(min(16383, (number + 1) * share - 1)))
        until(self.is_acquainted, "all nodes know each other")
        for number, node in enumerate(self.nodes[self.masters :]):
            node.do("CLUSTER", "REPLICATE", self.identity(self.nodes[number]))
        until(lambda: all(self.is_ok(node) for node in self.nodes), "the cluster is whole")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def is_acquainted(self) -> bool:
        """Whether all nodes know each other. If not, introduces them: who does not answer in a second is forgotten."""
        first, *others = self.nodes
        known = first.do("CLUSTER", "NODES").decode()
        for node in others:
            if f":{node.port}@" not in known:
                bus = node.settings[node.settings.index("--cluster-port") + 1]
                first.do("CLUSTER", "MEET", "127.0.0.1", str(node.port), bus)
        return all(self.knows_all(node) for node in self.nodes)

    def knows_all(self, node: RedisServer) -> bool:
        lines = [line for line in node.do("CLUSTER", "NODES").decode().split("\n") if " connected" in line]
        return len(lines) == len(self.nodes) and not any("handshake" in line for line in lines)

    def is_ok(self, node: RedisServer) -> bool:
        is_linked = b"role:master" in (facts := node.do("INFO", "replication")) or b"master_link_status:up" in facts
        return is_linked and b"cluster_state:ok" in node.do("CLUSTER", "INFO")

    @staticmethod
    def identity(node: RedisServer) -> str:
        return node.do("CLUSTER", "MYID").decode().split("\r\n")[1]

    def keeper(self, namespace: str) -> RedisServer | None:
        """The master that keeps a namespace, if it is among the nodes."""
        slot = int(self.nodes[-1].do("CLUSTER", "KEYSLOT", f"leaderlock:{{{namespace}}}:")[1:])
        for line in self.nodes[-1].do("CLUSTER", "NODES").decode().split("\n"):
            words = line.split()
            if len(words) > 8 and "fail" not in words[2].split(","):
                for first, _, last in (word.partition("-") for word in words[8:] if not word.startswith("[")):
                    if int(first) <= slot <= int(last or first):
                        port = int(words[1].partition("@")[0].rpartition(":")[2])
                        return next((node for node in self.nodes if node.port == port), None)
        return None

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
