"""What a Redis server does to leases: what it keeps, what it may lose, and what it hides from this user.

A server that is unfit (a replica, one that evicts our keys) is refused when it is connected to, in the same words that
every client gets; here is what can be used all the same, and should be known.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from leaderlock.diagnosis import Finding, Level, Limit, Promise
from leaderlock_redis._durability import facts_of
from leaderlock_redis._links import Links
from leaderlock_redis._wire import Reply, ServerError, pack

__all__ = ["Facts", "examine", "judge"]

FULL: Final = 0.8
"""The share of maxmemory in use from which on somebody should look."""
CLOCK: Final = 5.0
"""Seconds between the server's clock and this host's that are worth a word."""
_SETTINGS: Final = ("appendfsync", "no-appendfsync-on-rewrite", "save", "requirepass")
_FORGETS: Final = Limit(Promise.PROGRESS, "after each restart and failover, for one settling time: nobody is elected")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the server said."""

    place: str
    durability: str
    info: Mapping[str, str]
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    """Only those that this user may see."""
    user: str = ""
    offset: float = 0.0
    """The server's clock minus this host's, in seconds."""
    doubt: float = 0.0
    """By how much the offset may be wrong."""

    @property
    def replicas(self) -> int:
        return int(self.info.get("connected_slaves", "0"))

    @property
    def is_on_disk(self) -> bool:
        return self.info.get("aof_enabled") == "1" and self.settings.get("appendfsync") == "always"


def examine(links: Links, durability: str, timeout: float) -> Sequence[Finding]:
    """Ask the server about itself."""
    deadline = time.monotonic() + timeout
    requests = [pack(b"INFO"), pack(b"ACL", b"WHOAMI")]
    requests += [pack(b"CONFIG", b"GET", name.encode()) for name in _SETTINGS]
    info, user, *settings = links.ask(requests, timeout)
    before, asked = time.time(), time.monotonic()
    (clock,) = links.ask([pack(b"TIME")], max(0.001, deadline - asked))
    doubt = (time.monotonic() - asked) / 2
    facts = Facts(
        place=links.place,
        durability=durability,
        info=facts_of(info) if isinstance(info, bytes) else {},
        settings=dict(_pairs(settings)),
        user=user.decode() if isinstance(user, bytes) else "",
        offset=0.0 if isinstance(clock, ServerError) else int(clock[0]) + int(clock[1]) / 1e6 - before - doubt,
        doubt=doubt,
    )
    return list(judge(facts))


def _pairs(replies: Sequence[Reply]) -> Iterator[tuple[str, str]]:
    for reply in replies:
        if not isinstance(reply, ServerError) and reply:
            yield reply[0].decode(), reply[1].decode()


def judge(facts: Facts) -> Iterator[Finding]:
    """What the facts mean."""
    info = facts.info
    name = "Valkey" if info.get("server_name") == "valkey" else "Redis"
    version = info.get("valkey_version") or info.get("redis_version", "of an unknown version")
    mode = info.get("redis_mode", "standalone")
    yield Finding(Level.OK, "server", f"{name} {version}, {mode}, {info.get('role', 'of an unknown role')}")
    yield from _access(facts)
    yield from _persistence(facts)
    yield from _failover(facts)
    yield from _room(facts)
    yield from _clock(facts)


def _access(facts: Facts) -> Iterator[Finding]:
    if not facts.place.startswith(("rediss", "valkeys", "unix")):
        text = "the connection is not encrypted: a password travels as it is"
        yield Finding(Level.NOTE, "no-tls", text, "use rediss:// where the network is not your own")
    if facts.user == "default" and facts.settings.get("requirepass") == "":
        text = "no password is needed: whoever reaches the server may take or end any lease"
        yield Finding(
            Level.NOTE, "no-auth", text, "give leaderlock a user of its own: docs/stores/redis.md has the line"
        )
    hidden = [name for name in _SETTINGS if name not in facts.settings]
    if hidden:
        text = f"this user may not ask for {', '.join(hidden)}, so nothing is said about them"
        yield Finding(Level.NOTE, "hidden-settings", text, "ask as an administrator, or allow +config|get to this user")


