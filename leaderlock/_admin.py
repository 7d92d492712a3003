"""What a person may do to a namespace from outside: settle it, and ask a leader to go."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from leaderlock._engine import Engine
from leaderlock._observe import Sighting, look, looks
from leaderlock._protocol.clocks import Deadline
from leaderlock._protocol.reading import read_settled
from leaderlock._protocol.records import (
    MAX_TOKEN,
    SETTLED,
    Foreign,
    Request,
    SessionRecord,
    SettledRecord,
    name_key,
    session_key,
)
from leaderlock._protocol.rivals import Observation, observe
from leaderlock.backend import Conflict, Write
from leaderlock.errors import BackendRefused, BackendUnavailable, CampaignTimeout, MemoryGone

__all__ = ["AskedTerm", "ask", "init", "request_resignation"]

TRIES: Final = 10
"""How often a write is tried again that meets another: each conflict means that somebody else got on."""


def init(engine: Engine, *, force: bool = False) -> bool:
    """Declare that nobody leads or campaigns in this namespace, so that names may be taken at once (rule 16).

    Returns whether anything was written: where the memory is settled already, nothing is.
    """
    terms, traits = engine.terms, engine.backend.traits
    timeout = terms.timing.attempt
    for _ in range(TRIES):
        view = engine.backend.read([SETTLED], timeout=timeout)
        seen = view.seen[SETTLED]
        old = read_settled(seen.value)
        fresh = SettledRecord(view.memory, terms.timing.longest, traits.durability)
        if isinstance(old, SettledRecord) and old.memory == view.memory and (old == fresh or not force):
            if old != fresh:
                raise BackendRefused(
                    f"this namespace is settled with longest={old.longest:g} and durability={old.durability!r}: stop "
                    "every client, then settle it anew with --force"
                )
            return False
        if isinstance(old, Foreign) and not force:
            raise BackendRefused(
                f"the namespace's settled register cannot be read: {old.why}. Name another namespace, or stop every "
                "client and use --force"
            )
        if old is not None and not force:
            raise BackendRefused(
                "this namespace is settled on a memory that the store has lost since: its leaders may still be alive. "
                f"Wait {terms.timing.longest:g} s and it settles by itself, or stop every client and use --force"
            )
        [answer] = engine.backend.swap([Write(SETTLED, seen.stamp, fresh.encode())], view.memory, timeout=timeout)
        if not isinstance(answer, Conflict):
            return True
    raise BackendUnavailable("others keep writing the namespace's settled register: try again")


def request_resignation(engine: Engine, name: str, *, now: bool, timeout: float | None) -> bool:
    """Ask whoever leads ``name`` to yield it; wait until that term is over (rule 13).

    Returns ``False`` if nobody leads. ``now`` rewrites the name at once as well: until the leader looks, it still
    believes in its lease, and only fences protect the resource.
    """
    term = ask(engine, name, now=now)
    if term is None:
        return False
    if term.is_over:
        return True
    for sighting in looks(engine, name, timeout):
        if term.has_ended(sighting):
            return True
        if term.is_forgotten(sighting):
            term.ask_again(engine, sighting)
    raise term.still_goes_on()


def ask(engine: Engine, name: str, *, now: bool) -> AskedTerm | None:
    """Ask, and do not wait; see :func:`request_resignation`. ``None``: nobody leads."""
    sighting = _ask(engine, name)
    if sighting is None:
        return None
    return AskedTerm(engine, sighting, is_over=now and _overwrite(engine, sighting))


def _ask(engine: Engine, name: str) -> Sighting | None:
    for _ in range(TRIES):
        sighting = look(engine, name)
        if not sighting.is_led:
            return None
        # A session that does not show cannot be asked: its observers will bury it.
        if sighting.session is None or _add_request(engine, sighting, sighting.session):
            return sighting
    raise BackendUnavailable(f"the session that leads {name!r} changes all the time: try again")


def _add_request(engine: Engine, sighting: Sighting, session: SessionRecord) -> bool:
    """Write the request into the session that leads; ``False``: that has changed meanwhile."""
    record, shown = sighting.record, sighting.session_seen
    assert record is not None
    assert record.session is not None
    assert shown is not None
    request = Request(sighting.name, record.token, _requester(engine), engine.clock.now().wall)
    write = Write(session_key(record.session), shown.stamp, session.asking(request).encode())
    timeout = engine.terms.timing.attempt
    [answer] = engine.backend.swap([write], sighting.view.memory, timeout=timeout)
    return not isinstance(answer, Conflict)


def _requester(engine: Engine) -> str:
    return f"{engine.terms.holder.host}:{engine.terms.holder.pid}"


def _overwrite(engine: Engine, sighting: Sighting) -> bool:
    record = sighting.record
    assert record is not None
    # A token above the leader's tells it that it was superseded, when it next reads its names (rule 9).
    token = max(record.token + 1, sighting.view.floor)
    if token > MAX_TOKEN:
        raise BackendRefused(f"the token of {sighting.name!r} cannot rise any further")
    how = f"forced by {_requester(engine)}"
    released = record.released(write=os.urandom(12).hex(), how=how, at=engine.clock.now().wall, token=token)
    write = Write(name_key(sighting.name), sighting.seen.stamp, released.encode())
    timeout = engine.terms.timing.attempt
    [answer] = engine.backend.swap([write], sighting.view.memory, timeout=timeout)
    return not isinstance(answer, Conflict)


class AskedTerm:
    """A term that was asked to end: over when released, taken by another, or its session silent for long enough."""

    def __init__(self, engine: Engine, asked: Sighting, *, is_over: bool) -> None:
        assert asked.record is not None
        self._engine = engine
        self._name = asked.name
        self._token = asked.record.token
        self._silence: Observation | None = None
        self._again = self._in_a_ttl()
        self.is_over = is_over

    def _in_a_ttl(self) -> Deadline:
        return Deadline.after(self._engine.clock.now(), self._engine.terms.timing.ttl)

    def has_ended(self, sighting: Sighting) -> bool:
        """Whether that shows its end; to be asked of every look, in order."""
        if not sighting.is_led or sighting.record is None or sighting.record.token != self._token:
            return True
        if sighting.session_seen is None:
            return False
        now = self._engine.clock.now()
        self._silence = observe(self._silence, sighting.session_seen, now)
        # Dead, if it is silent: whoever wants the name buries that session and takes it.
        return self._silence.is_silent(self._engine.setting, now)

    def is_forgotten(self, sighting: Sighting) -> bool:
        """Whether that shows no request of ours any more, and a ttl has brought no end.

        Either it has met a leader that ends something first, who may be reminded; or one that was shown it before he
        knew that he leads; or too many others have asked since.
        """
        session = sighting.session
        if session is None or not self._again.has_passed(self._engine.clock.now()):
            return False
        by = _requester(self._engine)
        return not any((request.by, request.name) == (by, self._name) for request in session.requests)

    def ask_again(self, engine: Engine, sighting: Sighting) -> None:
        """Ask the term that was seen once more; if that fails, the next look shows so."""
        self._again = self._in_a_ttl()
        if sighting.session is not None:
            with suppress(BackendUnavailable, MemoryGone):
                _add_request(engine, sighting, sighting.session)

    def still_goes_on(self) -> CampaignTimeout:
        return CampaignTimeout(
            f"{self._name!r} was asked for, but its leader has not released it yet: it may still act"
        )
