"""A tick as the errand of a candidate: what the note says decides whether it takes, waits or goes."""

from __future__ import annotations

from typing import Final

from leaderlock._protocol.candidacy import Wish
from leaderlock._protocol.clocks import Instant
from leaderlock._ticks.record import STRANGER, JobRecord, Misread, Run, read_job
from leaderlock._ticks.rules import IN_VAIN, Leave, Take, Want, when_free, while_led
from leaderlock._ticks.schedule import Schedule

__all__ = ["Claim"]

EDITED_WITHIN: Final = 10.0
"""Seconds within which whoever leads a job's name and runs nothing is gone again, if he only edits its record."""


class Claim:
    """One caller's claim to one tick. Nothing here raises, as it runs inside the protocol's step."""

    def __init__(self, schedule: Schedule | None, want: Want) -> None:
        self._schedule = schedule
        self.want = want
        self.left: Leave | None = None
        """Why there was nothing to do."""
        self.died: Run | None = None
        """The dead run that this claim has buried, if it was won."""
        self.seen = JobRecord()
        """The record, as it was before."""
        self._note: bytes = b""
        self._idle_since: float | None = None
        self.error: Exception | None = None

    def wish(self, note: bytes, now: Instant) -> Wish:
        self.error = None
        if not note:
            return self._try_stranger()
        try:
            self._read(note)
            newest_due = self._schedule.around(now.wall)[0] if self._schedule is not None else 0.0
            verdict = while_led(self.seen, self.want, now.wall, newest_due)
        except (Misread, ValueError) as error:
            self.error = error
            return Wish.LEAVE
        if not isinstance(verdict, Leave):
            self.left = None
            return self._try_stranger() if self._is_idle_for_long(now) else verdict
        self.left = verdict
        return Wish.TRY if verdict.reason in IN_VAIN else Wish.LEAVE

    def _try_stranger(self) -> Wish:
        """No job's leader, who is refused while he lives, and followed if he is dead."""
        self.left, self.error = None, Misread(STRANGER)
        return Wish.TRY

    def _is_idle_for_long(self, now: Instant) -> bool:
        """Whether the leader has run no tick for longer than anybody edits a record."""
        if self.seen.running is not None:
            self._idle_since = None
            return False
        if self._idle_since is None:
            self._idle_since = now.boot
        return now.boot - self._idle_since > EDITED_WITHIN

    def _read(self, note: bytes) -> None:
        if note != self._note:
            self.seen, self._note = read_job(note), note

    def compose(self, note: bytes, token: int, now: Instant) -> bytes | None:
        self.error = None
        try:
            self._read(note)
            verdict = when_free(self.seen, self.want, now.wall, token)
        except Misread as error:
            self.error = error
            return None
        match verdict:
            case Leave():
                self.left = verdict
                return None
            case Take():
                self.died = verdict.died
                return verdict.record.encode()
