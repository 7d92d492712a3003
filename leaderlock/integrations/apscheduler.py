"""APScheduler 3: the same jobs in many processes, and each tick is run by one of them."""

# pyright: basic
# APScheduler has no types.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from inspect import signature
from typing import Any

from leaderlock import Client, Schedule, once_per_tick

try:
    from apscheduler.triggers.base import BaseTrigger
except ImportError as error:
    raise ImportError(
        f"leaderlock.integrations.apscheduler needs APScheduler 3 ({error}); `pip install 'leaderlock[apscheduler]'`"
    ) from error

__all__ = ["TickTrigger", "add_job"]


class TickTrigger(BaseTrigger):  # type: ignore[misc]  # it has no types
    """Fires at the ticks of a :class:`leaderlock.Schedule`, so that firing and identity are one."""

    def __init__(self, schedule: Schedule) -> None:
        if not isinstance(schedule, Schedule):
            raise TypeError(f"a trigger fires by a leaderlock.Schedule: write Schedule({schedule!r})")
        self.schedule = schedule

    def __str__(self) -> str:
        return str(self.schedule)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """As APScheduler asks for it."""
        return self.schedule.next(previous_fire_time or now)


def add_job(
    scheduler: Any,
    function: Callable[..., object],
    schedule: Schedule,
    *,
    name: str,
    client: Client | None = None,
    args: Sequence[object] = (),
    kwargs: Mapping[str, object] | None = None,
    **options: Any,
) -> Any:
    """Add a job that runs once per tick in all processes that add it; returns APScheduler's job.

    ``options`` are those of :func:`leaderlock.once_per_tick`, which also decides about overlap and lateness, so that
    APScheduler is told to start it always. For job stores in memory, as the decorated function cannot be pickled.
    """
    if unknown := ", ".join(sorted(options.keys() - signature(once_per_tick).parameters.keys())):
        raise TypeError(
            f"add_job() takes no {unknown}: its options are once_per_tick's. When it runs is a Schedule, such as "
            "Schedule('@every 5s'), and name is APScheduler's id, too"
        )
    ticked = once_per_tick(schedule, name=name, client=client, **options)(function)
    settings = {"misfire_grace_time": None, "coalesce": True, "max_instances": 3}
    return scheduler.add_job(ticked, TickTrigger(schedule), args, kwargs, id=name, name=name, **settings)
