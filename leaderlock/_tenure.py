"""A standing candidate: campaigns for one name, again after every loss, for as long as its client lives."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from leaderlock._bell import Bell, Listeners
from leaderlock._client import Client, engine_of
from leaderlock._course import Course
from leaderlock._engine import Engine
from leaderlock._journal import describe
from leaderlock._lease import Lease
from leaderlock._locks import signal_safe
from leaderlock._protocol.candidacy import (
    Candidacy,
    Denied,
    Elected,
    Failed,
    LossReason,
    Lost,
    News,
    State,
    Waiting,
    Why,
    Withdrawn,
)
from leaderlock._protocol.events import Campaign
from leaderlock.errors import BackendRefused, BackendUnavailable, LeaderLockError

__all__ = ["Tenure", "tenure_of"]

REFUSALS_KEPT: Final = 100
"""How many reasons are remembered as said; some contain what changes, and must not pile up."""


class Tenure:
    """Every term of one name in one process, one after the other; each has a lease, and a token, of its own.

    It belongs to one engine: a forked child has another, and begins anew.
    """

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._name = name
        self._lock = signal_safe(threading.RLock())  # a signal handler may interrupt who holds it, and is refused then
        self._seeks = False
        self._lease: Lease | None = None
        self._candidacy: Candidacy | None = None
        self.trouble: Exception | None = None
        """Why this process cannot be elected now, other than that somebody else leads."""
        self._answered = False
        self._is_over = False
        self.changed = Listeners()
        """Called at every change, with the engine's lock held."""

    @property
    def lease(self) -> Lease | None:
        """The lease of the term that is held now, if one is."""
        lease = self._lease
        return lease if lease is not None and lease.is_held else None

    @property
    def why_waiting(self) -> str:
        """Why the campaign has not been won yet, in words; nothing, where that is not known."""
        candidacy = self._candidacy
        waiting = candidacy.waiting if candidacy is not None and candidacy.campaigns else None
        return "" if waiting is None else describe(self._engine.clock, waiting)

    def first_answer(self) -> None:
        """Start the campaign if it has not been, and wait until it is known whether it is won or has to wait.

        It goes on behind. A store that does not answer is an answer too: then this process does not lead.
        """
        with self._lock:
            if not self._seeks:
                candidacy = self._candidate().candidacy
                try:
                    self._engine.here.drive(Campaign([candidacy]), self._name)
                finally:
                    # A caller who was interrupted leaves the campaign behind him: it is not started a second time.
                    self._seeks = candidacy.state is not State.IDLE
        self._wait_until(lambda: self._answered)

    def wait_elected(self) -> None:
        """Wait until this process leads. Raises ``UsageError`` when the client is closed meanwhile."""
        self._wait_until(lambda: self.lease is not None)

    def _wait_until(self, done: Callable[[], bool]) -> None:
        bell = Bell()
        stop = self.changed.add(bell.ring)
        try:
            while not done():
                self.refuse_if_over()
                self._engine.clock.wait(bell, 1.0)
        finally:
            stop()

    def refuse_if_over(self) -> None:
        """Raise ``UsageError`` if the client is closed: nothing is waited for any more."""
        if self._is_over or self._engine.is_closed:
            self._engine.refuse()

    def _candidate(self) -> Course:
        course = Course(self._engine, self._name, patient=True)
        course.listen(lambda news: self._hear(course, news))
        self._candidacy = course.candidacy
        return course

    def _hear(self, course: Course, news: News) -> None:
        """With the engine's lock held: note it, wake who waits, and leave the rest to other threads."""
        ttl = self._engine.terms.timing.ttl
        match news:
            case Elected():
                self._lease, self.trouble = Lease(course), None
                self._engine.refusals.clear()  # whoever is elected is refused nothing: what comes next is new
            case Lost(LossReason.CLOSED) | Withdrawn():
                self._is_over = True
            case Lost(reason):
                # A leader that was asked to go stands back for a ttl, or it would be elected again at once.
                self._seek_in(ttl if reason is LossReason.YIELDED else 0.0)
            case Failed(error):
                self.trouble = error
                self._warn_of_refusal(error)
                self._seek_in(ttl / 3)
            case Waiting(Why.UNREACHABLE, detail):
                self.trouble = BackendUnavailable(detail)
            case Waiting(Why.FOREIGN, detail):
                self.trouble = BackendRefused(detail)
            case Denied() | Waiting():
                self.trouble = None
            case _:
                return
        self._answered = True
        self.changed.tell()

    def _warn_of_refusal(self, error: Exception) -> None:
        """Once for each reason: a wrong password is the same for every name, and for as long as it is wrong."""
        refusals, reason = self._engine.refusals, str(error)
        if reason in refusals:
            return
        if len(refusals) >= REFUSALS_KEPT:
            refusals.clear()
        refusals.add(reason)
        said = "the campaign for %r failed and is repeated (said once for each reason): %s"
        self._engine.journal.warn(said, self._name, reason)

    def _seek_in(self, pause: float, *, is_repeated: bool = False) -> None:
        def seek() -> None:
            try:
                self._engine.submit(Campaign([self._candidate().candidacy]))
            except LeaderLockError as error:
                if is_repeated:  # the first time, the client may be closing, and there is no second one
                    said = "the campaign for %r cannot start and is repeated: %s"
                    self._engine.journal.warn(said, self._name, error)
                self._seek_in(self._engine.terms.timing.ttl / 3, is_repeated=True)

        self._engine.later(pause, seek)


def tenure_of(client: Client, name: str) -> Tenure:
    """The one tenure of that name in that client: all functions guarded by one name share its terms."""
    engine = engine_of(client)
    tenure: Tenure = engine.tenures.setdefault(name, Tenure(engine, name))
    return tenure
