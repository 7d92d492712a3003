"""The engine: the one thread behind a client, and the one door to time, threads and I/O.

It holds the protocol's machine behind a lock, keeps its timers, and carries its effects: calls to the store go to two
lanes, so that a hung read never delays a renewal, or are made on the caller's own thread, where he waits for them
anyway.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

from leaderlock._callbacks import Callbacks
from leaderlock._calls import Calls
from leaderlock._clock import Clock, kernel_identity
from leaderlock._lane import Lane
from leaderlock._protocol.candidacy import Candidacy, LossReason, News
from leaderlock._protocol.clocks import PAST, Deadline, Instant, Timing
from leaderlock._protocol.events import (
    Answered,
    Arm,
    Ask,
    Close,
    Closed,
    Disarm,
    Effect,
    Event,
    Fired,
    Kind,
    Put,
    RenewNow,
    Retry,
    Scan,
    Tell,
    Unanswered,
    Unwatch,
    Warn,
    Watch,
    Woken,
)
from leaderlock._protocol.events import Lane as LaneName
from leaderlock._protocol.machine import Machine
from leaderlock._protocol.records import Holder
from leaderlock._protocol.setting import Setting
from leaderlock._timers import Timers
from leaderlock.backend import Backend
from leaderlock.errors import LeaderLockError, UsageError

__all__ = ["Audience", "Engine", "Terms", "WaitStrategy"]

_log: Final = logging.getLogger("leaderlock")

JUMP: Final = 1.0
"""A wall clock that runs ahead of the steady ones by more than this, in seconds, makes the lease suspect."""

AT_LEAST: Final = 0.05
"""Seconds that a call may take even where the caller's budget is spent: what a look at a healthy store needs."""

EVERYTHING: Final = ""
"""In place of a name: the caller makes every call himself."""


class Audience(Protocol):
    """Who is told a candidacy's news. Called with the engine's lock held: it must not block, nor call the engine."""

    def tell(self, news: News) -> None: ...


