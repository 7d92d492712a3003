"""What a register holds, and the only code that writes that format (protocol, chapter 2); ``reading.py`` reads it.

A value is one line of JSON, and for names the note after it, byte for byte. ``"v"`` is the format's number and ``"r"``
the oldest reader that may use the record; fields that a reader does not know are kept when it writes. A record that
needs a newer reader, or that is not ours at all, is :class:`Foreign`: neither free nor ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

__all__ = [
    "FORMAT",
    "HISTORY",
    "MAX_NOTE",
    "MAX_REQUESTS",
    "MAX_TOKEN",
    "NAMES",
    "SESSIONS",
    "SETTLED",
    "Boot",
    "Ending",
    "Foreign",
    "Holder",
    "NameRecord",
    "Request",
    "SessionRecord",
    "SettledRecord",
    "Stint",
    "name_key",
    "session_key",
]

FORMAT: Final = 1
MAX_TOKEN: Final = 2**53 - 1
"""Tokens pass through JSON, Lua and JavaScript, which count exactly up to here."""
MAX_NOTE: Final = 64 * 1024
MAX_REQUESTS: Final = 256
HISTORY: Final = 8
"""How many terms a name's record remembers."""

SETTLED: Final = "settled"
_LEADS: Final = "leads"
"""How a term that has not ended goes, in the history."""
NOTHING: Final[Mapping[str, Any]] = {}
"""No fields that this reader does not know. Never written to."""
SESSIONS: Final = "session/"
NAMES: Final = "name/"
"""How the keys of these registers begin."""


def session_key(session: str) -> str:
    return SESSIONS + session


def name_key(name: str) -> str:
    return NAMES + name


class Ending(Enum):
    """Whether and how a session ended."""

    NO = "no"
    CLOSED = "closed"
    EXPIRED = "expired"


class Holder(NamedTuple):
    """Who is behind a session, for people to read: nothing is ever decided by it."""

    host: str = ""
    pid: int = 0
    program: str = ""
    label: str = ""

    def __str__(self) -> str:
        return f"{self.label or self.program or 'somebody'} ({self.host}, pid {self.pid})"


class Boot(NamedTuple):
    """Which kernel's boot clock a session's owner reads, and until when (on that clock) it may be alive at most."""

    id: str
    time_namespace: str
    until: float


class Request(NamedTuple):
    """Somebody asks the holder to yield ``name``, as it holds it with ``token``."""

    name: str
    token: int
    by: str
    at: float


class Stint(NamedTuple):
    """One past or present term of a name, for people to read."""

    token: int
    holder: str
    """Its program, host and process id, and its label, in words."""
    since: float
    """When it was elected, by the leader's wall clock, in seconds since 1970."""
    until: float | None
    """When it ended, by the clock of whoever wrote that down: of a term that was not resigned, the last sign of life
    that its session gave. ``None``: it has not, or that is not known."""
    how: str
    """``"leads"``, or how it ended: ``"resigned"``, ``"expired"``, ``"closed"`` (its client was)…"""


def _begun(token: int, since: float, holder: str) -> str:
    """A term that leads, as the record keeps it: one string, since a take writes all of them and reads none."""
    return f"{token}|{since:.3f}||{_LEADS}|{holder}"


def _ended(line: str, how: str, until: float | None) -> str:
    """The line of a term that leads, as it is once that is over; any other line as it is."""
    # Its numbers are not read: every take and every release passes here.
    fields = line.split("|", 4)
    if len(fields) < 5 or fields[3] != _LEADS:
        return line
    token, since, _, _, holder = fields
    return f"{token}|{since}|{'' if until is None else f'{until:.3f}'}|{how}|{holder}"


def _stint(line: str) -> Stint | None:
    """``None``: not a line of ours. History is for people: it must never stand in a lease's way."""
    try:
        token, since, until, how, holder = line.split("|", 4)
        return Stint(int(token), holder, float(since), float(until) if until else None, how)
    except ValueError:
        return None


class Foreign(NamedTuple):
    """A value that this reader must not touch: newer than it, or not leaderlock's at all."""

    why: str


