"""The engine: the one thread behind a client, and the one door to time, threads and I/O.

It holds the protocol's machine behind a lock, keeps its timers, and carries its effects: calls to the store go to two
lanes, so that a hung read never delays a renewal, or are made on the caller's own thread, where he waits for them
anyway.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, suppress
from typing import Any, Final

from leaderlock._attendance import Attendance
from leaderlock._backoff import BackOff
from leaderlock._bell import Bell
from leaderlock._callbacks import Callbacks
from leaderlock._calls import INTERRUPTED, Calls, fail
from leaderlock._clock import Clock
from leaderlock._clockwork import Clockwork
from leaderlock._handed import EVERYTHING, Handed
from leaderlock._journal import Journal
from leaderlock._lane import Lane
from leaderlock._outward import Outward
from leaderlock._protocol.candidacy import LossReason
from leaderlock._protocol.clocks import PAST, Instant
from leaderlock._protocol.events import (
    Answered,
    Close,
    Event,
    Failure,
    Fired,
    RenewNow,
    Unanswered,
    Viewed,
)
from leaderlock._protocol.events import Lane as LaneName
from leaderlock._protocol.machine import Machine
from leaderlock._protocol.records import name_key
from leaderlock._renewals import Renewals
from leaderlock._terms import Terms
from leaderlock._watchlist import Watchlist
from leaderlock.backend import Backend
from leaderlock.errors import LeaderLockError, OutcomeUnknown, UsageError

__all__ = ["Engine"]

_log: Final = logging.getLogger("leaderlock")

JUMP: Final = 1.0
"""A wall clock that runs ahead of the steady ones by more than this, in seconds, makes the lease suspect."""

PAUSE: Final = 0.05
"""Seconds between two attempts of a caller who waits for a renewal, where no answer comes earlier."""

IMPATIENCE: Final = 10
"""How many interruptions of one call are borne."""

AT_LEAST: Final = 0.05
"""Seconds that a call may take even where the caller's budget is spent: what a look at a healthy store needs."""


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


