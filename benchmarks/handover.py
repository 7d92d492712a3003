"""From the release in one process to the acquisition in another, which waits; beside a bare conditional write."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from .figures import MS, Figure, median, peer, spread
from .locks import OURS


class Handovers(NamedTuple):
    """What two processes saw that handed a lock to each other: seconds each."""

    times: list[float]
    releases: list[float]
    writes: list[float]

    @property
    def median(self) -> float:
        return median(self.times)

    def figures(
        self, store: str, *, in_writes: float | None = None, in_releases: float | None = None
    ) -> Iterator[Figure]:
        """Ours, in the two ways of looking at it, with the goal of each."""
        measured = f"{spread(self.times, MS, 'ms')} beside {spread(self.writes, MS, 'ms')}; {len(self.times)} handovers"
        yield Figure(
            what=f"handover after resign, {store}, in bare writes",
            value=self.median / median(self.writes),
            unit="×",
            goal=in_writes,
            measured=measured,
        )
        yield Figure(
            what=f"the same, {store}, in the resignation's own time",
            value=self.median / median(self.releases),
            unit="×",
            goal=in_releases,
            measured=f"resign() {spread(self.releases, MS, 'ms')}",
        )


def hand_over(store: str, name: str, url: str, count: int) -> Handovers:
    """Have two processes take that lock in turns, ``count`` times each."""
    processes = [peer("terms", store, name, url, count) for _ in range(2)]
    told = [process.communicate(timeout=300)[0] for process in processes]
    if failed := [process.returncode for process in processes if process.returncode]:
        raise RuntimeError(f"a process of the handovers of {name} failed: {failed}")
    terms = sorted((*map(float, line.split()), who) for who, text in enumerate(told) for line in text.splitlines())
    times = [after[0] - before[1] for before, after in pairwise(terms) if before[-1] != after[-1]]
    return Handovers(times, [term[2] for term in terms], [term[3] for term in terms])


def measure(*, quick: bool) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        seen = hand_over("sqlite", OURS, f"sqlite:///{folder}/leader.db", 20 if quick else 100)
    yield from seen.figures("SQLite", in_writes=3)
