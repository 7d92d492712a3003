"""One host with a crontab of one line, without cron: calls at every tick of an interval, and logs what it ran.

``python -m tests.stores.cron_host URL NAME INTERVAL COUNT LOG``. A line of the log: tick, token. stdout says what each
call came to.
"""

from __future__ import annotations

import os
import random
import sys
import time
from datetime import UTC, datetime

from leaderlock import Ran, Schedule, connect, current_tick


def main() -> None:
    url, name, interval, count, log = sys.argv[1:]
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    schedule = Schedule(float(interval))

    def job() -> None:
        tick = current_tick()
        os.write(file, f"{tick.at.timestamp():.3f} {tick.token}\n".encode())

    with connect(url, ttl=5.0, label=f"host {os.getpid()}") as client:
        at = schedule.next(datetime.now(UTC)).timestamp()
        for _ in range(int(count)):
            # Five clocks, a little apart.
            time.sleep(max(0.0, at + random.uniform(-0.1, 0.1) * float(interval) - time.time()))
            # A window of its own: a store that is slow for once, on a loaded machine, is not down.
            outcome = client.tick(schedule, name=name, window=5.0).run(job)
            print("ran" if isinstance(outcome, Ran) else outcome.reason.value, flush=True)
            at = max(at, time.time() - float(interval) / 2)
            at = schedule.next(datetime.fromtimestamp(at, UTC)).timestamp()


if __name__ == "__main__":
    main()
