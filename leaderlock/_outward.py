"""What follows from a step of the machine, carried out: calls handed on, timers set, watches kept, news told."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Mapping
from typing import cast

from leaderlock._backoff import BackOff
from leaderlock._bell import Bell
from leaderlock._clockwork import Clockwork
from leaderlock._handed import Handed
from leaderlock._journal import Journal
from leaderlock._lane import Lane
from leaderlock._protocol.candidacy import (
    Candidacy,
    Denied,
    Elected,
    Failed,
    LossReason,
    Lost,
    News,
    Released,
    State,
    Withdrawn,
)
from leaderlock._protocol.events import Arm, Ask, Closed, Disarm, Effect, Put, Retry, Scan, Tell, Unwatch, Warn, Watch
from leaderlock._protocol.events import Lane as LaneName
from leaderlock._terms import Audience
from leaderlock._watchlist import Watchlist
from leaderlock.errors import BackendUnavailable

__all__ = ["Outward"]


class Outward:
    """Where effects go. Called with the engine's lock held; waits for nothing and nobody."""

    def __init__(
        self,
        *,
        lanes: Mapping[LaneName, Lane],
        clockwork: Clockwork,
        watches: Watchlist,
        journal: Journal,
        back_off: BackOff,
        ended: Bell,
    ) -> None:
        self._lanes = lanes
        self._clockwork = clockwork
        self._watches = watches
        self._journal = journal
        self._back_off = back_off
        self._ended = ended
        self._owed: dict[Candidacy, bool] = {}
        """Everybody who has not been told his end, and whether he was told that he was elected: what the machine
        knows of them is not to be relied upon when it breaks."""

    def carry_out(self, effects: Iterable[Effect], mine: Handed | None) -> None:
        """All of these. A call to the store is the caller's own if he takes it, else its lane's."""
        self._watches.try_again()
        left: dict[LaneName, list[Put | Ask | Scan]] = {}
        for effect in effects:
            match effect:
                case Put() | Ask() | Scan():
                    if mine is None or not mine.takes(effect):
                        left.setdefault(effect.lane, []).append(effect)
                case Tell(candidacy, news):
                    self._tell(candidacy, news)
                case Arm(timer, until, patiently):
                    self._clockwork.set(timer, until, patiently=patiently)
                case Retry(timer, failures):
                    self._clockwork.set_in(self._back_off(failures), timer)
                case Disarm(timer):
                    self._clockwork.cancel(timer)
                case Watch(key):
                    self._watches.watch(key)
                case Unwatch(key):
                    self._watches.unwatch(key)
                case Warn(message):
                    self._journal.trouble(message)
                case Closed():
                    self._ended.ring()
        for lane, calls in left.items():
            # At once: an open that has failed already must not be followed by the take that stands on it.
            self._push(self._lanes[lane], calls)

    def _push(self, lane: Lane, calls: list[Put | Ask | Scan]) -> None:
        try:
            lane.push(*calls)
        except RuntimeError as error:
            # No thread can be had. That passes, as a store's silence does, and is told as one, when this step is over.
            why = BackendUnavailable(f"nothing can be asked of the store now: {error}")
            self._clockwork.call_in(0.0, functools.partial(lane.drop, calls, why))

    def expect(self, candidacies: Iterable[Candidacy]) -> None:
        """These are candidates from now on."""
        for candidacy in candidacies:
            self._owed[candidacy] = False

    def expect_no_more(self, candidacies: Iterable[Candidacy]) -> None:
        """These have not become candidates."""
        for candidacy in candidacies:
            self._owed.pop(candidacy, None)

    def leading(self) -> list[str]:
        """The names that are led."""
        return [candidacy.name for candidacy, was_elected in self._owed.items() if was_elected and candidacy.leads]

    def give_up(self, reason: LossReason, error: Exception) -> None:
        """Tell everybody that it is over, and forget timers and watches. May be done again, if it was interrupted."""
        self._clockwork.cancel_timers()
        self._watches.unwatch_all()
        for candidacy, was_elected in tuple(self._owed.items()):
            if candidacy.state is State.IDLE:
                self.expect_no_more((candidacy,))
                continue
            news = candidacy.give_up(reason, error)
            # Whoever has not heard of his election yet waits for that, and for no loss.
            self._tell(candidacy, Failed(error) if isinstance(news, Lost) and not was_elected else news)

    def _tell(self, candidacy: Candidacy, news: News) -> None:
        audience = cast("Audience | None", candidacy.audience)
        try:
            self._journal.news(candidacy, news)
            if audience is not None:
                audience.tell(news)
        except Exception as error:  # who cannot be told (a loop is closed, the interpreter ends) costs nobody a lease
            self._journal.say(logging.ERROR, "the news of %r could not be told", candidacy.name, exc_info=error)
        match news:
            case Elected():
                self._owed[candidacy] = True
            case Denied() | Failed() | Withdrawn() | Lost() | Released():
                self._owed.pop(candidacy, None)
            case _:
                pass
