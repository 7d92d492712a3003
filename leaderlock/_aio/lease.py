"""A lease as a coroutine sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Token
from types import TracebackType
from typing import Final

from leaderlock import _current
from leaderlock._aio.bell import await_news
from leaderlock._aio.campaign import IN_LOOP, in_loop
from leaderlock._checks import check_timeout
from leaderlock._course import Course, tell_loss
from leaderlock._lease import BaseLease, Lease, course_of
from leaderlock._protocol.candidacy import LossReason
from leaderlock._protocol.events import RenewNow
from leaderlock._saving import Saving
from leaderlock._thread import even_if_collected
from leaderlock._unrun import check_plain
from leaderlock.errors import LeaseLost

__all__ = ["AsyncLease", "current"]

GLANCES: Final = (0.001, 0.002, 0.004, 0.008, 0.015, 0.02)
"""Seconds between looks at whether a renewal was answered, which makes no news; after the last, it is sent again."""


class AsyncLease(BaseLease):
    """Leadership of one name while it lasts: :class:`leaderlock.Lease`, with its waits awaited.

    It is renewed by leaderlock's own threads: an event loop that is blocked costs no lease, and the lease outlives the
    loop until its client is closed. What needs no I/O is not awaited. Not promised: that :attr:`is_held` is still true
    when your next packet arrives; hand :attr:`token` to the resource.

    Made by :meth:`AsyncElection.campaign`. May be used in any event loop. ``async with lease:`` is what ``async with
    election:`` is once that has won, with ``on_loss="finish"``.
    """

    __slots__ = ("_entered",)

    def __init__(self, course: Course) -> None:
        super().__init__(course)
        self._entered: list[Token[Lease | None]] = []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncLease) and other._course is self._course

    def __hash__(self) -> int:
        return hash(self._course)

    async def ensure(self, seconds: float) -> None:
        """Return only when at least ``seconds`` are left, renewing first if there are fewer.

        Raises as :meth:`Lease.ensure` does: ``LeaseLost``, ``BackendUnavailable``, ``ValueError``.
        """
        enough = self._course.leaves(seconds)
        if not enough():
            await self._renew(enough)
        self._course.check_leaves(seconds, enough)

    async def _renew(self, enough: Callable[[], bool]) -> None:
        engine = self._course.engine
        until = engine.clock.boot() + engine.terms.timing.attempt
        while not enough() and engine.clock.boot() < until and not engine.is_closed:
            # Again if need be: one that was under way was sent too long ago to leave as much as is asked for.
            engine.post(RenewNow())
            for pause in GLANCES:
                await asyncio.sleep(pause)
                if enough():
                    return

    async def save_note(self, note: bytes, *, timeout: float | None = None) -> None:
        """Write the note, and return when the store has it. Cancelled, it may be saved yet.

        Raises as :meth:`Lease.save_note` does: ``LeaseLost``, ``BackendUnavailable``, ``BackendRefused``…
        """
        check_timeout(timeout)
        course, engine = self._course, self._course.engine
        saving = Saving(course, note)
        budget = engine.terms.timing.ttl if timeout is None else timeout
        course.listen(saving.hear)
        try:
            engine.submit(saving.event)
            await await_news(course, saving.is_over, engine.clock.boot() + budget)
        finally:
            course.unlisten(saving.hear)
        saving.conclude(budget)

    async def resign(self, *, timeout: float | None = None, note: bytes | None = None) -> bool:
        """Stop leading, now, and free the name in the store; with ``note``, save that in the same write.

        The claim has ended before this waits for anything. Returns whether the store has acknowledged the release
        within ``timeout`` seconds (default: a ttl); if not, or if this is cancelled, the release goes on by itself.

        Raises:
            UsageError: in a forked child, where the lease is its parent's.
            TypeError, ValueError: the note is not bytes, or more than 64 KiB.
        """
        check_timeout(timeout)
        course, engine = self._course, self._course.engine
        farewell = course.farewell(note)
        if engine.is_closed:
            return course.is_acknowledged
        engine.submit(farewell)
        budget = engine.terms.timing.ttl if timeout is None else timeout
        await await_news(course, lambda: course.is_released, engine.clock.boot() + budget)
        return course.is_acknowledged

    async def wait_lost(self, timeout: float | None = None) -> LossReason | None:
        """Wait until the lease is over, at most ``timeout`` seconds; return why it was lost.

        ``None``: it is still held, or was resigned.
        """
        check_timeout(timeout)
        course = self._course
        until = None if timeout is None else course.engine.clock.boot() + timeout
        await await_news(course, lambda: not course.candidacy.leads, until, timed=False)
        return self.lost_reason

    def on_lost(self, callback: Callable[[AsyncLease], object]) -> None:
        """Have ``callback(lease)`` called when the lease is lost (not when resigned), in the event loop that runs now.

        A plain function: it may cancel a task or set an event, and must not block. What it raises goes to the loop's
        exception handler. A loop that is blocked calls late, one that is closed does not: :meth:`check` needs neither.
        If the lease is lost already, the call comes soon.

        Raises:
            TypeError: not a function, or a coroutine function.
        """
        check_plain("on_lost", callback, instead=IN_LOOP)
        tell = in_loop(callback)
        self._course.on_lost(lambda: tell(self))

    async def __aenter__(self) -> AsyncLease:
        self.check()
        self._entered.append(_current.enter(Lease(self._course)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        course = self._course
        if self._entered:
            _current.leave(self._entered.pop())
        try:
            if self.state == "resigned":
                return
            self.check()
            if error is not None and not isinstance(error, Exception):
                # Cancelled, or its generator is closed: the claim ends here as well, and the store is told behind.
                even_if_collected(error, course.engine.post, course.farewell())
            elif not await self.resign(timeout=course.engine.terms.leave_within):
                course.warn_unreleased()
        except LeaseLost as lost:
            tell_loss(lost, error)


def current() -> AsyncLease | None:
    """The lease under which this task acts, as an :class:`AsyncLease`: see :func:`leaderlock.current`.

    Also inside a coroutine function that ``only_on_leader`` guards.
    """
    lease = _current.current()
    return None if lease is None else AsyncLease(course_of(lease))