class WaitStrategy(Protocol):
    """Any of tenacity's ``wait_*`` objects: how many seconds to wait before the next attempt."""

    def __call__(self, retry_state: Any, /) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a client was told once and never changes."""

    timing: Timing
    holder: Holder
    wait: WaitStrategy | None


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


class Engine:
    """One backend, one session, any number of candidacies."""

    def __init__(self, backend: Backend, terms: Terms, clock: Clock) -> None:
        self.clock = clock
        self.terms = terms
        self.is_forked = False
        self.is_closed = False
        self.callbacks = Callbacks()
        self._backend = backend
        self._calls = Calls(backend, clock)
        self._lock = threading.Lock()
        self._alarm = threading.Condition(self._lock)
        self._timers = Timers()
        self._wakes_at = float("inf")
        self._thread: threading.Thread | None = None
        self._watches: dict[str, Callable[[], None]] = {}
        self._ended = threading.Event()
        self._renewal_tried = threading.Condition()
        self._wall_offset: float | None = None
        attempt = terms.timing.attempt
        self._lanes = {
            LaneName.SESSION: Lane("session", self._calls, attempt, self.post),
            LaneName.NAMES: Lane("names", self._calls, attempt, self.post),
        }
        traits = backend.traits
        self.setting = Setting(
            timing=terms.timing,
            holder=terms.holder,
            durability=traits.durability,
            keeps_memory=traits.keeps_memory,
            kernel=kernel_identity(),
            new_id=lambda: secrets.token_hex(12),
        )
        self._machine = Machine(self.setting)
        _engines.add(self)

    @property
    def backend(self) -> Backend:
        return self._backend

    def locked(self) -> threading.Lock:
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

    def drive(self, event: Event | Sequence[Event], name: str, budget: float | None = None) -> None:
        """Tell the machine, and make the calls that follow from it for ``name`` on this very thread.

        A free name is taken without a hop to another thread. Interrupted (Ctrl-C), the machine is told that whatever
        was under way is unknown, and the lanes see to it.
        """
        attempt = self.terms.timing.attempt
        started = self.clock.boot()
        calls: list[Put | Ask | Scan] = []
        for one in event if isinstance(event, Sequence) else (event,):
            calls.extend(self._handle(one, name))
        while calls:
            todo, calls = calls, []
            timeout = attempt if budget is None else min(attempt, max(AT_LEAST, budget - (self.clock.boot() - started)))
            collect = calls.extend

            def post(answer: Event, collect: Callable[[Sequence[Put | Ask | Scan]], None] = collect) -> None:
                collect(self._handle(answer, name))

            self._calls.carry(todo, timeout, post)

    def _handle(self, event: Event, inline: str | None) -> list[Put | Ask | Scan]:
        with self._lock:
            if self.is_closed:
                if inline is None:
                    return []  # an answer that nobody waits for any more
                self.refuse()
            calls = self._dispatch(self._ask_machine(event), inline)
        if isinstance(event, Answered | Unanswered):
            self._tell_renewal(event)
        return calls

    def _ask_machine(self, event: Event) -> list[Effect]:
        try:
            return self._machine.handle(event, self.clock.now())
        except UsageError:
            self._dispatch(self._machine.drain(), None)
            raise
        except BaseException as error:
            # An interruption in the middle of a step, or a mistake of ours: the machine may be half-way between two
            # states. It is never used again; no claim survives it, and everybody is told (traps 5 and 31).
            _log.critical("leaderlock gives up all leases of this client: %r", error, exc_info=error)
            reason = RuntimeError(f"leaderlock failed: {error!r}")
            effects = self._machine.collapse(LossReason.FAILED, reason)
            self._timers.clear()
            self._machine = Machine(self.setting)
            self._dispatch(effects, None)
            if isinstance(error, Exception):
                raise LeaderLockError(f"leaderlock failed and gave up its leases: {error!r}") from error
            raise

    def refuse(self) -> None:
        """Raise what the caller of a dead engine is owed."""
        if self.is_forked:
            raise UsageError("this lease belongs to the parent process: campaign again in the child")
        raise UsageError("this client is closed: open another with connect()")

    # -- effects out

    def _dispatch(self, effects: list[Effect], inline: str | None) -> list[Put | Ask | Scan]:  # noqa: PLR0912
        calls: list[Put | Ask | Scan] = []
        for effect in effects:
            match effect:
                case Put() | Ask() | Scan():
                    if inline is not None and _is_for(effect, inline):
                        calls.append(effect)
                    elif isinstance(effect, Scan):
                        self._lanes[LaneName.NAMES].push(effect)
                    else:
                        self._lanes[effect.lane].push(effect)
                case Tell(candidacy, news):
                    self._tell(candidacy, news)
                case Arm(timer, until, patiently):
                    self._set_timer(timer, until, patiently=patiently)
                case Retry(timer, failures):
                    pause = self._back_off(failures)
                    self._set_timer(timer, Deadline.after(self.clock.now(), pause), patiently=False)
                case Disarm(timer):
                    self._timers.cancel(timer)
                case Watch(key):
                    self._watch(key)
                case Unwatch(key):
                    self._unwatch(key)
                case Warn(message):
                    _log.warning("%s", message)
                case Closed():
                    self._ended.set()
        return calls

    def _tell(self, candidacy: Candidacy, news: News) -> None:
        audience = cast("Audience | None", candidacy.audience)
        if audience is not None:
            audience.tell(news)

    def _watch(self, key: str) -> None:
        lane = self._lanes[LaneName.NAMES]
        try:
            self._watches[key] = self._backend.watch([key], lambda: lane.push(Woken(key)))
        except Exception:  # a watch is a hint: without it there is a look every third of a ttl
            _log.warning("the backend cannot watch %s", key, exc_info=True)

    def _unwatch(self, key: str) -> None:
        stop = self._watches.pop(key, None)
        if stop is not None:
            try:
                stop()
            except Exception:  # as above
                _log.warning("the backend cannot stop watching %s", key, exc_info=True)

    def _back_off(self, failures: int) -> float:
        longest = self.terms.timing.ttl / 4
        return min(max(self._wait_strategy(failures), 0.001), longest)

    def _wait_strategy(self, failures: int) -> float:
        # Imported when something fails for the first time: it takes 40 ms, which no crontab line should pay for.
        import tenacity

        wait = self.terms.wait or tenacity.wait_random_exponential(multiplier=0.05, max=self.terms.timing.ttl / 6)
        state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        state.attempt_number = failures
        try:
            return float(wait(state))
        except Exception:  # the user's strategy must not end the renewals
            _log.exception("the wait strategy raised; waiting a tenth of the ttl instead")
            return self.terms.timing.ttl / 10

    # -- time

    def _set_timer(self, timer: Any, until: Deadline, *, patiently: bool) -> None:
        self._timers.set(timer, until, patiently=patiently)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="leaderlock-engine", daemon=True)
            self._thread.start()
        elif min(until.boot, until.raw) < self._wakes_at:
            self._alarm.notify()

    def _run(self) -> None:
        with self._alarm:
            while not self.is_closed:
                now = self.clock.now()
                self._look_at_wall(now)
                due = self._timers.due(now)
                for timer in due:
                    self._fire(timer)
                if not due:
                    pause = self._timers.next_in(now)
                    self._wakes_at = now.boot + (3600.0 if pause is None else pause)
                    self.clock.wait(self._alarm, 3600.0 if pause is None else pause)
                    self._wakes_at = float("-inf")

    def _fire(self, timer: Any) -> None:
        with suppress(LeaderLockError):  # told already, and every lease was given up; on with the new machine
            if isinstance(timer, _Later):
                self.callbacks.call(timer.callback)
            else:
                self._dispatch(self._ask_machine(Fired(timer)), None)

    def later(self, seconds: float, callback: Callable[[], object]) -> None:
        """Call back after that many seconds, on the callbacks' thread."""
        with self._lock:
            if not self.is_closed:
                self._set_timer(_Later(callback), Deadline.after(self.clock.now(), seconds), patiently=False)

    def _look_at_wall(self, now: Instant) -> None:
        """A wall clock that jumped ahead of the steady ones: this machine may have been frozen (design, section 7)."""
        offset, before = now.wall - now.boot, self._wall_offset
        self._wall_offset = offset
        if before is not None and offset - before > JUMP:
            _log.warning("the wall clock jumped ahead by %.1f s: renewing before anything else", offset - before)
            self._dispatch(self._ask_machine(RenewNow(suspect=True)), None)

    # -- renewing before it is due

    def _tell_renewal(self, event: Answered | Unanswered) -> None:
        if any(put.kind is Kind.RENEW for put in event.puts):
            with self._renewal_tried:
                self._renewal_tried.notify_all()

    def renew(self, enough: Callable[[], bool], budget: float) -> bool:
        """Renew now and wait until ``enough()``, at most ``budget`` seconds; returns whether it came to that."""
        until = self.clock.boot() + budget
        self.drive(RenewNow(), EVERYTHING, budget)
        with self._renewal_tried:
            while not enough():
                left = until - self.clock.boot()
                if left <= 0:
                    return False
                self.clock.wait(self._renewal_tried, min(left, 0.05))
        return True

    @property
    def is_suspect(self) -> bool:
        return self._machine.is_suspect

    # -- the end

    def close(self, timeout: float) -> bool:
        """End all claims, close the session, stop. Returns whether the store has acknowledged the session's end."""
        if self.is_closed:
            return True
        try:
            self.drive(Close(), EVERYTHING, timeout)
            acknowledged = self._ended.wait(timeout)
        finally:
            self._stop(timeout)
        return acknowledged

    def _stop(self, timeout: float) -> None:
        with self._alarm:
            self.is_closed = True
            self._timers.clear()
            self._alarm.notify_all()
        for key in tuple(self._watches):
            self._unwatch(key)
        for lane in self._lanes.values():
            lane.stop()
        self._backend.close()
        for lane in self._lanes.values():
            lane.join(timeout)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
        self.callbacks.stop(timeout)

    def abandon(self) -> None:
        """Stop without asking anybody and without I/O: the session ends by itself."""
        self.is_closed = True
        self._machine.standing.until = PAST

    def disown(self) -> None:
        """In a forked child: nothing is held here, nothing is touched, whatever the parent's threads were doing."""
        self.is_forked = self.is_closed = True
        self._lock = threading.Lock()
        self._machine.standing.until = PAST


@dataclass(frozen=True, eq=False, slots=True)
class _Later:
    """A timer of the faces', beside the machine's own."""

    callback: Callable[[], object]


def _is_for(effect: Put | Ask | Scan, inline: str) -> bool:
    """Whether the caller who works on this name makes this call himself."""
    if inline == EVERYTHING:
        return True
    if isinstance(effect, Scan) or effect.lane is LaneName.SESSION:
        return False
    return effect.owner == inline or (isinstance(effect, Put) and effect.kind in (Kind.OPEN, Kind.SETTLE))


def _disown_all() -> None:
    for engine in _engines:
        engine.disown()


os.register_at_fork(after_in_child=_disown_all)
