"""How the loss of a lease cancels the task that acts under it, as a time-out would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from leaderlock._aio.bell import weakly
from leaderlock._course import Course
from leaderlock._protocol.candidacy import Lost, News
from leaderlock.errors import LeaseLost, UsageError

__all__ = ["Cutting"]


class Cutting:
    """From its making to :meth:`end`, a loss cancels the task that made it, once; the end takes that back.

    The books are kept as :func:`asyncio.timeout` keeps them, so that the two nest: a cancellation by anybody else is
    never taken for ours, nor ours for his.
    """

    def __init__(self, course: Course, *, why: Callable[[], str] | None = None) -> None:
        task = asyncio.current_task()
        if task is None:
            raise UsageError("on_loss='cancel' cancels a task, and none runs here")
        self._course = course
        self._why = why
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._cancelling = task.cancelling()
        self._has_cut = False
        self._is_over = False
        self._listener = weakly(self._hear)
        course.listen(self._listener)
        if course.candidacy.reason is not None:
            self.cut()  # lost before it listened

    def end(self, error: BaseException | None) -> LeaseLost | None:
        """Cancel no more; returns what is to be raised in place of ``error``, if that is our cancellation."""
        self._is_over = True
        self._course.unlisten(self._listener)
        if not self._has_cut:
            return None
        others = self._task.uncancel() > self._cancelling
        if others or not isinstance(error, asyncio.CancelledError):
            return None
        name, token = self._course.name, self._course.candidacy.token
        reason = self._course.loss().reason if self._why is None else self._why()
        return LeaseLost(
            f"the lease of {name!r} (token {token}) was lost: {reason}; what ran under it was cancelled", reason=reason
        )

    def _hear(self, news: News) -> None:
        if isinstance(news, Lost):
            self.cut()

    def cut(self) -> None:
        """Cancel the task soon; may be called by any thread, and twice."""
        # Always from the loop, never from inside the task: a task that cancels itself is cancelled at its next await,
        # which may be behind the end, where nobody takes it back.
        with suppress(RuntimeError):  # the loop is closed: there is nothing left to cancel
            self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        if not self._is_over and not self._has_cut:
            self._has_cut = True
            self._task.cancel(f"the lease of {self._course.name!r} was lost")
