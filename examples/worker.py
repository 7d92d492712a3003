"""A worker of which many may run, and one works: start it in three terminals, and end the one that leads.

    export LEADERLOCK_URL=sqlite:
    python worker.py

It needs no more than ``pip install leaderlock``. `leaderlock status` shows who leads; `leaderlock resign counter` asks
it to go; Ctrl-Z and `fg` show what a pause does.
"""

import contextlib
import os
import signal
import sys
import time

from leaderlock import LeaseLost, StaleToken, connect
from leaderlock.fences.file import FencedFile

counter = FencedFile(sys.argv[1] if len(sys.argv) > 1 else "counter.txt")


def work(lease) -> None:
    # Stamp, then read: an older leader's write can no longer come in between.
    counter.stamp(lease.token)
    count = int(counter.read() or 0)
    while True:
        lease.check()  # raises LeaseLost past the deadline; no I/O
        count += 1
        # Had this process been paused right here, another would lead by now: the token decides, not the check.
        counter.write(b"%d" % count, token=lease.token)
        print(f"{os.getpid()} counts {count}, with token {lease.token}", flush=True)
        time.sleep(1)


def main() -> None:
    with connect(ttl=5, label="counter") as client:
        while True:
            print(f"{os.getpid()} waits", flush=True)
            try:
                with client.election("counter") as lease:
                    work(lease)
            except (LeaseLost, StaleToken) as lost:
                print(f"{os.getpid()} stops: {lost}", flush=True)


if __name__ == "__main__":
    # Without this, Python dies of SIGTERM without closing anything, and whoever waits waits for a ttl.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.suppress(KeyboardInterrupt):  # the lease is resigned on the way out
        main()
