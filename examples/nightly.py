"""A job that three of these run once a minute between them: start it in three terminals, and end the one that works.

    export LEADERLOCK_URL=sqlite:
    python nightly.py

It needs no more than ``pip install leaderlock``. `leaderlock history report` shows who ran which tick and how that
ended; `leaderlock pause report` stops all three until `leaderlock resume report`.
"""

import contextlib
import os
import signal
import sys
import time
from datetime import UTC, datetime

from leaderlock import LeaseLost, Ran, Schedule, StaleToken, current_tick, once_per_tick
from leaderlock.fences.file import FencedFile

every_minute = Schedule("* * * * *")
report = FencedFile(sys.argv[1] if len(sys.argv) > 1 else "report.txt")


@once_per_tick(every_minute, name="report", runs="at-least-once", max_run=50)
def write_report() -> None:
    tick = current_tick()
    # Stamp, then work: an attempt before this one, on a host that is believed dead, can no longer write.
    report.stamp(tick.token)
    for part in range(10):
        tick.check()  # raises LeaseLost if somebody else may run this tick by now; no I/O
        print(f"{os.getpid()} works on {tick.at:%H:%M}, part {part}, attempt {tick.attempt}", flush=True)
        time.sleep(1)
    report.write(f"the report of {tick.at:%H:%M}, by {os.getpid()}\n".encode(), token=tick.token)


def main() -> None:
    while True:
        time.sleep((every_minute.next(datetime.now(UTC)) - datetime.now(UTC)).total_seconds())
        try:
            outcome = write_report()
            print(f"{os.getpid()} {'ran it' if isinstance(outcome, Ran) else outcome}", flush=True)
        except (LeaseLost, StaleToken) as lost:
            print(f"{os.getpid()} stops: {lost}", flush=True)


if __name__ == "__main__":
    # Like Ctrl-C: the tick is recorded as interrupted. By sys.exit(0) it would count as done.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):  # the tick is left to whoever stands by
        main()
