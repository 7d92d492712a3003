"""Waiting for an election, or for many, without a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Final, TypeVar

from leaderlock._aio.bell import LoopBell, await_news, weakly
from leaderlock._campaign import Campaigning, Campaigns
from leaderlock._course import Course
from leaderlock._engine import Engine
from leaderlock._protocol.events import Campaign
from leaderlock._thread import even_if_collected

__all__ = ["IN_LOOP", "in_loop", "seek", "seek_all"]

T = TypeVar("T")

LOOK: Final = 0.15
"""Seconds that a campaign has at least, for one look at a healthy store: with ``timeout=0``, a free name is taken."""

IN_LOOP: Final = "let a function make a task of it, and keep the task"
"""What to hand in instead of a coroutine function, where an event loop's own round makes the call."""


async def seek(campaign: Campaigning, timeout: float | None, until: float | None) -> Course:
    """Carry one campaign to its outcome: the asyncio twin of :meth:`Campaigning.run`."""
    course = campaign.course
    try:
        course.engine.submit(Campaign([course.candidacy]))
        over = await await_news(course, campaign.is_over, until, timed=not campaign.is_patient)
        if not over and until is not None:
            over_or_waiting = _either(campaign.is_over, lambda: course.candidacy.waiting is not None)
            await await_news(course, over_or_waiting, until + LOOK)
        return campaign.conclude(timeout)
    except BaseException as error:
        even_if_collected(error, campaign.withdraw)
        raise


async def seek_all(engine: Engine, names: list[str], *, patient: bool, until: float | None) -> dict[str, Course]:
    """Carry many campaigns to their outcomes: the asyncio twin of :func:`leaderlock._campaign.campaign_all`."""
    bell = LoopBell(engine)
    campaigns = Campaigns(engine, names, patient=patient, over=weakly(bell.ring))
    try:
        engine.submit(campaigns.event)
        over = await bell.wait_for(campaigns.is_over, until, timed=False)
        if not over and until is not None:
            await bell.wait_for(_either(campaigns.is_over, campaigns.are_waiting), until + LOOK)
        return campaigns.conclude()
    except BaseException as error:
        even_if_collected(error, campaigns.withdraw)
        raise


def _either(first: Callable[[], bool], second: Callable[[], bool]) -> Callable[[], bool]:
    return lambda: first() or second()


def in_loop(callback: Callable[[T], object]) -> Callable[[T], None]:
    """What any thread can call to have the callback called in this event loop, in this context.

    What it raises goes to the loop's exception handler; of a loop that was closed, nobody is told.
    """
    loop = asyncio.get_running_loop()
    context = copy_context()

    def call(value: T) -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(callback, value, context=context)

    return call
