"""The one door to time: two steady clocks, and the only reading of the wall clock in the package."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable
from typing import Final, Protocol

from leaderlock._bell import Bell
from leaderlock._protocol.clocks import Instant

__all__ = ["Clock", "SteadyClock", "kernel_identity"]

_SLICE: Final = 1.0
"""The longest single wait, in seconds: a wait is timed by a clock that stops in suspend, so it is cut short and the
steady clocks are asked again."""


class Clock(Protocol):
    """What the engine needs of time. Tests hand in :class:`leaderlock.testing.ManualClock`."""

    rho: float
    """The bound on how far this clock's rate differs from another host's, as a fraction."""
    boot: Callable[[], float]
    """The first of the two steady clocks alone: the quick look of ``is_held``."""

    def now(self) -> Instant:
        """All clocks at once."""
        ...

    def wait(self, bell: Bell, seconds: float) -> None:
        """Wait for ``bell``, at most ``seconds``; may return early."""
        ...


def _reader(clock: str) -> Callable[[], float] | None:
    number = getattr(time, clock, None)
    if number is None:
        return None
    # A partial, not a function of our own: half the cost of `is_held` is this call.
    return functools.partial(time.clock_gettime, number)


class SteadyClock:
    """The machine's own clocks: one that counts suspend, one that is not slewed, where both exist."""

    def __init__(self) -> None:
        # Linux: CLOCK_BOOTTIME counts suspend and may be slewed, CLOCK_MONOTONIC_RAW the other way about. macOS:
        # CLOCK_MONOTONIC counts suspend (Python's time.monotonic does not), CLOCK_UPTIME_RAW is not slewed.
        names = (
            ("CLOCK_MONOTONIC", "CLOCK_UPTIME_RAW")
            if sys.platform == "darwin"
            else ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC_RAW")
        )
        first, second = _reader(names[0]), _reader(names[1])
        both = first is not None and second is not None
        self.rho = 0.005 if both else 0.1
        self.boot: Callable[[], float] = first if both and first is not None else time.monotonic
        self._raw: Callable[[], float] = second if both and second is not None else time.monotonic

    def now(self) -> Instant:
        return Instant(self.boot(), self._raw(), time.time())

    def wait(self, bell: Bell, seconds: float) -> None:
        bell.wait(max(0.0, min(seconds, _SLICE)))


def kernel_identity() -> tuple[str, str] | None:
    """The boot id and the time namespace under which the boot clock is read, or None where that cannot be told.

    Two processes that agree on both read the same boot clock (protocol, rule 7).
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip(), os.readlink("/proc/self/ns/time")
    except OSError:
        return None
