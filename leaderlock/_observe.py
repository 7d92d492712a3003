"""Who leads, as the store records it: looked at from outside, without taking part."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from leaderlock._bell import Bell
from leaderlock._engine import Engine
from leaderlock._protocol.reading import read_name, read_session, read_settled
from leaderlock._protocol.records import (
    NAMES,
    SETTLED,
    Ending,
    Foreign,
    Holder,
    NameRecord,
    SessionRecord,
    SettledRecord,
    Stint,
    name_key,
    session_key,
)
from leaderlock._thread import even_if_collected
from leaderlock.backend import Seen, View, Wake
from leaderlock.errors import BackendRefused, BackendUnavailable, UsageError

__all__ = [
    "Looking",
    "Session",
    "Sighting",
    "Status",
    "Term",
    "Turns",
    "look",
    "looks",
    "names_seen",
    "observe",
    "settled_in",
    "watching",
]


_log: Final = logging.getLogger("leaderlock")


class Session(NamedTuple):
    """One client of the store's, as its register shows it."""

    id: str
    holder: Holder
    ttl: float
    """Seconds after its last renewal for which it may still be alive."""
    renewed_at: float
    """Its own wall clock at its last renewal, in seconds since 1970: for people, never to be relied on."""
    ended: str
    """``"no"``, or how it ended: ``"closed"``, ``"expired"``."""


class Term(NamedTuple):
    """Who leads, with which token, since when: as recorded, which is not a promise that it still runs."""

    name: str
    token: int
    session: Session
    since: float
    """The leader's wall clock when it was elected, in seconds since 1970."""
    note: bytes = b""

    @property
    def holder(self) -> Holder:
        return self.session.holder


class Sighting(NamedTuple):
    """What one name's registers held at one look."""

    name: str
    view: View
    seen: Seen
    record: NameRecord | None
    session_seen: Seen | None
    session: SessionRecord | None

    @property
    def is_led(self) -> bool:
        """Whether the name shows a session that has not ended."""
        return self.record is not None and self.record.session is not None and not self._has_ended

    @property
    def _has_ended(self) -> bool:
        return self.session is not None and self.session.ended is not Ending.NO

    @property
    def stints(self) -> tuple[Stint, ...]:
        """The last terms. One that nobody has written down as over was so with its session."""
        record = self.record
        if record is None:
            return ()
        if self.session is not None and self._has_ended:
            record = record.abandoned(write="", at=record.at, how=self.session.ended, until=self.session.moved_at)
        return record.stints

    @property
    def term(self) -> Term | None:
        record = self.record
        if record is None or record.session is None or not self.is_led:
            return None
        shown = self.session
        session = (
            Session(record.session, Holder(), 0.0, 0.0, "unknown")
            if shown is None
            else Session(record.session, shown.holder, shown.ttl, shown.at, shown.ended.value)
        )
        return Term(self.name, record.token, session, record.since, record.note)


class Status(NamedTuple):
    """One name, for people: who leads, whether one may take it, and what came before."""

    name: str
    term: Term | None
    last_token: int
    """The highest token that was given for this name; 0: none yet."""
    moved_ago: float | None
    """Seconds since the leader's session last moved, by the two hosts' wall clocks."""
    free_in: float | None
    """Seconds until its session may be given up for dead if it does not move again, by the same clocks."""
    settled: bool
    """Whether names may be taken on the store's present memory (rule 15)."""
    history: tuple[Stint, ...]
    note: bytes = b""
    """What the last leader left: ticks keep their record in it."""


def _name_record(name: str, seen: Seen) -> NameRecord | None:
    record = read_name(seen.value)
    if isinstance(record, Foreign):
        raise BackendRefused(f"the register of {name!r} cannot be read: {record.why}")
    return record


def look(engine: Engine, name: str) -> Sighting:
    """Read the name, and the session that holds it."""
    timeout = engine.terms.timing.attempt
    view = engine.backend.read([name_key(name), SETTLED], timeout=timeout)
    record = _name_record(name, view.seen[name_key(name)])
    if record is None or record.session is None:
        return Sighting(name, view, view.seen[name_key(name)], record, None, None)
    key = session_key(record.session)
    view = engine.backend.read([name_key(name), key, SETTLED], timeout=timeout)
    record = _name_record(name, view.seen[name_key(name)])
    shown = view.seen[key]
    session = read_session(shown.value)
    if isinstance(session, Foreign):
        raise BackendRefused(f"the register of {key!r} cannot be read: {session.why}")
    return Sighting(name, view, view.seen[name_key(name)], record, shown, session)