class Engine:
    """One backend, one session, any number of candidacies."""

    def __init__(self, backend: Backend, terms: Terms, clock: Clock) -> None:
        self.clock = clock
        self.terms = terms
        self.is_forked = False
        self.is_closed = False
        self.tenures: dict[str, Any] = {}
        """For the decorators: the standing candidates, by name."""
        self.refusals: set[str] = set()
        """For the decorators: why campaigns failed, as far as that was said."""
        self.jobs: dict[str, Any] = {}
        """For the ticks: what this process does, or did last, about some jobs, by name."""
        self.jobs_in_use: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
        """The same of all jobs that anybody here is at."""
        self.callbacks = Callbacks()
        self._journal = Journal(self.callbacks)
        self._backend = backend
        self._calls = Calls(backend, clock)
        self._lock = threading.RLock()
        self._is_busy = False
        self._is_abandoned = False
        self._clockwork = Clockwork(
            clock, locked=self.locked, look=self._look_at_wall, fire=self._fire, at_end=self._bury
        )
        self._ended = Bell()
        self._renewals = Renewals()
        self._wall_offset = clock.now().wall - clock.now().boot
        attempt = terms.timing.attempt
        self._lanes = {
            LaneName.SESSION: Lane("session", self._calls, attempt, self.post),
            LaneName.NAMES: Lane("names", self._calls, attempt, self.post),
        }
        self._attendance = Attendance(self._lanes[LaneName.NAMES].push)
        self._watches = Watchlist(backend, self._journal, self._attendance.woken)
        self._outward = Outward(
            lanes=self._lanes,
            clockwork=self._clockwork,
            watches=self._watches,
            journal=self._journal,
            back_off=BackOff(terms.wait, terms.timing.ttl),
            ended=self._ended,
        )
        self.setting = terms.setting(backend.traits)
        self._machine = Machine(self.setting)
        _engines.add(self)

    @property
    def backend(self) -> Backend:
        return self._backend

    def locked(self) -> AbstractContextManager[bool]:
        """The lock under which news are told: whoever holds it misses none."""
        return self._lock

    # -- events in

    def post(self, event: Event) -> None:
        """Tell the machine; its calls are carried by the lanes. Raises nothing: every failure is told as news."""
        with suppress(LeaderLockError):
            self._handle(event, None)

    def submit(self, event: Event) -> None:
        """Tell the machine what a caller wants, without making any call for it.

        Raises:
            UsageError: that cannot be wanted now.
        """
        self._handle(event, None)

    def drive(self, event: Event, name: str, budget: float | None = None) -> None:
        """Tell the machine, and make the calls that follow from it for ``name`` on this very thread.

        A free name is taken without a hop to another thread. Interrupted (Ctrl-C), the machine is told that whatever
        was under way is unknown, and the lanes see to it.
        """
        attempt = self.terms.timing.attempt
        started = self.clock.boot()
        mine = Handed(name)
        try:
            self._handle(event, mine)
            while calls := mine.next_calls():
                left = attempt if budget is None else budget - (self.clock.boot() - started)
                self._calls.carry(calls, min(attempt, max(AT_LEAST, left)), lambda answer: self._handle(answer, mine))
        except BaseException as error:
            # Whatever was handed to this thread is unknown now, or answered already, which the machine knows.
            unknown = OutcomeUnknown(f"{INTERRUPTED} by {type(error).__name__}")
            for _ in range(IMPATIENCE):
                try:
                    fail(mine.calls, Failure.UNKNOWN, unknown, self.post)
                    break
                except BaseException:  # Ctrl-C again: it must not leave a call of which nothing is heard any more
                    continue
            raise

    def attend(self, name: str, bell: Bell, done: Callable[[], bool], until: float | None) -> bool:
        """Like :meth:`wait_for`, and meanwhile do on this thread what follows when a watch tells of ``name``.

        So a name that was released is taken without a hop to another thread, once for each name: whoever comes second
        only waits. What the clock brings is left to the lanes, which see to many names at once.
        """
        key = name_key(name)
        mine = self._attendance.begin(key, bell)
        if mine is None:
            return self.wait_for(bell, done, until)
        try:
            while self.wait_for(bell, lambda: done() or bool(mine.woken), until) and not done():
                with suppress(LeaderLockError):  # told as news, to whom it belongs
                    self.drive(mine.take(), name, None if until is None else until - self.clock.boot())
            return done()
        finally:
            self._attendance.end(key, mine)

    def _handle(self, event: Event, mine: Handed | None) -> None:
        # Asked of the lock, as an interruption can leave the mark of a step behind, but not the lock.
        is_nested: bool = self._lock._is_owned()  # type: ignore[attr-defined]
        with self._lock:
            if self.is_closed:
                if mine is None:
                    return  # an answer that nobody waits for any more
                self.refuse()
            if self._is_busy and is_nested:
                raise UsageError(
                    "a signal handler called leaderlock while it had interrupted leaderlock: let the handler set a flag"
                )
            self._step(event, mine)
        match event:
            case Answered(puts):
                self._journal.store_answered()
                self._renewals.answered(puts)
            case Unanswered(puts):
                self._renewals.answered(puts)
            case Viewed():
                self._journal.store_answered()
            case _:
                pass

    def _step(self, event: Event, mine: Handed | None) -> None:
        """One step of the machine, with the lock held: all of it, or none of this machine ever again."""
        self._is_busy = True
        try:
            self._outward.carry_out(self._machine.handle(event, self.clock.now()), mine)
        except UsageError:
            self._outward.carry_out(self._machine.drain(), None)
            raise
        except BaseException as error:
            self._collapse(error)
            if isinstance(error, Exception):
                raise LeaderLockError(f"leaderlock failed and gave up its leases: {error!r}") from error
            raise
        finally:
            self._is_busy = False

    def _collapse(self, error: BaseException) -> None:
        """An interruption in the middle of a step, or a mistake of ours: the machine may be half-way between two
        states. It is never used again; no claim survives it, and everybody is told (ADR 0008)."""
        _log.critical("leaderlock gives up all leases of this client: %r", error, exc_info=error)
        effects = self._machine.collapse(LossReason.FAILED, LeaderLockError(f"leaderlock failed: {error!r}"))
        self._clockwork.cancel_timers()
        self._watches.unwatch_all()
        self._machine = Machine(self.setting)
        self._outward.carry_out(effects, None)

    def refuse(self) -> None:
        """Raise what the caller of a dead engine is owed."""
        if self.is_forked:
            raise UsageError("this lease belongs to the parent process: campaign again in the child")
        raise UsageError("this client is closed: open another with connect()")

    # -- time

    def _fire(self, timer: Hashable) -> None:
        with suppress(LeaderLockError):  # told already, and every lease was given up; on with the new machine
            self._step(Fired(timer), None)

    def later(self, seconds: float, callback: Callable[[], object]) -> None:
        """For leaderlock's faces: call back then, with the lock held, outside of any step; it must not block.

        Not on the callbacks' thread: a user's callback that never returns must not end a candidacy.
        """
        with self._lock:
            if not self.is_closed:
                self._clockwork.call_in(seconds, callback)

    def _look_at_wall(self, now: Instant) -> None:
        """A wall clock that jumped ahead of the steady ones: this machine may have been frozen (ADR 0006)."""
        offset, before = now.wall - now.boot, self._wall_offset
        self._wall_offset = offset
        if offset - before > JUMP:
            self._journal.warn("the wall clock jumped ahead by %.1f s: renewing before anything else", offset - before)
            with suppress(LeaderLockError):  # as above
                self._step(RenewNow(suspect=True), None)

    # -- waiting

    def renew(self, enough: Callable[[], bool], budget: float) -> bool:
        """Renew now and wait until ``enough()``, at most ``budget`` seconds; returns whether it came to that."""
        until = self.clock.boot() + budget
        with self._renewals.heard() as bell:
            while not enough():
                left = until - self.clock.boot()
                if left <= 0 or self.is_closed:
                    return False
                # Again if need be: one that was under way was sent too long ago to leave as much as is asked for.
                self.drive(RenewNow(), EVERYTHING, left)
                if not enough():
                    self.clock.wait(bell, min(left, PAUSE))
            return True

    def wait_for(self, bell: Bell, done: Callable[[], bool], until: float | None) -> bool:
        """Wait until ``done()``, looking whenever ``bell`` rings, or until that instant of the first clock."""
        while not done():
            left = 3600.0 if until is None else until - self.clock.boot()
            if left <= 0 or self.is_closed:
                return False
            self.clock.wait(bell, left)
        return True

    def floor_seen(self) -> tuple[int, Instant, Instant] | None:
        """The store's highest floor so far, and when the read that brought it left and was answered."""
        return self._machine.floor_seen

    def is_suspect(self) -> bool:
        """Whether this machine may have stood still since the last renewal; looks at the wall clock itself."""
        with self._lock:
            if not self.is_closed:
                self._look_at_wall(self.clock.now())
        return self._machine.is_suspect

    # -- the end

    def close(self, timeout: float) -> bool:
        """End all claims, close the session, stop. Returns whether the store has acknowledged the session's end."""
        if self.is_closed:
            return True
        until = self.clock.boot() + timeout
        try:
            with suppress(UsageError):  # somebody else has closed it just now
                self.drive(Close(), EVERYTHING, timeout)
            if not self._machine.has_closed:
                # Real seconds: a test's clock that stands still must not hang its end.
                self._ended.wait(max(0.0, until - self.clock.boot()))
                self._ended.ring()  # for whoever else closes this client now
            acknowledged = self._machine.has_closed
        finally:
            self._stop(until)
        return acknowledged

    def _stop(self, until: float) -> None:
        with self._lock:
            self.is_closed = True
            self._machine.standing.until = PAST
            self._clockwork.cancel_all()
        self._clockwork.stop()
        self._let_go_of_store()
        for lane in self._lanes.values():
            lane.join(self._left(until))
        self._clockwork.join(self._left(until))
        self.callbacks.stop(self._left(until))

    def _left(self, until: float) -> float:
        return max(AT_LEAST, until - self.clock.boot())

    def _let_go_of_store(self) -> None:
        self._watches.unwatch_all()
        for lane in self._lanes.values():
            lane.stop()
        try:
            self._backend.close()
        except Exception:  # our threads end whatever the driver does
            _log.warning("the backend cannot be closed", exc_info=True)

    def abandon(self) -> None:
        """Stop without asking anybody, without lock or I/O: garbage is collected anywhere, also under our own lock.

        The session ends by itself; the engine's thread sees to the rest.
        """
        self._is_abandoned = self.is_closed = True
        self._machine.standing.until = PAST
        self._clockwork.stop()

    def _bury(self) -> None:
        """On the engine's own thread: what an abandoned engine still owes is news, and the end of its threads."""
        if not self._is_abandoned:
            return
        with self._lock:
            ended = UsageError("this client was not closed, and nobody holds it any more")
            effects = self._machine.collapse(LossReason.CLOSED, ended)
            self._journal.collected(effects)
            self._outward.carry_out(effects, None)
        self._let_go_of_store()
        self.callbacks.stop(0.0)

    def disown(self) -> None:
        """In a forked child: nothing is held here, nothing is touched, whatever the parent's threads were doing."""
        self.is_forked = self.is_closed = True
        self._lock = threading.RLock()
        self._machine.standing.until = PAST


def _disown_all() -> None:
    for engine in _engines:
        engine.disown()


os.register_at_fork(after_in_child=_disown_all)
