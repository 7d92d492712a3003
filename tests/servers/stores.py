"""Servers of each store, by the first way that there is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tests.servers import containers
from tests.servers.choice import Way, absent, ways_allowed
from tests.servers.etcd import EtcdContainers, EtcdGiven, EtcdServer
from tests.servers.loopback import free_ports
from tests.servers.redis import RedisContainer, RedisGiven, RedisServer
from tests.servers.zookeeper import Server, ZooKeeperContainers, ZooKeeperGiven, why_no_program

__all__ = ["STORES", "etcd", "redis", "turn", "way_to", "zookeeper"]

STORES = ("redis", "valkey", "zookeeper", "etcd")
"""Those that need a server."""


def no_program(store: str) -> str:
    if store == "zookeeper":
        return why_no_program()
    program = "etcd" if store == "etcd" else f"{store}-server"
    return "" if shutil.which(program) else f"there is no {program} on PATH"


def given(store: str) -> str:
    return os.environ.get(f"LEADERLOCK_TEST_{store.upper()}_URL", "")


@cache
def way_to(store: str) -> Way | str:
    """How servers of the store are had here, or why not."""
    hindrances: Mapping[Way, Callable[[], str]] = {
        Way.CONTAINERS: containers.why_not,
        Way.PATH: lambda: no_program(store),
        Way.ENVIRONMENT: lambda: "" if given(store) else f"LEADERLOCK_TEST_{store.upper()}_URL is not set",
    }
    reasons = {way: hindrances[way]() for way in ways_allowed()}
    return next((way for way, why in reasons.items() if not why), "; ".join(reasons.values()))


def needed_way(store: str) -> Way:
    way = way_to(store)
    return way if isinstance(way, Way) else absent(store, way)


@contextmanager
def redis(
    directory: Path, *settings: str, store: str = "redis"
) -> Generator[RedisServer | RedisContainer | RedisGiven]:
    """A server of ``redis`` or ``valkey``; the settings are for a process, containers have theirs."""
    match needed_way(store):
        case Way.CONTAINERS:
            yield RedisContainer(store)
        case Way.PATH:
            with RedisServer(directory, *settings, program=f"{store}-server").running() as server:
                yield server
        case Way.ENVIRONMENT:
            yield RedisGiven(given(store))


@contextmanager
def zookeeper(directory: Path) -> Generator[Server | ZooKeeperContainers | ZooKeeperGiven]:
    """One server, or an ensemble."""
    match needed_way("zookeeper"):
        case Way.CONTAINERS:
            yield ZooKeeperContainers()
        case Way.PATH:
            server = Server(directory / "zookeeper", free_ports(1)[0])
            with _ending(server):
                yield server
        case Way.ENVIRONMENT:
            yield ZooKeeperGiven(given("zookeeper"))


@contextmanager
def etcd(directory: Path) -> Generator[EtcdServer | EtcdContainers | EtcdGiven]:
    """One member, or a cluster."""
    match needed_way("etcd"):
        case Way.CONTAINERS:
            yield EtcdContainers()
        case Way.PATH:
            with _ending(EtcdServer(directory)) as server:
                yield server
        case Way.ENVIRONMENT:
            yield EtcdGiven(given("etcd"))


@contextmanager
def _ending(server):
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def turn(server) -> Generator[None]:
    """Nobody else's test does anything to the server meanwhile; one of our own nobody else knows."""
    if isinstance(server, containers.Nodes):
        with server.turn():
            yield
    else:
        yield
