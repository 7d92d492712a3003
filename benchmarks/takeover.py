"""From ``kill -9`` of the leader to the election of whoever waits."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator

from leaderlock import connect
from leaderlock.testing import ManualClock

from .figures import MS, Figure, peer, spread

TTL = 1.0


def measure(*, quick: bool) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        yield from takeovers("SQLite", f"sqlite:///{folder}/leader.db", count=4 if quick else 15)


def takeovers(store: str, url: str, *, count: int) -> Iterator[Figure]:
    taken = [_one(url) for _ in range(count)]
    late = max(taken) - TTL * (1 + ManualClock().rho)
    measured = f"{spread(taken, MS, 'ms')}, at most {max(taken) * MS:.0f} ms, with a ttl of {TTL:g} s"
    yield Figure(
        what=f"takeover after kill -9, {store}, beyond ttl(1+ρ), worst",
        value=late * MS,
        unit="ms",
        goal=100,
        measured=measured,
    )


def _one(url: str) -> float:
    with peer("hold", url, TTL) as leader, connect(url, ttl=TTL) as client:
        assert leader.stdout is not None
        leader.stdout.readline()
        election = client.election("takeover")
        killed: list[float] = []

        def kill(_: str) -> None:
            # Told that it waits: from here on it observes. Killed at any moment between two renewals.
            time.sleep(random.uniform(0.5, 0.5 + TTL / 3))
            leader.kill()
            killed.append(time.monotonic())

        lease = election.campaign(timeout=30, on_waiting=kill)
        elected = time.monotonic()
        lease.resign()
    return elected - killed[0]
