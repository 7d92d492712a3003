"""A ZooKeeper ensemble of three under faults."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Sequence
from contextlib import suppress

from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError

from tests.chaos.boxes import EVERYWHERE
from tests.chaos.store import Quorum
from tests.servers.zookeeper import Server, free_ports

__all__ = ["ZooKeeperStore"]

PROPORTIONS = ("tickTime=400", "syncLimit=10", "initLimit=25", "minSessionTimeout=800")
"""A server that lost its leader knows after 4 s, twice a session of 2 s. As they come (ticks of 2 s, five of them), the
shortest sessions stand in the same proportion to that; and to the 10 s for which one that was elected waits for its
followers: if they have gone meanwhile, nobody is served for as long (ten ticks of 2 s, and sessions of 4 s)."""

EAGER = {"connection_retry": {"max_tries": -1, "delay": 0.02, "backoff": 1, "max_jitter": 0.0}}
"""A probe that came back later than a worker could would excuse the workers for its own pauses: kazoo's grow to a
minute. So each server has a probe of its own, which knocks all the time."""


class ZooKeeperStore(Quorum):
    scheme = "zk"
    has_native = True
    _probes: Sequence[KazooClient] = ()

    def start(self) -> None:
        self.make_disks()
        ports = {name: free_ports(3) for name in self.names}
        self.servers: dict[str, Server] = {}
        for number, name in enumerate(self.names, 1):
            client, *own = ports[name]
            node = self.ground.node(
                name,
                lambda name=name: self.servers[name].launch(),
                port=client,
                folders=[self.disks[name].folder],
            )
            lines = [f"clientPortAddress={self.ground.listen}", *PROPORTIONS]
            if self.ground.listen == EVERYWHERE:
                # Also when it starts while it has no network of its members.
                lines.append("quorumListenOnAllIPs=true")
            for other, peer in enumerate(self.names, 1):
                # Each listens on its own ports, and looks for the others where these are found.
                places = [self.ground.place(peer, port) for port in ports[peer][1:]]
                (host, quorum), (_, election) = places
                if peer == name:
                    quorum, election = own
                lines.append(f"server.{other}={host}:{quorum}:{election}")
            server = Server(
                self.disks[name].folder / "zookeeper", client, number=number, peers=tuple(lines), launch=node.launch
            )
            self.servers[name], self.nodes[name] = server, node
        for server in self.servers.values():
            server.launch()
        for server in self.servers.values():
            server.wait()
        self.open_ways({name: ports[name][0] for name in self.names})
        self._probes = [KazooClient(f"127.0.0.1:{ports[name][0]}", timeout=4.0, **EAGER) for name in self.names]
        for probe in self._probes:
            probe.start(timeout=20)
        self.faults = self.of_quorums()

    def url(self, slot: int) -> str:
        return f"zk://{self.places(slot)}"

    def answers(self) -> bool:
        """Whether any server takes a write: they may say for a minute that they lead and follow, and take none."""
        asked = []
        for probe in self._probes:
            if probe.connected:
                with suppress(Exception):  # kazoo raises much more than KazooException while a session ends
                    asked.append(probe.create_async("/probe"))
        until = time.monotonic() + 0.5
        while asked and time.monotonic() < until:
            for answer in [answer for answer in asked if answer.ready()]:
                if answer.successful() or isinstance(answer.exception, NodeExistsError):  # the leader's word, too
                    return True
                asked.remove(answer)
            time.sleep(0.005)
        return False

    def close(self) -> None:
        for probe in self._probes:
            probe.stop()
            probe.close()
        super().close()

    def leader(self) -> str | None:
        return next((name for name in self.names if self._mode(name) == "leader"), None)

    def version(self) -> str:
        """As the first that answers says."""
        told = "".join(self._srvr(name) for name in self.names)
        found = re.search(r"Zookeeper version: ([\d.]+)", told)
        return f"ZooKeeper {found[1] if found else '(version unknown)'}, three servers"

    def _mode(self, name: str) -> str:
        _, found, rest = self._srvr(name).partition("Mode: ")
        return rest.split()[0] if found else ""

    def _srvr(self, name: str) -> str:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.servers[name].port), timeout=0.3) as link:
            link.sendall(b"srvr")
            return b"".join(iter(lambda: link.recv(4096), b"")).decode(errors="replace")
        return ""
