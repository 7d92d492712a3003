"""The other process of a benchmark: ``python -m benchmarks.peer terms|hold URL …``. Tells its steps on stdout."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from leaderlock import connect

from .figures import bare_file, timed

PAUSE = 0.02


def terms(url: str, folder: str, count: str) -> None:
    """Lead again and again, and tell for each term: when it began, when its end began, and how long that took."""
    with connect(url) as client, bare_file(Path(folder)) as bare:
        election = client.election("handover")
        for _ in range(int(count)):
            lease = election.campaign()
            began = time.monotonic()
            time.sleep(PAUSE)
            write = timed(bare.write)
            time.sleep(PAUSE)
            ending = time.monotonic()
            lease.resign()
            print(began, ending, time.monotonic() - ending, write, flush=True)
            time.sleep(PAUSE)  # let the other one have it


def hold(url: str, ttl: str) -> None:
    """Lead, tell so, and go on until killed."""
    with connect(url, ttl=float(ttl)) as client, client.election("takeover"):
        print("leading", flush=True)
        time.sleep(600)


if __name__ == "__main__":
    {"terms": terms, "hold": hold}[sys.argv[1]](*sys.argv[2:])
