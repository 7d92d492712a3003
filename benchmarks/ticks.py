"""Ticks: what one costs the store, and a thousand jobs of one process, due in the same second."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from leaderlock import Schedule, connect
from leaderlock.testing import FaultyBackend, MemoryStore

from .figures import Figure, spread
from .servers import serving

JOBS = 1_000
THREADS = 2


def measure(*, quick: bool) -> Iterator[Figure]:
    yield from _round_trips()
    with tempfile.TemporaryDirectory() as folder, serving("redis", Path(folder)) as url:
        yield from _a_thousand(url, 2 if quick else 5, 10.0 if quick else 60.0)


def _round_trips() -> Iterator[Figure]:
    store = MemoryStore()
    counted = FaultyBackend(store.backend())
    with connect(store.backend()) as other, connect(counted) as client:
        client.election("warm").campaign().resign()
        hour = Schedule("@hourly")
        assert other.tick(hour, name="theirs", tolerance=3600).run(lambda: None)
        counted.calls.clear()
        assert not client.tick(hour, name="theirs", tolerance=3600).run(lambda: None)
        theirs = len(counted.calls)
        counted.calls.clear()
        assert client.tick(hour, name="ours", tolerance=3600).run(lambda: None)
        ours = len(counted.calls)
    yield Figure(what="a tick that is not ours: round trips", value=theirs, unit="", goal=1)
    yield Figure(what="a tick of ours: round trips", value=ours, unit="", goal=3, measured="look, take, release")


def _a_thousand(url: str, rounds: int, idle: float) -> Iterator[Figure]:
    """Called by a few threads, as a scheduler would."""
    schedule = Schedule("* * * * *")
    claimed: list[float] = []
    times: list[float] = []
    with connect(url) as client, ThreadPoolExecutor(THREADS) as pool:
        client.init()
        client.election("warm").campaign().resign()
        first = schedule.next(client.now())
        for number in range(rounds):
            at = first + timedelta(minutes=number)  # each round is the next tick of all of them
            calls = [client.tick(name=f"job-{job}", at=at, window=3600.0) for job in range(JOBS)]
            claimed.clear()
            began = time.perf_counter()
            outcomes = list(pool.map(lambda call: call.run(lambda: claimed.append(time.perf_counter())), calls))
            assert all(outcomes)
            times.append(max(claimed) - began)
        # Between ticks a scheduler asks each schedule when it is due next, and the client renews its session.
        schedules = [Schedule("* * * * *") for _ in range(JOBS)]
        cpu, wall = time.process_time(), time.perf_counter()
        due = min(one.next(client.now()) for one in schedules)
        assert due > first - timedelta(minutes=1)
        time.sleep(idle)
        share = (time.process_time() - cpu) / (time.perf_counter() - wall)
    yield Figure(
        what=f"{JOBS:,} due ticks claimed, Redis, {THREADS} threads",
        value=min(times),
        unit="s",
        goal=1.0,
        measured=f"the best of {len(times)}; {spread(times, 1, 's')}",
    )
    yield Figure(
        what=f"{JOBS:,} jobs, between their ticks: share of a core",
        value=share * 100,
        unit="%",
        goal=1.0,
        measured=f"over {idle:g} s, {len(schedules):,} schedules asked once",
    )
