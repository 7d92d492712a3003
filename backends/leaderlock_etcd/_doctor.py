"""What an etcd cluster is like: its members, its alarms, whether its history is ever compacted, who may write.

Each server that the client was told of is asked on a connection of its own, since every one knows of itself even where
there is no quorum. The rest is asked of the first that answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from leaderlock.diagnosis import Finding, Level, Limit, Promise, judge_voters
from leaderlock.errors import BackendRefused, BackendUnavailable
from leaderlock_etcd import _messages as messages
from leaderlock_etcd._caller import Login
from leaderlock_etcd._errors import is_refusal
from leaderlock_etcd._grpc import CallFailed, Channel, request
from leaderlock_etcd._lines import CONNECTING, Source, Theirs
from leaderlock_etcd._marks import birth_of
from leaderlock_etcd._wire import fields, number

__all__ = ["Facts", "Member", "Status", "examine", "judge", "status_of"]

T = TypeVar("T")

KEPT: Final = 2 * 86_400.0
"""Seconds of history, all of it still there, from which on compaction is taken to be off."""
_STATUS: Final = "/etcdserverpb.Maintenance/Status"
_ALARM: Final = "/etcdserverpb.Maintenance/Alarm"
_MEMBERS: Final = "/etcdserverpb.Cluster/MemberList"
_ALARMS: Final = {1: "NOSPACE", 2: "CORRUPT"}
_LONGEST: Final = 1.0


class Status(NamedTuple):
    """What a member says of itself."""

    version: str = ""
    size: int = 0
    """Of its database's file, in bytes."""
    leader: int = 0
    """The id of the leader that it knows; 0: none."""


@dataclass(frozen=True, slots=True)
class Member:
    """One server that the client knows; no status: it did not answer, or would not say (``is_denied``)."""

    target: str
    status: Status | None
    is_denied: bool = False

    @property
    def is_away(self) -> bool:
        return self.status is None and not self.is_denied


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found; ``None`` stands for what this user was not told."""

    members: tuple[Member, ...]
    voters: int | None
    alarms: frozenset[str] | None
    kept: float | None
    """Seconds since the birth mark was laid, if everything since then is still kept; ``None``: it was compacted."""
    is_open: bool
    """Whether keys are given to somebody who does not say who he is."""
    uses_tls: bool
    is_lent: bool = False
    """Whether the members were chosen by a client that was handed in, which may know others."""


class _Asker:
    """One server, asked with the client's own login."""

    def __init__(self, target: str, channel: Channel, login: Login, deadline: float) -> None:
        self.target = target
        self._channel = channel
        self._login = login
        self.deadline = deadline

    def ask(self, method: str, message: bytes, *, anonymously: bool = False) -> bytes:
        deadline = min(self.deadline, time.monotonic() + _LONGEST)
        metadata = () if anonymously else self._login.metadata(self._channel, deadline)
        timeout = max(0.001, deadline - time.monotonic())
        return request(self._channel, method, message, timeout=timeout, metadata=metadata)

    def told(self, method: str, message: bytes, decode: Callable[[bytes], T]) -> T | None:
        """The answer; ``None`` where the server will not say, or not to this user."""
        try:
            return decode(self.ask(method, message))
        except CallFailed as failed:
            # Others than these were said by the server: no right, data that are damaged, a method that it lacks.
            if failed.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                raise
            return None

    def member(self) -> Member:
        try:
            return Member(self.target, status_of(self.ask(_STATUS, b"")))
        except CallFailed as failed:
            return Member(self.target, None, is_refusal(failed))


def examine(source: Source, login: Login, mark: bytes, timeout: float, *, shown: str) -> Sequence[Finding]:
    """Ask the cluster about itself."""
    deadline = time.monotonic() + timeout
    channels = [(target, source.channel(turn, CONNECTING)) for turn, target in enumerate(source.targets)]
    try:
        # Those that answer last have what the others left: a frozen one takes a second, not the whole time.
        share = timeout / (len(channels) + 1)
        askers = [
            _Asker(target, channel, login, min(deadline, time.monotonic() + share * (place + 1)))
            for place, (target, channel) in enumerate(channels)
        ]
        members = tuple(asker.member() for asker in askers)
        first = next((asker for asker, member in zip(askers, members, strict=True) if not member.is_away), None)
        if first is None:
            raise BackendUnavailable(f"{shown}: no member answers")
        first.deadline = deadline
        is_lent = isinstance(source, Theirs)
        return list(judge(_facts(first, members, mark, uses_tls=shown.startswith("etcds:"), is_lent=is_lent)))
    except CallFailed as failed:
        raise BackendUnavailable(f"{shown}: {failed}") from failed
    finally:
        for _, channel in channels:
            source.close(channel)


def _facts(asker: _Asker, members: tuple[Member, ...], mark: bytes, *, uses_tls: bool, is_lent: bool) -> Facts:
    if all(member.status is not None and not member.status.leader for member in members if not member.is_away):
        # What is asked of the cluster, and not of one member alone, nobody answers now.
        return Facts(members, None, None, None, False, uses_tls, is_lent)
    return Facts(
        members=members,
        voters=asker.told(_MEMBERS, b"", _voters),
        alarms=asker.told(_ALARM, b"", _alarms),
        kept=_kept(asker, mark),
        is_open=_is_open(asker, mark),
        uses_tls=uses_tls,
        is_lent=is_lent,
    )