def settled_in(view: View) -> SettledRecord | None:
    """What the namespace's ``settled`` register says, if it names the store's present memory."""
    record = read_settled(view.seen[SETTLED].value)
    return record if isinstance(record, SettledRecord) and record.memory == view.memory else None


def status(engine: Engine, name: str) -> Status:
    sighting = look(engine, name)
    record, session = sighting.record, sighting.session
    moved_ago = free_in = None
    if sighting.is_led and session is not None:
        now = engine.clock.now()
        moved_ago = max(0.0, now.wall - session.at)
        free_in = max(0.0, session.ttl * (1 + engine.terms.timing.rho) - moved_ago)
    return Status(
        name=name,
        term=sighting.term,
        last_token=record.token if record is not None else 0,
        moved_ago=moved_ago,
        free_in=free_in,
        settled=settled_in(sighting.view) is not None,
        history=sighting.stints,
        note=record.note if record is not None else b"",
    )


def names_seen(engine: Engine) -> list[str]:
    """The names that have a register, sorted."""
    return sorted(key[len(NAMES) :] for key, _ in engine.backend.scan(NAMES, timeout=engine.terms.timing.attempt))


def looks(engine: Engine, name: str, timeout: float | None = None) -> Iterator[Sighting]:
    """Look now, whenever the name may have changed, and every third of a ttl; for ``timeout`` seconds, or for ever.

    A look that fails is no look: who watches a leader is not told that there is none because the store did not answer.
    """
    bell = Bell()
    hints: deque[object] = deque(maxlen=1)
    looking = Looking(engine, name, timeout)

    def hint(told: object) -> None:
        hints.append(told)
        bell.ring()

    with watching(engine, name, hint):
        while not engine.is_closed:
            hints.clear()
            sighting = looking.look()
            if sighting is not None:
                yield sighting
            left = looking.pause()
            if left <= 0:
                return
            engine.here.wait_for(bell, lambda: bool(hints), engine.clock.boot() + left)


@contextmanager
def watching(engine: Engine, name: str, hint: Wake) -> Generator[None]:
    """Have ``hint`` called whenever the name may have changed."""
    stop = engine.backend.watch([name_key(name)], hint)
    try:
        yield
    except BaseException as error:
        even_if_collected(error, stop)
        raise
    stop()


class Looking:
    """One who looks at a name again and again: what a look shows, and how long until the next."""

    def __init__(self, engine: Engine, name: str, timeout: float | None = None) -> None:
        self._engine = engine
        self.name = name
        self._until = None if timeout is None else engine.clock.boot() + timeout
        self._failures = 0

    def look(self) -> Sighting | None:
        """``None``: the store did not answer, which is warned of once; or the client was closed meanwhile."""
        try:
            sighting = look(self._engine, self.name)
        except UsageError:
            if not self._engine.is_closed:
                raise
            return None
        except BackendUnavailable as error:
            if self._failures == 0:
                _log.warning("cannot see who leads %r, and look again: %s", self.name, error)
            self._failures += 1
            return None
        self._failures = 0
        return sighting

    def pause(self) -> float:
        """Seconds until the next look is due without any hint; zero or less: there is none."""
        every = self._engine.terms.timing.renew_every
        return every if self._until is None else min(every, self._until - self._engine.clock.boot())


def observe(engine: Engine, name: str) -> Iterator[Term | None]:
    """Yield who leads now, and again whenever that changes. Ends with the client, or if the store refuses to say."""
    turns = Turns()
    for sighting in looks(engine, name):
        if turns.is_new(sighting.term):
            yield sighting.term


class Turns:
    """Tells another leader from the one that was seen last."""

    def __init__(self) -> None:
        self._last: tuple[int, str] | None = (-1, "")

    def is_new(self, term: Term | None) -> bool:
        before, self._last = self._last, None if term is None else (term.token, term.session.id)
        return self._last != before
