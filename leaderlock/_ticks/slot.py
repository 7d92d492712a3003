"""What this process does about one job: one call at a time seeks its tick, or runs it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum
from typing import Final

from leaderlock._bell import Listeners
from leaderlock._engine import Engine
from leaderlock._locks import signal_safe
from leaderlock._ticks.rules import SkipReason
from leaderlock._ticks.schedule import Schedule
from leaderlock.errors import UsageError

__all__ = ["Slot", "Turn", "slot_of"]

LOOK_EVERY: Final = 1.0
"""Seconds after which who waits here looks at the clock again."""

KEPT: Final = 1000
"""How many jobs that nobody here is at are remembered: names made up for each call must not pile up."""


class Turn(Enum):
    """Whether a call may seek its tick."""

    MINE = "entered"
    NOT_YET = "another call of this process is at it"


class Slot:
    """Two calls of one process must not campaign for one name, nor judge each other by the store."""

    def __init__(self, schedule: Schedule | None) -> None:
        self.schedule = schedule
        self.warned: set[str] = set()
        """What was said once already."""
        # Taken by ``with``, and not through the Condition, where a signal's handler could raise with the lock held.
        self._lock = signal_safe(threading.RLock())
        self._left = threading.Condition(self._lock)
        self._is_busy = False
        self._running: float | None = None
        self.changed = Listeners()

    def enter(self, turn: Callable[[], Turn | SkipReason]) -> SkipReason | None:
        """Wait until it is one's ``turn``; ``None``: it is, and :meth:`leave` ends it. Else why there is none."""
        with self._lock:
            while (answer := turn()) is Turn.NOT_YET:
                self._left.wait(LOOK_EVERY)
        return None if isinstance(answer, Turn) else answer

    def try_enter(self, tick: float, *, queues: bool, too_late: Callable[[], SkipReason | None]) -> Turn | SkipReason:
        """Enter if that can be now."""
        with self._lock:
            if not self._is_busy:
                self._is_busy = True
                return Turn.MINE
            if self._running == tick:
                return SkipReason.RUNNING
            if self._running is not None and not queues:
                return SkipReason.OVERLAP
            return too_late() or Turn.NOT_YET

    def runs(self, tick: float) -> None:
        """From here on this tick runs; before, it was only sought."""
        with self._lock:
            self._running = tick
            self._tell()

    def leave(self) -> None:
        with self._lock:
            self._is_busy, self._running = False, None
            self._tell()

    def _tell(self) -> None:
        self._left.notify_all()
        self.changed.tell()


def slot_of(engine: Engine, name: str, schedule: Schedule | None) -> Slot:
    """The one slot of that job in this process.

    Raises:
        UsageError: another job of this client's has that name: they would take each other's ticks for their own.
    """
    with engine.locked():
        slot: Slot = engine.jobs_in_use.get(name) or Slot(schedule)
        engine.jobs_in_use[name] = slot
        # Kept for a while, the last used ones, for what they know: how a job is called elsewhere, and what was said.
        engine.jobs.pop(name, None)
        engine.jobs[name] = slot
        if len(engine.jobs) > KEPT:
            del engine.jobs[next(iter(engine.jobs))]
    if schedule is None:
        return slot
    slot.schedule = slot.schedule or schedule
    if slot.schedule != schedule:
        raise UsageError(
            f"two jobs are called {name!r}, one at {slot.schedule} and one at {schedule}: each would take the other's "
            "ticks for its own, so give one of them another name"
        )
    return slot
