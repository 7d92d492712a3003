"""The same on real servers, found on PATH and started for the occasion, beside others' locks over the same store."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from .figures import MS, Figure, beside, ratio, spread
from .handover import Handovers, hand_over
from .locks import OURS, STORES, bare_write, opened, peers
from .many import take_at_once
from .servers import NotHere, serving
from .takeover import takeovers

TAKING: Final = {"redis": ("redis-py", 0.85), "zookeeper": ("bare", 1.2), "etcd": ("bare", 1.2)}
"""Beside what the goal of taking and giving back is said, and the goal."""
AT_ONCE: Final = {"redis": 0.6, "zookeeper": 1.0, "etcd": 1.2}


def measure(*, quick: bool, only: str | None = None) -> Iterator[Figure]:
    for store in (only,) if only else STORES:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            try:
                url = stack.enter_context(serving(store, Path(folder)))
            except NotHere as missing:
                print(f"not measured: {missing}", file=sys.stderr, flush=True)
                continue
            yield from _taking(store, url, rounds=30 if quick else 500)
            yield from _handover(store, url, count=8 if quick else 60)
            yield from takeovers(store, url, count=2 if quick else 8)
            yield take_at_once(store, url, times=1 if quick else 3, goal=AT_ONCE[store])


def _taking(store: str, url: str, *, rounds: int) -> Iterator[Figure]:
    with ExitStack() as stack:
        write = stack.enter_context(bare_write(store, url))
        locks = {name: stack.enter_context(opened(store, name, url)) for name in (OURS, *peers(store))}

        def two_writes() -> None:
            write()
            write()

        actions = {"bare": two_writes}
        actions |= {name: lambda lock=lock: (lock.acquire(), lock.release()) for name, lock in locks.items()}
        for action in actions.values():
            for _ in range(10):
                action()
        times = dict(zip(actions, beside(rounds, *actions.values()), strict=True))
    against, goal = TAKING[store]
    for other in [name for name in times if name != OURS]:
        yield Figure(
            what=f"acquire + release, {store}, beside {'two bare writes' if other == 'bare' else other}",
            value=ratio(times[OURS], times[other]),
            unit="×",
            goal=goal if other == against else None,
            measured=f"{spread(times[OURS], MS, 'ms')} beside {spread(times[other], MS, 'ms')}",
        )


def _handover(store: str, url: str, *, count: int) -> Iterator[Figure]:
    ours = hand_over(store, OURS, url, count)
    yield from ours.figures(
        store, in_writes=2.5 if store == "redis" else None, in_releases=2.5 if store != "redis" else None
    )
    for name in peers(store):
        theirs = hand_over(store, name, url, count)
        yield _beside(store, name, ours, theirs)


def _beside(store: str, name: str, ours: Handovers, theirs: Handovers) -> Figure:
    return Figure(
        what=f"handover, {store}, beside {name}",
        value=ours.median / theirs.median,
        unit="×",
        goal=1,
        measured=f"{spread(ours.times, MS, 'ms')} beside {spread(theirs.times, MS, 'ms')}",
    )
