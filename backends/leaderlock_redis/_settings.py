"""How to connect: from a URL, or as a client that the user has already made does."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from leaderlock.errors import BackendNotInstalled

__all__ = ["Settings", "settings_of_client", "settings_of_url"]

_SCHEMES: Final[Mapping[str, str]] = {
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
    "valkey": "redis",
    "valkeys": "rediss",
}
_FORMS: Final = "use redis://[user:password@]host[:port][/db], rediss:// for TLS, or unix:///path/to/socket"

_NOT_BORROWED: Final = frozenset(
    {
        # Who repeats what was lost is the core, which knows what may be repeated.
        *("retry", "retry_on_error", "retry_on_timeout", "health_check_interval"),
        # We set these for each connection.
        *("socket_timeout", "socket_connect_timeout", "protocol", "decode_responses", "parser_class"),
        # These belong to the pool's own connections, not to others made like them.
        *("maint_notifications_config", "maint_notifications_pool_handler", "maintenance_state"),
        *("maintenance_notification_hash", "orig_host_address", "orig_socket_timeout", "orig_socket_connect_timeout"),
        *("oss_cluster_maint_notifications_handler", "event_dispatcher", "himport_registry"),
    }
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to connect to, and as whom: a pool of the client library, whose connections are never used."""

    pool: Any

    def connection(self, timeout: float) -> Any:
        """A connection of our own, as the pool makes its: not connected yet, and with no retries."""
        borrowed = {name: value for name, value in self._borrowed().items() if name not in _NOT_BORROWED}
        return self.pool.connection_class(
            **borrowed, protocol=2, socket_timeout=timeout, socket_connect_timeout=timeout
        )

    @property
    def place(self) -> str:
        """The address, as a URL without secrets."""
        settings = self._borrowed()
        if "path" in settings:
            return f"unix://{settings['path']}?db={settings.get('db') or 0}"
        scheme = "rediss" if "SSL" in self.pool.connection_class.__name__ else "redis"
        host = str(settings.get("host", "localhost"))
        host = f"[{host}]" if ":" in host else host
        return f"{scheme}://{host}:{settings.get('port', 6379)}/{settings.get('db') or 0}"

    def _borrowed(self) -> Mapping[str, Any]:
        settings: Mapping[str, Any] = self.pool.connection_kwargs
        return settings


def settings_of_url(url: str) -> Settings:
    """The settings that ``url`` names. Nothing is connected."""
    redis = _library()
    scheme, colon, rest = url.partition(":")
    if scheme.lower() not in _SCHEMES or not rest.startswith("//"):
        raise ValueError(f"{scheme + colon!r} does not begin a URL of redis; {_FORMS}")
    try:
        pool = redis.ConnectionPool.from_url(f"{_SCHEMES[scheme.lower()]}:{rest}")
    except (ValueError, TypeError):
        # Without the cause: a password with a slash in it is taken for a port, and quoted.
        raise ValueError(f"the URL of redis cannot be read; {_FORMS}; percent-encode what is special") from None
    settings = Settings(pool)
    try:
        settings.connection(1.0)
    except TypeError as error:
        raise ValueError(
            f"{settings.place}: the URL's query has something that redis-py does not know ({error})"
        ) from error
    return settings


def settings_of_client(client: object) -> Settings:
    """The settings of a ``redis.Redis`` or ``valkey.Valkey``; its sockets, retries and life stay its own."""
    if hasattr(client, "nodes_manager"):
        raise TypeError("a cluster's client is not supported: give one of a server (or master) of its own")
    pool: Any = getattr(client, "connection_pool", None)
    if pool is None or not hasattr(pool, "connection_class"):
        raise TypeError(f"from_client takes a redis.Redis or valkey.Valkey, not {type(client).__name__}")
    if inspect.iscoroutinefunction(getattr(pool.connection_class, "connect", None)):
        raise TypeError(
            "an asyncio client cannot be borrowed from; give its URL, or a blocking client with its settings"
        )
    if hasattr(pool, "sentinel_manager"):
        raise TypeError("a Sentinel's client is not supported: give one of the master itself")
    settings = Settings(pool)
    # Not to connect: a class of the user's own may not take what it is given here, and says so now.
    settings.connection(1.0)
    return settings


def _library() -> Any:
    needed = "`pip install 'leaderlock[redis]'`"
    try:
        import redis
    except ImportError as error:
        raise BackendNotInstalled(
            f"redis: URLs need the package redis, which cannot be imported ({error}); {needed}"
        ) from error
    if tuple(int(part) for part in redis.__version__.split(".")[:3] if part.isdigit()) < (5, 0, 1):
        raise BackendNotInstalled(f"redis {redis.__version__} is too old; 5.0.1 or later is needed: {needed}")
    return redis
