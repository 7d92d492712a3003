"""What a caller does on his own thread, where he waits anyway: the calls to the store, and what a watch brings."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from leaderlock._attendance import Attendance, Attending
from leaderlock._bell import Bell, Listeners
from leaderlock._calls import INTERRUPTED, Calls, fail
from leaderlock._clock import Clock
from leaderlock._handed import EVERYTHING, Handed
from leaderlock._protocol.events import Event, Failure, RenewNow
from leaderlock._protocol.records import name_key
from leaderlock._thread import apart, hand_over
from leaderlock.errors import LeaderLockError, OutcomeUnknown

__all__ = ["AT_LEAST", "Here"]

AT_LEAST: Final = 0.05
"""Seconds that a call may take even where the caller's budget is spent: what a look at a healthy store needs."""

PAUSE: Final = 0.05
"""Seconds between two attempts of a caller who waits for a renewal, where no answer comes earlier."""


class Here:
    """For callers of one engine. Whatever interrupts them, nothing is left of which nobody would hear any more.

    Args:
        tell: tell the machine; a call that follows is the caller's own if he takes it.
        attempt: how long one call may take, in seconds.
        is_over: whether the engine has ended.
    """

    def __init__(
        self,
        tell: Callable[[Event, Handed | None], None],
        calls: Calls,
        clock: Clock,
        *,
        attempt: float,
        attendance: Attendance,
        renewals: Listeners,
        is_over: Callable[[], bool],
    ) -> None:
        self._tell = tell
        self._calls = calls
        self._clock = clock
        self._attempt = attempt
        self._attendance = attendance
        self._renewals = renewals
        self._is_over = is_over

    def drive(self, event: Event, name: str, budget: float | None = None) -> None:
        """Tell the machine, and make the calls that follow from it for ``name``.

        A free name is taken without a hop to another thread. Interrupted (Ctrl-C), the machine is told that whatever
        was under way is unknown, and the lanes see to it.
        """
        started = self._clock.boot()
        mine = Handed(name)
        try:
            self._tell(event, mine)
            while calls := mine.next_calls():
                left = self._attempt if budget is None else budget - (self._clock.boot() - started)
                within = min(self._attempt, max(AT_LEAST, left))
                self._calls.carry(calls, within, lambda answer: self._tell(answer, mine))
        except BaseException as error:
            try:
                self._leave(mine, error)
            except BaseException:  # Ctrl-C again
                hand_over(apart, (self._leave, mine, error))
                raise
            raise

    def _leave(self, mine: Handed, error: BaseException) -> None:
        """What was handed to a caller is unknown now, or was answered, which the machine knows."""
        unknown = OutcomeUnknown(f"{INTERRUPTED} by {type(error).__name__}")
        with suppress(LeaderLockError):  # then the machine is another one, which knows none of them
            fail(mine.calls, Failure.UNKNOWN, unknown, lambda event: self._tell(event, None))

    def attend(self, name: str, bell: Bell, done: Callable[[], bool], until: float | None) -> bool:
        """Like :meth:`wait_for`, and meanwhile do what follows when a watch tells of ``name``.

        So a name that was released is taken without a hop to another thread, once for each name: whoever comes second
        only waits. What the clock brings is left to the lanes, which see to many names at once.
        """
        key = name_key(name)
        mine = Attending(bell)
        try:
            if not self._attendance.begin(key, mine):
                return self.wait_for(bell, done, until)
            while self.wait_for(bell, lambda: done() or bool(mine.woken), until) and not done():
                with suppress(LeaderLockError):  # told as news, to whom it belongs
                    self.drive(mine.take(), name, None if until is None else until - self._clock.boot())
            return done()
        finally:
            try:
                self._attendance.end(key, mine)
            except BaseException:  # Ctrl-C: whoever comes next would never be woken
                hand_over(apart, (self._attendance.end, key, mine))
                raise

    def renew(self, enough: Callable[[], bool], budget: float) -> bool:
        """Renew now and wait until ``enough()``, at most ``budget`` seconds; returns whether it came to that."""
        until = self._clock.boot() + budget
        bell = Bell()
        stop = self._renewals.add(bell.ring)
        try:
            while not enough():
                left = until - self._clock.boot()
                if left <= 0 or self._is_over():
                    return False
                # Again if need be: one that was under way was sent too long ago to leave as much as is asked for.
                self.drive(RenewNow(), EVERYTHING, left)
                if not enough():
                    self._clock.wait(bell, min(left, PAUSE))
            return True
        finally:
            stop()

    def wait_for(self, bell: Bell, done: Callable[[], bool], until: float | None) -> bool:
        """Wait until ``done()``, looking whenever ``bell`` rings, or until that instant of the first clock."""
        while not done():
            left = 3600.0 if until is None else until - self._clock.boot()
            if left <= 0 or self._is_over():
                return False
            self._clock.wait(bell, left)
        return True
