"""What a ZooKeeper ensemble is like: how many servers, who of them serves, and who else may write here.

Two ways lead there. Through the client: the ensemble's own list of its members, and the rights of the namespace's node.
And to each server that the client was told of, on a connection of its own: the word ``srvr``, which all of them answer
unless an operator has forbidden it, even without a quorum.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from leaderlock.diagnosis import Finding, Level, Limit, Promise, judge_voters
from leaderlock.errors import BackendRefused
from leaderlock_zookeeper._errors import looking
from leaderlock_zookeeper._kazoo import exceptions
from leaderlock_zookeeper._link import Link, left
from leaderlock_zookeeper._paths import Layout

__all__ = ["Facts", "Server", "examine", "judge", "server_of"]

_CONFIG: Final = "/zookeeper/config"
_PARTICIPANT: Final = re.compile(r"^server\.\d+=.*:participant(?:;|$)", re.M)
_MOST: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Server:
    """What one server answered to ``srvr``."""

    address: str
    state: str
    """Its mode (``standalone``, ``leader``, ``follower``, ``observer``, ``read-only``), or ``idle``: up without a
    quorum; ``hidden``: it answers, but not this; ``away``: it does not answer."""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found."""

    servers: tuple[Server, ...]
    participants: int | None
    """How many servers vote, by the ensemble's own list; ``None``: it was not told, 0: there is no ensemble."""
    uses_tls: bool
    has_login: bool
    is_open: bool | None
    """Whether everybody may write the namespace's node; ``None``: it was not told."""
    session: str = ""


def examine(link: Link, layout: Layout, timeout: float) -> Sequence[Finding]:
    """Ask the ensemble, and each server that the client knows."""
    deadline = time.monotonic() + timeout
    link.begin()
    # What follows is kazoo's own, and has no types.
    client: Any = link.client
    uses_tls = bool(client.use_ssl)
    addresses: list[tuple[str, int]] = list(client.hosts)
    servers = [_asked(host, port, deadline - 0.5 * timeout, len(addresses), uses_tls) for host, port in addresses]
    participants, is_open, session = None, None, ""
    # Without a quorum nobody connects; then there is no list, and the servers have said why.
    if any(server.state in ("standalone", "leader", "follower", "observer", "hidden") for server in servers):
        link.ready(deadline)
        participants = _participants(client, link, deadline)
        is_open = _is_open(client, link, layout, deadline)
        session = f"session 0x{client.client_id[0]:x}" if client.client_id else ""
    return list(
        judge(
            Facts(
                servers=tuple(servers),
                participants=participants,
                uses_tls=uses_tls,
                has_login=bool(client.auth_data),
                is_open=is_open,
                session=session,
            )
        )
    )


def _asked(host: str, port: int, until: float, count: int, uses_tls: bool) -> Server:
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    patience = max(0.05, min(1.0, (until - time.monotonic()) / count))
    try:
        with socket.create_connection((host, port), patience) as connection:
            if uses_tls:
                return Server(address, "hidden")
            connection.settimeout(patience)
            connection.sendall(b"srvr")
            answer = b""
            while len(answer) < _MOST and (piece := connection.recv(4096)):
                answer += piece
    except OSError:
        return Server(address, "away")
    return server_of(address, answer.decode(errors="replace"))


def server_of(address: str, answer: str) -> Server:
    """What the answer to ``srvr`` says."""
    version = re.search(r"version: ([^\s,-]+)", answer)
    mode = re.search(r"^Mode: (\S+)", answer, re.M)
    state = mode[1] if mode else "idle" if "not currently serving" in answer else "hidden"
    return Server(address, state, version[1] if version else "")


def _participants(client: Any, link: Link, deadline: float) -> int | None:
    try:
        with looking(link.place):
            data: bytes = client.get_async(_CONFIG).get(timeout=left(deadline))[0]
    except (exceptions.NoNodeError, BackendRefused):
        return None
    return len(_PARTICIPANT.findall(data.decode(errors="replace")))


def _is_open(client: Any, link: Link, layout: Layout, deadline: float) -> bool | None:
    try:
        with looking(link.place):
            rights: Sequence[Any] = client.get_acls_async(layout.pointer).get(timeout=left(deadline))[0]
    except (exceptions.NoNodeError, BackendRefused):
        return None
    return any(one.id.scheme == "world" and one.perms & 0b110 for one in rights)


def judge(facts: Facts) -> Iterator[Finding]:
    """What the facts mean."""
    yield from _ensemble(facts)
    yield from _members(facts)
    yield from _access(facts)
    yield Finding(
        Level.NOTE,
        "trusted-disks",
        "whether the servers sync their log (forceSync) and old logs are purged (autopurge) cannot be asked of them",
        "look into zoo.cfg: leave forceSync on, and set autopurge.purgeInterval=24",
        (Limit(Promise.ONE_AT_A_TIME, "after a power cut of a majority, where forceSync=no or the disks lie"),),
    )


def _ensemble(facts: Facts) -> Iterator[Finding]:
    versions = sorted({server.version for server in facts.servers if server.version})
    shown = f"ZooKeeper {', '.join(versions)}" if versions else "ZooKeeper"
    if len(versions) > 1:
        yield Finding(Level.NOTE, "versions", f"the servers are of several versions: {', '.join(versions)}")
    states = {server.state for server in facts.servers}
    if states <= {"idle", "away", "read-only"} and states & {"idle", "read-only"}:
        text = "the servers that answer have no quorum: nothing can be written"
        limit = Limit(Promise.PROGRESS, "until a majority of the servers is back")
        yield Finding(Level.ERROR, "no-quorum", text, "bring the other servers back", (limit,))
        return
    voters = 1 if "standalone" in states else facts.participants
    if not voters:
        text = f"{shown}; how many servers there are is not told"
        yield Finding(Level.NOTE, "ensemble-hidden", text, f"allow this user to read {_CONFIG}")
        return
    yield from judge_voters(shown, voters, named=len(facts.servers), word="server")
    if voters > 2:
        yield Finding(Level.OK, "ensemble", f"{shown}: {voters} servers, of which {(voters - 1) // 2} may be away")


def _members(facts: Facts) -> Iterator[Finding]:
    away = [server.address for server in facts.servers if server.state in ("away", "idle", "read-only")]
    if away and len(away) < len(facts.servers):
        limit = Limit(Promise.PROGRESS, "when one more server than the ensemble can spare goes away")
        text = f"these servers do not serve: {', '.join(away)}"
        yield Finding(Level.WARNING, "server-away", text, "bring them back, or mend the URL", (limit,))


def _access(facts: Facts) -> Iterator[Finding]:
    if facts.session:
        text = f"{facts.session}; no lease depends on it"
        yield Finding(Level.OK, "session", text)
    if not facts.uses_tls:
        text = "the connection is not encrypted: a password travels as it is"
        yield Finding(Level.NOTE, "no-tls", text, "add ?tls=true where the network is not your own")
    if not facts.is_open:
        return
    if facts.has_login:
        yield Finding(
            Level.WARNING,
            "open-nodes",
            "everybody who reaches the servers may write the namespace's nodes, although this client has a user: they"
            " were made without one, and rights of nodes that exist are not changed",
            "remove the namespace when nobody uses it (deleteall), so that it is made anew",
            (Limit(Promise.ONE_AT_A_TIME, "when somebody rewrites a register by hand"),),
        )
    else:
        text = "no user is needed: whoever reaches the servers may take or end any lease"
        yield Finding(Level.NOTE, "no-auth", text, "put user:password@ into the URL")
