"""A Redis primary and two replicas that three Sentinels fail over, under faults.

Workers ask with ``durability=replicas:1``: what is acknowledged is on a replica, too. So a primary that is cut off from
both acknowledges nothing, whatever it still answers, and a failover that forgets is followed by a settling time. Not
promised, and therefore not done: a primary that is cut off together with a replica (docs/stores/redis.md).
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.chaos.nodes import Node
from tests.chaos.store import Cluster, Fault, Turn
from tests.servers.loopback import free_ports, until
from tests.servers.redis import RedisServer
from tests.servers.sentinels import NAME, Sentinel, facts_of, is_whole, master_of, replies

__all__ = ["SentinelStore"]

SOON = 0.5
SETTINGS = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", "--repl-timeout", "5")
QUORUM = 2
HASTE = (f"sentinel down-after-milliseconds {NAME} 500", f"sentinel failover-timeout {NAME} 2000")
"""A primary that is silent for a quarter of a ttl is taken for dead: many failovers, some of them wrong."""
NOT_HERE = "in the campaign on Redis without Sentinel; here nothing is kept on disk, and most faults may forget"


class SentinelStore(Cluster):
    scheme = "redis+sentinel"
    has_native = True
    watchers = ("s", "t", "u")

    def start(self) -> None:
        self.make_disks()
        ports = dict(zip((*self.names, *self.watchers), free_ports(6), strict=True))
        self.servers: dict[str, RedisServer] = {}
        self.sentinels: dict[str, Sentinel] = {}
        self._places = {name: self.ground.place(name, port) for name, port in ports.items()}
        for name in self.names:
            self._add_server(name, ports[name])
        for name in self.watchers:
            self._add_sentinel(name, ports[name])
        for name in self.names:
            self._start_server(name, "a")
        for name in self.watchers:
            self.sentinels[name].start()
        watchers = [sentinel.port for sentinel in self.sentinels.values()]
        until(lambda: is_whole(watchers, NAME, replicas=2), "all Sentinels know each other and the replicas")
        for slot in range(self.slots):
            for name, port in ports.items():
                # Where Sentinel says that it is, but for the worker's own address.
                at = (self._host(slot), self._places[name][1] if name in self.names else 0)
                self.ways[slot, name] = self.network.relay(name, port, caller=f"worker {slot}", at=at)
        self.faults = [
            Fault("primary paused", self._primary_paused, 1.5, forgets=True),
            Fault("primary killed", self._primary_killed, 1.5, forgets=True),
            Fault("primary cut off from all but the workers", self._primary_cut, 4.0, forgets=True),
            Fault("failover asked for", self._asked, 2.0, forgets=True),
            Fault("lagging replica promoted", self._lagging, 2.0, forgets=True),
            Fault("primary and a Sentinel killed", self._both_killed, forgets=True),
            Fault("two Sentinels killed, primary paused", self._unwatched, forgets=True),
            Fault("all servers killed", self._all_killed, 0.7, forgets=True),
            Fault("replica paused", self._replica_paused, 0.5),
            Fault("replica killed", self._replica_killed, 0.5),
            Fault("replica cut off from the others", self._replica_cut, 0.5),
            Fault("Sentinel killed", self._sentinel_killed),
            Fault("Sentinel cut off from the others", self._sentinel_cut),
        ]
        self.skipped |= {"disk full": NOT_HERE, "clock stepped": NOT_HERE}

    def url(self, slot: int) -> str:
        hosts = ",".join(f"{self._host(slot)}:{self.ways[slot, name].port}" for name in self.watchers)
        return f"redis+sentinel://{hosts}/{NAME}?durability=replicas:1"

    def answers(self) -> bool:
        """Whether all Sentinels name the same primary and have nothing against it, and it takes a write that a replica
        has, too. A failover goes on also when the primary is back, and takes it away once more."""
        primary = self._primary_of(len(self.watchers))
        if primary is None or not self._is_undoubted():
            return False
        port = self.servers[primary].port
        with redis.Redis(
            port=port, socket_timeout=SOON, single_connection_client=True, retry=Retry(NoBackoff(), 0)
        ) as client:
            try:
                client.set("probe", 1)
                return client.wait(1, 300) >= 1
            except redis.RedisError:
                return False

    def version(self) -> str:
        told = "".join(self._facts(name, "server") for name in self.names)
        found = re.search(r"redis_version:(\S+)", told)
        return f"Redis {found[1] if found else '(version unknown)'}, a primary, two replicas, three Sentinels"

    @staticmethod
    def _host(slot: int) -> str:
        """Where that worker finds everything."""
        return f"127.0.1.{slot + 1}"

    def _add_server(self, name: str, port: int) -> None:
        node = self.ground.node(
            name,
            lambda: self._start_server(name, self._primary_of(QUORUM)),
            port=port,
            folders=[self.disks[name].folder],
        )
        host, at = self._places[name]
        self.nodes[name] = node
        self.servers[name] = RedisServer(
            self.disks[name].folder,
            *("--bind", self.ground.listen, "--protected-mode", "no", *SETTINGS),
            *("--replica-announce-ip", host, "--replica-announce-port", str(at)),
            port=port,
            launch=node.launch,
        )

    def _add_sentinel(self, name: str, port: int) -> None:
        folder = self.folder / f"sentinel-{name}"

        def start() -> None:
            self.sentinels[name].start()

        node = self.ground.node(name, start, port=port, folders=[folder])
        host, at = self._places[name]
        announced = (f"sentinel announce-ip {host}", f"sentinel announce-port {at}")
        self.nodes[name] = node
        self.sentinels[name] = Sentinel(
            folder,
            self._places["a"],
            QUORUM,
            *(*HASTE, *announced),
            port=port,
            listen=self.ground.listen,
            launch=node.launch,
        )

    def _start_server(self, name: str, primary: str | None) -> None:
        """As whom the file says that Sentinel has it rewrite: the replica of that primary."""
        server = self.servers[name]
        usual = server.settings
        if primary not in (None, name):
            host, port = self._places[primary]
            server.settings = (*usual, "--replicaof", host, str(port))
        server.start()
        server.settings = usual

    def _is_undoubted(self) -> bool:
        ports = [sentinel.port for sentinel in self.sentinels.values()]
        with suppress(OSError, KeyError):
            return all(facts_of(port, NAME, timeout=SOON)["flags"] == "master" for port in ports)
        return False

    def _facts(self, name: str, section: str) -> str:
        with suppress(OSError):
            return "\n".join(replies(self.servers[name].port, "INFO", section, timeout=SOON))
        return ""

    def _primary_of(self, votes: int) -> str | None:
        """Whom so many Sentinels name."""
        named: Counter[int] = Counter()
        for sentinel in self.sentinels.values():
            with suppress(OSError, ValueError, IndexError):
                named[master_of(sentinel.port, NAME, timeout=SOON)] += 1
        found = next((port for port, count in named.items() if count >= votes), None)
        return next((name for name in self.names if self._places[name][1] == found), None)

    def _primary(self, turn: Turn) -> str:
        name = self.wait_for(lambda: self._primary_of(QUORUM)) or turn.dice.choice(self.names)
        turn.detail = f"{turn.detail} {name}".strip()
        return name

    def _replicas(self, turn: Turn) -> tuple[str, list[str]]:
        """The primary and the others, of which the first is anyone's guess."""
        primary = self._primary(turn)
        others = [name for name in self.names if name != primary]
        turn.dice.shuffle(others)
        return primary, others

    def _replica(self, turn: Turn) -> Node:
        _, others = self._replicas(turn)
        turn.detail = others[0]
        return self.nodes[others[0]]

    def _sentinel(self, turn: Turn) -> Node:
        name = turn.dice.choice(self.watchers)
        turn.detail = f"{turn.detail} {name}".strip()
        return self.nodes[name]

    def _pause(self, turn: Turn, node: Node) -> None:
        node.pause()
        turn.hold(0.3, 2.2)
        node.resume()

    def _kill(self, turn: Turn, *nodes: Node) -> None:
        for node in nodes:
            node.kill()
        turn.hold(0.05, 1.5)
        for node in nodes:
            node.start()

    def _cut(self, turn: Turn, node: Node) -> None:
        node.cut()
        turn.hold(0.5, 3.0)
        node.heal()

    def _primary_paused(self, turn: Turn) -> None:
        self._pause(turn, self.nodes[self._primary(turn)])

    def _primary_killed(self, turn: Turn) -> None:
        self._kill(turn, self.nodes[self._primary(turn)])

    def _primary_cut(self, turn: Turn) -> None:
        self._cut(turn, self.nodes[self._primary(turn)])

    def _both_killed(self, turn: Turn) -> None:
        self._kill(turn, self.nodes[self._primary(turn)], self._sentinel(turn))

    def _all_killed(self, turn: Turn) -> None:
        self._kill(turn, *(self.nodes[name] for name in self.names))

    def _replica_paused(self, turn: Turn) -> None:
        self._pause(turn, self._replica(turn))

    def _replica_killed(self, turn: Turn) -> None:
        self._kill(turn, self._replica(turn))

    def _replica_cut(self, turn: Turn) -> None:
        self._cut(turn, self._replica(turn))

    def _sentinel_killed(self, turn: Turn) -> None:
        self._kill(turn, self._sentinel(turn))

    def _sentinel_cut(self, turn: Turn) -> None:
        self._cut(turn, self._sentinel(turn))

    def _unwatched(self, turn: Turn) -> None:
        """There is nobody to appoint another."""
        some = [self.nodes[name] for name in turn.dice.sample(self.watchers, 2)]
        primary = self.nodes[self._primary(turn)]
        for node in some:
            node.kill()
        self._pause(turn, primary)
        for node in some:
            node.start()

    def _asked(self, turn: Turn) -> None:
        old = self._primary(turn)
        sentinel = self.sentinels[turn.dice.choice(self.watchers)]
        told = replies(sentinel.port, "SENTINEL", "FAILOVER", NAME)[0]
        if told.startswith("+"):
            self.wait_for(lambda: self._primary_of(len(self.watchers)) not in (None, old))
            turn.detail += f" to {self._primary_of(QUORUM)}"
        else:
            turn.detail += f": {told}"

    def _lagging(self, turn: Turn) -> None:
        """What was acknowledged is on the primary and on one replica; both die, and the other one is left."""
        old, (lagging, other) = self._replicas(turn)
        self.wait_for(lambda: self._facts(old, "replication").count("state=online") == len(self.names) - 1)
        self.nodes[lagging].cut()
        turn.hold(0.3, 1.5)
        for name in (old, other):
            self.nodes[name].kill()
        # What is held back for it on the way is lost, too.
        replies(self.servers[lagging].port, "CLIENT", "KILL", "TYPE", "master")
        self.nodes[lagging].heal()
        self.wait_for(lambda: self._primary_of(QUORUM) == lagging)
        turn.detail += f" to {self._primary_of(QUORUM)}"
        for name in (old, other):
            self.nodes[name].start()
