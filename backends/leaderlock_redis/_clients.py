"""Borrowing from a client that the user has already made: its settings, never its sockets."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from leaderlock_redis._cluster import InCluster
from leaderlock_redis._masters import Master, OneServer
from leaderlock_redis._sentinel import BySentinel
from leaderlock_redis._settings import Address, Settings

__all__ = ["master_of_client"]


def master_of_client(client: object) -> Master:
    """Where the master of a client of redis-py's or valkey-py's is: a server's, a Sentinel's, or a cluster's."""
    if hasattr(client, "nodes_manager"):
        return _cluster(client)
    if hasattr(client, "master_for"):
        raise TypeError("a Sentinel serves many masters: give the client of one, sentinel.master_for(name)")
    pool: Any = getattr(client, "connection_pool", None)
    if pool is None or not hasattr(pool, "connection_class"):
        raise TypeError(f"from_client takes a client of redis or valkey, not a {type(client).__name__}")
    return _sentinel(pool) if hasattr(pool, "sentinel_manager") else OneServer(_checked(pool))


def _sentinel(pool: Any) -> Master:
    if not pool.is_master:
        raise TypeError("a replica's client cannot elect: give the master's, sentinel.master_for(name)")
    manager = pool.sentinel_manager
    sentinels = [_checked(sentinel.connection_pool) for sentinel in manager.sentinels]
    forced = getattr(manager, "_force_master_ip", None)
    return BySentinel(pool.service_name, _checked(pool), sentinels, forced_host=forced or "")


def _cluster(client: Any) -> Master:
    nodes: list[Any] = client.get_nodes()
    if inspect.iscoroutinefunction(getattr(client, "execute_command", None)) or not nodes:
        raise TypeError(
            "an asyncio client of a cluster knows no nodes yet, and lends nothing; give its URL: redis+cluster://…"
        )
    connection: Any = getattr(client, "get_redis_connection", None) or client.get_valkey_connection
    settings = _checked(connection(nodes[0]).connection_pool)
    remap: Callable[[Address], Address] | None = getattr(client.nodes_manager, "address_remap", None)
    return InCluster(settings, [(node.host, int(node.port)) for node in nodes], remap=remap)


def _checked(pool: Any) -> Settings:
    settings = Settings(pool)
    # Not to connect: a class of the user's own may not take what it is given here, and says so now.
    connection = settings.connection(1.0)
    _refuse_what_needs_a_loop(connection)
    return settings


def _refuse_what_needs_a_loop(connection: Any) -> None:
    """A client for asyncio lends all but what is awaited: our connections block."""
    instead = "which needs an event loop: give the URL, or a blocking client with its settings"
    if inspect.iscoroutinefunction(connection.connect):
        raise TypeError(f"{type(connection).__name__} is for asyncio alone, {instead}")
    for name in ("redis_connect_func", "valkey_connect_func"):
        if inspect.iscoroutinefunction(getattr(connection, name, None)):
            raise TypeError(f"{name} is a coroutine function, {instead}")
    provider = connection.credential_provider
    given = getattr(provider, "get_credentials", None)
    # The library's own raises, and is there for those who only have the other one.
    is_missing = getattr(given, "__qualname__", "") == "CredentialProvider.get_credentials"
    if provider is not None and (is_missing or inspect.iscoroutinefunction(given)):
        raise TypeError(f"{type(provider).__name__} has get_credentials() for asyncio alone, {instead}")
