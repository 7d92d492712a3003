"""Time that passes when a test says so."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Final

from leaderlock._bell import Bell
from leaderlock._locks import signal_safe
from leaderlock._protocol.clocks import Instant

__all__ = ["ManualClock"]

_SLICE: Final = 0.01
"""Real seconds after which a waiter looks again, had it missed an advance while it was about to wait."""


class ManualClock:
    """A clock that stands still until :meth:`advance`; whoever waits on it is woken by every movement.

    One clock is one host's. Hosts whose rates differ are two clocks that a test advances by different amounts.
    """

    def __init__(self, *, start: float = 1_000.0, wall: float = 1_700_000_000.0, rho: float = 0.005) -> None:
        self.rho = rho
        self.boot: Callable[[], float] = lambda: self._instant.boot
        self._instant = Instant(start, start, wall)
        self._rate = 1.0
        self._lock = signal_safe(threading.Lock())
        self._waiting: weakref.WeakSet[Bell] = weakref.WeakSet()

    def now(self) -> Instant:
        return self._instant

    def wait(self, bell: Bell, seconds: float) -> None:
        """Wait for ``bell`` or a movement of this clock; at most a slice of real time, then look again."""
        if seconds <= 0:
            return
        with self._lock:
            self._waiting.add(bell)
        bell.wait(_SLICE)

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass, as the clock that is not slewed counts them."""
        if seconds < 0:
            raise ValueError(f"steady clocks do not go back ({seconds:g} s); step_wall() moves the wall clock alone")
        self._move(boot=seconds * self._rate, raw=seconds, wall=seconds * self._rate)

    def suspend(self, seconds: float) -> None:
        """Let the machine sleep: the first clock and the wall clock go on, the second stands still."""
        if seconds < 0:
            raise ValueError(f"a machine does not sleep for {seconds:g} s")
        self._move(boot=seconds, raw=0.0, wall=seconds)

    def slew(self, factor: float) -> None:
        """From now on the first clock (and the wall clock) runs ``factor`` times as fast as the second."""
        if factor <= 0:
            raise ValueError(f"a clock is slewed by a factor above zero, not {factor:g}")
        self._rate = factor

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator does, or a virtual machine that was frozen."""
        self._move(boot=0.0, raw=0.0, wall=seconds)

    def _move(self, *, boot: float, raw: float, wall: float) -> None:
        with self._lock:
            was = self._instant
            self._instant = Instant(was.boot + boot, was.raw + raw, was.wall + wall)
            waiting = list(self._waiting)
        for bell in waiting:
            bell.ring()
