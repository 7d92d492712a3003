"""Run a tick, wait, or leave it: decided from the job's record alone, and the same on every host.

Everything here is a function of what is passed in. The record stands in a note that only the leader of the job's name
can write, by swap; so whoever may take that name, and finds a run in the record, knows that its runner is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Literal, TypeAlias

from leaderlock._checks import check_one_of, check_seconds
from leaderlock._protocol.candidacy import Wish
from leaderlock._ticks.record import Ending, JobRecord, Owed, Pause, Run
from leaderlock._ticks.schedule import Schedule

__all__ = [
    "IN_VAIN",
    "Due",
    "Leave",
    "Misfire",
    "Overlap",
    "Policy",
    "Runs",
    "SkipReason",
    "Take",
    "Want",
    "due",
    "due_at",
    "finish",
    "pause",
    "resume",
    "when_free",
    "while_led",
]

Runs: TypeAlias = Literal["at-most-once", "at-least-once"]
Overlap: TypeAlias = Literal["skip", "queue"]
Misfire: TypeAlias = Literal["skip", "run"]

WIDEST: Final = 300.0
"""The tolerance, in seconds, that nobody need ask for: a call that is further from its tick was meant for another, or
for none, and must not use up the tick of tonight."""

SHORTEST_RUN: Final = 0.001

UNSCHEDULED: Final = 3600.0
"""The window, in seconds, of a tick that is named by a caller who names no schedule."""


class SkipReason(StrEnum):
    """Why a tick was not run here, now."""

    DONE = "done"
    """It ran, here or elsewhere."""
    RUNNING = "running"
    """It runs, here or elsewhere."""
    FAILED = "failed"
    """It ran, and failed with all of its retries."""
    DIED = "died"
    """It was begun, and its runner is gone. At most once means that nobody begins it again."""
    OVERLAP = "overlap"
    """An earlier tick of the job still runs."""
    SUPERSEDED = "superseded"
    """It waited for an earlier tick to end, and meanwhile a later one has come."""
    NEWER = "newer"
    """A later tick was begun before it."""
    LATE = "late"
    """Its window is over."""
    HELD = "held"
    """The last run began less than ``hold_for`` seconds ago."""
    PAUSED = "paused"
    """Somebody paused the job."""
    NOT_DUE = "not due"
    """No tick is near. Nothing was asked of the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a job is run; the same on all of its hosts. All durations are in seconds."""

    runs: Runs = "at-most-once"
    overlap: Overlap | None = None
    misfire: Misfire = "skip"
    tolerance: float | None = None
    window: float | None = None
    hold_for: float = 0.0
    max_run: float | None = None
    retries: int = 0

    def __post_init__(self) -> None:
        check_one_of("runs", self.runs, "at-most-once", "at-least-once")
        if self.overlap is not None:
            check_one_of("overlap", self.overlap, "skip", "queue")
        check_one_of("misfire", self.misfire, "skip", "run")
        if self.tolerance is not None:
            check_seconds("tolerance", self.tolerance)
        if self.window is not None:
            check_seconds("window", self.window)
        check_seconds("hold_for", self.hold_for)
        if self.max_run is not None:
            check_seconds("max_run", self.max_run, least=SHORTEST_RUN)
        if isinstance(self.retries, bool) or not isinstance(self.retries, int):
            raise TypeError(f"retries is a whole number, not {self.retries!r}")
        if self.retries < 0:
            raise ValueError(f"retries ({self.retries}) is zero or more")
        if self.retries and not self.again:
            raise ValueError(
                "retries run a tick again, which at-most-once excludes: say runs='at-least-once', or retries=0"
            )

    @property
    def again(self) -> bool:
        """Whether a tick that did not come to its end is run again."""
        return self.runs == "at-least-once"

    @property
    def queues(self) -> bool:
        """Whether a tick waits for an earlier one that still runs. By default, where every tick is promised a run."""
        return self.again if self.overlap is None else self.overlap == "queue"


@dataclass(frozen=True, slots=True)
class Due:
    """The tick that is meant now."""

    tick: float
    until: float
    """The last moment at which it may be started."""


def due(schedule: Schedule, policy: Policy, now: float) -> Due | None:
    """The tick nearest to now, if it is within the tolerance; else the newest that was missed, where that is run."""
    before, after = schedule.around(now)
    tick = schedule.nearest_to(now)
    tolerance = min((after - before) / 2, WIDEST) if policy.tolerance is None else policy.tolerance
    if abs(now - tick) > tolerance:
        missed = policy.misfire == "run" and (policy.window is None or now - before <= policy.window)
        if not missed:
            return None
        tick = before
    if policy.window is None:
        return Due(tick, schedule.around(tick)[1])
    return Due(tick, tick + max(policy.window, tolerance))


def due_at(tick: float, schedule: Schedule | None, policy: Policy) -> Due:
    """A tick that the caller names."""
    if policy.window is not None:
        return Due(tick, tick + policy.window)
    return Due(tick, schedule.around(tick)[1] if schedule is not None else tick + UNSCHEDULED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What one caller wants."""

    tick: float
    until: float
    policy: Policy
    host: str
    schedule: str = ""
    zone: str = ""
    by_hand: bool = False