def _persistence(facts: Facts) -> Iterator[Finding]:
    if facts.durability == "disk":
        if facts.settings.get("no-appendfsync-on-rewrite") == "yes" and not _has_waitaof(facts):
            yield Finding(
                Level.WARNING,
                "rewrite-without-fsync",
                "no-appendfsync-on-rewrite is yes: while the log is rewritten, what is acknowledged is not on the disk",
                "CONFIG SET no-appendfsync-on-rewrite no",
                (
                    Limit(Promise.ONE_AT_A_TIME, "when power fails while the server rewrites its log"),
                    Limit(Promise.TOKENS, "when power fails while the server rewrites its log"),
                ),
            )
        else:
            yield Finding(Level.OK, "persistence", "what was acknowledged is on the disk; a restart loses nothing")
        return
    kept = _kept(facts)
    advice = "reckon with one settling time after each restart"
    if facts.is_on_disk and not facts.replicas:
        advice = "say durability='disk' (all clients at once), and restarts cost nothing"
    yield Finding(Level.NOTE, "forgets", f"a restart forgets: {kept}", advice, (_FORGETS,))


def _kept(facts: Facts) -> str:
    if facts.info.get("aof_enabled") == "1":
        return f"the log is synced {facts.settings.get('appendfsync', 'in a way that is hidden from this user')}"
    save = facts.settings.get("save")
    if save is None:
        return "there is no log, and perhaps snapshots"
    return "there is no log, and snapshots lose what came after them" if save else "nothing is kept on the disk"


def _failover(facts: Facts) -> Iterator[Finding]:
    wanted = int(facts.durability.partition(":")[2] or 0)
    if wanted > facts.replicas:
        yield Finding(
            Level.ERROR,
            "too-few-replicas",
            f"{facts.replicas} replicas are connected, and durability={facts.durability!r} waits for {wanted}",
            "mend the replicas: no write is acknowledged before",
            (Limit(Promise.PROGRESS, "until enough replicas are connected"),),
        )
    if not facts.replicas:
        return
    two = Limit(Promise.ONE_AT_A_TIME, "while two masters answer: a failover while the old one still takes writes")
    if facts.durability == "disk":
        yield Finding(
            Level.WARNING,
            "failover",
            f"{facts.replicas} replicas are connected: one that is promoted brings the birth mark along, so that nobody"
            " notices the loss of the last writes",
            "never promote them, or use durability='replicas:1'",
            (two, Limit(Promise.TOKENS, "after a failover that lost the last grants")),
        )
        return
    yield Finding(
        Level.NOTE if wanted else Level.WARNING,
        "failover",
        f"{facts.replicas} replicas are connected: during a failover the old master and the new one may both answer",
        ""
        if wanted
        else "say durability='replicas:1' (all clients), so that a cut-off master grants nothing; use fences",
        (two,),
    )


def _room(facts: Facts) -> Iterator[Finding]:
    most, used = int(facts.info.get("maxmemory", "0")), int(facts.info.get("used_memory", "0"))
    policy = facts.info.get("maxmemory_policy", "unknown")
    if not most or used < FULL * most:
        limit = f"{used >> 10} of {most >> 10} KiB used" if most else "no limit of its own"
        yield Finding(Level.OK, "memory", f"{limit}, policy {policy}; our keys have no expiry")
        return
    yield Finding(
        Level.WARNING,
        "memory-full",
        f"{used >> 10} of {most >> 10} KiB of memory are used (policy {policy})",
        "raise maxmemory or make room: a leader that cannot renew loses its lease",
        (Limit(Promise.PROGRESS, "when the server's memory is full"),),
    )


def _clock(facts: Facts) -> Iterator[Finding]:
    offset, doubt = facts.offset, facts.doubt
    if abs(offset) - doubt <= CLOCK:
        shown = f"{offset * 1000:+.0f} ms, give or take {max(1.0, doubt * 1000):.0f}"
        yield Finding(Level.OK, "clock", f"the server's clock is this host's {shown}")
        return
    yield Finding(
        Level.WARNING,
        "clock",
        f"the server's clock is {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} this host's",
        "keep both by NTP; no lease depends on it, but tokens after a loss of data count from the server's clock",
        (Limit(Promise.TOKENS, "if the server loses its data and its clock is set back at the same time"),),
    )


def _has_waitaof(facts: Facts) -> bool:
    parts = facts.info.get("redis_version", "").split(".")[:2]
    return tuple(int(part) for part in parts if part.isdigit()) >= (7, 2)
