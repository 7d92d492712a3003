"""huey: any number of consumers, and each periodic task is enqueued by one of them."""

# pyright: basic
# huey has no types.

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any, Final

from leaderlock import BackendUnavailable, Client, LeaderLockError
from leaderlock._connect import default_client
from leaderlock.integrations._naming import job_name

__all__ = ["enqueue_once"]

_log: Final = logging.getLogger("leaderlock")


def enqueue_once(huey: Any, *, client: Client | None = None) -> None:
    """Let this huey enqueue a periodic task only if no other consumer has, in the same minute.

    To be called where the huey is made. A task's job is called ``huey/NAME``; ``leaderlock history`` shows when it was
    enqueued last, and by whom. At most once: a consumer that dies between the mark and the queue has enqueued nothing.
    """
    read = huey.read_periodic

    def read_periodic(timestamp: datetime | None) -> list[Any]:
        now = (client or default_client()).now() if timestamp is None else _aware(timestamp, huey.utc)
        # huey asks once a minute, at any second of it, which tasks are meant by this minute.
        minute = now.replace(second=0, microsecond=0)
        ours: list[Any] = []
        for task in read(timestamp):
            # huey's scheduler would end at an error, and what is marked by now would be enqueued by nobody.
            try:
                if _is_ours(client or default_client(), task, minute):
                    ours.append(task)
            except BackendUnavailable as error:  # after a ttl, which the other tasks would wait for as well
                _log.warning("from %r on no periodic task of %s is enqueued here: %s", task.name, minute, error)
                break
            except LeaderLockError as error:
                _log.warning("the periodic task %r of %s is not enqueued here: %s", task.name, minute, error)
        return ours

    huey.read_periodic = read_periodic


def _is_ours(client: Client, task: Any, minute: datetime) -> bool:
    return bool(client.tick(name=job_name("huey", task.name), at=minute, window=60.0).run(lambda: None))


def _aware(timestamp: datetime, is_utc: bool) -> datetime:
    return timestamp.replace(tzinfo=UTC) if is_utc else timestamp.astimezone(UTC)
