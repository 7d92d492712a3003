"""What a URL says: ``zk://user:password@h1:2181,h2,[::1]:2183/root?ca=/etc/ca.pem``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote

__all__ = ["DEFAULT_ROOT", "Place", "check_root", "place_of_url"]

DEFAULT_ROOT: Final = "/leaderlock"
_SCHEMES: Final = ("zk", "zookeeper")
_FORM: Final = "use zk://[user:password@]host[:port],host…[/root][?ca=FILE]"
_FILES: Final = ("ca", "certfile", "keyfile", "keyfile_password")
_LATE_AT: Final = re.compile(r"[^/?#]*[/?#].*@", re.DOTALL)
_HOST: Final = re.compile(r"(?:[^\s\[\]:@/,]+|\[[0-9A-Fa-f:.%]+\])(?::(\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the ensemble is, and how to be let in."""

    hosts: str
    root: str = DEFAULT_ROOT
    user: str = ""
    password: str = field(default="", repr=False)
    tls: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """kazoo's names for the files; empty for a plain connection."""
    uses_tls: bool = False

    def __str__(self) -> str:
        return f"zk://{self.hosts}{self.root}"


def place_of_url(url: str, options: Mapping[str, object]) -> Place:
    """What ``url`` and the options of ``connect()`` mean together. Nothing is opened; nobody is asked."""
    scheme, separator, rest = url.partition("://")
    if scheme.lower() not in _SCHEMES or not separator:
        raise ValueError(f"a URL that begins with {url.partition(':')[0][:20]!r} is not ZooKeeper's; {_FORM}")
    # First of all, and without the URL: else half a password is taken for a host, asked for, and shown.
    if _LATE_AT.match(rest):
        raise ValueError(
            f"the URL has an @ after its first /, ? or #; percent-encode user, password, and any other @; {_FORM}"
        )
    rest, _, query = rest.partition("?")
    if "#" in rest + query:
        raise ValueError(f"ZooKeeper's URLs have no fragment; write # as %23; {_FORM}")
    authority, slash, path = rest.partition("/")
    login, at, hosts = authority.rpartition("@")
    user, colon, password = login.partition(":")
    if at and not (user and colon and password):
        raise ValueError(f"before the @ stand a user and a password, both; {_FORM}")
    settings = _settings(query, options)
    root = check_root(unquote(slash + path).rstrip("/") or DEFAULT_ROOT)
    return Place(
        hosts=_checked_hosts(hosts),
        root=root,
        user=unquote(user),
        password=unquote(password),
        tls={name: value for name, value in settings.items() if name != "tls"},
        uses_tls=bool(settings),
    )


def check_root(root: str) -> str:
    """Return ``root`` if ZooKeeper can have such a path."""
    parts = root.split("/")
    if parts[0] or len(parts) < 2 or any(part in ("", ".", "..") or not part.isprintable() for part in parts[1:]):
        raise ValueError(f"{root!r} is no path of ZooKeeper's: /a/b, without empty, '.' or '..' parts")
    if parts[1] == "zookeeper":
        raise ValueError("ZooKeeper keeps /zookeeper for itself; name another root")
    return root


def _checked_hosts(hosts: str) -> str:
    for host in hosts.split(","):
        found = _HOST.fullmatch(host)
        if found is None or not 0 < int(found[1] or 2181) < 65536:
            # Not what follows: where @host was forgotten, that is a password.
            raise ValueError(f"{host.partition(':')[0]!r} is not a host, or host:port; {_FORM}")
    return hosts


def _settings(query: str, options: Mapping[str, object]) -> dict[str, str]:
    settings: dict[str, str] = {}
    said = parse_qsl(query, keep_blank_values=True)
    if len(dict(said)) < len(said):
        raise ValueError(f"the URL has an option twice; say each once; {_FORM}")
    for name, value in [*said, *options.items()]:
        if name == "tls" and value in (True, "true", "1"):
            settings[name] = "true"
        elif name in _FILES and isinstance(value, str) and value:
            settings[name] = value
        else:
            # Without the value, which may be a password.
            raise TypeError(
                f"ZooKeeper has no option {name} of that value; there are tls=true, and {', '.join(_FILES)} with a"
                " file's name (or the key's password)"
            )
    if ("certfile" in settings) != ("keyfile" in settings):
        raise ValueError("certfile and keyfile belong together; give both, or neither")
    return settings
