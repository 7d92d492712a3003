"""One of the demo's workers: a program like any other that must not act twice.

It campaigns, and while it leads it appends lines to a ledger that many could write and only the leader may. What it
does and sees it reports on stdout, an object a line.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from typing import Final, NoReturn

from leaderlock import Client, Lease, LeaseLost, StaleToken, connect
from leaderlock.fences.file import FencedFile

__all__ = ["BEAT"]

BEAT: Final = 0.4
"""Seconds between two lines of the ledger."""


def report(event: str, **facts: object) -> None:
    sys.stdout.write(json.dumps({"event": event, "at": time.monotonic(), **facts}) + "\n")
    sys.stdout.flush()


def lead(client: Client, ledger: FencedFile, name: str) -> None:
    """One term, to its end."""
    lease = client.election("demo").campaign()
    # Before anything is read: from here on, no older leader's write can come in between.
    ledger.stamp(lease.token)
    report("leads", token=lease.token)
    try:
        while True:
            lease.check()
            append(ledger, lease, name)
            report("wrote", token=lease.token)
            time.sleep(BEAT)
    except LeaseLost as lost:
        report("looked", token=lease.token, is_held=lease.is_held, reason=lost.reason)
        write_late(ledger, lease, name)
    except StaleToken as refused:
        # It was paused between the check and the write, which no check can help.
        report("refused", token=lease.token, highest=refused.highest)
        report("looked", token=lease.token, is_held=lease.is_held, reason=str(lease.lost_reason))


def write_late(ledger: FencedFile, lease: Lease, name: str) -> None:
    """The write of a program that was paused after its check: it believes that it leads, and its token is old."""
    try:
        append(ledger, lease, f"{name}, late")
    except StaleToken as refused:
        report("refused", token=lease.token, highest=refused.highest)
    else:
        report("admitted", token=lease.token)


def append(ledger: FencedFile, lease: Lease, text: str) -> None:
    line = f"{lease.token} {text}\n".encode()
    ledger.update(lambda before: (before or b"") + line, token=lease.token)


def end_with_the_demo() -> None:
    sys.stdin.read()  # to its end: the demo is gone, however that came about
    os._exit(1)


def leave(*_: object) -> NoReturn:
    sys.exit(0)  # through the client's `with`, which resigns


def main() -> None:
    name, url, ttl, path = sys.argv[1:]
    threading.Thread(target=end_with_the_demo, daemon=True).start()
    signal.signal(signal.SIGTERM, leave)
    with connect(url, ttl=float(ttl), label=name) as client:
        report("campaigns")
        while True:
            lead(client, FencedFile(path), name)


if __name__ == "__main__":
    main()
