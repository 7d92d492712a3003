"""What ``@only_on_leader`` adds to a call, on the process that leads and on one that does not."""

from __future__ import annotations

from collections.abc import Iterator
from timeit import Timer

from leaderlock import connect, only_on_leader
from leaderlock.testing import MemoryStore

from .figures import NS, US, Figure, best

NUMBER = 500  # short, so that most rounds pass undisturbed


def work() -> None: ...


def measure(*, quick: bool) -> Iterator[Figure]:
    store = MemoryStore()
    with connect(store.backend()) as leads, connect(store.backend()) as follows:
        on_leader = only_on_leader("guarding", client=leads)(work)
        on_follower = only_on_leader("guarding", client=follows)(work)
        on_leader()
        on_follower()
        samples: list[list[float]] = [[], [], []]
        for _ in range(200 if quick else 2000):
            for function, times in zip((work, on_leader, on_follower), samples, strict=True):
                times.append(Timer("f()", globals={"f": function}).timeit(NUMBER) / NUMBER)
    bare, guarded, skipped = samples
    beside = f"{best(guarded, NS, 'ns')} beside {min(bare) * NS:.0f} ns"
    yield Figure(
        what="@only_on_leader, added to a call",
        value=(min(guarded) - min(bare)) * US,
        unit="µs",
        goal=1,
        measured=beside,
    )
    yield Figure(
        what="@only_on_leader, a call that is skipped",
        value=min(skipped) * US,
        unit="µs",
        measured=best(skipped, NS, "ns"),
    )
