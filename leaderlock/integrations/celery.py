"""Celery beat: any number of beats, of which the leader sends, and no tick twice.

``celery -A app beat -S leaderlock.integrations.celery:LeaderScheduler``, on as many hosts as you like, with
``LEADERLOCK_URL`` in the environment or ``app.conf.leaderlock_url``.
"""

# pyright: basic
# Celery has no types.

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any, Final

from leaderlock import Client, connect
from leaderlock._tenure import Tenure, tenure_of
from leaderlock.integrations._naming import job_name

try:
    from celery.beat import PersistentScheduler
    from celery.schedules import crontab, schedule, solar
except ImportError as error:
    raise ImportError(
        f"leaderlock.integrations.celery needs Celery 5.3 or later ({error}); `pip install 'leaderlock[celery]'`"
    ) from error

__all__ = ["LeaderScheduler"]

LEADER: Final = "celery-beat"
"""What the beats of one namespace elect their leader for."""

ALMOST: Final = 0.9
"""Which share of an interval must have passed since anybody sent last: beats count intervals from their own start."""

_log: Final = logging.getLogger("leaderlock")
_beat_log: Final = logging.getLogger("celery.beat")


class LeaderScheduler(PersistentScheduler):  # type: ignore[misc]  # it has no types
    """Sends what is due only while this beat leads; the others' schedules go on, and send nothing.

    So nothing is sent in a burst when another beat is elected. Each entry is a job ``beat/NAME`` of its own, at most
    once: an old leader that does not know yet that it was replaced finds the tick taken.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._client: Client | None = None
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """As beat asks for it, before its first entry is due: a store that cannot be is told now, not tonight."""
        self._open()
        super().setup_schedule()

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """As beat asks for it, when an entry is due."""
        if self._seeks().lease is None:
            return
        at, hold_for = _due(entry, self._open().now())
        ticking = self._open().tick(name=job_name("beat", entry.name), at=at, hold_for=hold_for)
        try:
            outcome = ticking.run(self._send, entry, producer)
        except Exception:  # the broker or the store: the next entry is due all the same
            _log.exception("the entry %r was not sent", entry.name)
        else:
            if not outcome:
                _log.info("%s", outcome)

    def _send(self, entry: Any, producer: Any) -> object:
        # In the words and under the name of Celery's own, for whoever looks for them.
        _beat_log.info("Scheduler: Sending due task %s (%s)", entry.name, entry.task)
        return self.apply_async(entry, producer=producer, advance=False)

    def close(self) -> None:
        """Stop, and resign."""
        super().close()
        if self._client is not None:
            self._client.close()

    def _open(self) -> Client:
        if self._client is None:
            self._client = connect(self.app.conf.get("leaderlock_url"), label="celery beat")
        return self._client

    def _seeks(self) -> Tenure:
        tenure = tenure_of(self._open(), LEADER)
        tenure.first_answer()
        return tenure


def _due(entry: Any, now: datetime) -> tuple[datetime, float]:
    """The tick of an entry that is due, and for how long nobody sends it again."""
    kind = entry.schedule
    if isinstance(kind, schedule) and not isinstance(kind, crontab | solar):
        return now, ALMOST * kind.run_every.total_seconds()
    # All beats reckon the same instant; they know it to the second.
    due = now + kind.remaining_estimate(entry.last_run_at)
    return (due + timedelta(milliseconds=500)).replace(microsecond=0), 0.0
