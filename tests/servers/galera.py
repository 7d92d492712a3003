"""A Galera cluster of the tests' own: MariaDB servers, each of which takes writes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.servers.choice import absent
from tests.servers.loopback import free_ports
from tests.servers.mariadb import MariaServer

__all__ = ["galera_cluster"]

PROVIDER = Path("/usr/lib/galera/libgalera_smm.so")


@contextmanager
def galera_cluster(count: int = 2) -> Iterator[list[MariaServer]]:
    """So many nodes, all of them ready."""
    if not PROVIDER.exists():
        absent("galera", f"there is no {PROVIDER}")
    if shutil.which("rsync") is None:
        absent("galera", "there is no rsync on PATH, by which a node that joins gets its data")
    ports = free_ports(3 * count)
    groups, transfers, increments = (ports[kind::3] for kind in range(3))
    with ExitStack() as stack:
        nodes: list[MariaServer] = []
        for group, transfer, increment in zip(groups, transfers, increments, strict=True):
            settings = _settings(groups if nodes else [], group, transfer, increment)
            # Not root: of it rsync, which a node starts, would make nobody, who may not write there.
            nodes.append(stack.enter_context(MariaServer(*settings, user="mysql").running()))
        yield nodes


def _settings(known: list[int], group: int, transfer: int, increment: int) -> list[str]:
    options = f"gmcast.listen_addr=tcp://127.0.0.1:{group};ist.recv_addr=127.0.0.1:{increment};gcache.size=8M"
    return [
        "innodb-log-file-size=8M",  # the less there is to transfer
        "binlog-format=ROW",
        "innodb-autoinc-lock-mode=2",
        "wsrep-on=ON",
        f"wsrep-provider={PROVIDER}",
        f"wsrep-provider-options={options}",
        f"wsrep-cluster-address=gcomm://{','.join(f'127.0.0.1:{port}' for port in known)}",
        f"wsrep-node-address=127.0.0.1:{group}",
        "wsrep-sst-method=rsync",
        f"wsrep-sst-receive-address=127.0.0.1:{transfer}",
        *([] if known else ["wsrep-new-cluster"]),
    ]
