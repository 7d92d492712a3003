"""A free name taken and given back from an event loop, beside the lock of redis-py's asyncio half."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from leaderlock import aio

from .figures import MS, Figure, ratio, spread
from .locks import TTL
from .servers import serving


def measure(*, quick: bool) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder, serving("redis", Path(folder)) as url:
        ours, theirs = asyncio.run(_both(url, 30 if quick else 500))
    yield Figure(
        what="acquire + release, asyncio, redis, beside redis.asyncio",
        value=ratio(ours, theirs),
        unit="×",
        goal=1.0,
        measured=f"{spread(ours, MS, 'ms')} beside {spread(theirs, MS, 'ms')}",
    )


async def _both(url: str, rounds: int) -> tuple[list[float], list[float]]:
    import redis.asyncio

    async with aio.connect(url, ttl=TTL) as client, redis.asyncio.Redis.from_url(url) as other:
        await client.init()  # the server is fresh: nobody leads, so that half a minute need not be watched
        election, lock = client.election("bench"), other.lock("bench-redis-asyncio", timeout=TTL)

        async def ours() -> None:
            lease = await election.campaign()
            await lease.resign()

        async def theirs() -> None:
            await lock.acquire()
            await lock.release()

        for _ in range(10):
            await ours()
            await theirs()
        times: tuple[list[float], list[float]] = [], []
        for _ in range(rounds):
            for action, samples in zip((ours, theirs), times, strict=True):
                samples.append(await _timed(action))
        return times


async def _timed(action: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await action()
    return time.perf_counter() - started
