"""A process that leads now and then: ``worker.py ROLE FOLDER ...``. Started, stopped and killed by the tests."""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

from leaderlock import BackendUnavailable, CampaignTimeout, LeaseLost, NotLeader, StaleToken, connect
from leaderlock.fences.file import FencedFile


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def say(*words: object) -> None:
    print(*words, flush=True)


def lead(folder: Path, ttl: str) -> None:
    """Lead and tell until when, again and again: whoever kills this knows the deadline that counts."""
    with connect(f"sqlite:///{folder}/store", ttl=float(ttl)) as client, client.election("job") as lease:
        say("elected", lease.token, lease.deadline.boot)
        sys.stdin.readline()


def follow(folder: Path, ttl: str) -> None:
    """Wait to be elected, and tell when that was."""
    client = connect(f"sqlite:///{folder}/store", ttl=float(ttl))

    def waiting(_: str) -> None:
        say("waiting")

    lease = client.election("job").campaign(on_waiting=waiting)
    say("elected", lease.token, now())
    sys.stdin.readline()
    client.close()


def oversleep(folder: Path, ttl: str) -> None:
    """Be stopped in the middle of a term; then look, write, and tell what came of it."""
    client = connect(f"sqlite:///{folder}/store", ttl=float(ttl))
    lease = client.election("job").campaign()
    fence = FencedFile(folder / "resource")
    fence.write(b"mine", token=lease.token)
    before = now()
    say("elected", lease.token)
    while (read := now()) - before < float(ttl):  # it is stopped anywhere in here, and goes on once time has leapt
        before = read
    held = lease.is_held
    try:
        fence.write(b"stale", token=lease.token)
        refused = False
    except StaleToken:
        refused = True
    say("woke", held, refused)
    reason = lease.wait_lost(20)
    say("lost", reason.name if reason else None)
    client.close()


def hammer(folder: Path, ttl: str, number: str) -> None:
    """Lead for moments, count in a fenced file, and note every term in a log, until killed."""
    client = connect(f"sqlite:///{folder}/store", ttl=float(ttl))
    fence = FencedFile(folder / "counter")
    log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    dice = random.Random(int(number))

    def note(kind: str, token: int, count: int, at: float) -> None:
        os.write(log, f"{kind} {token} {count} {at:.9f} {os.getpid()}\n".encode())

    parent = os.getppid()
    while os.getppid() == parent:  # not longer than the test that started it
        try:
            with client.election("job", timeout=5) as lease:
                # Who sleeps through a whole ttl right here has lost his claim before he looks at the clock.
                elected_at = now()
                lease.check()
                note("elected", lease.token, 0, elected_at)
                try:
                    fence.stamp(lease.token)
                    for _ in range(dice.randrange(1, 4)):
                        count = int(fence.read() or b"0") + 1
                        time.sleep(dice.random() * 0.01)  # the window in which a second leader would be seen
                        held_at = now()  # what is held at a check was held at this moment, whatever comes after it
                        lease.check()
                        fence.write(b"%d" % count, token=lease.token)
                        note("counted", lease.token, count, held_at)
                finally:
                    held_at = now()
                    note("ended" if lease.is_held else "lost", lease.token, 0, held_at)
        except (CampaignTimeout, LeaseLost, NotLeader, StaleToken, BackendUnavailable):
            pass


if __name__ == "__main__":
    role, folder, *arguments = sys.argv[1:]
    {"lead": lead, "follow": follow, "oversleep": oversleep, "hammer": hammer}[role](Path(folder), *arguments)
