"""A tick as the errand of a candidate: what the note says decides whether it takes, waits or goes."""

from __future__ import annotations

from leaderlock._protocol.candidacy import Wish
from leaderlock._protocol.clocks import Instant
from leaderlock._ticks.record import JobRecord, Misread, Run, read_job
from leaderlock._ticks.rules import IN_VAIN, Leave, Take, Want, when_free, while_led
from leaderlock._ticks.schedule import Schedule

__all__ = ["Claim"]


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
        self.error: Exception | None = None

    def wish(self, note: bytes, now: Instant) -> Wish:
        try:
            self._read(note)
            newest_due = self._schedule.around(now.wall)[0] if self._schedule is not None else 0.0
            verdict = while_led(self.seen, self.want, now.wall, newest_due)
        except (Misread, ValueError) as error:
            self.error = error
            return Wish.LEAVE
        if not isinstance(verdict, Leave):
            self.left = None
            return verdict
        self.left = verdict
        return Wish.TRY if verdict.reason in IN_VAIN else Wish.LEAVE

    def _read(self, note: bytes) -> None:
        if note != self._note:
            self.seen, self._note = read_job(note), note

    def compose(self, note: bytes, token: int, now: Instant) -> bytes | None:
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
