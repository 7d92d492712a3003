"""What an acknowledged write survives: the word that the user gives, and what the server must be like for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from leaderlock.errors import BackendRefused

__all__ = ["Durability", "check_server", "durability_in_url", "facts_of"]


@dataclass(frozen=True, slots=True)
class Durability:
    """``"memory"``, ``"disk"`` or ``"replicas:k"``."""

    word: str
    is_disk: bool = False
    replicas: int = 0

    @classmethod
    def parse(cls, word: object) -> Durability:
        """The meaning of an option's value."""
        if word == "memory":
            return cls("memory")
        if word == "disk":
            return cls("disk", is_disk=True)
        if isinstance(word, str) and (found := re.fullmatch(r"replicas:([1-9][0-9]?)", word)):
            return cls(word, replicas=int(found[1]))
        raise ValueError(f"durability is 'memory', 'disk' or 'replicas:k' with k from 1 to 99, not {word!r}")


def durability_in_url(url: str) -> tuple[str, str | None]:
    """The URL without what its query says of durability, and that; for whoever has no other way to say it."""
    start, mark, query = url.partition("?")
    parts = query.split("&") if mark else []
    words = [unquote(part.partition("=")[2]) for part in parts if part.partition("=")[0] == "durability"]
    if len(words) > 1:
        raise ValueError(f"the URL says durability={' and '.join(words)}; say it once")
    rest = "&".join(part for part in parts if part.partition("=")[0] != "durability")
    return (f"{start}?{rest}" if rest else start), next(iter(words), None)


def facts_of(info: bytes) -> dict[str, str]:
    """The lines of INFO's answer."""
    lines = (line.partition(":") for line in info.decode("utf-8", "replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


def check_server(facts: dict[str, str], durability: Durability, place: str, *, is_in_cluster: bool = False) -> None:
    """Raise ``BackendRefused`` unless this server can keep leases."""
    if facts.get("role") != "master":
        raise BackendRefused(
            f"{place}: it is a replica ({facts.get('role', 'its role is hidden')}), and only a master can be asked;"
            " name the master"
        )
    if (facts.get("cluster_enabled") == "1") != is_in_cluster:
        raise BackendRefused(
            f"{place}: it is no node of a cluster; leave +cluster out of the URL"
            if is_in_cluster
            else f"{place}: it is a node of a cluster; begin the URL with redis+cluster: (or rediss+cluster:)"
        )
    policy = facts.get("maxmemory_policy", "")
    if policy.startswith("allkeys"):
        raise BackendRefused(
            f"{place}: its maxmemory-policy is {policy}, so it may forget who leads; set noeviction or volatile-*"
        )
    if durability.is_disk:
        if facts.get("aof_enabled") != "1":
            raise BackendRefused(
                f"{place}: durability='disk' needs `appendonly yes` and `appendfsync always`, and appendonly is no; set"
                " both, or leave durability out"
            )
    elif not facts.get("master_replid", "").strip("0"):
        raise BackendRefused(
            f"{place}: it hides its replication id, the only sign of a restart or a failover; with append-only"
            " persistence use durability='disk', otherwise use another store"
        )
