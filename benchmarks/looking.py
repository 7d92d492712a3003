"""What it costs to ask whether one still leads: ``is_held`` and ``check()``, beside one look at a clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from timeit import Timer

from leaderlock import connect

from .figures import NS, Figure, best, ratio

NUMBER = 2_000  # short, so that most rounds pass undisturbed


def measure(*, quick: bool) -> Iterator[Figure]:
    with connect("memory:") as client, client.election("looking") as lease:
        # As source text, so that no function call of ours is counted into either side.
        timers = [
            Timer("monotonic()", globals={"monotonic": time.monotonic}),
            Timer("lease.is_held", globals={"lease": lease}),
            Timer("lease.check()", globals={"lease": lease}),
        ]
        samples: list[list[float]] = [[], [], []]
        for _ in range(200 if quick else 2000):
            for timer, times in zip(timers, samples, strict=True):
                times.append(timer.timeit(NUMBER) / NUMBER)
    clock, held, check = samples
    beside = f"beside time.monotonic(), {best(clock, NS, 'ns')}"
    yield Figure(what="is_held, in looks at a clock", value=ratio(held, clock), unit="×", goal=4, measured=beside)
    yield Figure(what="is_held", value=min(held) * NS, unit="ns", goal=200, measured=best(held, NS, "ns"))
    yield Figure(what="check()", value=min(check) * NS, unit="ns", measured=best(check, NS, "ns"))
