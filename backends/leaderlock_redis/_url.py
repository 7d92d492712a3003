"""What a URL means: one server, ``redis+sentinel://h1,h2,h3/name/db``, or ``redis+cluster://h1,h2``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode

from leaderlock.errors import BackendNotInstalled
from leaderlock_redis._cluster import InCluster
from leaderlock_redis._masters import Master, OneServer
from leaderlock_redis._sentinel import BySentinel
from leaderlock_redis._settings import Address, Settings

__all__ = ["master_of_url"]

_SCHEMES: Final[Mapping[str, str]] = {
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
    "valkey": "redis",
    "valkeys": "rediss",
}
_SENTINELS_PORT: Final = 26379
_FORMS: Final[Mapping[str, str]] = {
    "": "use redis://[user:password@]host[:port][/db], rediss:// for TLS, or unix:///path/to/socket",
    "sentinel": "use redis+sentinel://[user:password@]host[:port],host…/name-of-the-master[/db], rediss+sentinel:// for"
    " TLS, and ?sentinel_username=…&sentinel_password=… where the Sentinels want a login of their own",
    "cluster": "use redis+cluster://[user:password@]host[:port],host…, or rediss+cluster:// for TLS",
}
_LATE_AT: Final = re.compile(r"[^/?]*[/?].*@", re.DOTALL)
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:@/?#\s]+)(?::([0-9]{1,5}))?")


def master_of_url(url: str) -> Master:
    """What ``url`` means. Nothing is connected."""
    redis = _library()
    scheme, colon, rest = url.partition(":")
    kind, _, topology = scheme.lower().partition("+")
    if kind not in _SCHEMES or topology not in _FORMS or (topology and kind == "unix") or not rest.startswith("//"):
        raise ValueError(f"{scheme + colon!r} does not begin a URL of redis; {'; or '.join(_FORMS.values())}")
    form = _FORMS[topology]
    # First of all, and without the URL: else half a password is taken for a host, asked for, and shown.
    if "#" in rest or _LATE_AT.match(rest[2:]):
        raise ValueError(
            f"the URL has a #, or an @ after its first / or ?; percent-encode user, password, and any other @; {form}"
        )
    before, _, query = rest[2:].partition("?")
    authority, _, path = before.partition("/")
    login, at, hosts = authority.rpartition("@")
    options = _options(query, form)
    shown = f"{scheme}://{hosts}" + (f"/{path}" if path else "")
    if not topology:
        if kind != "unix":
            _check_one(hosts, path, options, form)
        return OneServer(_settings(redis, f"{_SCHEMES[kind]}:{rest}", shown, form))
    asking = {name: options.pop(f"sentinel_{name}", "") for name in ("username", "password")}
    parts = [unquote(part) for part in path.split("/") if part]
    start = f"{_SCHEMES[kind]}://{login}{at}"
    if topology == "cluster":
        if any(asking.values()) or any(part != "0" for part in (*parts, options.get("db", "0"))):
            raise ValueError(f"a cluster has no database but 0, and no Sentinels; {form}")
        settings = _settings(redis, _of_servers(start, "0", options), shown, form)
        return InCluster(settings, _addresses(hosts, 6379, form))
    if not 1 <= len(parts) <= 2:
        raise ValueError(f"the URL does not name the master after its hosts; {form}")
    _check_database(parts[1:], options, form)
    database = [*parts[1:], options.pop("db", "0")][0]
    settings = _settings(redis, _of_servers(start, database, options), shown, form)
    return BySentinel(parts[0], settings, _sentinels(redis, settings, _addresses(hosts, _SENTINELS_PORT, form), asking))


def _options(query: str, form: str) -> dict[str, str]:
    said = parse_qsl(query, keep_blank_values=True)
    options = dict(said)
    if len(options) < len(said):
        raise ValueError(f"the URL has an option twice; say each once; {form}")
    return options


def _check_database(said: Sequence[str], options: Mapping[str, str], form: str) -> None:
    if not all(map(str.isdecimal, said)):
        raise ValueError(f"the URL's path is no number of a database; {form}; percent-encode what is special")
    if any(options.get("db", database) != database for database in said):
        raise ValueError(f"the URL's path and its ?db= name two databases; say it once; {form}")


def _check_one(hosts: str, path: str, options: Mapping[str, str], form: str) -> None:
    """redis-py takes no host for this one, and what is no number for database 0: another store than was meant."""
    # Without the texts: they may be a part of a password.
    if not hosts.partition(":")[0]:
        raise ValueError(f"the URL of redis names no host (is a variable in it unset?); {form}")
    _check_database([path] if path else [], options, form)


def _of_servers(start: str, database: str, options: Mapping[str, str]) -> str:
    """The URL of the servers themselves, whose address is not known yet."""
    query = f"?{urlencode(options)}" if options else ""
    return f"{start}localhost/{database}{query}"


def _settings(redis: Any, url: str, shown: str, form: str) -> Settings:
    try:
        settings = Settings(redis.ConnectionPool.from_url(url))
        if settings.scheme == "rediss":
            # The names in a certificate are checked unless the URL says otherwise; redis-py before 6 would not.
            given: dict[str, Any] = settings.pool.connection_kwargs
            given.setdefault("ssl_check_hostname", given.get("ssl_cert_reqs") != "none")
    except (ValueError, TypeError):
        # Without the cause: a password with a slash in it is taken for a port, and quoted.
        raise ValueError(f"the URL of redis cannot be read; {form}; percent-encode what is special") from None
    try:
        settings.connection(1.0)
    except TypeError as error:
        raise ValueError(f"{shown}: the URL's query has something that redis-py does not know ({error})") from error
    return settings


def _sentinels(redis: Any, settings: Settings, addresses: list[Address], asking: Mapping[str, str]) -> list[Settings]:
    """How to connect to the Sentinels: their own login, and the servers' TLS."""
    given: dict[str, Any] = {name: value for name, value in asking.items() if value}
    given |= {name: value for name, value in settings.pool.connection_kwargs.items() if name.startswith("ssl_")}
    pool = redis.ConnectionPool(connection_class=settings.pool.connection_class, **given)
    return [Settings(pool, address) for address in addresses]


def _addresses(hosts: str, port: int, form: str) -> list[Address]:
    addresses: list[Address] = []
    for host in hosts.split(","):
        found = _HOST.fullmatch(host)
        # Without the host's text: it may be a part of a password.
        if found is None or not 0 < int(found[2] or port) < 65536:
            raise ValueError(f"one of the URL's hosts is none; {form}; percent-encode what is special")
        addresses.append((found[1].strip("[]"), int(found[2] or port)))
    return addresses


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
