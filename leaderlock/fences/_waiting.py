"""Waiting in two colours. What must wait is a generator of steps, written once; these take them, blocking or not.

A step is a pause in seconds, or work to be done that may take its time (a disk's). Whichever way the taking ends, the
generator has come to its end, or was closed, and let go of what it held.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from typing import TypeVar

__all__ = ["Step", "taken", "taken_async"]

T = TypeVar("T")
Step = float | Callable[[], object]


def taken(steps: Generator[Step, None, T]) -> T:
    """What the generator returns; this thread waits."""
    with contextlib.closing(steps):
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            if callable(step):
                step()
            else:
                time.sleep(step)


async def taken_async(steps: Generator[Step, None, T]) -> T:
    """What the generator returns; the event loop is never blocked."""
    import asyncio

    with contextlib.closing(steps):
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            if callable(step):
                await _in_a_thread(step)
            else:
                await asyncio.sleep(step)


async def _in_a_thread(work: Callable[[], object]) -> None:
    """Do it to its end, even if this task is cancelled meanwhile: what is locked for the work must stay so as long."""
    import asyncio

    working = asyncio.get_running_loop().run_in_executor(None, work)
    cancelled: asyncio.CancelledError | None = None
    while not working.done():
        try:
            await asyncio.wait([working])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled from working.exception()
    working.result()
