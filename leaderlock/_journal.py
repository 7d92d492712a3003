"""What leaderlock says to its log: why it waits, elected, resigned (INFO), and what somebody should look at (WARNING):
a lease that was lost, a store that does not answer, and the like.

Nothing is logged where the engine's lock is held: a handler that hangs (a full disk, a log server) would hold up every
renewal. It is said on the callbacks' thread instead.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from typing import Final

from leaderlock._callbacks import Callbacks
from leaderlock._calls import INTERRUPTED
from leaderlock._clock import Clock
from leaderlock._protocol.candidacy import Candidacy, Elected, LossReason, Lost, News, Released, State, Waiting, Why
from leaderlock._protocol.events import Answered, Event, Failure, Unanswered, Viewed
from leaderlock.backend import Swapped

__all__ = ["Journal", "describe"]

_log: Final = logging.getLogger("leaderlock")
_MEANT: Final = (LossReason.YIELDED, LossReason.CLOSED)
"""Leases that somebody ended on purpose."""
TROUBLES_KEPT: Final = 100
"""How many are remembered as said; some contain what changes, and must not pile up."""
WRITES_COUNT_FOR: Final = 60.0
"""For how many seconds a write without an answer says more of the store than looks that are answered."""
WAITS_SAID: Final = 20
"""Of how many names at a time it is said who leads them: a client may wait for thousands."""


def describe(clock: Clock, waiting: Waiting) -> str:
    """Why a candidate waits, and for how long, in words."""
    left = None if waiting.until is None else max(0.0, waiting.until.to_wait(clock.now()))
    match waiting.why:
        case Why.HELD:
            soon = "" if left is None else f"; if its session does not move, it is free in {left:.1f} s"
            return f"somebody else leads, {waiting.detail or f'session {waiting.session[:8]}'}{soon}"
        case Why.UNSETTLED:
            soon = "" if left is None else f" for {left:.1f} s more"
            return (
                "the store may have forgotten leaders who are still alive, so this client watches it"
                f"{soon}; `leaderlock init` ends the wait if nobody leads or campaigns here"
            )
        case Why.UNREACHABLE:
            return f"the store does not answer: {waiting.detail}"
        case Why.FOREIGN:
            return waiting.detail


class Journal:
    """The logger ``leaderlock``, at a distance."""

    def __init__(self, callbacks: Callbacks, clock: Clock) -> None:
        self._callbacks = callbacks
        self._clock = clock
        self._leaders: dict[str, str] = {}
        """By name, the session for whose end a candidate waits, as far as that was said."""
        self._is_unsettled = False
        """Whether it was said: once for all names, until it is known to be settled."""
        self._is_store_away = False
        """Whether it was said: once for all names, until the store has answered again."""
        self._write_lost_at = float("-inf")
        """When a write was left without an answer, and none was taken since: for a while, a look that is answered
        proves nothing then, as where a Redis has lost the replica that is to have each write."""
        self._troubles: set[str] = set()
        """What was said of writes that cannot be made: once each, until the store has taken one."""

    def warn(self, message: str, *arguments: object, exc_info: BaseException | None = None) -> None:
        self.say(logging.WARNING, message, *arguments, exc_info=exc_info)

    def say(self, level: int, message: str, *arguments: object, exc_info: BaseException | None = None) -> None:
        if _log.isEnabledFor(level):
            self._callbacks.call(functools.partial(_log.log, level, message, *arguments, exc_info=exc_info))

    def trouble(self, text: str) -> None:
        """What the protocol has met, and meets again with every attempt."""
        if text not in self._troubles:
            if len(self._troubles) >= TROUBLES_KEPT:
                self._troubles.clear()
            self._troubles.add(text)
            self.warn("%s", text)

    def news(self, candidacy: Candidacy, news: News) -> None:
        """Record the turns of a term, each with the name and the token as fields of the log record."""
        if self._leaders and not isinstance(news, Waiting):
            self._leaders.pop(candidacy.name, None)
        match news:
            case Elected(token):
                self._is_unsettled = False
                self._record(logging.INFO, candidacy, "elected for %r with token %d", candidacy.name, token)
            case Released() if candidacy.state is State.RESIGNED:
                what = "resigned %r, token %d" + ("" if news.acknowledged else "; the store has not acknowledged it")
                self._record(logging.INFO, candidacy, what, candidacy.name, candidacy.token)
            case Lost(reason):
                level, what = (logging.INFO, "ended") if reason in _MEANT else (logging.WARNING, "lost")
                self._record(
                    level, candidacy, f"{what} %r, token %d: %s", candidacy.name, candidacy.token, reason.value
                )
            case Waiting(Why.UNREACHABLE, detail) if detail.startswith(INTERRUPTED):
                pass  # by a signal here, of which the store knows nothing
            case Waiting(Why.UNREACHABLE, detail):
                if not self._is_store_away:
                    self._is_store_away = True
                    self._is_unsettled = False  # when it answers again, whatever is waited for then is news
                    self._leaders.clear()
                    self._record(logging.WARNING, candidacy, "the store does not answer candidates: %s", detail)
            case Waiting(Why.HELD | Why.UNSETTLED) if _log.isEnabledFor(logging.INFO):
                self._waits(candidacy, news)
            case _:
                pass

    def _waits(self, candidacy: Candidacy, waiting: Waiting) -> None:
        was_unsettled, self._is_unsettled = self._is_unsettled, waiting.why is Why.UNSETTLED
        if self._is_unsettled:
            if not was_unsettled:
                self._record(logging.INFO, candidacy, "candidates wait: %s", describe(self._clock, waiting))
            return
        said = self._leaders.get(candidacy.name)
        if said != waiting.session and (said is not None or len(self._leaders) < WAITS_SAID):
            self._leaders[candidacy.name] = waiting.session
            why = describe(self._clock, waiting)
            self._record(logging.INFO, candidacy, "waiting for %r: %s", candidacy.name, why)

    def collected(self, names: Sequence[str]) -> None:
        """Whoever led on a client that nobody held meant to go on, and must be told that he does not."""
        if names:
            self.warn(
                "the client that led %s was garbage-collected: its leases are over, and others may lead. Keep the "
                "client for as long as you lead, or use `with connect(…) as client`",
                ", ".join(map(repr, names)),
            )

    def heard(self, event: Event) -> None:
        """What the store has answered, and what it has not."""
        match event:
            case Answered(_, answers):
                if any(isinstance(answer, Swapped) for answer in answers):
                    self._write_lost_at = float("-inf")
                    self._troubles.clear()
            case Viewed():
                pass
            case Unanswered(_, Failure.UNKNOWN):
                self._write_lost_at = self._clock.boot()
                return
            case _:
                return
        if self._is_store_away and self._clock.boot() - self._write_lost_at > WRITES_COUNT_FOR:
            self._is_store_away = False
            self.say(logging.INFO, "the store answers candidates again")

    def _record(self, level: int, candidacy: Candidacy, message: str, *arguments: object) -> None:
        if _log.isEnabledFor(level):
            fields = {"leaderlock_name": candidacy.name, "leaderlock_token": candidacy.token}
            self._callbacks.call(functools.partial(_log.log, level, message, *arguments, extra=fields))
