"""The other process of a benchmark: ``python -m benchmarks.peer terms|hold URL …``. Tells its steps on stdout."""

from __future__ import annotations

import sys
import time

from leaderlock import connect

from .figures import timed
from .locks import bare_write, opened

PAUSE = 0.02


def terms(store: str, name: str, url: str, count: str) -> None:
    """Lead again and again, and tell for each term: when it began, when its end began, and how long that took."""
    with opened(store, name, url) as lock, bare_write(store, url) as write:
        for _ in range(int(count)):
            lock.acquire()
            began = time.monotonic()
            time.sleep(PAUSE)
            writing = timed(write)
            time.sleep(PAUSE)
            ending = time.monotonic()
            lock.release()
            print(began, ending, time.monotonic() - ending, writing, flush=True)
            time.sleep(PAUSE)  # let the other one have it


def hold(url: str, ttl: str) -> None:
    """Lead, tell so, and go on until killed."""
    with connect(url, ttl=float(ttl)) as client, client.election("takeover"):
        print("leading", flush=True)
        time.sleep(600)


if __name__ == "__main__":
    {"terms": terms, "hold": hold}[sys.argv[1]](*sys.argv[2:])
