"""How to connect: as a pool of the client library does, which a URL or the user's own client has made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Final, TypeAlias

from leaderlock_redis._wire import pack

__all__ = ["Address", "Settings", "greeting", "shown_address"]

Address: TypeAlias = tuple[str, int]

_NOT_BORROWED: Final = frozenset(
    {
        # Who repeats what was lost is the core, which knows what may be repeated.
        *("retry", "retry_on_error", "retry_on_timeout", "health_check_interval"),
        # We set these for each connection.
        *("socket_timeout", "socket_connect_timeout", "protocol", "decode_responses", "parser_class"),
        # These belong to the pool's own connections, not to others made like them.
        *("maint_notifications_config", "maint_notifications_pool_handler", "maintenance_state"),
        *("maintenance_notification_hash", "orig_host_address", "orig_socket_timeout", "orig_socket_connect_timeout"),
        *("oss_cluster_maint_notifications_handler", "event_dispatcher", "himport_registry", "connection_pool"),
    }
)

_GREETS: Final = ("redis_connect_func", "valkey_connect_func")
"""What a connection calls, if there is such a function, instead of greeting the server in the library's own way."""


@dataclass(frozen=True, slots=True)
class Settings:
    """As whom to connect, and where to: a pool of the client library, whose connections are never used.

    ``address`` is the server's where it is not always the pool's own.
    """

    pool: Any
    address: Address | None = None

    def at(self, address: Address) -> Settings:
        """The same for another server."""
        return replace(self, address=address)

    def connection(self, timeout: float) -> Any:
        """A connection of our own, as the pool makes its: not connected yet, and with no retries."""
        borrowed = {name: value for name, value in self._borrowed().items() if name not in _NOT_BORROWED}
        if self.address is not None:
            borrowed["host"], borrowed["port"] = self.address
        connection = self._kind(**borrowed, protocol=2, socket_timeout=timeout, socket_connect_timeout=timeout)
        for name in _GREETS:
            # What the library would say first, we say: it counts its time-out anew for each piece of each answer.
            if hasattr(connection, name) and not _is_the_users(getattr(connection, name)):
                setattr(connection, name, _say_nothing)
        return connection

    @property
    def place(self) -> str:
        """The address, as a URL without secrets."""
        settings = self._borrowed()
        if "path" in settings:
            return f"unix://{settings['path']}?db={self.database}"
        host, port = self.address or (str(settings.get("host", "localhost")), settings.get("port", 6379))
        return f"{self.scheme}://{shown_address((host, port))}/{self.database}"

    @property
    def scheme(self) -> str:
        """That of a URL of such a server."""
        return "rediss" if "SSL" in self._kind.__name__ else "redis"

    @property
    def database(self) -> int:
        """The number of the database."""
        return int(self._borrowed().get("db") or 0)

    @property
    def _kind(self) -> Any:
        # A class that asks Sentinel by itself, in its own time and with its own retries, is built on one that does not.
        kind = next(kind for kind in self.pool.connection_class.__mro__ if not hasattr(kind, "connect_to"))
        return _blocking(kind)

    def _borrowed(self) -> Mapping[str, Any]:
        settings: Mapping[str, Any] = self.pool.connection_kwargs
        return settings


def _blocking(kind: Any) -> Any:
    """Of a connection for asyncio, the library's sister that blocks: both are told the same."""
    module, at, rest = kind.__module__.partition(".asyncio.")
    return getattr(import_module(f"{module}.{rest}"), kind.__name__) if at else kind


def greeting(connection: Any) -> list[bytes]:
    """What a connection has to say before anything else; nothing where a function of the user's has said it."""
    if not any(getattr(connection, name, None) is _say_nothing for name in _GREETS):
        return []
    commands: list[tuple[Any, ...]] = []
    if connection.credential_provider is not None:
        commands.append(("AUTH", *connection.credential_provider.get_credentials()))
    elif connection.username:
        commands.append(("AUTH", connection.username, connection.password or ""))
    elif connection.password:
        commands.append(("AUTH", connection.password))
    if connection.client_name:
        commands.append(("CLIENT", "SETNAME", connection.client_name))
    if connection.db:
        commands.append(("SELECT", connection.db))
    return [pack(*map(connection.encoder.encode, command)) for command in commands]


def _is_the_users(greet: object) -> bool:
    """Whether it is neither missing nor the library's (a cluster's client has one, for its own ways of reading)."""
    return greet is not None and getattr(greet, "__module__", "").partition(".")[0] not in ("redis", "valkey")


def _say_nothing(connection: object) -> None:
    """Instead of the library's greeting."""


def shown_address(address: Address) -> str:
    """As it stands in a URL."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
