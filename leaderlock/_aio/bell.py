"""How one task waits for the engine: no thread is parked, and its event loop is never blocked."""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from leaderlock._bell import Bell
from leaderlock._course import Course
from leaderlock._engine import Engine
from leaderlock._protocol.candidacy import News

__all__ = ["LoopBell", "await_news", "weakly"]

FAR: Final = 3600.0
"""Seconds to the next look where nothing but a ring brings one."""


def weakly(method: Callable[..., object]) -> Callable[..., None]:
    """Calls the method for as long as somebody else holds the object: for whoever may outlive the event loop.

    Its loop holds a task that waits. When that is closed, the task is to be collected, and to let go of what it leads
    or seeks; the engine, which goes on, must not hold it.
    """
    known: weakref.WeakMethod[Any] = weakref.WeakMethod(method)

    def call(*arguments: object) -> None:
        if (there := known()) is not None:
            there(*arguments)

    return call


class LoopBell(Bell):
    """A bell that any thread rings, from anywhere, and for which one task waits in the event loop that made it."""

    __slots__ = ("_alarm", "_engine", "_look", "_loop")

    def __init__(self, engine: Engine) -> None:
        # Nothing of the other bell's is used: its queue would park a thread.
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._alarm: asyncio.TimerHandle | None = None
        self._look: Callable[[], None] | None = None

    def ring(self) -> None:
        """Have the task look soon. Never blocks; after the loop was closed, nobody looks any more."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._rung)

    def hear(self, _: News) -> None:
        """For :meth:`Course.listen`."""
        self.ring()

    def wait(self, seconds: float | None = None) -> None:
        """For a clock, which knows how long nobody needs to look at it: set the alarm, and return at once."""
        if seconds is not None:
            self._alarm = self._loop.call_later(seconds, self._rung)

    async def wait_for(self, done: Callable[[], bool], until: float | None, *, timed: bool = True) -> bool:
        """Wait until ``done()``, looking whenever it rings, or until that instant of the first clock.

        Also ends with the engine. ``timed``: time alone may make it ``done()``, even where no end is given.
        """
        if done():
            return True
        outcome: asyncio.Future[bool] = self._loop.create_future()
        self._look = functools.partial(self._decide, outcome, done, until, timed or until is not None)
        try:
            self._look()
            return await outcome
        finally:
            self._look = None
            self._stop_alarm()

    def _rung(self) -> None:
        if self._look is not None:
            self._look()

    def _decide(
        self, outcome: asyncio.Future[bool], done: Callable[[], bool], until: float | None, timed: bool
    ) -> None:
        self._stop_alarm()
        if outcome.done():
            return
        clock = self._engine.clock
        left = FAR if until is None else until - clock.boot()
        if done():
            outcome.set_result(True)
        elif left <= 0 or self._engine.is_closed:
            outcome.set_result(False)
        elif timed:
            clock.wait(self, left)
        else:
            self.wait(FAR)  # by this the loop holds whoever waits here

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


async def await_news(course: Course, done: Callable[[], bool], until: float | None, *, timed: bool = True) -> bool:
    """Wait until the news make it ``done()``, as :meth:`LoopBell.wait_for` does."""
    if done():
        return True
    bell = LoopBell(course.engine)
    hear = weakly(bell.hear)
    course.listen(hear)
    try:
        return await bell.wait_for(done, until, timed=timed)
    finally:
        course.unlisten(hear)