def status_of(message: bytes) -> Status:
    """Read a member's answer."""
    found = Status()
    for field, integer, value in fields(message):
        match field:
            case 2:
                found = found._replace(version=value.decode(errors="replace"))
            case 3:
                found = found._replace(size=integer)
            case 4:
                found = found._replace(leader=integer)
            case _:
                pass
    return found


def _voters(message: bytes) -> int:
    members = [value for field, _, value in fields(message) if field == 2]
    return sum(not any(at == 5 and learns for at, learns, _ in fields(member)) for member in members)


def _alarms(message: bytes) -> frozenset[str]:
    alarms = [value for field, _, value in fields(message) if field == 2]
    kinds = [kind for alarm in alarms for at, kind, _ in fields(alarm) if at == 2 and kind]
    return frozenset(_ALARMS.get(kind, f"number {kind}") for kind in kinds)


def _kept(asker: _Asker, mark: bytes) -> float | None:
    """Ask for the birth mark as it was when it was laid: that works as long as nothing was compacted since."""
    found = asker.told(messages.RANGE, messages.range_request(mark), messages.range_answer)
    if not found or not found.found:
        return None
    laid = found.found[0]
    try:
        asker.ask(messages.RANGE, messages.range_request(mark) + number(4, laid.mod_revision))
        return max(0.0, time.time() - birth_of(laid.value.decode(errors="replace")) / 1e6)
    except (CallFailed, BackendRefused):
        return None


def _is_open(asker: _Asker, mark: bytes) -> bool:
    try:
        asker.ask(messages.RANGE, messages.range_request(mark), anonymously=True)
    except CallFailed:
        return False
    return True


def judge(facts: Facts) -> Iterator[Finding]:
    """What the facts mean."""
    yield from _members(facts)
    known = [member.status for member in facts.members if member.status is not None]
    if known and not any(status.leader for status in known):
        text = "the members that answer know no leader: nothing can be written or read"
        limit = Limit(Promise.PROGRESS, "until a majority of the members is back")
        yield Finding(Level.ERROR, "no-quorum", text, "bring the other members back", (limit,))
        return
    yield from _cluster(facts)
    yield from _space(facts)
    yield from _access(facts)


def _cluster(facts: Facts) -> Iterator[Finding]:
    known = [member.status for member in facts.members if member.status is not None]
    versions = sorted({status.version for status in known})
    shown = f"etcd {', '.join(versions)}".rstrip()
    if len(versions) > 1:
        yield Finding(Level.NOTE, "versions", f"the members are of several versions: {', '.join(versions)}")
    if facts.voters is None:
        yield Finding(Level.NOTE, "members-hidden", f"{shown}; this user may not see how many members there are")
        return
    yield from judge_voters(shown, facts.voters, named=None if facts.is_lent else len(facts.members), word="member")
    if facts.voters > 2:
        text = f"{shown}: {facts.voters} voting members, of which {(facts.voters - 1) // 2} may be away"
        yield Finding(Level.OK, "members", text)


def _members(facts: Facts) -> Iterator[Finding]:
    away = [member.target for member in facts.members if member.is_away]
    if away:
        limit = Limit(Promise.PROGRESS, "when one more member than the cluster can spare goes away")
        text = f"these members do not answer: {', '.join(away)}"
        yield Finding(Level.WARNING, "member-away", text, "bring them back, or mend the URL", (limit,))


def _space(facts: Facts) -> Iterator[Finding]:
    if facts.alarms is None:
        yield Finding(Level.NOTE, "alarms-hidden", "this user may not see alarms: they need the role root")
    elif "NOSPACE" in facts.alarms:
        yield Finding(
            Level.WARNING,
            "no-space",
            "the alarm NOSPACE is raised: the database has reached its quota, and writes may be refused",
            "compact, defragment, then etcdctl alarm disarm",
            (Limit(Promise.PROGRESS, "when writes are refused for want of space"),),
        )
    if facts.alarms is not None and facts.alarms - {"NOSPACE"}:
        yield Finding(
            Level.ERROR,
            "alarm",
            f"the alarm {', '.join(sorted(facts.alarms - {'NOSPACE'}))} is raised: the members' data differ",
            "replace the damaged member before anybody leads",
            (Limit(Promise.ONE_AT_A_TIME, "now"), Limit(Promise.TOKENS, "now")),
        )
    size = max((member.status.size for member in facts.members if member.status is not None), default=0)
    shown = f"the database has {size / (1 << 20):.3g} MiB"
    if facts.kept is None:
        yield Finding(Level.OK, "history", f"{shown}, and its history is compacted")
    elif facts.kept < KEPT:
        text = f"{shown}; its history was not compacted in the {facts.kept / 3600:.1f} h of this namespace"
        yield Finding(
            Level.NOTE, "history", text, "see that --auto-compaction-retention is set; it cannot be asked for"
        )
    else:
        yield Finding(
            Level.WARNING,
            "never-compacted",
            f"{shown}; all history of the last {facts.kept / 86_400:.0f} days is kept, and each renewal adds to it",
            "start the members with --auto-compaction-mode=periodic --auto-compaction-retention=1h",
            (Limit(Promise.PROGRESS, "once the database has reached its quota"),),
        )


def _access(facts: Facts) -> Iterator[Finding]:
    if not facts.uses_tls:
        text = "the connection is not encrypted: a password travels as it is"
        yield Finding(Level.NOTE, "no-tls", text, "use etcds:// where the network is not your own")
    if facts.is_open:
        text = "no user is needed: whoever reaches the members may take or end any lease"
        yield Finding(Level.NOTE, "no-auth", text, "enable authentication; docs/stores/etcd.md has the role to grant")
