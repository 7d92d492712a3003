"""An asyncio program of which many may run, and one works: start it in three terminals, and end the one that leads.

    export LEADERLOCK_URL=sqlite:
    python scheduler.py

It needs no more than ``pip install leaderlock``. `leaderlock resign scheduler` asks the leader to go: its tasks are
cancelled, and it stands for election again.
"""

import asyncio
import contextlib
import os
import signal
import sys

from leaderlock import LeaseLost, StaleToken, aio
from leaderlock.fences.file import FencedFile

journal = FencedFile(sys.argv[1] if len(sys.argv) > 1 else "journal.txt")


async def poll(what: str, seconds: float) -> None:
    lease = aio.current()  # tasks act under the lease of the block that made them
    while True:
        line = f"{os.getpid()} polls {what}, with token {lease.token}\n"
        # Had this process been paused right here, another would lead by now: the token decides.
        await asyncio.to_thread(journal.write, line.encode(), token=lease.token)
        print(line, end="", flush=True)
        await asyncio.sleep(seconds)


async def main() -> None:
    # Without this, Python dies of SIGTERM without closing anything, and whoever waits waits for a ttl.
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with aio.connect(ttl=5, label="scheduler") as client:
        election = client.election("scheduler", on_loss="cancel")
        while True:
            print(f"{os.getpid()} waits", flush=True)
            try:
                async with election, asyncio.TaskGroup() as group:
                    group.create_task(poll("feeds", 1))
                    group.create_task(poll("mail", 2))
            except* StaleToken as stale:
                print(f"{os.getpid()} stops: {stale.exceptions[0]}", flush=True)
            except* LeaseLost as lost:
                print(f"{os.getpid()} stops: {lost.exceptions[0]}", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):  # the lease is resigned on the way out
        asyncio.run(main())
