"""A host that is killed while it runs a tick; whoever takes the tick over ends well.

``python -m tests.stores.killed_host URL NAME LOG``. All calls within a day mean the same tick.
"""

from __future__ import annotations

import os
import sys
import time

from leaderlock import connect, current_tick


def main() -> None:
    url, name, log = sys.argv[1:]

    def job() -> None:
        tick = current_tick()
        with open(log, "a") as file:
            file.write(f"{tick.at.timestamp():.3f} {tick.token} {tick.attempt} {os.getpid()}\n")
        while tick.attempt == 1:
            time.sleep(1)

    with connect(url, ttl=1.0) as client:
        client.tick("@daily", name=name, runs="at-least-once", tolerance=86_400).run(job)


if __name__ == "__main__":
    main()
