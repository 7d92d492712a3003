"""A free name taken and given back, beside two bare write transactions with the same settings."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from leaderlock import connect

from .figures import MS, US, Figure, bare_file, beside, best, ratio, spread


def measure(*, quick: bool) -> Iterator[Figure]:
    rounds = 150 if quick else 1000
    with tempfile.TemporaryDirectory() as folder:
        yield from _sqlite(Path(folder), rounds)
    with connect("memory:") as client:
        election = client.election("taking")
        (ours,) = beside(rounds, lambda: election.campaign().resign())
    yield Figure(
        what="acquire + release, no store at all", value=min(ours) * US, unit="µs", measured=best(ours, US, "µs")
    )


def _sqlite(folder: Path, rounds: int) -> Iterator[Figure]:
    with connect(f"sqlite:///{folder}/leader.db") as client, bare_file(folder) as bare:
        election = client.election("taking")

        def two_writes() -> None:
            bare.write()
            bare.write()

        for _ in range(20):  # until its history is full, a name's record grows
            election.campaign().resign()
        ours, theirs = beside(rounds, lambda: election.campaign().resign(), two_writes)
    measured = f"{spread(ours, MS, 'ms')} beside {spread(theirs, MS, 'ms')}"
    yield Figure(
        what="acquire + release, SQLite, in two bare writes",
        value=ratio(ours, theirs),
        unit="×",
        goal=1.5,
        measured=measured,
    )
