"""huey: any number of consumers, and each periodic task is enqueued by one of them."""

# pyright: basic
# huey has no types.

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from leaderlock import Client
from leaderlock._connect import default_client
from leaderlock.integrations._naming import job_name

__all__ = ["enqueue_once"]


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
        return [task for task in read(timestamp) if _is_ours(client or default_client(), task, minute)]

    huey.read_periodic = read_periodic


def _is_ours(client: Client, task: Any, minute: datetime) -> bool:
    return bool(client.tick(name=job_name("huey", task.name), at=minute, window=60.0).run(lambda: None))


def _aware(timestamp: datetime, is_utc: bool) -> datetime:
    return timestamp.replace(tzinfo=UTC) if is_utc else timestamp.astimezone(UTC)
