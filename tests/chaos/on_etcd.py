"""An etcd cluster of three under faults."""

from __future__ import annotations

import base64
import http.client
import json
import subprocess
from typing import Any

from tests.chaos.nodes import ProcessNode
from tests.chaos.store import Quorum
from tests.servers.etcd import EtcdServer, etcd_program, free_ports

__all__ = ["EtcdStore"]

PROBE = base64.b64encode(b"probe").decode()


class EtcdStore(Quorum):
    scheme = "etcd"
    has_native = True

    def start(self) -> None:
        self.make_disks()
        ports = {name: tuple(free_ports(2)) for name in self.names}
        inner = {name: self.network.relay(name, peer).port for name, (_, peer) in ports.items()}
        cluster = ",".join(f"{name}=http://127.0.0.1:{port}" for name, port in inner.items())
        self.servers: dict[str, EtcdServer] = {}
        for name in self.names:
            # The others reach it through a relay, which it therefore has to announce.
            announced = ("--initial-advertise-peer-urls", f"http://127.0.0.1:{inner[name]}")
            server = EtcdServer(
                self.disks[name].folder / "etcd", *announced, name=name, ports=ports[name], cluster=cluster
            )
            self.servers[name] = server
            self.nodes[name] = ProcessNode(
                name,
                self.network,
                lambda: list(self.names),
                start=lambda server=server: server.start(wait=False),
                kill=server.kill,
                pid=lambda server=server: server.process.pid if server.process else None,
            )
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
        first = subprocess.run([etcd_program(), "--version"], capture_output=True, text=True, check=True).stdout
        return f"etcd {first.split()[2]}, three members"

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
