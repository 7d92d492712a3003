"""A tick that was claimed here, until it is finished."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from leaderlock._backoff import pause_after
from leaderlock._bell import Bell
from leaderlock._course import Course
from leaderlock._protocol.events import Resign
from leaderlock._thread import even_if_collected
from leaderlock._ticks.plan import Plan
from leaderlock._ticks.record import Ending, JobRecord, Run
from leaderlock._ticks.results import Tick
from leaderlock._ticks.rules import finish
from leaderlock._ticks.slot import Slot

__all__ = ["Held"]

_log: Final = logging.getLogger("leaderlock")


@dataclass(slots=True, eq=False)
class Held:
    """A tick that was claimed, until it is finished."""

    tick: Tick
    course: Course
    """What stands behind its lease."""
    record: JobRecord
    """The job's, as the take wrote it, and with the attempt that runs now."""
    slot: Slot
    plan: Plan
    is_over: bool = False
    on_cut: Callable[[], object] | None = None
    """Called when it runs for too long, with the engine's lock held."""
    spare: Callable[[], object] | None = None
    """Calls that off: else each run would be kept until it had run for too long."""

    @property
    def run(self) -> Run:
        run = self.record.running
        assert run is not None
        return run

    def begin_again(self) -> None:
        """From here on it is the next attempt that runs."""
        run = self.run._replace(attempt=self.run.attempt + 1)
        self.record, self.tick.run = replace(self.record, running=run), run

    def farewell(self, how: Ending, *, again: bool = False) -> bytes:
        """The note that the release carries."""
        now = self.course.engine.clock.now().wall
        return finish(self.record, how, now, self.plan.policy, again=again).encode()

    def finish(self, how: Ending, *, again: bool = False, left_by: BaseException | None = None) -> None:
        """Say how it ended, and free the job's name, in one write; ``left_by``: what ended it, if it is known.

        Raises:
            LeaseLost: the lease was lost before, or given up: nothing was said, and others may run the tick.
        """
        self.is_over = True
        try:
            self.tick.check()
            farewell = self.farewell(how, again=again)
            if isinstance(left_by, GeneratorExit):
                even_if_collected(left_by, self.course.engine.post, self.course.farewell(farewell))
            elif not self.tick.lease.resign(note=farewell):
                _log.warning("the store has not acknowledged yet how %r ended (%s)", self.tick.name, how.value)
        except BaseException:
            self.tick.lease.resign(timeout=0)  # Ctrl-C on the way out: at least nobody waits for a ttl
            raise
        finally:
            self.leave(left_by)

    def leave(self, left_by: BaseException | None) -> None:
        """Let the next call of this process seek its tick."""
        self.slot.leave()
        # Not where garbage is collected: that may be in the middle of the engine's own timers.
        if self.spare is not None and not isinstance(left_by, GeneratorExit):
            self.spare()

    def next_pause(self) -> float | None:
        """Seconds to wait before the next attempt; ``None``: there is none inside the window."""
        pause = max(0.0, pause_after(self.run.attempt, self.plan.back_off, first=1.0, longest=60.0))
        return None if self.course.engine.clock.now().wall + pause > self.run.until else pause

    def pause(self, seconds: float) -> bool:
        """Wait for so long, under the lease; returns whether it is still held then."""
        clock = self.course.engine.clock
        until = clock.boot() + seconds
        bell = Bell()
        while self.tick.is_held and (left := until - clock.boot()) > 0:
            clock.wait(bell, left)
        return self.tick.is_held

    def cut(self) -> None:
        """It runs for too long: give its lease up. With the engine's lock held."""
        if not self.is_over and self.tick.is_held:
            self.tick.overran = self.plan.policy.max_run
            farewell = self.farewell(Ending.TOO_LONG)
            self.course.engine.post(Resign(self.course.candidacy, farewell))
            if self.on_cut is not None:
                self.on_cut()
