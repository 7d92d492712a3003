"""The thread behind a client: it fires timers, each at an instant on two clocks, and sleeps in between."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, suppress

from leaderlock._bell import Bell
from leaderlock._clock import Clock
from leaderlock._protocol.clocks import Deadline, Instant
from leaderlock._thread import OwnThread
from leaderlock._timers import Timers
from leaderlock.errors import LeaderLockError

__all__ = ["Clockwork"]


class Clockwork:
    """Starts its thread with the first timer. All but :meth:`stop` and :meth:`join` is called with the engine's lock.

    Args:
        locked: the engine's lock, which is held whenever something is fired.
        look: called at each turn, before anything is fired.
        fire: called with each timer that is due.
        failed: called with an error of the thread's own, after which nobody knows what was not fired.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        locked: Callable[[], AbstractContextManager[bool]],
        look: Callable[[Instant], None],
        fire: Callable[[Hashable], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._clock = clock
        self._locked = locked
        self._look = look
        self._fire = fire
        self._alarm = Bell()
        self._timers = Timers()
        self._wakes_at = float("inf")
        self._is_stopped = False
        self._thread = OwnThread("engine", self._run, failed)

    def set(self, timer: Hashable, until: Deadline, *, patiently: bool) -> None:
        """Fire it then, in place of its earlier setting; ``patiently``: when both clocks have passed, not the first."""
        self._timers.set(timer, until, patiently=patiently)
        self._thread.start()
        if min(until.boot, until.raw) < self._wakes_at:
            self._alarm.ring()

    def set_in(self, seconds: float, timer: Hashable) -> None:
        self.set(timer, Deadline.after(self._clock.now(), seconds), patiently=False)

    def call_in(self, seconds: float, callback: Callable[[], object]) -> Hashable:
        """Call back then; it must not block. Returns the timer."""
        timer = _Callback(callback)
        self.set_in(seconds, timer)
        return timer

    def cancel(self, timer: Hashable) -> None:
        self._timers.cancel(timer)

    def cancel_timers(self) -> None:
        """All that were set, but no callback."""
        self._timers.keep(lambda timer: isinstance(timer, _Callback))

    def cancel_all(self) -> None:
        self._timers.clear()

    def stop(self) -> None:
        """Have the thread end soon. Takes no lock and never blocks; may be called from anywhere, also twice."""
        self._is_stopped = True
        self._alarm.ring()

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._is_stopped:
            with self._locked():
                pause = self._turn(self._clock.now())
            if pause:
                self._clock.wait(self._alarm, pause)

    def _turn(self, now: Instant) -> float:
        """Fire what is due; returns how long there is nothing to do, in seconds."""
        self._look(now)
        due = self._timers.due(now)
        for timer in due:
            if not isinstance(timer, _Callback):
                self._fire(timer)
                continue
            with suppress(LeaderLockError):  # told already, to whom it belongs
                timer.call()
        pause = 0.0 if due else self._timers.next_in(now)
        pause = 3600.0 if pause is None else pause
        self._wakes_at = now.boot + pause
        return pause


class _Callback:
    """A timer of the faces', beside the machine's own; compared by identity."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call
