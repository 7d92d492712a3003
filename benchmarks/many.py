"""Ten thousand leases in one process: what they ask of the store, of the processor and of memory."""

from __future__ import annotations

import gc
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Iterator

from leaderlock import connect
from leaderlock.testing import FaultyBackend, MemoryBackend

from .figures import Figure, spread, timed

COUNT = 10_000
NAMES = [f"lease-{number}" for number in range(COUNT)]


def measure(*, quick: bool) -> Iterator[Figure]:
    yield from _taken_at_once(quick=quick)
    yield from _held(quick=quick)
    yield from _kept_in_mind()


def _taken_at_once(*, quick: bool) -> Iterator[Figure]:
    times = 1 if quick else 5
    yield take_at_once("memory", "memory:", times=times, goal=None)
    with tempfile.TemporaryDirectory() as folder:
        yield take_at_once("SQLite", f"sqlite:///{folder}/leader.db", times=times, goal=0.4)


def take_at_once(store: str, url: str, *, times: int, goal: float | None) -> Figure:
    """Take all of the names with one call, in a namespace that has never seen them."""
    samples: list[float] = []
    for number in range(times):
        with connect(url, namespace=f"at-once-{number}") as client:
            client.init()  # as nobody has ever led there
            client.election("warm").campaign()
            samples.append(timed(lambda client=client: client.campaign_all(NAMES)))
    return Figure(
        what=f"{COUNT:,} names taken at once, {store}",
        value=min(samples),
        unit="s",
        goal=goal,
        measured=f"the best of {len(samples)}; {spread(samples, 1, 's')}",
    )


def _held(*, quick: bool) -> Iterator[Figure]:
    ttl, periods = (3.0, 5) if quick else (15.0, 6)
    counted = FaultyBackend(MemoryBackend())
    before = threading.active_count()
    with connect(counted, ttl=ttl) as client:
        leases = client.campaign_all(NAMES)
        time.sleep(ttl / 3)  # the first renewal also starts to watch
        gc.collect()
        counted.calls.clear()
        wall, cpu = time.monotonic(), time.process_time()
        time.sleep(periods * ttl / 3)
        share = (time.process_time() - cpu) / (time.monotonic() - wall)
        writes, reads = counted.count("swap"), counted.count("read")
        threads = threading.active_count() - before
        assert all(lease.is_held for lease in leases.values())
    label = f"{COUNT:,} leases, ttl {ttl:g} s"
    during = f"{periods} × ttl/3"
    yield Figure(
        what=f"{label}: writes per ttl/3", value=writes / periods, unit="", goal=1.2, measured=f"{writes} in {during}"
    )
    yield Figure(
        what=f"{label}: reads per ttl/3", value=reads / periods, unit="", goal=1.2, measured=f"{reads} in {during}"
    )
    # With a shorter ttl the same work is done more often.
    scaled = share * ttl / 15.0
    yield Figure(
        what=f"{COUNT:,} leases, ttl 15 s: share of a core",
        value=scaled * 100,
        unit="%",
        goal=0.5,
        measured=f"{share:.2%} at ttl {ttl:g} s",
    )
    yield Figure(what=f"{label}: threads", value=threads, unit="", goal=4)


def _kept_in_mind() -> Iterator[Figure]:
    """In a file, so that what the store keeps is not counted as the leases'."""
    with tempfile.TemporaryDirectory() as folder, connect(f"sqlite:///{folder}/leader.db") as client:
        client.election("warm").campaign()
        gc.collect()
        tracemalloc.start()
        leases = client.campaign_all(NAMES)
        gc.collect()
        used, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        each = used / len(leases) / 1024
    yield Figure(
        what="memory of a lease",
        value=each,
        unit="KiB",
        goal=2,
        measured=f"{used >> 20} MiB for {COUNT:,}, at most {peak >> 20} MiB while taking them",
    )
