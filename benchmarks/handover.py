"""From the resignation in one process to the election in another, which waits; beside a bare write transaction."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import pairwise

from .figures import MS, Figure, median, peer, spread


def measure(*, quick: bool) -> Iterator[Figure]:
    count = 20 if quick else 100
    with tempfile.TemporaryDirectory() as folder:
        processes = [peer("terms", f"sqlite:///{folder}/leader.db", folder, count) for _ in range(2)]
        told = [process.communicate(timeout=120)[0] for process in processes]
    terms = sorted((*map(float, line.split()), who) for who, text in enumerate(told) for line in text.splitlines())
    handovers = [after[0] - before[1] for before, after in pairwise(terms) if before[-1] != after[-1]]
    releases = [term[2] for term in terms]
    writes = [term[3] for term in terms]
    measured = f"{spread(handovers, MS, 'ms')} beside {spread(writes, MS, 'ms')}; {len(handovers)} handovers"
    yield Figure(
        what="handover after resign, SQLite, in bare writes",
        value=median(handovers) / median(writes),
        unit="×",
        goal=3,
        measured=measured,
    )
    yield Figure(
        what="the same, in the resignation's own time",
        value=median(handovers) / median(releases),
        unit="×",
        measured=f"resign() {spread(releases, MS, 'ms')}",
    )