@dataclass(frozen=True, slots=True)
class Leave:
    """Do not run it."""

    reason: SkipReason
    by: str = ""
    """Who ran it, runs it, or paused the job."""


@dataclass(frozen=True, slots=True)
class Take:
    """Take the name, with this record for its note, and run what runs according to it."""

    record: JobRecord
    died: Run | None
    """The run that was found dead, and is told to people once, by who takes over."""


IN_VAIN: Final = {SkipReason.LATE, SkipReason.SUPERSEDED}


def while_led(record: JobRecord, want: Want, now: float, newest_due: float) -> Leave | Wish:
    """Somebody leads the job's name. ``newest_due``: the newest tick that has come by now.

    :data:`IN_VAIN` are reasons to go only if the leader lives: one that is dead must be seen to be so by somebody, and
    each crontab line is a process that has to look for a whole ttl, however short its window is.
    """
    run = record.running
    if not want.by_hand:
        over = _over(record, want)
        if over is not None:
            return over
        if run is not None and run.tick == want.tick and not run.by_hand:
            # Who is promised that it ends stands by, and takes over should the runner die.
            return Wish.WAIT if want.policy.again and now < want.until else Leave(SkipReason.RUNNING, run.host)
        if now > want.until:
            return Leave(SkipReason.LATE)
        if record.owes(want.tick) is not None:
            return Wish.WAIT
        if newest_due > want.tick:
            return Leave(SkipReason.SUPERSEDED, run.host if run is not None else "")
    if run is None:
        return Wish.WAIT  # a job that nobody runs: somebody writes its note, and is gone in a moment
    return Wish.WAIT if want.policy.queues else Wish.TRY


def when_free(record: JobRecord, want: Want, now: float, token: int) -> Leave | Take:
    """Nobody leads the job's name, so a run in its record is dead."""
    died = record.running
    if not want.by_hand:
        over = _over(record, want)
        if over is not None:
            return over
        if want.tick <= record.newest and not want.policy.again:
            return Leave(SkipReason.DIED, died.host if died is not None else "")
        if now > want.until:
            return Leave(SkipReason.LATE)
        if want.tick > record.newest and record.held > now:
            return Leave(SkipReason.HELD)
    record = _over_with(record.ended(Ending.DIED, None), died, want.policy, now)
    if want.by_hand:
        run = Run(want.tick, token, want.host, now, 1, want.until, by_hand=True)
        return Take(replace(record, running=run), died)
    owed = {one.tick: one for one in record.owed} if want.policy.again else {}
    owed.setdefault(want.tick, Owed(want.tick, want.until, 0))
    # In their order: an unfinished tick goes first, and this one is owed until somebody has run it.
    first = owed.pop(min(owed))
    run = Run(first.tick, token, want.host, now, first.attempts + 1, first.until)
    taken = replace(
        record,
        newest=max(record.newest, want.tick),
        schedule=want.schedule,
        zone=want.zone,
        running=run,
        owed=tuple(sorted(owed.values())),
    )
    return Take(taken, died)


def _over(record: JobRecord, want: Want) -> Leave | None:
    """Whether there is nothing left to do about this tick."""
    tick, run = want.tick, record.running
    if record.paused is not None:
        return Leave(SkipReason.PAUSED, record.paused.by)
    if tick > record.newest or (run is not None and run.tick == tick and not run.by_hand):
        return None
    outcome = record.outcome_of(tick)
    if record.owes(tick) is not None:
        return None if want.policy.again else Leave(SkipReason.DIED, outcome.host if outcome is not None else "")
    if outcome is None:
        return Leave(SkipReason.NEWER if tick < record.newest else SkipReason.DONE)
    match outcome.how:
        case Ending.OK:
            return Leave(SkipReason.DONE, outcome.host)
        case Ending.DIED:
            return Leave(SkipReason.DIED, outcome.host)
        case _:
            return Leave(SkipReason.FAILED, outcome.host)


def finish(record: JobRecord, how: Ending, now: float, policy: Policy, *, again: bool) -> JobRecord:
    """The record that a release carries. ``again``: where that is promised, the tick is still to be run to its end."""
    run = record.running
    held = record.held if run is None or run.by_hand else max(record.held, run.started + policy.hold_for)
    return replace(_over_with(record.ended(how, now), run if again else None, policy, now), held=held)


def _over_with(ended: JobRecord, again: Run | None, policy: Policy, now: float) -> JobRecord:
    """The record of a run that has ended, with what is owed and not too late by now; that very run too, if ``again``
    is promised."""
    owed = [one for one in ended.owed if one.until >= now]
    if again is not None and policy.again and not again.by_hand and again.until >= now:
        owed.append(Owed(again.tick, again.until, again.attempt))
    return replace(ended, owed=tuple(sorted(owed)))


def pause(record: JobRecord, by: str, now: float) -> JobRecord:
    return replace(record, paused=record.paused or Pause(by, now))


def resume(record: JobRecord, now: float) -> JobRecord:
    """Go on, at once. Ticks that a wrong clock has marked ahead of their time are forgotten, or it would be long."""
    newest = record.newest
    if newest > now + WIDEST:  # what is nearer may have been run early, and rightly
        newest = max((one.tick for one in record.history if one.tick <= now and not one.by_hand), default=0.0)
    return replace(record, paused=None, newest=newest, held=min(record.held, now))
