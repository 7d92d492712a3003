"""An etcd cluster of three under faults."""

from __future__ import annotations

import base64
import http.client
import json
from typing import Any

from tests.chaos.store import Quorum
from tests.servers.etcd import EtcdServer, free_ports

__all__ = ["EtcdStore"]

PROBE = base64.b64encode(b"probe").decode()


class EtcdStore(Quorum):
    scheme = "etcd"
    has_native = True

    def start(self) -> None:
        self.make_disks()
        ports = {name: tuple(free_ports(2)) for name in self.names}
        peers = {name: "http://{}:{}".format(*self.ground.place(name, peer)) for name, (_, peer) in ports.items()}
        cluster = ",".join(f"{name}={url}" for name, url in peers.items())
        self.servers: dict[str, EtcdServer] = {}
        for name, (client, peer) in ports.items():
            node = self.ground.node(
                name,
                lambda name=name: self.servers[name].start(wait=False),
                port=client,
                folders=[self.disks[name].folder],
            )
            server = EtcdServer(
                self.disks[name].folder / "etcd",
                *("--listen-client-urls", f"http://{self.ground.listen}:{client}"),
                *("--listen-peer-urls", f"http://{self.ground.listen}:{peer}"),
                *("--initial-advertise-peer-urls", peers[name]),
                name=name,
                ports=(client, peer),
                cluster=cluster,
                launch=node.launch,
            )
            self.servers[name], self.nodes[name] = server, node
        for server in self.servers.values():
            server.start(wait=False)
        for server in self.servers.values():
            server.wait_until_healthy()
        self.open_ways({name: client for name, (client, _) in ports.items()})
        self.faults = self.of_quorums()

    def url(self, slot: int) -> str:
        return f"etcd://{self.places(slot)}"

    def answers(self) -> bool:
        return any(self._ask(name, "kv/put", {"key": PROBE, "value": PROBE}) for name in self.names)

    def leader(self) -> str | None:
        for name in self.names:
            status = self._ask(name, "maintenance/status", {})
            if status and status.get("leader") == status["header"]["member_id"]:
                return name
        return None

    def version(self) -> str:
        """As the first that answers says."""
        told = (self._ask(name, "maintenance/status", {}) for name in self.names)
        found = next((status["version"] for status in told if status), "(version unknown)")
        return f"etcd {found}, three members"

    def _ask(self, name: str, method: str, message: dict[str, Any]) -> dict[str, Any] | None:
        connection = http.client.HTTPConnection("127.0.0.1", self.servers[name].port, timeout=0.3)
        try:
            connection.request("POST", f"/v3/{method}", json.dumps(message))
            answer = connection.getresponse()
            body: dict[str, Any] = json.loads(answer.read())
            return body if answer.status == http.client.OK else None
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()
