"""The engine: the one thread behind a client, and the one door to time, threads and I/O.

It puts together what is around the protocol's machine: the lock behind which that takes its steps, the thread that
keeps its timers, the two lanes that carry calls to the store, so that a hung read never delays a renewal, and callers'
own threads, which make their calls themselves where they wait for them anyway.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, suppress
from typing import Any, Final

from leaderlock._attendance import Attendance
from leaderlock._backoff import BackOff
from leaderlock._bell import Bell, Listeners
from leaderlock._callbacks import Callbacks
from leaderlock._calls import Calls
from leaderlock._clock import Clock
from leaderlock._clockwork import Clockwork
from leaderlock._closed import closed
from leaderlock._handed import EVERYTHING, Handed
from leaderlock._here import AT_LEAST, Here
from leaderlock._journal import Journal
from leaderlock._lane import Lane
from leaderlock._outward import Outward
from leaderlock._protocol.candidacy import LossReason
from leaderlock._protocol.clocks import PAST, Instant
from leaderlock._protocol.events import (
    Answered,
    Close,
    Event,
    Fired,
    Kind,
    RenewNow,
    Unanswered,
)
from leaderlock._protocol.events import Lane as LaneName
from leaderlock._protocol.machine import Machine
from leaderlock._protocol.memory import TimeTold
from leaderlock._steps import Steps
from leaderlock._terms import Terms
from leaderlock._thread import apart, hand_over
from leaderlock._watchlist import Watchlist
from leaderlock.backend import Backend
from leaderlock.errors import LeaderLockError, UsageError

__all__ = ["Engine"]

_log: Final = logging.getLogger("leaderlock")

JUMP: Final = 1.0
"""A wall clock that runs ahead of the steady ones by more than this, in seconds, makes the lease suspect."""


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
        self.journal = Journal(self.callbacks, clock)
        self.backend = backend
        self._calls = Calls(backend, clock)
        self._clockwork = Clockwork(
            clock, locked=self.locked, look=self._look_at_wall, fire=self._fire, failed=self._failed
        )
        self._ended = Bell()
        self._renewals = Listeners()
        """Who waits for a renewal that is not due yet, and is called when one was answered, or will not be."""
        self._wall_offset = clock.now().wall - clock.now().boot
        attempt = terms.timing.attempt
        self._lanes = {
            LaneName.SESSION: Lane("session", self._calls, attempt, self.post, self._failed),
            LaneName.NAMES: Lane("names", self._calls, attempt, self.post, self._failed),
        }
        self._attendance = Attendance(self._lanes[LaneName.NAMES].push)
        self._watches = Watchlist(backend, self.journal, self._attendance.woken)
        self._outward = Outward(
            lanes=self._lanes,
            clockwork=self._clockwork,
            watches=self._watches,
            journal=self.journal,
            back_off=BackOff(terms.back_off, terms.timing.ttl, self.journal),
            ended=self._ended,
        )
        self.setting = terms.setting(backend.traits)
        self._steps = Steps(self.setting, clock, self._outward, self.journal)
        self.here = Here(
            self._handle,
            self._calls,
            clock,
            attempt=attempt,
            attendance=self._attendance,
            renewals=self._renewals,
            is_over=lambda: self.is_closed,
        )
        """What a caller does on the thread on which he calls."""
        _engines.add(self)

    def locked(self) -> AbstractContextManager[bool]:
        """The lock under which news are told: whoever holds it misses none."""
        return self._steps.lock

    @property
    def _machine(self) -> Machine:
        return self._steps.machine

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

    def _handle(self, event: Event, mine: Handed | None) -> None:
        with self._steps.lock:
            if self.is_closed:
                return  # everybody was told; who asks for something finds that it is over before he waits
            self.journal.heard(event)  # before what follows from it is said
            self._steps.take(event, mine)
        match event:
            case Answered(puts) | Unanswered(puts) if self._renewals and any(put.kind is Kind.RENEW for put in puts):
                self._renewals.tell()
            case _:
                pass

    def refuse(self) -> None:
        """Raise what the caller of a dead engine is owed."""
        if self.is_forked:
            raise UsageError("this lease belongs to the parent process: campaign again in the child")
        raise closed()

    # -- time

    def _fire(self, timer: Hashable) -> None:
        if self.is_closed:
            return  # in a forked child: this thread came along, as gevent's do, and would tell of losses that are none
        with suppress(LeaderLockError):  # told already, and every lease was given up; on with the new machine
            self._steps.take(Fired(timer), None)

    def _failed(self, error: Exception) -> None:
        """One of the threads met what it cannot go on from: no memory, or a mistake of ours."""
        with self._steps.lock:
            if not self.is_closed:
                self._steps.fail(error)

    def later(self, seconds: float, callback: Callable[[], object]) -> Callable[[], None]:
        """For leaderlock's faces: call back then, with the lock held, outside of any step; it must not block.

        Not on the callbacks' thread: a user's callback that never returns must not end a candidacy. Returns what calls
        it off, which takes the lock.
        """
        with self._steps.lock:
            timer = None if self.is_closed else self._clockwork.call_in(seconds, callback)

        def call_off() -> None:
            with self._steps.lock:
                self._clockwork.cancel(timer)

        return call_off

    def _look_at_wall(self, now: Instant) -> None:
        """A wall clock that jumped ahead of the steady ones: this machine may have been frozen (ADR 0006)."""
        offset, before = now.wall - now.boot, self._wall_offset
        self._wall_offset = offset
        if offset - before > JUMP:
            self.journal.warn("the wall clock jumped ahead by %.1f s: renewing before anything else", offset - before)
            with suppress(LeaderLockError):  # as above
                self._steps.take(RenewNow(suspect=True), None)

    def time_told(self) -> TimeTold:
        """What the store's answers say of its clock, if it has one."""
        return self._machine.time_told

    def is_suspect(self) -> bool:
        """Whether this machine may have stood still since the last renewal; looks at the wall clock itself."""
        with self._steps.lock:
            if not self.is_closed:
                self._look_at_wall(self.clock.now())
        return self._machine.is_suspect

    # -- the end

    def close(self, timeout: float) -> None:
        """End all claims, close the session, stop. The store is waited for to acknowledge that, ``timeout`` at most."""
        if self.is_closed:
            return
        until = self.clock.boot() + timeout
        try:
            self.here.drive(Close(), EVERYTHING, timeout)
            if not self._machine.has_closed:
                # Real seconds: a test's clock that stands still must not hang its end.
                self._ended.wait(max(0.0, until - self.clock.boot()))
        finally:
            try:
                self._stop(until)
            except BaseException:  # Ctrl-C: what was left would lead on
                hand_over(apart, (self._stop, until))
                raise

    def _stop(self, until: float) -> None:
        self.post(Close())  # interrupted before it came to that, everybody is told all the same
        with self._steps.lock:
            self.is_closed = True
            self._machine.standing.until = PAST
            self._clockwork.cancel_all()
        self._ended.ring()  # for whoever else closes this client now: nothing more will come
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
            self.backend.close()
        except Exception:  # our threads end whatever the driver does
            _log.warning("the backend cannot be closed", exc_info=True)

    def abandon(self) -> None:
        """Stop without asking anybody, without lock or I/O: garbage is collected anywhere, also under our own lock.

        The session ends by itself; another thread sees to the rest.
        """
        self.is_closed = True
        self._machine.standing.until = PAST
        self._clockwork.stop()
        with suppress(RuntimeError):  # at the interpreter's end no thread can be started
            hand_over(apart, (self._bury,))

    def _bury(self) -> None:
        """What an abandoned engine still owes: news, and the end of its threads."""
        with self._steps.lock:
            self.journal.collected(self._outward.leading())
            ended = UsageError("this client was not closed, and nobody holds it any more")
            self._outward.give_up(LossReason.CLOSED, ended)
        self._let_go_of_store()
        self.callbacks.stop(0.0)

    def disown(self) -> None:
        """In a forked child: nothing is held here, nothing is touched, whatever the parent's threads were doing."""
        self.is_forked = self.is_closed = True
        self._steps.disown()


def _disown_all() -> None:
    for engine in _engines:
        engine.disown()


os.register_at_fork(after_in_child=_disown_all)
