"""A job's slot, which a signal's handler interrupts: the next call of that job must get in."""

from __future__ import annotations

import subprocess
import sys

STORM = """
import signal, threading
from leaderlock._ticks.slot import Slot

class Interrupted(BaseException):
    pass

def interrupt(*_):
    raise Interrupted

signal.signal(signal.SIGALRM, interrupt)
hits = 0
for turn in range(2000):
    slot = Slot(None)
    try:
        signal.setitimer(signal.ITIMER_REAL, 2e-5 + turn % 100 * 1e-6)
        while True:
            slot.leave()
    except Interrupted:
        hits += 1
    other = threading.Thread(target=slot.leave, daemon=True)
    other.start()
    other.join(10)
    stuck = other.is_alive()
    if stuck:
        break
print(hits, stuck + 0)
"""


def test_a_signal_leaves_no_slot_that_nobody_can_enter():
    done = subprocess.run([sys.executable, "-c", STORM], capture_output=True, text=True, timeout=120, check=False)

    assert (done.stdout, done.stderr) == ("2000 0\n", "")