class SessionRecord(NamedTuple):
    """``session/<id>``: this process is alive."""

    write: str
    ttl: float
    ended: Ending = Ending.NO
    holder: Holder = Holder()
    at: float = 0.0
    boot: Boot | None = None
    requests: tuple[Request, ...] = ()
    extra: Mapping[str, Any] = NOTHING

    @property
    def moved_at(self) -> float | None:
        """Its owner's last sign of life, by his wall clock, in seconds since 1970; ``None``: it has none."""
        return self.at or None

    def encode(self) -> bytes:
        return _dumps(
            self.extra,
            write=self.write,
            ttl=self.ttl,
            ended=self.ended.value,
            holder=self.holder,
            at=round(self.at, 3),
            boot=self.boot,
            requests=self.requests,
        )

    def asking(self, request: Request) -> SessionRecord:
        """The same session with one more request; one per requester and name, the oldest go (rule 13).

        It keeps its ``write``, so that whoever observes it goes on counting (rule 6).
        """
        others = [old for old in self.requests if (old.by, old.name) != (request.by, request.name)]
        return self._replace(requests=(*others, request)[-MAX_REQUESTS:])


class NameRecord(NamedTuple):
    """``name/<name>``: that session leads, with this token."""

    write: str
    session: str | None
    token: int
    note: bytes = b""
    at: float = 0.0
    history: tuple[str, ...] = ()
    """The last terms, a line each; :attr:`stints` reads them."""
    extra: Mapping[str, Any] = NOTHING

    @property
    def since(self) -> float:
        """When the present term began, by its leader's wall clock; ``at`` is when the record was last written."""
        last = _stint(self.history[-1]) if self.history else None
        return last.since if last is not None and last.token == self.token else self.at

    @property
    def stints(self) -> tuple[Stint, ...]:
        return tuple(stint for line in self.history if (stint := _stint(line)) is not None)

    def encode(self) -> bytes:
        # By hand, as this is half of what a take or a release costs a client otherwise.
        session = "null" if self.session is None else _quoted(self.session)
        history = ",".join(map(_quoted, self.history))
        unknown = "" if not self.extra else _dumps_text(self.extra)[1:-1] + ","
        line = (
            f'{{"v":{FORMAT},"r":{FORMAT},{unknown}"write":{_quoted(self.write)},"session":{session},'
            f'"token":{self.token},"at":{self.at:.3f},"history":[{history}]}}\n'
        )
        return line.encode("utf-8", "surrogatepass") + self.note

    def taken(
        self,
        *,
        write: str,
        session: str,
        token: int,
        holder: str,
        at: float,
        before: Ending,
        until: float | None = None,
        note: bytes | None = None,
    ) -> NameRecord:
        """The next term: what a take writes over this record; the note stays, if there is no other.

        ``before``: how the session ended that the name shows, if it shows one; ``until``: its last sign of life.
        """
        history = (*self._ended(before.value, until), _begun(token, at, holder))[-HISTORY:]
        return NameRecord(write, session, token, self.note if note is None else note, at, history, self.extra)

    def released(
        self, *, write: str, how: str, at: float, token: int | None = None, note: bytes | None = None
    ) -> NameRecord:
        """The same name with nobody leading it: the token stays, and the note, if there is no other."""
        history = self._ended(how, at)
        return NameRecord(
            write, None, token or self.token, self.note if note is None else note, at, history, self.extra
        )

    def abandoned(self, *, write: str, at: float, how: Ending, until: float | None) -> NameRecord:
        """The same name, released for a session that ended without doing so; ``until``: its last sign of life."""
        return NameRecord(write, None, self.token, self.note, at, self._ended(how.value, until), self.extra)

    def _ended(self, how: str, at: float | None) -> tuple[str, ...]:
        return (*self.history[:-1], _ended(self.history[-1], how, at)) if self.history else ()


class SettledRecord(NamedTuple):
    """``settled``: on this memory one may take, under these terms."""

    memory: str
    longest: float
    durability: str
    extra: Mapping[str, Any] = NOTHING

    def encode(self) -> bytes:
        return _dumps(self.extra, memory=self.memory, longest=self.longest, durability=self.durability)


_quoted: Final[Callable[[str], str]] = json.encoder.encode_basestring
_dumps_text: Final[Callable[[Any], str]] = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def _dumps(extra: Mapping[str, Any], /, **fields: Any) -> bytes:
    # A surrogate that slipped into a host's or program's name must not stop a renewal.
    return _dumps_text({"v": FORMAT, "r": FORMAT, **extra, **fields}).encode("utf-8", "surrogatepass")
