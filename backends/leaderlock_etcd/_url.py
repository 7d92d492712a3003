"""What a URL means: ``etcd://user:password@host:2379,host2:2379/prefix``, and ``etcds://…?ca=…&cert=…&key=…``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote

__all__ = ["DEFAULT_PREFIX", "Place", "Tls", "check_prefix", "place_of_url"]

DEFAULT_PREFIX: Final = "/leaderlock"

_FORM: Final = "use etcd://host:2379,host2:2379/prefix, or etcds://… for TLS"
_TLS_OPTIONS: Final = ("ca", "cert", "key")
_LATE_AT: Final = re.compile(r"[^/?#]*[/?#].*@", re.DOTALL)
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:\s]+)(?::([0-9]+))?")


@dataclass(frozen=True, slots=True)
class Tls:
    """Paths of PEM files: who may sign the server's certificate (none: the public authorities), and our own."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def load(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """The files' contents."""
        ca, cert, key = (None if path is None else Path(path).read_bytes() for path in (self.ca, self.cert, self.key))
        return ca, cert, key


@dataclass(frozen=True, slots=True)
class Place:
    """Where the store is, and who asks. ``shown`` is the URL without the password, for messages."""

    shown: str
    targets: tuple[str, ...]
    prefix: str
    user: str | None
    password: str
    tls: Tls | None


def place_of_url(url: str, options: Mapping[str, object]) -> Place:
    """What ``url``, and the options given beside it, mean. Nothing is connected; certificates are read once."""
    scheme, separator, rest = url.partition("://")
    if scheme.lower() not in ("etcd", "etcds") or not separator:
        raise ValueError(f"what begins with {url.partition(':')[0][:20]!r} is not an etcd URL; {_FORM}")
    # First of all, and without the URL: else half a password is taken for a host, asked for, and shown.
    if _LATE_AT.match(rest):
        raise ValueError(
            f"the URL has an @ after its first /, ? or #; percent-encode user, password, and any other @; {_FORM}"
        )
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    credentials, at, hosts = authority.rpartition("@")
    scheme = scheme.lower()
    user, colon, password = credentials.partition(":")
    shown = f"{scheme}://{user + at}{hosts}" + (f"/{path}" if path else "")
    if at and not (user and colon):
        raise ValueError(f"{shown!r} has an @ without user:password before it; write @ itself as %40")
    if "#" in url:
        raise ValueError(f"{shown!r} has a fragment, and there are none; write # as %23")
    return Place(
        shown=shown,
        targets=tuple(_target(host, shown) for host in hosts.split(",")),
        prefix=check_prefix("/" + unquote(path, errors="strict")) if path.strip("/") else DEFAULT_PREFIX,
        user=unquote(user) if at else None,
        password=unquote(password),
        tls=_tls(scheme, shown, query, options),
    )


def check_prefix(prefix: str) -> str:
    """The prefix without a slash at its end, if keys can begin with it."""
    checked = prefix.rstrip("/")
    if not checked or not checked.isprintable():
        raise ValueError(f"the prefix {prefix!r} is empty or not printable; use one like {DEFAULT_PREFIX!r}")
    return checked


def _target(host: str, shown: str) -> str:
    found = _HOST.fullmatch(host)
    if found is None:
        # Not what follows: where @host was forgotten, that is a password.
        raise ValueError(f"the URL has {host.partition(':')[0]!r} where host:port should stand; {_FORM}")
    port = int(found[2] or 2379)
    if not 0 < port < 65536:
        raise ValueError(f"{shown!r} has the port {port}; there are 1 to 65535")
    return f"{found[1]}:{port}"


def _tls(scheme: str, shown: str, query: str, options: Mapping[str, object]) -> Tls | None:
    said = parse_qsl(query, keep_blank_values=True)
    given: dict[str, object] = dict(said)
    if len(given) < len(said):
        raise ValueError(f"{shown!r} has an option twice; say each once")
    for name in given.keys() - set(_TLS_OPTIONS):
        raise ValueError(f"{shown!r} has the option {name!r}; there are {', '.join(_TLS_OPTIONS)}")
    for name in options.keys() - set(_TLS_OPTIONS):
        raise TypeError(f"etcd has no option {name!r}; there are {', '.join(_TLS_OPTIONS)}")
    given |= options
    paths: dict[str, str] = {}
    for name, path in given.items():
        if not isinstance(path, str) or not path:
            raise TypeError(f"{name} is the path of a PEM file, not {path!r}")
        paths[name] = path
    if scheme == "etcd":
        if paths:
            raise ValueError(f"{shown!r} is without TLS, so {', '.join(sorted(paths))} would go unused; say etcds://")
        return None
    if ("cert" in paths) != ("key" in paths):
        raise ValueError("cert and key go together: give both, or neither")
    tls = Tls(**paths)
    try:
        tls.load()
    except OSError as error:
        raise ValueError(f"a PEM file of {shown!r} cannot be read: {error}") from error
    return tls
