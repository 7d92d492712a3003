"""A job as its caller describes it: what it is called, when it is due, and how it is run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo

from leaderlock._backoff import WaitStrategy, check_back_off
from leaderlock._naming import check_name
from leaderlock._ticks.rules import Policy
from leaderlock._ticks.schedule import Schedule, When

__all__ = ["Plan", "check_meant", "plan_of"]


@dataclass(frozen=True, slots=True)
class Plan:
    """A job: what it is called, when it is due, and how it is run."""

    name: str
    schedule: Schedule | None
    policy: Policy
    back_off: WaitStrategy | None = None


def plan_of(
    schedule: Schedule | When | None,
    name: str,
    *,
    zone: str | tzinfo | None,
    policy: Policy,
    back_off: WaitStrategy | None,
) -> Plan:
    """A job, checked."""
    check_name(name, what="the name of a job")
    check_back_off(back_off)
    if schedule is None or isinstance(schedule, Schedule):
        if zone is not None:
            raise ValueError("zone belongs to a cron expression: a Schedule has its own")
    else:
        schedule = Schedule(schedule, zone=zone or "UTC")
    return Plan(name, schedule, policy, back_off)


def check_meant(schedule: object, at: datetime | None, *, now: bool) -> None:
    """Whether it is said which tick is meant, once."""
    if schedule is None and at is None and not now:
        raise TypeError("tick() needs a schedule, such as '0 3 * * *', or the tick itself (at=…), or now=True")
    if at is not None and now:
        raise ValueError("at names a tick, and now asks for none: say one of them")
