"""A job as people see it: what it did last, when it is due next, and whether it is paused."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from leaderlock import _observe
from leaderlock._campaign import Campaigning
from leaderlock._engine import Engine
from leaderlock._protocol.candidacy import Wish
from leaderlock._protocol.clocks import Instant
from leaderlock._ticks import record as records
from leaderlock._ticks.record import STRANGER, Ending, JobRecord, Misread, read_job
from leaderlock._ticks.rules import pause, resume
from leaderlock._ticks.schedule import Schedule, moment
from leaderlock.errors import CampaignTimeout, NotLeader, UsageError

__all__ = ["Job", "Outcome", "Pausing", "job_in", "look_at_job", "set_paused"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one run of one tick. Instants are UTC, by the wall clock of the host that ran it."""

    tick: datetime
    """For when it was scheduled."""
    token: int
    host: str
    started: datetime
    finished: datetime | None
    """``None``: nobody knows."""
    how: Ending
    attempt: int
    by_hand: bool


@dataclass(frozen=True, slots=True)
class Job:
    """One job, as its name's note tells it."""

    name: str
    schedule: str
    """When it is due, as whoever ran it last said."""
    zone: str
    next: datetime | None
    """Its next tick by this host's clock; ``None``: that is not known."""
    running: Outcome | None
    """The run that has begun and not ended (``finished`` and ``how`` mean nothing yet); its runner may be dead."""
    owed: tuple[datetime, ...]
    """The ticks that are still to be run, where each is promised to be."""
    paused_by: str
    """Who paused it; empty: nobody."""
    history: tuple[Outcome, ...]
    """How its last runs ended, the newest last."""


def look_at_job(engine: Engine, name: str) -> Job | None:
    """Read the job; ``None``: there is none of that name."""
    sighting = _observe.look(engine, name)
    note = sighting.record.note if sighting.record is not None else b""
    return job_in(name, note, engine.clock.now().wall)


def job_in(name: str, note: bytes, now: float) -> Job | None:
    """The job that a note tells of, if it does."""
    try:
        record = read_job(note)
    except Misread:
        return None
    if not note:
        return None
    run = record.running
    running = None
    if run is not None:
        begun = records.Outcome(
            run.tick, run.token, run.host, run.started, None, Ending.INTERRUPTED, run.attempt, run.by_hand
        )
        running = _shown(begun)
    return Job(
        name=name,
        schedule=record.schedule,
        zone=record.zone,
        next=_next(record, now),
        running=running,
        owed=tuple(moment(owed.tick) for owed in record.owed),
        paused_by=record.paused.by if record.paused is not None else "",
        history=tuple(map(_shown, record.history)),
    )


def _next(record: JobRecord, now: float) -> datetime | None:
    if not record.schedule or record.paused is not None:
        return None
    try:
        return moment(Schedule(record.schedule, zone=record.zone).around(max(now, record.newest))[1])
    except ValueError:  # another host has a time zone that this one does not know
        return None


def _shown(outcome: records.Outcome) -> Outcome:
    return Outcome(
        tick=moment(outcome.tick),
        token=outcome.token,
        host=outcome.host,
        started=moment(outcome.started),
        finished=None if outcome.finished is None else moment(outcome.finished),
        how=outcome.how,
        attempt=outcome.attempt,
        by_hand=outcome.by_hand,
    )


class _Edit:
    """The errand of who writes a job's note and runs nothing: it waits for a run to end."""

    def __init__(self, by: str, *, is_paused: bool) -> None:
        self._by = by
        self._is_paused = is_paused
        self.was_paused = False
        self.is_vain = False
        """Whether there is nothing to be changed, so that nothing is written."""
        self.error: Misread | None = None

    def wish(self, note: bytes, now: Instant) -> Wish:
        if not note:
            # A note that an election has not written yet: a record in it would be taken for the election's own.
            self.error = Misread(STRANGER)
            return Wish.LEAVE
        return Wish.LEAVE if self._edited(note, now) is None else Wish.WAIT

    def compose(self, note: bytes, token: int, now: Instant) -> bytes | None:
        edited = self._edited(note, now)
        return None if edited is None else edited.encode()

    def _edited(self, note: bytes, now: Instant) -> JobRecord | None:
        """The record as it is to be; ``None``: there is nothing to write."""
        self.error, self.is_vain = None, False
        try:
            record = read_job(note)
        except Misread as error:
            self.error = error
            return None
        self.was_paused = record.paused is not None
        edited = pause(record, self._by, now.wall) if self._is_paused else resume(record, now.wall)
        self.is_vain = (edited.paused, edited.newest) == (record.paused, record.newest)
        return None if self.is_vain else edited


def set_paused(
    engine: Engine,
    name: str,
    *,
    is_paused: bool,
    timeout: float | None,
    on_waiting: Callable[[str], object] | None = None,
) -> bool:
    """Pause the job, or let it go on; returns whether that changed anything."""
    pausing = Pausing(engine, name, is_paused=is_paused, on_waiting=on_waiting)
    with pausing.explained():
        pausing.campaign.run(timeout).resign()
    return pausing.is_news


class Pausing:
    """One who pauses a job, or lets it go on: the campaign that he carries to its outcome, and what came of it."""

    def __init__(
        self, engine: Engine, name: str, *, is_paused: bool, on_waiting: Callable[[str], object] | None = None
    ) -> None:
        self._name = name
        self._is_paused = is_paused
        self._edit = _Edit(str(engine.terms.holder), is_paused=is_paused)
        self.campaign = Campaigning(engine, name, patient=True, on_waiting=on_waiting, errand=self._edit)

    @contextmanager
    def explained(self) -> Generator[None]:
        """Around the campaign: say what is no job, and be content where there is nothing to change."""
        try:
            yield
        except Exception as error:
            if self._edit.error is not None:
                raise UsageError(f"{self._name!r} cannot be paused or resumed: {self._edit.error}") from error
            if isinstance(error, CampaignTimeout):
                what = "paused" if self._is_paused else "resumed"
                raise CampaignTimeout(f"{self._name!r} was not {what}: {error}") from error.__cause__
            if not (self._edit.is_vain and isinstance(error, NotLeader)):
                raise

    @property
    def is_news(self) -> bool:
        """Whether that changed anything."""
        return self._edit.was_paused != self._is_paused
