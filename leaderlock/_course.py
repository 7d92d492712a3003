"""A candidacy's course, from its campaign to the end of its term: what stands behind a lease, whichever its face."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeAlias

from leaderlock._bell import Bell
from leaderlock._engine import Engine
from leaderlock._protocol.candidacy import (
    Candidacy,
    Elected,
    Errand,
    LossReason,
    Lost,
    News,
    NoteSaved,
    Released,
    State,
)
from leaderlock._protocol.events import Resign
from leaderlock._protocol.records import MAX_NOTE
from leaderlock.errors import BackendUnavailable, LeaderLockError, LeaseLost

__all__ = ["Course", "Listener", "check_note", "tell_loss"]

Listener: TypeAlias = Callable[[News], None]

_log: Final = logging.getLogger("leaderlock")


class Course:
    """What became of one candidacy so far, and who hears what becomes of it yet."""

    __slots__ = ("_listeners", "_on_lost", "candidacy", "engine", "is_acknowledged", "is_released", "note")

    def __init__(
        self,
        engine: Engine,
        name: str,
        *,
        patient: bool,
        listener: Listener | None = None,
        errand: Errand | None = None,
    ) -> None:
        self.engine = engine
        self.candidacy = Candidacy(name, patient=patient, audience=self, errand=errand)
        self.note = b""
        """The name's note as this term found or last saved it."""
        self.is_released = False
        """Whether there is nothing left to release."""
        self.is_acknowledged = False
        """Whether the store has acknowledged the release."""
        # Without a lock, as one may be collected as garbage while it listens: a list's methods are atomic.
        self._listeners: list[Listener] = [] if listener is None else [listener]
        self._on_lost: tuple[Callable[[], object], ...] = ()

    # -- where it stands

    @property
    def name(self) -> str:
        return self.candidacy.name

    @property
    def is_held(self) -> bool:
        return self.candidacy.standing.until.is_ahead(self.engine.clock.now())

    @property
    def remaining(self) -> float:
        return max(self.candidacy.standing.until.remaining(self.engine.clock.now()), -1.0)

    @property
    def lost_reason(self) -> LossReason | None:
        candidacy = self.candidacy
        if self.engine.is_forked:
            return LossReason.FORKED
        if candidacy.reason is None and candidacy.leads and not self.is_held:
            # The engine has not run since.
            in_jeopardy = candidacy.state is State.JEOPARDY
            return LossReason.STORE_UNREACHABLE if in_jeopardy else LossReason.EXPIRED
        return candidacy.reason

    def check(self) -> None:
        """Raise :meth:`loss` unless it is held."""
        if not self.is_held:
            raise self.loss()

    def loss(self) -> LeaseLost:
        """What is owed to who acts after the end."""
        candidacy = self.candidacy
        if candidacy.state is State.RESIGNED:
            return LeaseLost(f"the lease of {self.name!r} was resigned: campaign again to act", reason="resigned")
        reason = (self.lost_reason or LossReason.EXPIRED).value
        return LeaseLost(
            f"the lease of {self.name!r} (token {candidacy.token}) was lost: {reason}; stop acting", reason=reason
        )

    # -- what both faces ask of it

    def leaves(self, seconds: float) -> Callable[[], bool]:
        """What says whether a renewal has left enough, or the lease is over."""
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise TypeError(f"ensure({seconds!r}): it takes a number of seconds")
        timing = self.engine.terms.timing
        most = timing.ttl * (1 - timing.rho)
        if not 0 <= seconds < most:
            raise ValueError(
                f"ensure({seconds!r}): it takes 0 s or more, and a renewal leaves less than {most:g} s; use a longer "
                "ttl or ask for less"
            )

        def enough() -> bool:
            return not self.is_held or (self.remaining >= seconds and not self.engine.is_suspect())

        return enough

    def check_leaves(self, seconds: float, enough: Callable[[], bool]) -> None:
        """Raise what ``ensure()`` owes where it was not ``enough``."""
        self.check()
        if not enough():
            raise BackendUnavailable(
                f"the lease of {self.name!r} has {self.remaining:.1f} s left and could not be renewed to {seconds:g} s"
            )

    def farewell(self, note: bytes | None = None) -> Resign:
        """The event that ends this term, checked."""
        if note is not None:
            check_note(note)
        if self.engine.is_forked:
            self.engine.refuse()
        return Resign(self.candidacy, note)

    def warn_unreleased(self) -> None:
        """Whoever left the block of a lease goes on, and the store has not acknowledged that in time."""
        terms = self.engine.terms
        _log.warning(
            "the store has not acknowledged within %g s that %r was resigned (token %d): that goes on behind; if this "
            "process ends first, the name is free %g s later at the latest",
            terms.leave_within,
            self.name,
            self.candidacy.token,
            terms.timing.ttl,
            extra={"leaderlock_name": self.name, "leaderlock_token": self.candidacy.token},
        )

    # -- who hears of it

    def tell(self, news: News) -> None:
        """For the engine."""
        match news:
            case Elected(_, note) | NoteSaved(_, note):
                self.note = note
            case Released(acknowledged):
                self.is_released = True
                self.is_acknowledged = self.is_acknowledged or acknowledged
            case Lost():
                for callback in self._on_lost:
                    self.engine.callbacks.call(callback)
            case _:
                pass
        for listener in tuple(self._listeners):
            listener(news)

    def listen(self, listener: Listener) -> None:
        """Be told everything, with the engine's lock held."""
        self._listeners.append(listener)

    def unlisten(self, listener: Listener) -> None:
        """Be told no more; what is being told at this moment may still come."""
        with suppress(ValueError):
            self._listeners.remove(listener)

    def on_lost(self, callback: Callable[[], object]) -> None:
        """Have it called, on the callbacks' thread, when the lease is lost; at once if it is already."""
        if self.engine.is_forked:
            self.engine.refuse()
        self.engine.callbacks.start()  # the loss may come when no thread can be had
        with self.engine.locked():
            self._on_lost = (*self._on_lost, callback)
            if self.candidacy.reason is not None:
                self.engine.callbacks.call(callback)

    def wait_for(self, done: Callable[[], bool], until: float | None, *, attending: bool = False) -> bool:
        """Wait until the news make it ``done()``, or until that instant of the first clock; returns whether they did.

        ``attending``: as :meth:`Here.attend` says.
        """
        if done():
            return True
        bell = Bell()

        def hear(_: News) -> None:
            bell.ring()

        self.listen(hear)
        try:
            if attending:
                return self.engine.here.attend(self.name, bell, done, until) or done()
            return self.engine.here.wait_for(bell, done, until) or done()
        finally:
            self.unlisten(hear)


def check_note(note: object) -> None:
    """Raise where no record has room for it."""
    if not isinstance(note, bytes):
        raise TypeError(f"a note is bytes, not {type(note).__name__}; encode it first")
    if len(note) > MAX_NOTE:
        raise ValueError(f"the note has {len(note)} bytes; at most {MAX_NOTE} fit")


def tell_loss(lost: LeaderLockError, error: BaseException | None) -> None:
    """What ran on after the loss of its lease is over: somebody must be told, but its own ``error`` comes first."""
    if error is None:
        raise lost
    if not isinstance(error, LeaseLost):
        error.add_note(f"besides, {lost}")
