"""A ZooKeeper ensemble of three under faults."""

from __future__ import annotations

import re
import socket
from contextlib import suppress

from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError

from tests.chaos.boxes import EVERYWHERE
from tests.chaos.store import Quorum
from tests.servers.zookeeper import Server, free_ports

__all__ = ["ZooKeeperStore"]

PROPORTIONS = ("tickTime=400", "syncLimit=10", "minSessionTimeout=800")
"""A server that lost its leader knows after 4 s, twice a session of 2 s. As they come (ticks of 2 s, five of them), the
shortest sessions stand in the same proportion to that."""


class ZooKeeperStore(Quorum):
    scheme = "zk"
    has_native = True
    _probe: KazooClient | None = None

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
        self._probe = KazooClient(",".join(f"127.0.0.1:{ports[name][0]}" for name in self.names), timeout=4.0)
        self._probe.start(timeout=20)
        self.faults = self.of_quorums()

    def url(self, slot: int) -> str:
        return f"zk://{self.places(slot)}"

    def answers(self) -> bool:
        """Whether it takes a write: servers may say for a minute that they lead and follow, and take none."""
        try:
            assert self._probe is not None
            self._probe.create_async("/probe").get(timeout=0.5)
        except NodeExistsError:
            return True  # the leader's answer, too
        except Exception:  # kazoo raises much more than KazooException while a session ends
            return False
        return True

    def close(self) -> None:
        if self._probe is not None:
            self._probe.stop()
            self._probe.close()
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
