"""The stores' servers for the benchmarks: the tests' own, as processes on free ports of this host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["NotHere", "serving"]


class NotHere(Exception):
    """There is no such server on this machine."""


@contextmanager
def serving(store: str, folder: Path) -> Iterator[str]:
    """The URL of a fresh server, for as long as the ``with`` lasts."""
    from tests.servers import stores
    from tests.servers.etcd import EtcdServer
    from tests.servers.loopback import free_ports
    from tests.servers.redis import RedisServer
    from tests.servers.zookeeper import Server

    if missing := stores.no_program(store):
        raise NotHere(f"{store}: {missing}")
    match store:
        case "redis":
            server = RedisServer(folder)
            scheme = "redis"
        case "zookeeper":
            server = Server(folder / "zookeeper", free_ports(1)[0])
            scheme = "zk"
        case _:
            server = EtcdServer(folder)
            scheme = "etcd"
    try:
        server.start()
        yield f"{scheme}://127.0.0.1:{server.port}"
    finally:
        server.kill()
