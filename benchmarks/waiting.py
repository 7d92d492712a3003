"""What waiting costs the store: reads while somebody else leads, and reads per handover with few and many waiters."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

from leaderlock import Client, connect
from leaderlock.testing import FaultyBackend, MemoryStore

from .figures import Figure

TTL = 2.0


def measure(*, quick: bool) -> Iterator[Figure]:
    few, many = 2, (20 if quick else 100)
    idle, per_handover = {}, {}
    for waiters in (few, many):
        idle[waiters], per_handover[waiters] = _wait(waiters, ttls=2 if quick else 5)
    for waiters in (few, many):
        yield Figure(
            what=f"reads while waiting, per ttl and client, {waiters} clients", value=idle[waiters], unit="", goal=4
        )
    yield Figure(
        what=f"reads per handover and client, {many} waiters beside {few}",
        value=per_handover[many] / per_handover[few],
        unit="×",
        goal=1,
        measured=f"{per_handover[many]:.1f} beside {per_handover[few]:.1f}",
    )


def _wait(waiters: int, *, ttls: int) -> tuple[float, float]:
    store = MemoryStore()
    counted = [FaultyBackend(store.backend()) for _ in range(waiters)]
    with ExitStack() as stack:
        leader = stack.enter_context(connect(store.backend(), ttl=TTL))
        clients = [stack.enter_context(connect(backend, ttl=TTL)) for backend in counted]
        lease = leader.election("waiting").campaign()
        elected = threading.Semaphore(0)
        threads = [threading.Thread(target=_lead_once, args=(client, elected)) for client in clients]
        for thread in threads:
            thread.start()
        time.sleep(TTL)
        idle = _reads_during(counted, ttls * TTL) / ttls / waiters
        handovers = min(waiters, 10)
        before = _reads(counted)
        lease.resign()
        for _ in range(handovers):
            elected.acquire()
        per_handover = (_reads(counted) - before) / handovers / waiters
        for _ in range(waiters - handovers):
            elected.acquire()
        for thread in threads:
            thread.join()
    return idle, per_handover


def _lead_once(client: Client, elected: threading.Semaphore) -> None:
    lease = client.election("waiting").campaign()
    elected.release()
    time.sleep(0.02)
    lease.resign()


def _reads(counted: list[FaultyBackend]) -> int:
    return sum(backend.count("read") for backend in counted)


def _reads_during(counted: list[FaultyBackend], seconds: float) -> int:
    before = _reads(counted)
    time.sleep(seconds)
    return _reads(counted) - before
